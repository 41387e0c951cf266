//! Who may ask how urgently, how often and how much at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    domain::{BootTime, ClientId, Error, ErrorKind, Lane, Result, limits},
    scheduler::Bucket,
};

/// What the operator allows one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRule {
    /// The user id by which its processes are known on the Unix socket.
    pub uid: Option<u32>,
    /// The most urgent lane it may use; what asks for more gets this.
    pub lane_max: Option<Lane>,
    /// Requests of it that may wait at once.
    pub queued_max: Option<usize>,
    /// Requests that it may send in a minute.
    pub per_minute: Option<u32>,
    /// Class of its data, for the policy.
    pub data_class: Option<String>,
}

/// The rules for all clients; who has none is bounded only by what holds for everybody.
#[derive(Debug, Default)]
pub struct Clients {
    rules: HashMap<ClientId, ClientRule>,
    by_uid: HashMap<u32, ClientId>,
    rates: Mutex<HashMap<ClientId, Bucket>>,
}

impl Clients {
    /// From the configured entries; names are unique.
    pub fn new(rules: impl IntoIterator<Item = (ClientId, ClientRule)>) -> Self {
        let rules: HashMap<_, _> = rules.into_iter().collect();
        let by_uid = rules.iter().filter_map(|(name, rule)| Some((rule.uid?, name.clone()))).collect();
        Self { rules, by_uid, rates: Mutex::default() }
    }

    /// The client that a local process is.
    pub fn of_uid(&self, uid: u32) -> ClientId {
        self.by_uid.get(&uid).cloned().unwrap_or_else(|| ClientId::of_user(uid))
    }

    /// The lane that `client` gets when `wanted` was asked for.
    pub fn lane(&self, client: &ClientId, wanted: Lane) -> Lane {
        let ceiling = self.rules.get(client).and_then(|rule| rule.lane_max).unwrap_or(Lane::Interactive);
        // Lanes are ordered from the most urgent on.
        wanted.max(ceiling)
    }

    /// The class of the client's data, as the operator has it.
    pub fn data_class(&self, client: &ClientId) -> Option<&str> {
        self.rules.get(client)?.data_class.as_deref()
    }

    /// The client's own bound of waiting requests.
    pub fn queued_max(&self, client: &ClientId) -> Option<usize> {
        self.rules.get(client).and_then(|rule| rule.queued_max)
    }

    /// Takes one request off the client's allowance.
    pub fn take(&self, client: &ClientId, now: BootTime) -> Result<()> {
        let Some(per_minute) = self.rules.get(client).and_then(|rule| rule.per_minute) else { return Ok(()) };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= limits::RATES_MAX {
            // A full allowance is what a client that is not remembered has, too.
            rates.retain(|_, bucket| !bucket.is_full(per_minute, now));
        }
        let bucket = rates.entry(client.clone()).or_insert_with(|| Bucket::new(per_minute, now));
        bucket.take(per_minute, now).map_err(|wait| too_often(per_minute, wait))
    }
}

fn too_often(per_minute: u32, wait: Duration) -> Error {
    let why = format!("this client may send {per_minute} requests a minute; wait before the next one");
    Error::new(ErrorKind::QueueFull, why).with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(s: &str) -> ClientId {
        ClientId::new(s).unwrap()
    }

    fn clients() -> Clients {
        let press = ClientRule {
            uid: Some(1001),
            lane_max: Some(Lane::Normal),
            per_minute: Some(2),
            queued_max: Some(3),
            data_class: None,
        };
        Clients::new([(name("press"), press)])
    }

    #[test]
    fn a_process_is_the_client_that_the_operator_named_or_its_user_id() {
        assert_eq!(clients().of_uid(1001), name("press"));
        assert_eq!(clients().of_uid(0), name("uid-0"));
    }

    #[test]
    fn nobody_gets_a_more_urgent_lane_than_allowed() {
        let clients = clients();
        assert_eq!(clients.lane(&name("press"), Lane::Interactive), Lane::Normal);
        assert_eq!(clients.lane(&name("press"), Lane::Batch), Lane::Batch);
        assert_eq!(clients.lane(&name("other"), Lane::Interactive), Lane::Interactive);
        assert_eq!((clients.queued_max(&name("press")), clients.queued_max(&name("other"))), (Some(3), None));
    }

    #[test]
    fn an_allowance_is_used_up_and_grows_again() {
        let (clients, at) = (clients(), |s| BootTime::new(Duration::from_secs(s)));
        assert!(clients.take(&name("press"), at(0)).is_ok() && clients.take(&name("press"), at(0)).is_ok());
        let refused = clients.take(&name("press"), at(0)).unwrap_err();
        assert_eq!(
            (refused.kind, refused.retry_after),
            (ErrorKind::QueueFull, Some(Duration::from_secs(30)))
        );
        assert!(clients.take(&name("press"), at(30)).is_ok());
        assert!((0..100).all(|_| clients.take(&name("free"), at(0)).is_ok()));
    }
}
