//! A heat wave, played back: the same requests on a board that throttles, with overflow, without it, and
//! without the scheduler. `cargo test --test sim heat -- --nocapture` prints what became of them.
//!
//! The heat is played back as it was: a board that is spared does not cool sooner for it, so that what the
//! scheduler holds back while it is hot counts against it here, and would not on a board.

mod day;
mod fifo;
mod plant;
mod slots;

use std::{fmt, time::Duration};

use bytes::Bytes;
use outpost::{
    domain::{ClientId, Lane, MicroUsd, Prefer, RequestId},
    service::{Defaults, Envelope, Own, Receipt, Reply, Request, Shown},
    store::UsageQuery,
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use self::{day::Asking, fifo::Callers, plant::Plant};
use crate::{
    remote::{self, Faults, PUBLIC_MAY_LEAVE, Remote},
    seeds,
    world::on_paused_time,
};

/// An ordinary day of the others.
const FAULTS: Faults = Faults { refuses: 20, breaks: 50, hangs: 100 };
/// A day of these is as long as thirty of the others.
const DAYS_MAX: usize = 20;
const NO_POLICY: &str = "version = 1\n";

/// What became of a day's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    asked: usize,
    accepted: usize,
    refused: usize,
    in_time: usize,
    /// The same by lane.
    by_lane: [usize; 3],
    /// Answered, and nobody needed it any more.
    late: usize,
    /// Ended with `deadline_exceeded`, or dropped by who waited.
    expired: usize,
    failed: usize,
    elsewhere: usize,
    cost: MicroUsd,
    /// Requests of the restricted class that arrived off the device.
    restricted_left: usize,
}

impl Counts {
    fn answered(&mut self, asking: &Asking, now: Duration, elsewhere: bool) {
        self.elsewhere += usize::from(elsewhere);
        if now > asking.at + asking.deadline {
            self.late += 1;
            return;
        }
        self.in_time += 1;
        self.by_lane[asking.lane as usize] += 1;
    }

    fn ended(&mut self, asking: &Asking, now: Duration, shown: &Shown) {
        let body: Value = serde_json::from_slice(&shown.body).expect("every final is JSON");
        match body["error"]["code"].as_str() {
            None => self.answered(asking, now, body["outpost"]["zone"] != "device"),
            Some("deadline_exceeded") => self.expired += 1,
            Some(_) => self.failed += 1,
        }
    }

    /// Of those that were taken in, %.
    fn share(&self) -> f64 {
        100.0 * self.in_time as f64 / self.accepted.max(1) as f64
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [interactive, normal, batch] = self.by_lane;
        write!(
            f,
            "{} | {} | {} | {} ({interactive}/{normal}/{batch}) | {:.1} % | {} | {} | {} | {} | {:.6} | {}",
            self.asked,
            self.accepted,
            self.refused,
            self.in_time,
            self.share(),
            self.late,
            self.expired,
            self.failed,
            self.elsewhere,
            self.cost.usd(),
            self.restricted_left,
        )
    }
}

const HEAD: &str = "| run | asked | accepted | refused | in time (interactive/normal/batch) | of accepted | late \
    | expired | failed | elsewhere | USD | restricted left |\n|---|---|---|---|---|---|---|---|---|---|---|---|";

/// What a day ends with: its counts, or the promise that was broken.
async fn serve(seed: u64, askings: Vec<Asking>, policy: &str) -> Result<Counts, String> {
    let remote = Remote::new(seed, FAULTS);
    let plant = Plant::start(remote.remotes(Prefer::Balanced, 1.0), remote::policy(policy));
    let mut counts = Counts { asked: askings.len(), ..Counts::default() };
    let start = Instant::now();
    let mut waiting = JoinSet::new();
    for (number, asking) in askings.iter().enumerate() {
        tokio::time::sleep_until(start + asking.at).await;
        match plant.service.accept(request(number, asking), Reply::Kept).await {
            Ok(Receipt::Accepted(same)) => {
                counts.accepted += 1;
                waiting.spawn(async move { (number, same.finish().await, start.elapsed()) });
            }
            Ok(_) => return Err(format!("r{number} is not known and new")),
            Err(_) => counts.refused += 1,
        }
    }
    while let Some(ended) = waiting.join_next().await {
        let (number, shown, at) = ended.expect("nobody panics");
        let shown = shown.map_err(|e| format!("r{number} was lost: {e}"))?;
        let asking = &askings[number];
        let id = RequestId::new(&format!("r{number}")).expect("an id");
        let stored = plant.store.find(client(asking), id).await.map_err(|e| e.to_string())?;
        let kept = stored.and_then(|stored| stored.finished).map(Shown::from);
        if kept.as_ref() != Some(&shown) {
            return Err(format!("r{number} has one final on disk and another for who waits"));
        }
        counts.ended(asking, at, &shown);
    }
    settled(&plant, &remote, &askings, &mut counts).await?;
    Ok(counts)
}

