//! Trials.

use crate::{
    board::Board,
    node::{until, with_model},
};

#[test]
fn a_daemon_without_a_model_takes_the_first_that_is_activated() {
    let mut board = Board::new(&[]);
    board.node.start();
    assert_eq!(board.node.status()["state"], "absent");
    board.good("first");
    board.activate("first");
    assert_eq!(board.answers(), "first");
    assert_eq!(board.mark("first").as_deref(), Some("active"));
    let said = board.models_say(&["activate", "first"]);
    assert_eq!(said.out["message"], "It is active already.");
    // And at the next start.
    board.node.stop();
    board.node.start();
    assert_eq!(board.answers(), "first");
}

#[test]
fn what_was_accepted_is_answered_when_another_package_takes_over() {
    let mut board = Board::new(&[]);
    board.good("first");
    board.good("second");
    assert_eq!(board.models_say(&["activate", "first"]).out["state"], "next start");
    board.node.start();
    board.node.ready();
    let ids: Vec<String> = (0..6).map(|n| board.accept(n)).collect();
    board.activate("second");
    let writers: Vec<String> = ids.iter().map(|id| board.answered(id)).collect();
    assert_eq!(writers.first().map(String::as_str), Some("first"), "what ran was brought to its end");
    assert_eq!(writers.last().map(String::as_str), Some("second"), "what waited is answered by the next");
    assert!(writers.is_sorted(), "{writers:?}");
    assert_eq!((board.answers().as_str(), board.mark("first").as_deref()), ("second", Some("previous")));
    let said = board.models_say(&["return"]);
    assert_eq!((said.code, said.out["state"].as_str()), (Some(0), Some("in use")), "{said:?}");
    assert_eq!((board.answers().as_str(), board.mark("second").as_deref()), ("first", Some("previous")));
}

#[test]
fn a_package_that_fails_its_self_test_goes_and_nothing_accepted_is_lost() {
    let mut board = Board::new(&[]);
    board.good("good");
    board.bad("bad");
    board.node.start();
    board.activate("good");
    let ids: Vec<String> = (0..4).map(|n| board.accept(n)).collect();
    let said = board.models_say(&["activate", "bad"]);
    assert_eq!(said.code, Some(65), "{said:?}");
    assert!(said.words.contains("`bad` did not pass: self-test failed"), "{said:?}");
    assert!(said.words.contains("`good` is used again"), "{said:?}");
    for id in &ids {
        assert_eq!(board.answered(id), "good");
    }
    assert_eq!(board.answers(), "good");
    let reason = board.node.status()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("`bad` was activated and did not pass: self-test failed"), "{reason}");
    assert!(board.node.log().contains("it did not pass its trial, the former package comes back"));
    let list = board.models_say(&["installed"]).out;
    assert_eq!(list["returned"]["from"], "bad", "{list}");
    assert_eq!((board.mark("good").as_deref(), board.mark("bad")), (Some("active"), None));
    // The next one that passes ends the story.
    board.good("next");
    board.activate("next");
    assert!(board.node.status()["reason"].is_null());
}

#[test]
fn a_daemon_that_is_killed_while_it_loads_comes_back_with_the_former_package() {
    let mut board = Board::new(&[]);
    board.good("good");
    board.slow("slow");
    board.node.start();
    board.activate("good");
    let id = board.accept(1);
    board.answered(&id);
    assert_eq!(board.models_say(&["activate", "slow", "--no-wait"]).code, Some(0));
    for attempt in 1..=2 {
        board.node.status_when("it hashes", |s| {
            s["reason"].as_str().is_some_and(|reason| reason.starts_with("verifying the package"))
        });
        // Accepted while it loads.
        board.accept(10 + attempt);
        assert_eq!(board.mark("slow").as_deref(), Some("active, on trial"));
        board.node.kill();
        board.node.start();
    }
    for id in ["r11", "r12"] {
        assert_eq!(board.answered(id), "good");
    }
    assert_eq!(board.answers(), "good");
    let reason = board.node.status()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("the daemon ended 2 times while it was loaded"), "{reason}");
    assert_eq!(board.mark("slow"), None);
}

#[test]
fn without_a_former_package_the_reason_is_told_and_another_may_be_activated() {
    let mut board = Board::new(&[]);
    board.bad("bad");
    board.node.start();
    let said = board.models_say(&["activate", "bad"]);
    assert_eq!(said.code, Some(65), "{said:?}");
    assert!(said.words.contains("there is none to go back to"), "{said:?}");
    until("the daemon says so", || (board.node.status()["state"] == "failed").then_some(()));
    board.good("good");
    board.activate("good");
    assert_eq!(board.answers(), "good");
    assert_eq!(board.mark("bad"), None, "it never passed, so it is none to go back to");
    assert_eq!(board.models_say(&["remove", "good"]).code, Some(65));
    assert_eq!(board.models_say(&["remove", "bad"]).code, Some(0));
}

#[test]
fn a_package_that_is_pinned_stays_and_activation_says_so() {
    let package = with_model().remove(0);
    let mut board = Board::new(&[&package]);
    board.good("other");
    board.node.start();
    board.node.ready();
    let mut command = board.models_command(&["activate", "other"]);
    let (_, path) = package.split_once('=').unwrap();
    let output = command.env("OUTPOST_MODEL__PACKAGE", path).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("`model.package` pins"));
    let (status, _) = board.node.post("/v1/reload", &serde_json::Value::Null);
    assert_eq!(status, 202);
    let id = board.accept(1);
    assert_eq!(board.answered(&id), "smollm2-135m-instruct");
}
