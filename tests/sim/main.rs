//! A seeded simulator over intake, scheduler, store and MQTT transport: the real code on a
//! simulated clock, with a scripted engine, a broker in memory and a disk that fails.
//!
//! Each seed plays some minutes of a bad day: the daemon is killed, the power is cut, the disk is
//! full or fails, the link drops, messages come twice and out of order, the engine dies. Then the
//! day ends, everything works, and what the product promises must hold (`check`).
//!
//! `OUTPOST_SIM_SEEDS=20000 cargo test --test sim` plays more days; `OUTPOST_SIM_SEED=17` one.

#![allow(clippy::unwrap_used, reason = "a poisoned lock is a failed test")]

mod board;
mod books;
mod broker;
#[allow(dead_code, reason = "the stand-in for the router needs more of it")]
#[path = "../support/hf/catalogue.rs"]
mod catalogue;
mod check;
mod client;
mod clock;
mod dice;
mod disk;
mod engine;
mod heat;
mod remote;
mod world;

use world::{Plan, play};

/// Days that are played when nobody says otherwise.
const SEEDS: u64 = 500;

/// What was asked for, or the first so many.
fn seeds(most: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("OUTPOST_SIM_SEED"), number("OUTPOST_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(most),
    }
}

/// Plays `seeds` and returns what was wrong, day by day.
fn troubles(seeds: std::ops::Range<u64>, plan: Plan) -> Vec<String> {
    seeds.filter_map(|seed| play(seed, plan).err().map(|wrong| format!("seed {seed}: {wrong}"))).collect()
}

#[test]
fn whatever_happens_every_accepted_request_ends_with_exactly_one_final() {
    let wrong = troubles(seeds(SEEDS), Plan::default());
    assert!(
        wrong.is_empty(),
        "{} bad days, among them:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}

/// Of so many days at least one must show each planted bug; most show it on every tenth.
const DAYS_WITH_A_BUG: std::ops::Range<u64> = 0..200;

#[test]
fn a_disk_that_lies_about_its_fsync_is_noticed() {
    let wrong = troubles(DAYS_WITH_A_BUG, Plan { fsync_lies: true, ..Plan::default() });
    assert!(!wrong.is_empty());
}

#[test]
fn a_final_that_leaves_the_outbox_before_its_puback_is_noticed() {
    let wrong = troubles(DAYS_WITH_A_BUG, Plan { puback_too_early: true, ..Plan::default() });
    assert!(wrong.iter().any(|w| w.contains("still wait")), "{wrong:?}");
}

#[test]
fn a_final_that_is_said_to_be_stored_and_is_not_is_noticed() {
    let wrong = troubles(DAYS_WITH_A_BUG, Plan { loses_finals: true, ..Plan::default() });
    assert!(!wrong.is_empty());
}

#[test]
fn a_settlement_that_is_skipped_is_noticed() {
    let wrong = troubles(DAYS_WITH_A_BUG, Plan { loses_settlements: true, ..Plan::default() });
    assert!(wrong.iter().any(|w| w.contains("nobody knows how it ended")), "{wrong:?}");
}

#[test]
fn the_days_see_calls_that_answer_and_calls_that_die_with_the_daemon() {
    let days = (0..100).map(world::calls);
    let [calls, lost, twice] = days.fold([0; 3], |all, day| std::array::from_fn(|n| all[n] + day[n]));
    println!("{calls} calls, {lost} booked at their worst, {twice} requests paid twice");
    assert!(calls > 100 && lost > 10 && twice > 0, "{calls} calls, {lost} lost, {twice} paid twice");
}

#[test]
fn the_same_seed_plays_the_same_day() {
    for seed in 0..20 {
        assert_eq!(world::story(seed), world::story(seed), "seed {seed}");
    }
}
