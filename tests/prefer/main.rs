//! What each preference costs and how long it takes, against one provider for everything and against the
//! router's own choice: a thousand requests, chosen by the real ranking, measures and breakers, on the
//! numbers of the stand-in's catalogue. `make bench-prefer` prints the table; time and chance are simulated.

#[allow(dead_code, reason = "the stand-in for the router needs more of it")]
#[path = "../support/hf/catalogue.rs"]
mod catalogue;
#[allow(dead_code, reason = "the simulator throws more kinds of dice")]
#[path = "../sim/dice.rs"]
mod dice;
mod market;

use std::time::Duration;

use market::{Choice, Day};
use outpost::domain::{BootTime, Prefer};

const SEED: u64 = 1;
const REQUESTS: usize = 1_000;

/// What a thousand requests came to.
#[derive(Clone, Debug)]
struct Sum {
    who: String,
    /// `None`: nobody knows the price.
    usd: Option<f64>,
    first_s: Vec<f64>,
    total_s: Vec<f64>,
    calls: usize,
}

impl Sum {
    fn of(who: String, choice: &Choice, seed: u64) -> Self {
        let mut day = Day::new(seed);
        let mut sum = Self { who, usd: Some(0.0), first_s: Vec::new(), total_s: Vec::new(), calls: 0 };
        for number in 0..REQUESTS {
            let now = BootTime::new(Duration::from_secs(10 * number as u64));
            let answer = day.ask(choice, number, now);
            sum.calls += answer.calls;
            sum.usd = sum.usd.zip(answer.usd).map(|(all, one)| all + one);
            if let Some((first, total)) = answer.times {
                sum.first_s.push(first);
                sum.total_s.push(total);
            }
        }
        sum.first_s.sort_by(f64::total_cmp);
        sum.total_s.sort_by(f64::total_cmp);
        sum
    }

    fn answered(&self) -> usize {
        self.total_s.len()
    }

    /// A thousand answers at the price of those that came.
    fn usd(&self) -> Option<f64> {
        self.usd.map(|usd| usd * REQUESTS as f64 / self.answered().max(1) as f64)
    }

    fn line(&self, base: &Self) -> String {
        let (usd, ratio) = match (self.usd(), base.usd()) {
            (Some(usd), Some(base)) => (format!("{usd:.4}"), format!("{:.2}", usd / base)),
            _ => ("unknown".into(), "–".into()),
        };
        format!(
            "| {} | {usd} | {ratio} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} % | {} |",
            self.who,
            at(&self.first_s, 50),
            at(&self.first_s, 95),
            at(&self.total_s, 50),
            at(&self.total_s, 50) / at(&base.total_s, 50),
            at(&self.total_s, 95),
            100.0 * self.answered() as f64 / REQUESTS as f64,
            self.calls,
        )
    }
}

/// The value below which so many of a hundred lie.
fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

fn preferences(seed: u64) -> [Sum; 4] {
    Prefer::ALL.map(|prefer| {
        let who = format!("{prefer:?}").to_lowercase();
        Sum::of(who, &Choice::Preference(prefer), seed)
    })
}

const HEAD: &str = "| who is asked | USD per 1,000 answers | to `cost` | first token, s: p50 | p95 \
    | whole answer, s: p50 | to `cost` | p95 | answered | calls |\n|---|---|---|---|---|---|---|---|---|---|";

#[test]
#[ignore = "a table to read: `make bench-prefer`"]
fn table() {
    let all = preferences(SEED);
    println!("{HEAD}");
    for sum in &all {
        println!("{}", sum.line(&all[0]));
    }
    for (suffix, provider) in [(":cheapest", catalogue::cheapest()), (":fastest", catalogue::fastest())] {
        let who = format!("`{suffix}` of the router ({provider})");
        println!("{}", Sum::of(who, &Choice::Always(provider), SEED).line(&all[0]));
    }
    for provider in catalogue::PROVIDERS.iter().filter(|provider| provider.live) {
        let who = format!("always {}", provider.name);
        println!("{}", Sum::of(who, &Choice::Always(provider.name), SEED).line(&all[0]));
    }
}

#[test]
fn each_preference_is_the_best_at_what_it_prefers() {
    for seed in 0..5 {
        let all = preferences(seed);
        let [cost, latency, throughput, balanced] = &all;
        let usd = |sum: &Sum| sum.usd().expect("only who has a price is asked");
        let (first, total) = (|sum: &Sum| at(&sum.first_s, 50), |sum: &Sum| at(&sum.total_s, 50));
        for other in &all {
            assert!(usd(cost) <= usd(other), "seed {seed}: {} costs less than cost", other.who);
            assert!(first(latency) <= first(other), "seed {seed}: {} begins sooner than latency", other.who);
            assert!(
                total(throughput) <= total(other),
                "seed {seed}: {} ends sooner than throughput",
                other.who
            );
        }
        let dearest = usd(latency).max(usd(throughput));
        assert!((usd(cost)..=dearest).contains(&usd(balanced)), "seed {seed}: balanced in money");
        assert!(
            (total(throughput)..=total(cost)).contains(&total(balanced)),
            "seed {seed}: balanced in time"
        );
    }
}

#[test]
fn who_may_ask_another_answers_more_than_who_may_not() {
    let least = preferences(SEED).iter().map(Sum::answered).min();
    for provider in [catalogue::cheapest(), catalogue::fastest()] {
        let always = Sum::of(provider.into(), &Choice::Always(provider), SEED);
        assert!(least > Some(always.answered()), "{provider}: {} answered", always.answered());
    }
}
