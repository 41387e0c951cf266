//! What fails elsewhere, row by row, and what comes of it.

use serde_json::json;

use super::{OPEN, Plant, chat};
use crate::{
    harness::{until, with},
    hf::{faults, script},
    http::{Event, request},
};

/// What a row of the table leads to.
enum Then {
    /// Another provider answers.
    Another,
    /// The caller hears this, and nobody else is asked.
    Error(&'static str, u16),
    /// The same, and the whole account rests.
    Account,
}

/// By the class of the fault alone.
fn consequence(row: &faults::Row) -> Then {
    match row.class {
        "bad_request" if row.name == "413" => Then::Error("too_large", 413),
        "bad_request" => Then::Error("invalid_request", 400),
        "unauthenticated" | "out_of_credit" | "forbidden" => Then::Account,
        _ => Then::Another,
    }
}

/// Whether who failed so may do the next request well, and is asked at once.
fn may_be_asked_again(class: &str) -> bool {
    matches!(class, "context_too_long" | "unsupported" | "empty")
}

#[test]
fn every_row_of_the_error_table_has_its_consequence() {
    let plant =
        Plant::without_model(OPEN, "[cloud]\nfirst_byte_timeout_s = 1\ngap_timeout_s = 1\nattempts = 2\n");
    for row in faults::ROWS {
        // Whoever rests after the row before is tried again.
        plant.daemon.reload();
        plant.router.behave();
        plant.router.forget();
        plant.router.play(None, 1, row.script);
        let before = plant.audit().len();
        let answer = plant.ask("org/small", "hi");
        let body = answer.json();
        let asked: Vec<_> = plant.router.prompts().into_iter().map(|seen| seen.provider).collect();
        let why = body["error"]["message"].as_str().unwrap_or("answered by another");
        println!("{:<40} {:>4} {:<18} {why}", row.name, answer.status, row.class);
        let settled = plant.audit().into_iter().skip(before).find(|entry| entry["event"] == "settled");
        let reason = settled.unwrap()["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with(row.class), "{}: {reason}", row.name);
        match consequence(row) {
            Then::Another => {
                assert_eq!(answer.status, 200, "{}: {body}", row.name);
                assert_eq!(asked.len(), 2, "{}: {asked:?}", row.name);
                assert_ne!(asked[0], asked[1], "{}", row.name);
                let again = plant.ask(&format!("org/small:{}", asked[0]), "again");
                let rests = format!("rests after {}", row.class);
                let body = again.json();
                let told = body["error"]["message"].as_str().unwrap_or_default();
                assert_eq!(again.status == 200, may_be_asked_again(row.class), "{}: {body}", row.name);
                assert!(again.status == 200 || told.contains(&rests), "{}: {told}", row.name);
            }
            Then::Error(kind, status) => {
                assert_eq!(
                    (body["error"]["code"].as_str(), answer.status),
                    (Some(kind), status),
                    "{}: {body}",
                    row.name
                );
                assert_eq!(asked.len(), 1, "{}: {asked:?}", row.name);
            }
            Then::Account => {
                assert_eq!(body["error"]["code"], "provider_error", "{}: {body}", row.name);
                assert_eq!(asked.len(), 1, "{}: {asked:?}", row.name);
                let status = plant.daemon.status();
                assert_eq!(status["zones"]["cloud"], "breaker open", "{}", row.name);
                plant.router.forget();
                assert_eq!(plant.ask("org/small", "again").status, 502, "{}", row.name);
                assert!(plant.router.prompts().is_empty(), "{}: nobody is asked while it rests", row.name);
            }
        }
    }
    // Each call is settled, whatever came of it.
    let audit = plant.audit();
    let count = |event: &str| audit.iter().filter(|row| row["event"] == event).count();
    assert_eq!(count("sent"), count("settled"));
    assert!(count("sent") > faults::ROWS.len());
}

#[test]
fn nobody_else_is_asked_once_the_caller_has_heard_a_word() {
    let plant = Plant::without_model(OPEN, "");
    for row in
        faults::ROWS.iter().filter(|row| row.name == "closed in the middle" || row.name.ends_with("as text"))
    {
        plant.router.forget();
        plant.router.play(None, 1, row.script);
        let answer = plant.daemon.chat(&with(chat("org/small", "hi"), json!({"stream": true})));
        let events = answer.events();
        let text: String =
            events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "par", "{}", row.name);
        assert_eq!(events.last().unwrap()["error"]["code"], "provider_error", "{}: {events:?}", row.name);
        assert_eq!(plant.router.prompts().len(), 1, "{}", row.name);
        plant.daemon.reload();
    }
}

#[test]
fn somebody_else_than_was_asked_raises_an_alert_and_is_not_asked_again() {
    let plant = Plant::without_model(OPEN, "");
    let row = faults::ROWS.iter().find(|row| row.name == "somebody else answers").unwrap();
    plant.router.play(Some("novita"), 1, row.script);
    assert_eq!(
        plant.ask("org/small", "hi").json()["outpost"]["provider"],
        "deepinfra",
        "another one answers"
    );
    let status = plant.daemon.status();
    assert!(status["egress"].as_str().unwrap().contains("novita was asked and groq answered"), "{status}");
    plant.router.forget();
    let error = plant.ask("org/small:novita", "hi").json();
    assert!(error["error"]["message"].as_str().unwrap().contains("wrong_provider"), "{error}");
    assert!(plant.router.prompts().is_empty(), "it is suspended");
}

#[test]
fn a_caller_that_leaves_ends_the_call_and_what_was_written_is_booked() {
    let plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        vec![
            script::stream_head(&seen.provider),
            script::text("a long beginning of an answer"),
            script::Step::Silence,
        ]
    });
    let mut connection = plant.daemon.connect();
    let body = with(chat("org/small:scaleway", "hi"), json!({"stream": true})).to_string();
    connection.send(&request("POST", "/v1/chat/completions", "", body.as_bytes())).unwrap();
    connection.read_until("beginning");
    drop(connection);
    plant.router.wait_for_gone(1);
    let settled =
        until("the call is settled", || plant.audit().into_iter().find(|row| row["event"] == "settled"));
    assert!(settled["reason"].as_str().unwrap().contains("estimate"), "{settled}");
    assert!(settled["cost_micro_usd"].as_u64().unwrap() > 0, "{settled}");
    assert_eq!(plant.ledger()[0]["requests"], 0, "nobody was answered");
}

