//! `[[client]]`: what the operator allows whom, and what is said when it is too much.

use serde_json::{Value, json};

use crate::{
    harness::{Daemon, prompt, with},
    mqtt::{Site, bytes, occupy, request_topic, response_topic},
};

fn rules() -> String {
    let uid = rustix::process::getuid().as_raw();
    format!(
        "[[client]]\nname = \"calm\"\nuid = {uid}\nlane_max = \"batch\"\n\
         [[client]]\nname = \"few\"\nqueued_max = 1\n\
         [[client]]\nname = \"seldom\"\nrequests_per_minute = 2\n"
    )
}

fn error(message: &Value) -> (&str, bool, Option<u64>) {
    let error = &message["error"];
    (error["code"].as_str().unwrap(), error["retryable"].as_bool().unwrap(), error["retry_after_ms"].as_u64())
}

#[test]
fn each_client_has_its_lane_its_places_and_its_rate() {
    let site = Site::start_with(&rules(), &["engine.slots=1"]);
    // A local process of that user is the client of that name, on whichever way.
    let body = with(prompt("Hi", 1), json!({"outpost": {"id": "a", "lane": "interactive"}}));
    let mut busy = site.daemon.connect();
    busy.stream("/v1/chat/completions", &crate::harness::endless(true));
    let accepted = site.daemon.post("/v1/requests", &body);
    assert_eq!((accepted.status, &accepted.json()["lane"]), (202, &json!("batch")));
    drop(busy);
    let mut calm = site.peer("calm");
    calm.publish(&request_topic("calm", "b"), bytes(&prompt("Hi", 1)));
    calm.next(&response_topic("calm", "b")).answer();
    assert_eq!(site.daemon.get("/v1/requests/b").status, 200);
    site.settled();

    let mut few = site.peer("few");
    let mut seldom = site.peer("seldom");
    let engaged = [1, 2].map(|n| {
        let mut connection = site.daemon.connect();
        connection
            .send(&crate::http::request(
                "POST",
                "/v1/chat/completions",
                "",
                &bytes(&crate::harness::endless(true)),
            ))
            .unwrap();
        site.daemon
            .status_when("it is with the engine", |s| s["in_flight"] == n && s["queued"]["batch"] == 0);
        connection
    });
    for id in ["1", "2"] {
        few.publish(&request_topic("few", id), bytes(&prompt("Hi", 1)));
    }
    let refused = few.next(&response_topic("few", "2")).json();
    let (code, retryable, after) = error(&refused);
    assert_eq!((code, retryable), ("queue_full", true));
    assert!(after.is_some_and(|ms| ms >= 1000), "{refused}");
    for id in ["1", "2", "3"] {
        seldom.publish(&request_topic("seldom", id), bytes(&prompt("Hi", 1)));
    }
    let refused = seldom.next(&response_topic("seldom", "3")).json();
    let (code, retryable, after) = error(&refused);
    assert_eq!((code, retryable), ("queue_full", true));
    assert!(after.is_some_and(|ms| (1..=30_000).contains(&ms)), "{refused}");
    drop(engaged);
    few.next(&response_topic("few", "1")).answer();
    for id in ["1", "2"] {
        seldom.next(&response_topic("seldom", id)).answer();
    }
    // What was refused may come again: its id is not used up.
    few.publish(&request_topic("few", "2"), bytes(&prompt("Hi", 1)));
    few.next(&response_topic("few", "2")).answer();
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let daemon =
        Daemon::start(&["engine.slots=1", "service.queued_max=2", "service.queued_per_client_max=2"]);
    let busy = occupy(&daemon);
    let body = |id: &str| with(prompt("Hi", 1), json!({"outpost": {"id": id}}));
    for id in ["a", "b"] {
        assert_eq!(daemon.post("/v1/requests", &body(id)).status, 202);
    }
    for path in ["/v1/requests", "/v1/chat/completions"] {
        let full = daemon.post(path, &body("c"));
        assert_eq!(full.error(), (429, "queue_full".into(), String::new()), "{path}");
        assert!(full.header("retry-after").is_some_and(|s| s.parse::<u64>().unwrap() >= 1));
        let (_, retryable, after) =
            (error(&full.json()).0.to_owned(), error(&full.json()).1, error(&full.json()).2);
        assert!(retryable && after.is_some_and(|ms| ms >= 1000));
    }
    // What is known needs no place.
    assert_eq!(daemon.post("/v1/requests", &body("a")).status, 202);
    drop(busy);
    daemon.idle();
    assert_eq!(daemon.post("/v1/requests", &body("c")).status, 202);
}