/// Holds the end of the day against what arrived off the device.
async fn settled(
    plant: &Plant,
    remote: &Remote,
    askings: &[Asking],
    counts: &mut Counts,
) -> Result<(), String> {
    let unfinished = plant.store.unfinished().await.map_err(|e| e.to_string())?.len();
    if unfinished + plant.service.in_flight() > 0 {
        return Err(format!("{unfinished} requests are on disk without a final"));
    }
    if let Some(wrong) = remote.wrong().first() {
        return Err(wrong.clone());
    }
    let calls = remote.calls();
    let number = |id: &RequestId| id.as_str()[1..].parse::<usize>().expect("an id of ours");
    counts.restricted_left = calls.iter().filter(|call| !askings[number(&call.id)].may_leave()).count();
    let query = UsageQuery { from: None, to: None, client: None };
    let usage = plant.store.usage(query).await.map_err(|e| e.to_string())?;
    counts.cost = MicroUsd(usage.iter().map(|row| row.sums.cost_micro_usd).sum());
    let billed: u64 = calls.iter().map(|call| call.billed.0).sum();
    // What was broken off is booked by an estimate, and the bill here does not know where it was.
    if counts.cost.0.abs_diff(billed) > billed / 20 {
        return Err(format!("{} is booked and {billed} millionths are on the bill", counts.cost));
    }
    Ok(())
}

fn client(asking: &Asking) -> ClientId {
    ClientId::new(asking.client).expect("a name")
}

fn request(number: usize, asking: &Asking) -> Request {
    let prompt = " go".repeat(asking.words as usize);
    let class = asking.labelled.then_some("restricted");
    let body = json!({
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": asking.answer,
        "outpost": {
            "id": format!("r{number}"),
            "lane": asking.lane.name(),
            "deadline_ms": asking.deadline.as_millis() as u64,
            "data_class": class,
        },
    });
    let defaults = Defaults { answer_tokens: 64, temperature: 0.0, deadline: Duration::from_hours(1) };
    let envelope =
        Envelope { client: client(asking), uid: None, own: Own::default(), lane: Lane::Normal, defaults };
    Request::chat(Bytes::from(body.to_string()), envelope).expect("a good request")
}

fn run(seed: u64, policy: &'static str) -> Counts {
    let askings = day::askings(seed);
    let counts = on_paused_time(async move { Box::pin(serve(seed, askings, policy)).await });
    counts.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"))
}

#[test]
fn on_a_hot_day_the_scheduler_keeps_its_word_and_overflow_keeps_more_of_it() {
    println!("{HEAD}");
    for seed in seeds(1).take(DAYS_MAX) {
        let askings = day::askings(seed);
        let with = run(seed, PUBLIC_MAY_LEAVE);
        let without = run(seed, NO_POLICY);
        let fifo = fifo::serve(&askings, Callers::Wait);
        let hung_up = fifo::serve(&askings, Callers::HangUp);
        println!("| {seed}: overflow | {with} |\n| {seed}: no overflow | {without} |");
        println!("| {seed}: FIFO | {fifo} |\n| {seed}: FIFO, callers hang up | {hung_up} |");
        assert_eq!((with.restricted_left, without.restricted_left, without.elsewhere), (0, 0, 0));
        assert!(with.elsewhere > 0 && with.in_time >= without.in_time, "overflow helps");
        // Not held against a server whose callers hang up: when the account is closed for an hour of the
        // heat, that one may answer a few more, of many more that it took in.
        for scheduled in [&with, &without] {
            assert!(scheduled.in_time > fifo.in_time, "it answers more in time than a plain server");
            assert!(
                scheduled.share() > fifo.share() && scheduled.share() > hung_up.share(),
                "it keeps its word"
            );
        }
    }
}

#[test]
fn the_same_seed_plays_the_same_heat_wave() {
    assert_eq!(run(3, PUBLIC_MAY_LEAVE), run(3, PUBLIC_MAY_LEAVE));
}