#[test]
fn a_caller_that_reads_slowly_holds_no_provider_up_and_misses_nothing() {
    let plant = Plant::without_model(OPEN, "[cloud]\ngap_timeout_s = 1\n");
    let piece = "0123456789".repeat(1_000);
    let said = piece.clone();
    plant.router.play(None, 1, move |seen| {
        let mut script = vec![script::stream_head(&seen.provider)];
        script.extend((0..300).map(|_| script::text(&said)));
        script.extend([script::finish("stop"), script::usage(5, 9_000), script::done()]);
        script
    });
    let mut connection = plant.daemon.connect();
    connection
        .stream("/v1/chat/completions", &with(chat("org/small:scaleway", "hi"), json!({"stream": true})));
    // Nothing of it has been read, and the call is over and booked.
    let settled =
        until("the call is settled", || plant.audit().into_iter().find(|row| row["event"] == "settled"));
    assert_eq!(settled["reason"], "answered");
    let heard = |event: &Event| match event {
        Event::Data(data) => data["choices"][0]["delta"]["content"].as_str().map_or(0, str::len),
        Event::Done => 0,
    };
    assert_eq!(connection.events().iter().map(heard).sum::<usize>(), 300 * piece.len());
}

#[test]
fn a_deadline_that_passes_in_the_middle_is_nobodys_fault_and_is_booked() {
    let plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        vec![script::stream_head(&seen.provider), script::text("a beginning"), script::Step::Silence]
    });
    let own = json!({"stream": true, "outpost": {"deadline_ms": 1_000}});
    let answer = plant.daemon.chat(&with(chat("org/small:scaleway", "hi"), own));
    assert_eq!(answer.events().last().unwrap()["error"]["code"], "deadline_exceeded");
    plant.router.wait_for_gone(1);
    let settled = plant.audit().into_iter().find(|row| row["event"] == "settled").unwrap();
    assert!(settled["reason"].as_str().unwrap().starts_with("deadline_exceeded"), "{settled}");
    assert!(settled["cost_micro_usd"].as_u64().unwrap() > 0, "{settled}");
    assert_eq!(plant.ask("org/small:scaleway", "hi").status, 200, "it does not rest for that");
}
