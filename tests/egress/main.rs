//! What the policy keeps does not leave: thousands of random requests under random policies, in a network of
//! their own, whose kernel counts what is sent and whose only other end records every byte of it.
//!
//! - [`rules`] and [`asked`] say a second time, without the code under test, who may have which bytes.
//! - [`check`] holds that against the wire and the audit, [`kernel`] both against the kernel's counters,
//!   [`round`] samples of them against `outpost policy explain`.
//! - [`bypass`] takes ways past the policy and sees each of them noticed.
//!
//! The network is a namespace that the test makes ([`namespace`]). `OUTPOST_EGRESS_POLICIES=1000` plays more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was played is printed for those who ask")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod allow;
mod asked;
mod audit;
mod bypass;
mod check;
mod daemon;
mod dice;
mod faults;
#[path = "../support/hf/mod.rs"]
mod hf;
mod kernel;
mod market;
mod namespace;
mod round;
mod rules;
mod secrets;
mod wire;

use check::Evidence;
use kernel::Sent;
use namespace::Network;
use round::Round;
use rules::Part;
use secrets::Kind;

#[test]
fn no_byte_of_a_denied_request_leaves_and_each_byte_that_does_was_explained() {
    let name = "no_byte_of_a_denied_request_leaves_and_each_byte_that_does_was_explained";
    match Network::enter(name) {
        Network::Own => play(true),
        Network::Shared => play(false),
        Network::Played => {}
    }
}

/// What was played, for those who ask and against loaded dice.
#[derive(Default)]
struct Tally {
    asked: usize,
    denied: usize,
    /// Let go to some, and kept from others that could have answered.
    divided: usize,
    /// Of these such that were sent to a second or third, because the one before failed.
    divided_and_failed: usize,
    /// Planted values that were replaced in what left.
    replaced: usize,
    /// By which part of a policy it was decided who may have a request.
    decided: [usize; Part::ALL.len()],
    sent: usize,
    connections: usize,
    explained: usize,
}

/// Fewer are for whoever looks into one of them.
const POLICIES: u64 = 60;

fn play(own_network: bool) {
    let policies =
        std::env::var("OUTPOST_EGRESS_POLICIES").ok().and_then(|n| n.parse().ok()).unwrap_or(POLICIES);
    let mut tally = Tally::default();
    // Goes on from one policy to the next: nothing is sent between two of them, either.
    let mut kernel = own_network.then(Sent::now);
    for seed in 0..policies {
        let round = Round::play(seed, kernel);
        let evidence = round.evidence();
        let mut wrong = round.wrong(&evidence);
        tally.explained += round.explained(&evidence, &mut wrong);
        assert!(wrong.is_empty(), "policy {seed}:\n{}\n{}", round.rules.text, wrong.join("\n"));
        tally.add(&round, &evidence);
        if let Some(kernel) = &mut kernel {
            // And the one by which a stand-in ends itself.
            kernel.connections += evidence.explained() as u64 + 1;
        }
        if seed + 1 == policies {
            round.bypasses_are_caught();
        }
    }
    tally.show(policies);
}

impl Tally {
    fn add(&mut self, round: &Round, evidence: &Evidence) {
        let rules = &round.rules;
        let sent = evidence.audit.of("sent");
        for one in &round.played {
            let (asked, grants) = (&one.asked, rules.grants(&one.asked));
            let calls = sent.iter().filter(|row| row["request"] == asked.marker).count();
            let divided = !grants.is_empty() && grants.len() < asked.candidates().len();
            let hidden = |(kind, _): &&(Kind, String)| grants.values().all(|allow| allow.redacts(*kind));
            self.asked += 1;
            self.denied += usize::from(grants.is_empty());
            self.divided += usize::from(divided);
            self.divided_and_failed += usize::from(divided && calls > 1);
            self.replaced += if calls > 0 { asked.secrets.iter().filter(hidden).count() } else { 0 };
            for (part, n) in Part::ALL.into_iter().zip(&mut self.decided) {
                *n += usize::from(rules.decides(part, asked));
            }
        }
        self.sent += sent.len();
        self.connections += evidence.seen.len();
    }

    fn show(&self, policies: u64) {
        let Self { asked, denied, divided, divided_and_failed, replaced, decided, .. } = self;
        println!("{asked} requests under {policies} policies: {denied} denied, {divided} kept from some");
        println!("{} prompts left the device in {} connections", self.sent, self.connections);
        println!("{divided_and_failed} of those kept from some went on to another provider");
        println!("{replaced} planted values were replaced, {} decisions explained", self.explained);
        for (part, n) in Part::ALL.into_iter().zip(decided) {
            println!("{n} were decided by {part:?}");
        }
        if policies < POLICIES {
            return;
        }
        let (often, seldom) = ([*denied, *divided, self.sent], [*divided_and_failed, *replaced]);
        assert!(often.into_iter().all(|n| n * 10 > *asked), "the dice are loaded: {often:?}");
        let seldom = seldom.iter().chain(decided);
        assert!(
            seldom.clone().all(|n| n * 100 > *asked),
            "the dice are loaded: {:?}",
            seldom.collect::<Vec<_>>()
        );
    }
}
