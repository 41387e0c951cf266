//! Which provider gets a request: hard filters first, then a score. Pure.

use std::fmt;

use super::{
    catalogue::Listing,
    measure::{Behaviour, Measures},
    name::Pin,
    need::Need,
    quirks,
};
use crate::domain::{BootTime, MicroUsd, Prefer};

/// Why somebody does not get a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Objection {
    /// Another provider is asked for by name.
    NotPinned,
    /// The router says that it does not answer.
    NotLive,
    /// Prompt and answer do not fit.
    Context(u64),
    /// It is not known to do this.
    Lacks(&'static str),
    /// Nobody knows what it costs.
    NoPrice,
    /// A breaker keeps it away.
    Kept(String),
    /// The policy keeps it away.
    Denied(String),
    /// There is no money for it.
    Budget(String),
    /// The money for it is reserved for calls that are under way.
    Reserved(String),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPinned => f.write_str("is not the one that was asked for by name"),
            Self::NotLive => f.write_str("does not answer, says the catalogue"),
            Self::Context(tokens) => write!(f, "takes {tokens} tokens of prompt and answer together"),
            Self::Lacks(what) => write!(f, "is not known to offer {what}"),
            Self::NoPrice => f.write_str("has no known price"),
            Self::Kept(why) | Self::Denied(why) | Self::Budget(why) | Self::Reserved(why) => f.write_str(why),
        }
    }
}

/// Somebody who may get a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What the catalogue says of it.
    pub listing: Listing,
    /// What the request can cost there at most.
    pub worst: MicroUsd,
    /// The lower, the better.
    pub score: f64,
}

/// Who may get a request, best first, and why the others may not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// The others.
    pub objections: Vec<(String, Objection)>,
}

/// What a choice is made by.
pub struct Question<'a> {
    /// Which model.
    pub model: &'a str,
    /// How its provider is chosen.
    pub pin: &'a Pin,
    /// What is preferred when the name does not say.
    pub prefer: Prefer,
    /// What it has to be able to do.
    pub need: Need,
    /// Who answered this client last: it may still know the prompt's beginning.
    pub warm: Option<&'a str>,
    /// Now: what failed long ago counts no more.
    pub now: BootTime,
}

/// Ranks the offers. `kept`: why somebody is kept away at this price, if so.
pub fn rank(
    question: &Question<'_>,
    listings: &[Listing],
    measures: &Measures,
    mut kept: impl FnMut(&Listing, MicroUsd) -> Option<Objection>,
) -> Ranking {
    let mut ranking = Ranking::default();
    for listing in listings {
        match fits(question, listing) {
            Err(Objection::NotLive) => {
                // Who may not have it at all is not waited for.
                let denied = kept(listing, MicroUsd::ZERO).filter(|o| matches!(o, Objection::Denied(_)));
                ranking.objections.push((listing.provider.clone(), denied.unwrap_or(Objection::NotLive)));
            }
            Err(objection) => ranking.objections.push((listing.provider.clone(), objection)),
            Ok(worst) => match kept(listing, worst) {
                Some(objection) => ranking.objections.push((listing.provider.clone(), objection)),
                None => ranking.candidates.push(Candidate {
                    score: score(question, listing, measures.of(question.model, listing, question.now)),
                    listing: listing.clone(),
                    worst,
                }),
            },
        }
    }
    // A name decides between equals, so that the order never depends on chance.
    ranking.candidates.sort_by(|a, b| {
        a.score.total_cmp(&b.score).then_with(|| a.listing.provider.cmp(&b.listing.provider))
    });
    ranking
}

/// What it can cost at most, or why it cannot be done there. What is not known to be offered is not;
/// a context that is not known is tried.
fn fits(question: &Question<'_>, listing: &Listing) -> Result<MicroUsd, Objection> {
    let need = question.need;
    if matches!(question.pin, Pin::Provider(name) if *name != listing.provider) {
        return Err(Objection::NotPinned);
    }
    if !listing.live {
        return Err(Objection::NotLive);
    }
    let tokens = need.prompt_tokens.saturating_add(need.answer_tokens);
    if let Some(context) = listing.context.filter(|context| *context < tokens) {
        return Err(Objection::Context(context));
    }
    for (needed, offered, what) in [
        (need.tools, listing.tools, "tools"),
        (need.schema, listing.schema, "structured output"),
        (need.images, listing.images, "images"),
    ] {
        if needed && offered != Some(true) {
            return Err(Objection::Lacks(what));
        }
    }
    if need.logprobs && quirks::of(&listing.provider).no_logprobs {
        return Err(Objection::Lacks("log-probabilities"));
    }
    let price = listing.price.ok_or(Objection::NoPrice)?;
    Ok(price.of(need.prompt_worst, need.answer_tokens))
}

/// A call to a provider that failed `f` of its last ones is worth `1 / (1 - f)` of its time and price:
/// it is the number of calls that one good answer takes.
fn score(question: &Question<'_>, listing: &Listing, behaviour: Behaviour) -> f64 {
    // Most answers end well before their bound; whom to ask is decided by a likely one.
    let likely = (question.need.answer_tokens / 4).max(1);
    let prompt = question.need.prompt_tokens as f64;
    let price = listing.price.map_or(f64::INFINITY, |p| p.input * prompt + p.output * likely as f64);
    let seconds = behaviour.seconds_for(likely);
    let base = match (question.pin, question.prefer) {
        (Pin::Fastest, _) => 1.0 / behaviour.throughput,
        (Pin::Cheapest, _) | (_, Prefer::Cost) => price,
        (_, Prefer::Latency) => behaviour.first_token_s,
        (_, Prefer::Throughput) => seconds,
        // A thousandth of a dollar is as dear as ten seconds; below a millionth all are alike. The mean of
        // the two and not of their logarithms, of which a fifth less would be a provider many times worse.
        (_, Prefer::Balanced) => ((price + 1.0) * (seconds * 100.0 + 1.0)).sqrt(),
    };
    let warm = if question.warm == Some(listing.provider.as_str()) { WARM } else { 1.0 };
    base * warm / (1.0 - behaviour.failures).max(0.05)
}

