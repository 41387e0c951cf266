//! What the policy keeps does not leave: thousands of random requests under random policies, in a
//! network of their own, whose kernel counts what is sent and whose only other end records it.
//!
//! The network is a namespace that the test makes (`unshare`); where that is not allowed it says so
//! and goes on without the kernel's word. `OUTPOST_EGRESS_POLICIES=200` plays more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was played is printed for those who ask")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod daemon;
mod dice;
#[path = "../support/hf/mod.rs"]
mod hf;
mod oracle;

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use daemon::Daemon;
use dice::Dice;
use hf::{Router, Seen, TOKEN};
use oracle::{Asked, Rules};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "OUTPOST_EGRESS_INSIDE";

#[test]
fn no_byte_of_a_denied_request_leaves_and_each_byte_that_does_was_explained() {
    if std::env::var_os(INSIDE).is_some() {
        return play(true);
    }
    let me = std::env::current_exe().unwrap();
    let up = "ip link set lo up && exec \"$0\" \"$@\"";
    let status = Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", up])
        .arg(me)
        .args([
            "--exact",
            "no_byte_of_a_denied_request_leaves_and_each_byte_that_does_was_explained",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) if status.code() == Some(101) => panic!("it failed in its own network"),
        other => {
            println!("no network of its own here ({other:?}); played without the kernel's word");
            play(false);
        }
    }
}

fn play(own_network: bool) {
    let policies = std::env::var("OUTPOST_EGRESS_POLICIES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let (mut asked, mut left, mut connections) = (0, 0, 0);
    for seed in 0..policies {
        let mut dice = Dice::new(seed);
        let rules = Rules::random(&mut dice);
        let round = Round::begin(&rules);
        let requests: Vec<Asked> = (0..100).map(|n| Asked::random(&mut dice, seed, n)).collect();
        let answers: Vec<Value> = requests.iter().map(|request| round.daemon.chat(&request.body)).collect();
        let prompts = round.router.prompts();
        let wrong = round.check(&rules, &requests, &answers, &prompts);
        assert!(wrong.is_empty(), "policy {seed}:\n{}\n{}", rules.text, wrong.join("\n"));
        (asked, left) = (asked + requests.len(), left + prompts.len());
        if own_network {
            connections += round.kernel_agrees();
        }
        if seed == 0 {
            round.a_bypass_is_caught(&rules, &requests, &answers);
        }
    }
    println!("{asked} requests under {policies} policies, {left} prompts left the device");
    if own_network {
        println!("the kernel counts {connections} connections, and the router knows them all");
    }
    assert!(left > asked / 20 && left < asked, "the dice are loaded");
}

/// One policy, with a daemon and a router of its own.
struct Round {
    router: Router,
    daemon: Daemon,
    connects_before: u64,
}

impl Round {
    fn begin(rules: &Rules) -> Self {
        let router = Router::start();
        let connects_before = active_opens();
        let daemon = Daemon::start(&rules.text, TOKEN, &router.base_url());
        Self { router, daemon, connects_before }
    }

    /// Everything that is not as it has to be.
    fn check(&self, rules: &Rules, requests: &[Asked], answers: &[Value], prompts: &[Seen]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut explained = BTreeSet::new();
        for (request, answer) in requests.iter().zip(answers) {
            let mine: Vec<&Seen> = prompts.iter().filter(|seen| request.is_in(&seen.body)).collect();
            match rules.explain(request) {
                None => {
                    if !mine.is_empty() {
                        wrong.push(format!("{} was denied and left", request.marker));
                    }
                    if answer["error"].is_null() {
                        wrong.push(format!("{} was denied and answered: {answer}", request.marker));
                    }
                }
                Some(bytes) => {
                    if mine.iter().any(|seen| seen.body != bytes) {
                        wrong.push(format!("{} left otherwise than explained", request.marker));
                    }
                    if mine.is_empty() {
                        wrong.push(format!("{} was allowed and did not leave: {answer}", request.marker));
                    }
                    explained.insert(bytes);
                }
            }
        }
        wrong.extend(
            prompts
                .iter()
                .filter(|seen| !explained.contains(&seen.body))
                .map(|seen| format!("nobody explained {}", String::from_utf8_lossy(&seen.body))),
        );
        let digests = self.daemon.sent_digests();
        let wire: Vec<String> = prompts.iter().map(|seen| oracle::sha256(&seen.body)).collect();
        let (mut in_chain, mut on_wire) = (digests, wire);
        in_chain.sort();
        on_wire.sort();
        if in_chain != on_wire {
            wrong.push("the chain and the wire do not say the same".into());
        }
        wrong
    }

    /// Whatever was sent was sent to the router: no other connection was begun, no name asked for. How
    /// many there were.
    fn kernel_agrees(&self) -> u64 {
        let opened = active_opens() - self.connects_before;
        assert_eq!(opened, self.router.seen().len() as u64, "connections that the router does not know");
        assert_eq!(counter("Udp", "OutDatagrams"), 0, "a name was asked for");
        opened
    }

    /// The same check, held against a byte that left in another way.
    fn a_bypass_is_caught(&self, rules: &Rules, requests: &[Asked], answers: &[Value]) {
        let denied = requests.iter().find(|request| rules.explain(request).is_none()).expect("one is denied");
        let mut prompts = self.router.prompts();
        let smuggled = Seen {
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            headers: Vec::new(),
            body: denied.body.to_string().into_bytes(),
            raw: Vec::new(),
            provider: "novita".into(),
        };
        prompts.push(smuggled);
        let wrong = self.check(rules, requests, answers, &prompts);
        assert!(wrong.iter().any(|w| w.contains("was denied and left")), "{wrong:?}");
        assert!(wrong.iter().any(|w| w.contains("nobody explained")), "{wrong:?}");
        assert!(wrong.iter().any(|w| w.contains("the chain and the wire")), "{wrong:?}");
    }
}

/// Connections that were begun in this network so far.
fn active_opens() -> u64 {
    counter("Tcp", "ActiveOpens")
}

/// A counter of the kernel (`/proc/net/snmp`): a line of names, a line of values.
fn counter(protocol: &str, name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|n| n == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
