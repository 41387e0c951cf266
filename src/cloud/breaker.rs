//! Who is left alone, and for how long: one breaker for each provider of a model, one for the whole
//! account. Pure: time comes in.

use std::{collections::HashMap, time::Duration};

use super::fault::{Class, Cure, Fault};
use crate::domain::{BootTime, limits};

/// A model at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// `org/name`
    pub model: String,
    /// The provider.
    pub provider: String,
}

/// Why something is left alone, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The last fault.
    pub why: String,
    /// Not before this.
    pub until: BootTime,
}

#[derive(Clone, Debug, Default)]
struct State {
    rest: Option<Rest>,
    /// Faults since the last success.
    row: u32,
}

/// What is left alone.
#[derive(Clone, Debug, Default)]
pub struct Breakers {
    pairs: HashMap<Pair, State>,
    account: State,
    network: State,
}

impl Breakers {
    /// Why nothing goes there at all.
    pub fn account(&self, now: BootTime) -> Option<&Rest> {
        [&self.account, &self.network].into_iter().find_map(|state| resting(state, now))
    }

    /// Why this pair is left alone.
    pub fn pair(&self, pair: &Pair, now: BootTime) -> Option<&Rest> {
        resting(self.pairs.get(pair)?, now)
    }

    /// A call went well.
    pub fn succeeded(&mut self, pair: &Pair) {
        self.pairs.remove(pair);
        (self.account, self.network) = (State::default(), State::default());
    }

    /// A call failed. The `Account` is closed for an hour, whoever asks; a try after that finds out
    /// whether somebody has paid.
    pub fn failed(&mut self, pair: &Pair, fault: &Fault, now: BootTime) {
        // This is shown to others.
        let why = fault.brief();
        match fault.class.cure() {
            Cure::Account => rest(&mut self.account, why, limits::ACCOUNT_REST, now),
            Cure::Wait => {
                let wait = grown(limits::NETWORK_REST_FIRST, self.network.row, limits::NETWORK_REST_MAX);
                rest(&mut self.network, why, wait, now);
            }
            // The request is at fault, nobody else.
            Cure::Final => {}
            Cure::Another => {
                // The server is there.
                self.network = State::default();
                if self.pairs.len() >= limits::BREAKERS_MAX {
                    self.pairs.retain(|_, state| resting(state, now).is_some());
                }
                let state = self.pairs.entry(pair.clone()).or_default();
                if let Some(first) = first_rest(fault.class) {
                    let wait = grown(first, state.row, limits::PROVIDER_REST_MAX.max(first));
                    rest(state, why, fault.retry_after.unwrap_or_default().max(wait), now);
                }
            }
        }
    }

    /// Somebody has changed something: everything is tried again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the last call found no network.
    pub fn is_shaky(&self) -> bool {
        self.network.row > 0
    }
}

fn resting(state: &State, now: BootTime) -> Option<&Rest> {
    state.rest.as_ref().filter(|rest| rest.until > now)
}

fn rest(state: &mut State, why: String, wait: Duration, now: BootTime) {
    state.row = state.row.saturating_add(1);
    state.rest = Some(Rest { why, until: now.after(wait) });
}

/// Doubles with every fault in a row.
fn grown(first: Duration, row: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << row.min(10)).min(most)
}

/// The first rest after such a fault; `None`: the next request may fare better at once.
fn first_rest(class: Class) -> Option<Duration> {
    match class {
        Class::ContextTooLong | Class::Unsupported | Class::Empty | Class::SchemaMissed => None,
        Class::Gone | Class::ModelUnavailable => Some(limits::PAIR_GONE_REST),
        Class::WrongProvider => Some(limits::PAIR_SUSPENDED),
        _ => Some(limits::PAIR_REST_FIRST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(provider: &str) -> Pair {
        Pair { model: "org/m".into(), provider: provider.into() }
    }
    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }
    fn fault(class: Class) -> Fault {
        Fault::new(class, "x")
    }

    #[test]
    fn a_provider_that_fails_rests_longer_each_time_and_others_go_on() {
        let mut breakers = Breakers::default();
        breakers.failed(&pair("a"), &fault(Class::RateLimited), at(0));
        assert!(breakers.pair(&pair("a"), at(4)).is_some());
        assert!(breakers.pair(&pair("a"), at(5)).is_none());
        assert!(breakers.pair(&pair("b"), at(0)).is_none() && breakers.account(at(0)).is_none());
        breakers.failed(&pair("a"), &fault(Class::Down), at(10));
        assert!(breakers.pair(&pair("a"), at(19)).is_some() && breakers.pair(&pair("a"), at(20)).is_none());
        breakers.succeeded(&pair("a"));
        breakers.failed(&pair("a"), &fault(Class::Down), at(30));
        assert!(breakers.pair(&pair("a"), at(35)).is_none(), "a success begins anew");
        for n in 0..40 {
            breakers.failed(&pair("a"), &fault(Class::Down), at(100 + n));
        }
        assert!(breakers.pair(&pair("a"), at(139).after(limits::PROVIDER_REST_MAX)).is_none(), "bounded");
    }

    #[test]
    fn no_money_stops_the_whole_account_for_an_hour() {
        let mut breakers = Breakers::default();
        breakers.failed(&pair("a"), &fault(Class::OutOfCredit), at(0));
        assert!(breakers.account(at(3599)).unwrap().why.starts_with("out_of_credit"));
        assert!(breakers.pair(&pair("a"), at(0)).is_none());
        assert!(breakers.account(at(3600)).is_none(), "then one finds out whether somebody has paid");
        breakers.failed(&pair("a"), &fault(Class::OutOfCredit), at(3600));
        breakers.reset();
        assert!(breakers.account(at(3601)).is_none());
    }

    #[test]
    fn a_network_that_is_gone_is_tried_again_soon_and_then_less_often() {
        let mut breakers = Breakers::default();
        let first = limits::NETWORK_REST_FIRST;
        breakers.failed(&pair("a"), &fault(Class::Unreachable), at(0));
        assert!(breakers.account(at(0)).is_some() && breakers.account(at(0).after(first)).is_none());
        for n in 0..20 {
            breakers.failed(&pair("a"), &fault(Class::Unreachable), at(1000 * n));
        }
        let rest = breakers.account(at(19_000)).unwrap();
        assert_eq!(rest.until, at(19_000).after(limits::NETWORK_REST_MAX));
        breakers.failed(&pair("a"), &fault(Class::Down), at(19_001));
        assert!(breakers.account(at(19_001)).is_none(), "an answer, however bad, is a network");
    }

    #[test]
    fn a_provider_that_asks_to_be_left_alone_is() {
        let mut breakers = Breakers::default();
        let asked = Fault { retry_after: Some(Duration::from_secs(40)), ..fault(Class::RateLimited) };
        breakers.failed(&pair("a"), &asked, at(0));
        assert!(breakers.pair(&pair("a"), at(39)).is_some() && breakers.pair(&pair("a"), at(40)).is_none());
    }

    #[test]
    fn what_is_the_requests_own_fault_rests_nobody() {
        let mut breakers = Breakers::default();
        for class in [Class::BadRequest, Class::ContextTooLong, Class::Empty, Class::Unsupported] {
            breakers.failed(&pair("a"), &fault(class), at(0));
        }
        assert!(breakers.pair(&pair("a"), at(0)).is_none() && breakers.account(at(0)).is_none());
    }
}
