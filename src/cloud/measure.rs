//! What we measured of each provider, and what the catalogue says before we have.

use std::{collections::HashMap, time::Duration};

use super::{breaker::Pair, catalogue::Listing};
use crate::domain::limits;

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

/// Moving averages of our own calls.
#[derive(Clone, Debug, Default)]
pub struct Measures(HashMap<Pair, Behaviour>);

impl Measures {
    /// How a provider behaves: as measured, seeded by the catalogue.
    pub fn of(&self, model: &str, listing: &Listing) -> Behaviour {
        let pair = Pair { model: model.into(), provider: listing.provider.clone() };
        self.0.get(&pair).copied().unwrap_or_else(|| Behaviour::of_listing(listing))
    }

    /// Takes a good call in.
    pub fn succeeded(
        &mut self,
        model: &str,
        listing: &Listing,
        first_token: Duration,
        tokens: u64,
        rest: Duration,
    ) {
        let seen = Behaviour {
            first_token_s: first_token.as_secs_f64(),
            // Too few tokens say nothing of the speed.
            throughput: if tokens >= 8 && !rest.is_zero() {
                tokens as f64 / rest.as_secs_f64()
            } else {
                self.of(model, listing).throughput
            },
            failures: 0.0,
        };
        self.add(model, listing, |old| Behaviour {
            first_token_s: mean(old.first_token_s, seen.first_token_s),
            throughput: mean(old.throughput, seen.throughput),
            failures: mean(old.failures, 0.0),
        });
    }

    /// Takes a failed call in.
    pub fn failed(&mut self, model: &str, listing: &Listing) {
        self.add(model, listing, |old| Behaviour { failures: mean(old.failures, 1.0), ..old });
    }

    fn add(&mut self, model: &str, listing: &Listing, change: impl Fn(Behaviour) -> Behaviour) {
        if self.0.len() >= limits::BREAKERS_MAX {
            self.0.clear();
        }
        let new = change(self.of(model, listing));
        self.0.insert(Pair { model: model.into(), provider: listing.provider.clone() }, new);
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
        let mut measures = Measures::default();
        assert_eq!(measures.of("m", &listing).first_token_s, 0.1);
        for _ in 0..20 {
            measures.succeeded("m", &listing, Duration::from_secs(4), 100, Duration::from_secs(10));
        }
        let now = measures.of("m", &listing);
        assert!((now.first_token_s - 4.0).abs() < 0.01 && (now.throughput - 10.0).abs() < 0.5, "{now:?}");
        measures.failed("m", &listing);
        assert!((measures.of("m", &listing).failures - 0.3).abs() < 1e-9);
        assert_eq!(measures.of("m", &Listing::default()).throughput, UNKNOWN_THROUGHPUT);
    }
}
