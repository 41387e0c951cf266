//! What may be spent.

use std::{collections::BTreeMap, thread};

use super::{OPEN, Plant, me};
use crate::{
    hf::{Seen, catalogue, script},
    http::request,
};

#[test]
fn a_hundred_requests_at_once_never_pass_a_cap() {
    // One costs 118 millionths at most and 5 in truth: three are let go at once, and the others wait for
    // what those leave.
    let toml = format!(
        "[cloud]\ncalls_max = 64\nusd_per_day = 0.0004\n[service]\nqueued_per_client_max = 200\n{}",
        me("")
    );
    let plant = Plant::without_model(OPEN, &toml);
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
        plant.router.wait_for_held(3);
        plant.router.release();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let answered = outcomes.iter().filter(|(status, _)| *status == 200).count();
    let refused = outcomes.iter().filter(|(_, code)| code == "budget_exhausted").count();
    assert_eq!(answered + refused, 100, "{outcomes:?}");
    assert!(answered > 30 && refused > 5, "{answered} answered, {refused} refused");
    let audit = plant.audit();
    let (mut open, mut spent, mut most) = (BTreeMap::new(), 0, 0);
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
    assert!(most > cap / 2, "{most}: the cap was never near");
    assert!(open.is_empty());
    let booked: u64 = plant.ledger().iter().map(|row| row["cost_micro_usd"].as_u64().unwrap()).sum();
    assert_eq!(booked, spent);
    // What the other side takes for it, by its own prices.
    let (input, output) = catalogue::named("scaleway").unwrap().price.unwrap();
    let charged = |seen: &Seen| {
        let tokens = [seen.body.len(), "echo: ".len() + seen.prompt().len()].map(|bytes| bytes.div_ceil(4));
        (tokens[0] as f64 * input + tokens[1] as f64 * output - 1e-9).ceil() as u64
    };
    assert_eq!(booked, plant.router.prompts().iter().map(charged).sum::<u64>());
}

#[test]
fn a_budget_holds_across_a_restart() {
    let toml = me("[[budget]]\nclient = \"me\"\nusd_per_day = 0.00013\n");
    let mut plant = Plant::without_model(OPEN, &toml);
    assert!(spend(&plant) >= 1);
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!(plant.ask("org/small:scaleway", "hi").json()["error"]["code"], "budget_exhausted");
}

#[test]
fn each_budget_is_whose_it_is_and_for_its_span() {
    for (whose, name) in [("client = \"me\"", "client me"), ("provider = \"scaleway\"", "provider scaleway")]
    {
        for (span, usd, word) in [
            ("usd_per_request", 0.000_1, "a request"),
            ("usd_per_day", 0.000_13, "a day"),
            ("usd_per_month", 0.000_13, "a month"),
        ] {
            let others = "[[budget]]\nclient = \"somebody-else\"\nusd_per_request = 0\n";
            let toml = me(&format!("[[budget]]\n{whose}\n{span} = {usd}\n{others}"));
            let plant = Plant::without_model(OPEN, &toml);
            let answered = spend(&plant);
            assert_eq!(answered == 0, span == "usd_per_request", "{whose} {span}: {answered} were answered");
            let refusal = plant.ask("org/small:scaleway", "hi").json();
            let why = refusal["error"]["message"].as_str().unwrap();
            assert!(why.contains(&format!("the budget of {name} is")) && why.contains(word), "{why}");
            let elsewhere = plant.ask("org/small:groq", "hi").status;
            assert_eq!(elsewhere == 200, whose.starts_with("provider"), "{whose} {span}");
        }
    }
}

/// Asks one provider until there is no money; how often it answered.
fn spend(plant: &Plant) -> usize {
    let mut answered = 0;
    loop {
        let answer = plant.ask("org/small:scaleway", "hi");
        if answer.status != 200 {
            assert_eq!(answer.json()["error"]["code"], "budget_exhausted");
            return answered;
        }
        answered += 1;
        assert!(answered < 50, "no end");
    }
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_call_books_the_most_that_it_can_have_cost() {
    let mut plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        vec![script::stream_head(&seen.provider), script::text("par"), script::Step::Silence]
    });
    let mut connection = plant.daemon.connect();
    let body = r#"{"model":"org/small:scaleway","messages":[{"role":"user","content":"hi"}],"max_tokens":40,"stream":true}"#;
    connection.send(&request("POST", "/v1/chat/completions", "", body.as_bytes())).unwrap();
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
