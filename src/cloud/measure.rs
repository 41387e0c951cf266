//! What we measured of each provider, and what the catalogue says before we have.

use std::{collections::HashMap, time::Duration};

use super::{breaker::Pair, catalogue::Listing};
use crate::domain::{BootTime, limits};

/// Weight of the newest call in the moving averages.
const NEWEST: f64 = 0.3;
/// What is assumed of a provider of which nobody has measured anything.
const UNKNOWN_FIRST_TOKEN_S: f64 = 2.0;
/// As above, tokens per second.
const UNKNOWN_THROUGHPUT: f64 = 30.0;

/// One provider's behaviour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behaviour {
    /// To the first token, seconds.
    pub first_token_s: f64,
    /// Tokens per second after that.
    pub throughput: f64,
    /// Share of calls that fail, 0 to 1.
    pub failures: f64,
}

impl Behaviour {
    /// Seconds for an answer of so many tokens.
    pub fn seconds_for(&self, answer_tokens: u64) -> f64 {
        self.first_token_s + answer_tokens as f64 / self.throughput
    }

    fn of_listing(listing: &Listing) -> Self {
        Self {
            first_token_s: listing.first_token.map_or(UNKNOWN_FIRST_TOKEN_S, |d| d.as_secs_f64()),
            throughput: listing.throughput.unwrap_or(UNKNOWN_THROUGHPUT),
            failures: 0.0,
        }
    }
}

/// What a good call took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// From sending to the first piece.
    pub first_token: Duration,
    /// From the first piece to the last.
    pub rest: Duration,
    /// Tokens of the answer.
    pub tokens: u64,
}

impl Took {
    /// Tokens per second; `None` where too few came to tell, or all at once: then they were not written
    /// as they came.
    fn throughput(self) -> Option<f64> {
        let enough = self.tokens >= 8 && self.rest * 10 >= self.first_token && !self.rest.is_zero();
        enough.then(|| self.tokens as f64 / self.rest.as_secs_f64())
    }
}

/// Moving averages of our own calls.
#[derive(Clone, Debug, Default)]
pub struct Measures(HashMap<Pair, Known>);

/// How a provider behaved when it was last asked.
#[derive(Clone, Copy, Debug)]
struct Known {
    behaviour: Behaviour,
    at: BootTime,
}

impl Known {
    /// As it counts now. Failures fade: who is never asked again could never do better.
    fn now(self, now: BootTime) -> Behaviour {
        let halves = now.since(self.at).as_secs_f64() / limits::FAILURES_HALVE.as_secs_f64();
        Behaviour { failures: self.behaviour.failures * (-halves).exp2(), ..self.behaviour }
    }
}

impl Measures {
    /// How a provider behaves: as measured, seeded by the catalogue.
    pub fn of(&self, model: &str, listing: &Listing, now: BootTime) -> Behaviour {
        let pair = Pair { model: model.into(), provider: listing.provider.clone() };
        self.0.get(&pair).map_or_else(|| Behaviour::of_listing(listing), |known| known.now(now))
    }

    /// Takes a good call in.
    pub fn succeeded(&mut self, model: &str, listing: &Listing, took: Took, now: BootTime) {
        self.add(model, listing, now, |old| Behaviour {
            first_token_s: mean(old.first_token_s, took.first_token.as_secs_f64()),
            throughput: mean(old.throughput, took.throughput().unwrap_or(old.throughput)),
            failures: mean(old.failures, 0.0),
        });
    }

    /// Takes a failed call in.
    pub fn failed(&mut self, model: &str, listing: &Listing, now: BootTime) {
        self.add(model, listing, now, |old| Behaviour { failures: mean(old.failures, 1.0), ..old });
    }

    fn add(
        &mut self,
        model: &str,
        listing: &Listing,
        now: BootTime,
        change: impl Fn(Behaviour) -> Behaviour,
    ) {
        if self.0.len() >= limits::BREAKERS_MAX {
            self.0.clear();
        }
        let known = Known { behaviour: change(self.of(model, listing, now)), at: now };
        self.0.insert(Pair { model: model.into(), provider: listing.provider.clone() }, known);
    }
}

fn mean(old: f64, newest: f64) -> f64 {
    old + NEWEST * (newest - old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_calls_soon_count_more_than_the_catalogue() {
        let listing = Listing {
            provider: "a".into(),
            first_token: Some(Duration::from_millis(100)),
            throughput: Some(200.0),
            ..Listing::default()
        };
        let now = BootTime::new(Duration::ZERO);
        let mut measures = Measures::default();
        assert_eq!(measures.of("m", &listing, now).first_token_s, 0.1);
        let took = Took { first_token: Duration::from_secs(4), rest: Duration::from_secs(10), tokens: 100 };
        for _ in 0..20 {
            measures.succeeded("m", &listing, took, now);
        }
        let seen = measures.of("m", &listing, now);
        assert!((seen.first_token_s - 4.0).abs() < 0.01 && (seen.throughput - 10.0).abs() < 0.5, "{seen:?}");
        measures.failed("m", &listing, now);
        assert!((measures.of("m", &listing, now).failures - 0.3).abs() < 1e-9);
        let later = now.after(limits::FAILURES_HALVE);
        assert!((measures.of("m", &listing, later).failures - 0.15).abs() < 1e-9, "it fades");
        assert_eq!(measures.of("m", &Listing::default(), now).throughput, UNKNOWN_THROUGHPUT);
    }
}
