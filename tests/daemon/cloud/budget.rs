//! What may be spent.

use std::thread;

use super::{OPEN, Plant};
use crate::hf::script;

#[test]
fn a_hundred_requests_at_once_never_pass_a_cap() {
    // One costs at most (its bytes at 0.10 and 40 tokens at 0.20 a million): about 15 millionths.
    let toml = "[cloud]\ncalls_max = 64\nusd_per_day = 0.0004\n[service]\nqueued_per_client_max = 200\n[[client]]\nname = \"me\"\nuid = 0\n";
    let plant = Plant::without_model(OPEN, toml);
    plant.router.hold();
    let cap = 400;
    let outcomes: Vec<(u16, String)> = thread::scope(|scope| {
        let asked: Vec<_> = (0..100)
            .map(|n| {
                let plant = &plant;
                scope.spawn(move || {
                    let answer = plant.ask("org/small:scaleway", &format!("question {n}"));
                    let code = answer.json()["error"]["code"].as_str().unwrap_or("answered").to_owned();
                    (answer.status, code)
                })
            })
            .collect();
        plant.router.wait_for_held(5);
        plant.router.release();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let answered = outcomes.iter().filter(|(status, _)| *status == 200).count();
    let refused = outcomes.iter().filter(|(_, code)| code == "budget_exhausted").count();
    assert_eq!(answered + refused, 100, "{outcomes:?}");
    assert!(answered > 5 && refused > 5, "{answered} answered, {refused} refused");
    let audit = plant.audit();
    let (mut open, mut spent, mut most) = (std::collections::BTreeMap::new(), 0, 0);
    for row in &audit {
        let cost = row["cost_micro_usd"].as_u64().unwrap();
        if row["event"] == "sent" {
            open.insert(row["seq"].as_u64().unwrap(), cost);
        } else {
            open.remove(&row["settles"].as_u64().unwrap());
            spent += cost;
        }
        most = most.max(spent + open.values().sum::<u64>());
    }
    assert!(most <= cap, "{most} were spent or reserved at once, the cap is {cap}");
    assert!(open.is_empty());
    let booked: u64 = plant.ledger().iter().map(|row| row["cost_micro_usd"].as_u64().unwrap()).sum();
    assert_eq!(booked, spent);
}

#[test]
fn a_budget_holds_across_a_restart_and_for_a_client_alone() {
    let toml = "[[client]]\nname = \"me\"\nuid = 0\n[[budget]]\nclient = \"me\"\nusd_per_day = 0.00003\n";
    let mut plant = Plant::without_model(OPEN, toml);
    let mut answered = 0;
    let refusal = loop {
        let answer = plant.ask("org/small:scaleway", "hi");
        if answer.status != 200 {
            break answer.json();
        }
        answered += 1;
        assert!(answered < 50, "no end");
    };
    assert!(answered >= 1);
    assert_eq!(refusal["error"]["code"], "budget_exhausted", "{refusal}");
    assert!(refusal["error"]["message"].as_str().unwrap().contains("the budget of client me"), "{refusal}");
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!(plant.ask("org/small:scaleway", "hi").json()["error"]["code"], "budget_exhausted");
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_call_books_the_most_that_it_can_have_cost() {
    let mut plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        vec![script::stream_head(&seen.provider), script::text("par"), script::Step::Silence]
    });
    let mut connection = plant.daemon.connect();
    let body = r#"{"model":"org/small:scaleway","messages":[{"role":"user","content":"hi"}],"max_tokens":40,"stream":true}"#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    connection.read_until("par");
    assert!(plant.ledger().is_empty());
    plant.daemon.signal(rustix::process::Signal::KILL);
    plant.daemon.restart();
    let audit = plant.audit();
    assert_eq!((audit[0]["event"].as_str(), audit[1]["event"].as_str()), (Some("sent"), Some("settled")));
    assert_eq!(audit[1]["cost_micro_usd"], audit[0]["cost_micro_usd"], "nobody knows better");
    assert_eq!(plant.ledger()[0]["cost_micro_usd"], audit[0]["cost_micro_usd"]);
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!(plant.audit().len(), 2, "once");
}
