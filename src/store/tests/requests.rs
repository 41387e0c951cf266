//! The life of a request in the store, through its handle.

use super::*;

fn store(dir: &Path) -> Store {
    Store::open(options(dir), TestClock::new()).unwrap().0
}

#[tokio::test]
async fn a_request_is_accepted_once_and_found_with_all_that_it_came_with() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let new = request("a");
    assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::New);

    let other_body = NewRequest { digest: Digest([9; 32]), spec: b"other".to_vec(), ..new.clone() };
    let Accepted::Known(known) = store.accept(other_body).await.unwrap() else { panic!("accepted twice") };
    let expected = Stored {
        key: new.key.clone(),
        digest: new.digest,
        lane: new.lane,
        accepted: new.accepted.clone(),
        budget: new.budget,
        attempts: 0,
        spec: new.spec.clone(),
        finished: None,
    };
    assert_eq!(*known, expected, "the first one stays");
    let found = store.find(new.key.client.clone(), new.key.id.clone()).await.unwrap();
    assert_eq!(found, Some(expected));

    let stranger = ClientId::new("someone-else").unwrap();
    assert_eq!(store.find(stranger.clone(), new.key.id.clone()).await.unwrap(), None);
    assert_eq!(store.find_by_digest(stranger, new.digest).await.unwrap(), None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_first_final_stays_and_nothing_of_the_second_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.accept(request("a")).await.unwrap();
    let Finished::Stored { outbox: Some(seq) } = store.finish(finish_with_message("a")).await.unwrap() else {
        panic!("not stored")
    };
    let second = Finish { status: 500, body: b"second".to_vec(), ..finish_with_message("a") };
    let Finished::Already(first) = store.finish(second).await.unwrap() else { panic!("finished twice") };
    assert_eq!((first.status, first.body.as_slice()), (200, b"the final of a".as_slice()));

    let messages = store.undelivered(0, 10).await.unwrap();
    assert_eq!(messages.len(), 1);
    let sent = &messages[0];
    assert_eq!((sent.seq, sent.payload.as_slice()), (seq, b"the final of a".as_slice()));
    assert_eq!(
        (&sent.key, sent.properties.as_slice()),
        (&Some(key("a")), br#"{"correlation":"7"}"#.as_slice())
    );
    let stored = store.find(key("a").client, key("a").id).await.unwrap().unwrap();
    assert_eq!((stored.finished, stored.spec), (Some(first), Vec::new()));
}

#[tokio::test]
async fn a_request_without_a_row_gets_row_and_final_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let insert = |name| Finish { insert: Some(Box::new(request(name))), ..finish(name) };
    assert_eq!(store.finish(insert("a")).await.unwrap(), Finished::Stored { outbox: None });
    assert!(matches!(store.finish(insert("a")).await.unwrap(), Finished::Already(_)));
    assert_eq!(store.stats().requests_rows, 1);

    let mut other = insert("a");
    other.insert.as_mut().unwrap().digest = Digest([7; 32]);
    assert_eq!(store.finish(other).await.unwrap_err().kind, ErrorKind::IdConflict);
    assert_eq!(store.finish(finish("nobody")).await.unwrap_err().kind, ErrorKind::RequestNotFound);
    assert_eq!(store.begin(key("a")).await.unwrap_err().kind, ErrorKind::RequestNotFound);
}

#[tokio::test]
async fn attempts_are_counted_and_a_forgotten_request_is_new_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.accept(request("a")).await.unwrap();
    assert_eq!(store.begin(key("a")).await.unwrap(), 1);
    assert_eq!(store.begin(key("a")).await.unwrap(), 2);
    store.note_spared(key("a"));
    assert_eq!(store.begin(key("a")).await.unwrap(), 2, "one was taken back");
    assert!(store.forget(key("a")).await.unwrap());
    assert!(!store.forget(key("a")).await.unwrap());
    assert_eq!(store.accept(request("a")).await.unwrap(), Accepted::New);
    store.finish(finish("a")).await.unwrap();
    assert!(!store.forget(key("a")).await.unwrap(), "a finished request is not forgotten");
    assert_eq!(store.stats().requests_rows, 1);
}

