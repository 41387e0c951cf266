//! Providers that behave about as their listings say, and fail now and then.

use std::time::Duration;

use outpost::{
    cloud::{
        Breakers, Catalogue, Class, Fault, Listing, Measures, Need, Objection, Pair, Pin, Question, Took,
        rank,
    },
    domain::{BootTime, Prefer},
};

use crate::{
    catalogue::{document, named},
    dice::Dice,
};

const MODEL: &str = "org/small";
/// Providers that are asked for one request, as the daemon has it when nobody says otherwise.
const ATTEMPTS: usize = 3;
/// Calls of a hundred that fail: the cheap and the very quick are the most crowded.
const FAILS: [(&str, u64); 4] = [("novita", 6), ("deepinfra", 5), ("groq", 8), ("cerebras", 6)];
const OTHERS_FAIL: u64 = 2;
/// A refusal comes at once; who says nothing is given up after this.
const REFUSAL_S: f64 = 0.2;
const SILENCE_S: f64 = 20.0;

/// Who chooses.
pub(crate) enum Choice {
    /// Outpost: the best by its ranking, then the next best.
    Preference(Prefer),
    /// One provider whatever happens, as a name with a suffix does it: nobody else is asked.
    Always(&'static str),
}

/// One request, answered or not.
pub(crate) struct Answer {
    pub(crate) calls: usize,
    /// `None`: nobody knows the price.
    pub(crate) usd: Option<f64>,
    /// Seconds to the first token and to the last.
    pub(crate) times: Option<(f64, f64)>,
}

/// What is known of the market in the course of a day.
pub(crate) struct Day {
    seed: u64,
    listings: Vec<Listing>,
    measures: Measures,
    breakers: Breakers,
    warm: Option<String>,
}

enum Ended {
    Answered { first_s: f64, rest_s: f64 },
    Failed { class: Class, after_s: f64 },
}

impl Day {
    pub(crate) fn new(seed: u64) -> Self {
        let catalogue = Catalogue::parse(document().to_string().as_bytes()).expect("a catalogue");
        Self {
            seed,
            listings: catalogue.of(MODEL).to_vec(),
            measures: Measures::default(),
            breakers: Breakers::default(),
            warm: None,
        }
    }

    /// Asks until somebody has answered.
    pub(crate) fn ask(&mut self, choice: &Choice, number: usize, now: BootTime) -> Answer {
        // The same for everybody who chooses.
        let mut dice = Dice::new(self.seed, &format!("request {number}"));
        let prompt = 100 + dice.below(1_900);
        let bound = 128 + dice.below(897);
        let tokens = bound / 8 + dice.below(bound / 4);
        let need =
            Need { prompt_tokens: prompt, prompt_worst: 4 * prompt, answer_tokens: bound, ..Need::default() };
        let mut answer = Answer { calls: 0, usd: Some(0.0), times: None };
        let mut lost_s = 0.0;
        for listing in self.order(choice, need, now) {
            answer.calls += 1;
            let at = now.after(Duration::from_secs_f64(lost_s));
            match self.call(&listing, number, tokens, at) {
                Ended::Failed { after_s, .. } => lost_s += after_s,
                Ended::Answered { first_s, rest_s } => {
                    answer.usd = listing.price.map(|price| price.of(prompt, tokens).usd());
                    answer.times = Some((lost_s + first_s, lost_s + first_s + rest_s));
                    break;
                }
            }
        }
        answer
    }

    fn order(&self, choice: &Choice, need: Need, now: BootTime) -> Vec<Listing> {
        let prefer = match choice {
            Choice::Always(name) => {
                let listing = self.listings.iter().find(|listing| listing.provider == *name);
                return listing.cloned().into_iter().collect();
            }
            Choice::Preference(prefer) => *prefer,
        };
        let question =
            Question { model: MODEL, pin: &Pin::Any, prefer, need, warm: self.warm.as_deref(), now };
        let ranking = rank(&question, &self.listings, &self.measures, |listing, _| {
            let rest = self.breakers.pair(&pair(listing), now)?;
            Some(Objection::Kept(rest.why.clone()))
        });
        ranking.candidates.into_iter().take(ATTEMPTS).map(|candidate| candidate.listing).collect()
    }

    /// One call, and what is learnt of it.
    fn call(&mut self, listing: &Listing, number: usize, tokens: u64, now: BootTime) -> Ended {
        let ended = behave(self.seed, listing, number, tokens);
        match ended {
            Ended::Answered { first_s, rest_s } => {
                let [first_token, rest] = [first_s, rest_s].map(Duration::from_secs_f64);
                let took = Took { first_token, rest, tokens };
                self.measures.succeeded(MODEL, listing, took, now.after(first_token + rest));
                self.breakers.succeeded(&pair(listing));
                self.warm = Some(listing.provider.clone());
            }
            Ended::Failed { class, after_s } => {
                let now = now.after(Duration::from_secs_f64(after_s));
                self.measures.failed(MODEL, listing, now);
                self.breakers.failed(&pair(listing), &Fault::new(class, "now and then"), now);
                self.warm = None;
            }
        }
        ended
    }
}

/// What this provider does with this request, whoever has chosen it.
fn behave(seed: u64, listing: &Listing, number: usize, tokens: u64) -> Ended {
    let provider = named(&listing.provider).expect("one of the twelve");
    let mut dice = Dice::new(seed, &format!("request {number} at {}", provider.name));
    let fails = FAILS.iter().find(|(name, _)| *name == provider.name).map_or(OTHERS_FAIL, |(_, of)| *of);
    if dice.below(100) < fails {
        return match dice.below(10) {
            0 => Ended::Failed { class: Class::TimedOut, after_s: SILENCE_S },
            1..5 => Ended::Failed { class: Class::Down, after_s: REFUSAL_S },
            _ => Ended::Failed { class: Class::RateLimited, after_s: REFUSAL_S },
        };
    }
    // Mostly near its listing, sometimes far above: the product of two throws.
    let mut noise = |least: f64, most: f64| {
        let mut throw = || dice.below(1_000) as f64 / 1_000.0;
        least + (most - least) * throw() * throw()
    };
    let first_s = provider.first_token_ms / 1e3 * noise(0.8, 3.0);
    let rest_s = tokens as f64 / provider.throughput * noise(0.8, 2.0);
    Ended::Answered { first_s, rest_s }
}

fn pair(listing: &Listing) -> Pair {
    Pair { model: MODEL.into(), provider: listing.provider.clone() }
}
