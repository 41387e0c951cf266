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

/// While the store takes nothing new, looks whether that is over: nobody else may ask it anything.
pub(super) async fn look_again(store: Store) {
    let mut health = store.health();
    while health.wait_for(|health| matches!(health, Health::Full(_))).await.is_ok() {
        tokio::time::sleep(limits::STORE_LOOK_INTERVAL).await;
        // Makes room besides, where something is too old.
        if let Err(error) = store.prune().await {
            tracing::debug!(%error, "the store is still full");
        }
    }
}

/// Brings the usage of requests that are not kept to the ledger.
pub(super) async fn keep_ledger(service: Service) {
    loop {
        tokio::time::sleep(limits::TALLY_INTERVAL).await;
        let written = service.write_tally().await;
        if let Err(error) = written.and(service.date_the_undated().await) {
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