#[tokio::test]
async fn unfinished_requests_come_back_in_the_order_of_their_acceptance() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    for name in ["c", "a", "b"] {
        first.accept(request(name)).await.unwrap();
    }
    first.begin(key("b")).await.unwrap();
    first.finish(finish("a")).await.unwrap();
    first.close().await.unwrap();

    let again = store(dir.path());
    let stored = again.unfinished().await.unwrap();
    let seen: Vec<_> = stored.iter().map(|s| (s.key.id.as_str(), s.attempts, s.spec.as_slice())).collect();
    assert_eq!(seen, [("c", 0, b"the spec of c".as_slice()), ("b", 1, b"the spec of b")]);
    let newest = again.find_by_digest(key("x").client, Digest([1; 32])).await.unwrap().unwrap();
    assert_eq!(newest.key, key("b"), "all three have this digest");
}

#[tokio::test]
async fn messages_leave_in_order_and_only_when_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let own = NewMessage {
        payload: Some(b"late".to_vec()),
        retain: true,
        expires: Some((TestClock::new().stamp(), Duration::from_secs(5))),
        ..message("plant/1/verdict")
    };
    store.accept(request("a")).await.unwrap();
    let first = store.publish(own.clone()).await.unwrap();
    store.finish(finish_with_message("a")).await.unwrap();
    let third = store.publish(own.clone()).await.unwrap();

    let messages = store.undelivered(0, 2).await.unwrap();
    assert_eq!(messages.len(), 2);
    let sent = &messages[0];
    assert_eq!((sent.seq, &sent.topic, &sent.key), (first, &own.topic, &None));
    assert_eq!((Some(&sent.payload), sent.retain, &sent.expires), (own.payload.as_ref(), true, &own.expires));
    store.delivered(first).await.unwrap();
    store.delivered(first).await.unwrap();
    let left: Vec<_> = store.undelivered(0, 10).await.unwrap().iter().map(|m| m.seq).collect();
    assert_eq!(left, [messages[1].seq, third]);
    assert_eq!(store.undelivered(messages[1].seq, 10).await.unwrap()[0].seq, third);

    let empty = NewMessage { payload: None, ..own };
    assert_eq!(store.publish(empty).await.unwrap_err().kind, ErrorKind::Internal);
}

#[tokio::test]
async fn the_number_of_a_delivered_message_is_not_given_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let own = NewMessage { payload: Some(Vec::new()), ..message("t") };
    let first = store.publish(own.clone()).await.unwrap();
    store.delivered(first).await.unwrap();
    assert_ne!(store.publish(own).await.unwrap(), first);
}

#[tokio::test]
async fn the_ledger_sums_by_day_client_and_model() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let usage = |model: &str, tokens| UsageEntry {
        zone: "cloud".into(),
        provider: "p".into(),
        model: model.into(),
        prompt_tokens: tokens,
        completion_tokens: 2 * tokens,
        bytes_out: 3 * tokens,
        cost_micro_usd: 4 * tokens,
    };
    let unset = Stamp { wall: UnixSeconds(30), synced: false, ..TestClock::new().stamp() };
    for (name, model, tokens, ended) in [
        ("a", "m", 10, TestClock::new().stamp()),
        ("b", "m", 5, TestClock::new().stamp()),
        ("c", "n", 1, TestClock::new().stamp()),
        ("d", "m", 7, unset),
    ] {
        let insert = Some(Box::new(request(name)));
        let done = Finish { usage: Some(usage(model, tokens)), insert, ended, ..finish(name) };
        store.finish(done.clone()).await.unwrap();
        store.finish(done).await.unwrap(); // books nothing
    }
    let day = UtcDay(NEW_YEAR / 86_400);
    let rows = store.usage(UsageQuery { from: Some(day), ..UsageQuery::default() }).await.unwrap();
    let row = |requests, model, tokens| UsageRow {
        day,
        client: key("a").client,
        requests,
        sums: usage(model, tokens),
    };
    assert_eq!(rows, [row(2, "m", 15), row(1, "n", 1)]);
    let all = store.usage(UsageQuery::default()).await.unwrap();
    assert_eq!((all.len(), all[0].day), (3, UtcDay(0)), "a clock that was not set has its own day");
    let client = ClientId::new("someone-else");
    assert!(store.usage(UsageQuery { client, ..UsageQuery::default() }).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_message_took_is_given_back_in_any_script() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for topic in ["plant/ä/verdict", "工厂/结果"] {
        let payload = Some(b"x".to_vec());
        let place = store.publish(NewMessage { payload, ..message(topic) }).await.unwrap();
        store.delivered(place).await.unwrap();
    }
    assert_eq!((store.stats().outbox_rows, store.stats().outbox_bytes), (0, 0));
}