/// What a prompt cache that is likely to be warm is worth: a change of provider must gain more.
const WARM: f64 = 0.8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloud::catalogue::Price;

    const BOOT: BootTime = BootTime::new(Duration::ZERO);

    fn listing(provider: &str, output: f64, first_ms: u64, throughput: f64) -> Listing {
        Listing {
            provider: provider.into(),
            live: true,
            context: Some(32_768),
            price: Some(Price { input: output / 4.0, output }),
            tools: Some(true),
            schema: Some(true),
            images: Some(false),
            first_token: Some(Duration::from_millis(first_ms)),
            throughput: Some(throughput),
        }
    }

    fn three() -> Vec<Listing> {
        vec![
            listing("cheap", 0.1, 900, 25.0),
            listing("quick", 0.9, 90, 60.0),
            listing("wide", 1.5, 700, 400.0),
        ]
    }

    fn question(prefer: Prefer, pin: &Pin) -> Question<'_> {
        let need = Need { prompt_tokens: 500, prompt_worst: 500, answer_tokens: 800, ..Need::default() };
        Question { model: "org/m", pin, prefer, need, warm: None, now: BOOT }
    }

    fn order(question: &Question<'_>, listings: &[Listing]) -> Vec<String> {
        let ranking = rank(question, listings, &Measures::default(), |_, _| None);
        ranking.candidates.into_iter().map(|c| c.listing.provider).collect()
    }

    #[test]
    fn each_preference_finds_its_own() {
        let first = |prefer, pin: &Pin| order(&question(prefer, pin), &three())[0].clone();
        assert_eq!(first(Prefer::Cost, &Pin::Any), "cheap");
        assert_eq!(first(Prefer::Latency, &Pin::Any), "quick");
        assert_eq!(first(Prefer::Throughput, &Pin::Any), "wide");
        assert_eq!(first(Prefer::Cost, &Pin::Fastest), "wide");
        assert_eq!(first(Prefer::Latency, &Pin::Cheapest), "cheap");
        assert_eq!(order(&question(Prefer::Cost, &Pin::Provider("quick".into())), &three()), ["quick"]);
    }

    #[test]
    fn what_is_not_known_to_fit_does_not_get_it() {
        let mut listings = three();
        listings[0].live = false;
        listings[1].price = None;
        let need = Need { tools: true, ..question(Prefer::Cost, &Pin::Any).need };
        listings[2].tools = None;
        let ranking = rank(
            &Question { need, ..question(Prefer::Cost, &Pin::Any) },
            &listings,
            &Measures::default(),
            |_, _| None,
        );
        assert_eq!(ranking.candidates, []);
        assert_eq!(
            ranking.objections,
            [
                ("cheap".into(), Objection::NotLive),
                ("quick".into(), Objection::NoPrice),
                ("wide".into(), Objection::Lacks("tools")),
            ]
        );
        let long = Need { prompt_tokens: 40_000, ..Need::default() };
        let small = rank(
            &Question { need: long, ..question(Prefer::Cost, &Pin::Any) },
            &three(),
            &Measures::default(),
            |_, _| None,
        );
        assert_eq!(small.objections[0].1, Objection::Context(32_768));
    }

    #[test]
    fn who_is_kept_away_says_why_and_sees_the_worst_price() {
        let mut asked = Vec::new();
        let ranking = rank(&question(Prefer::Cost, &Pin::Any), &three(), &Measures::default(), |l, worst| {
            asked.push((l.provider.clone(), worst));
            (l.provider == "cheap").then(|| Objection::Kept("rests".into()))
        });
        assert_eq!(ranking.candidates.len(), 2);
        assert_eq!(ranking.objections, [("cheap".into(), Objection::Kept("rests".into()))]);
        assert_eq!(asked[0], ("cheap".into(), MicroUsd(93)), "500 at 0.025 and 800 at 0.1, rounded up");
    }

    #[test]
    fn who_fails_often_and_who_is_warm_is_weighed() {
        let listings = [listing("a", 0.10, 100, 50.0), listing("b", 0.11, 100, 50.0)];
        let any = Pin::Any;
        let mut measures = Measures::default();
        let first = |question: &Question<'_>, measures: &Measures| {
            rank(question, &listings, measures, |_, _| None).candidates[0].listing.provider.clone()
        };
        let plain = question(Prefer::Cost, &any);
        assert_eq!(first(&plain, &measures), "a");
        assert_eq!(first(&Question { warm: Some("b"), ..question(Prefer::Cost, &any) }, &measures), "b");
        measures.failed("org/m", &listings[0], BOOT);
        assert_eq!(first(&plain, &measures), "b");
        let now = BOOT.after(Duration::from_hours(2));
        assert_eq!(first(&Question { now, ..plain }, &measures), "a", "it is forgiven");
    }

    #[test]
    fn a_warm_provider_is_left_for_one_that_is_much_better_whatever_is_preferred() {
        let listings = [listing("warm", 0.4, 400, 50.0), listing("better", 0.3, 300, 80.0)];
        let any = Pin::Any;
        for prefer in Prefer::ALL {
            let question = Question { warm: Some("warm"), ..question(prefer, &any) };
            assert_eq!(order(&question, &listings)[0], "better", "{prefer:?}");
        }
    }
}
