//! What goes on beside the requests: pruning, and an eye on the store's health.

use crate::{
    domain::limits,
    service::Service,
    store::{Health, Store},
};

/// Takes out of the store what is too old, now and then.
pub(super) async fn prune(store: Store) {
    loop {
        match store.prune().await {
            Ok(pruned) if pruned.more => continue,
            Ok(pruned) => tracing::debug!(?pruned, "pruned"),
            Err(error) => tracing::warn!(%error, "the store could not be pruned"),
        }
        tokio::time::sleep(limits::PRUNE_INTERVAL).await;
    }
}

/// Brings the usage of requests that are not kept to the ledger.
pub(super) async fn keep_ledger(service: Service) {
    loop {
        tokio::time::sleep(limits::TALLY_INTERVAL).await;
        if let Err(error) = service.write_tally().await {
            tracing::warn!(%error, "usage could not be written to the ledger");
        }
    }
}

/// Ends when the store can no longer be trusted, with the reason.
pub(super) async fn broken(store: &Store) -> String {
    let mut health = store.health();
    loop {
        if let Health::Broken(reason) = &*health.borrow_and_update() {
            return reason.clone();
        }
        if health.changed().await.is_err() {
            return "the store's writer has ended".into();
        }
    }
}
