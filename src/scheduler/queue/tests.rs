use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { entries: 64, per_client: 32, bytes: 1 << 20 };

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn work(tokens: u64) -> Work {
    Work { prompt: 0, answer: tokens }
}

fn put<T>(queue: &mut FairQueue<T>, who: &str, lane: Lane, cost: u64, item: T) -> Result<Ticket, Full> {
    let place = queue.reserve(&client(who), lane, 10, None)?;
    Ok(queue.push(place, lane, work(cost), item))
}

#[test]
fn a_client_with_many_prompts_waits_behind_its_own() {
    let mut queue = FairQueue::new(BOUNDS);
    for n in 0..5 {
        put(&mut queue, "greedy", Lane::Normal, 100, format!("greedy {n}")).unwrap();
    }
    put(&mut queue, "modest", Lane::Normal, 100, "modest".into()).unwrap();
    assert_eq!(queue.pop().unwrap(), "greedy 0");
    assert_eq!(queue.pop().unwrap(), "modest");
    assert_eq!(queue.pop().unwrap(), "greedy 1");
}

#[test]
fn who_was_asked_elsewhere_in_vain_has_its_turn_back() {
    let mut queue = FairQueue::new(BOUNDS);
    let first = put(&mut queue, "a", Lane::Normal, 100, "first").unwrap();
    put(&mut queue, "a", Lane::Normal, 100, "second").unwrap();
    assert_eq!(queue.remove(first), Some("first"));
    for n in ["third", "fourth"] {
        put(&mut queue, "b", Lane::Normal, 100, n).unwrap();
    }
    let place = queue.reserve(&client("a"), Lane::Normal, 10, None).unwrap();
    let again = queue.put_back(first, place, work(100), "first");
    assert_eq!(queue.ahead_of(again).0, 0);
    assert_eq!(queue.pop(), Some("first"));
    // When the clocks have begun anew meanwhile, its old tag is no burden.
    for _ in 0..3 {
        put(&mut queue, "a", Lane::Normal, 1_000, "old").unwrap();
    }
    let late = put(&mut queue, "a", Lane::Normal, 100, "late").unwrap();
    assert_eq!(queue.remove(late), Some("late"));
    queue.drain();
    put(&mut queue, "b", Lane::Normal, 100, "new").unwrap();
    put(&mut queue, "b", Lane::Normal, 100, "newer").unwrap();
    let place = queue.reserve(&client("a"), Lane::Normal, 10, None).unwrap();
    queue.put_back(late, place, work(100), "late");
    assert_eq!([queue.pop(), queue.pop()], [Some("late"), Some("new")]);
}

#[test]
fn lanes_share_by_weight_and_batch_is_not_starved() {
    let mut queue = FairQueue::new(BOUNDS);
    for _ in 0..20 {
        put(&mut queue, "b", Lane::Batch, 10, Lane::Batch).unwrap();
    }
    for _ in 0..30 {
        put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
    }
    let first: Vec<Lane> = (0..20).map(|_| queue.pop().unwrap()).collect();
    assert_eq!(first[0], Lane::Interactive);
    let batch = first.iter().filter(|l| **l == Lane::Batch).count();
    assert!((1..=2).contains(&batch), "{batch} of 20");
}

#[test]
fn a_lane_that_must_wait_is_passed_by_and_keeps_its_order() {
    let mut queue = FairQueue::new(BOUNDS);
    for n in 0..3 {
        put(&mut queue, "b", Lane::Batch, 10, format!("batch {n}")).unwrap();
    }
    let last = put(&mut queue, "a", Lane::Interactive, 10, "interactive".into()).unwrap();
    assert_eq!(queue.ahead_of(last).0, 0);
    assert_eq!(queue.pop_of(|lane| lane != Lane::Batch).unwrap(), "interactive");
    assert_eq!(queue.pop_of(|lane| lane != Lane::Batch), None, "nobody else may");
    assert_eq!(queue.depth(Lane::Batch), 3, "and nothing is lost");
    for n in 0..3 {
        assert_eq!(queue.pop().unwrap(), format!("batch {n}"));
    }
}

#[test]
fn what_had_to_wait_for_long_does_not_stand_before_everybody_else_after_it() {
    let mut queue = FairQueue::new(BOUNDS);
    for _ in 0..20 {
        put(&mut queue, "b", Lane::Batch, 10, Lane::Batch).unwrap();
    }
    // A hot hour: only the others run.
    for _ in 0..1_000 {
        put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
        put(&mut queue, "c", Lane::Normal, 10, Lane::Normal).unwrap();
        for _ in 0..2 {
            assert_ne!(queue.pop_of(|lane| lane != Lane::Batch).unwrap(), Lane::Batch);
        }
    }
    for _ in 0..30 {
        put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
    }
    let first: Vec<Lane> = (0..20).map(|_| queue.pop().unwrap()).collect();
    let batch = first.iter().filter(|l| **l == Lane::Batch).count();
    assert!((1..=2).contains(&batch), "{batch} of 20, as if it had never waited");
}

#[test]
fn a_client_whose_entries_are_replaced_keeps_its_turn() {
    let mut queue = FairQueue::new(BOUNDS);
    for n in 0..4 {
        put(&mut queue, "plc", Lane::Normal, 100, format!("plc {n}")).unwrap();
    }
    let mut newest = put(&mut queue, "sensor", Lane::Normal, 100, "reading 0".into()).unwrap();
    for n in 1..20 {
        assert!(queue.remove(newest).is_some());
        newest = put(&mut queue, "sensor", Lane::Normal, 100, format!("reading {n}")).unwrap();
    }
    assert_eq!(queue.pop().unwrap(), "plc 0");
    assert_eq!(queue.pop().unwrap(), "reading 19", "what never ran has cost it nothing");
}

#[test]
fn every_bound_holds_and_frees_up() {
    let mut queue = FairQueue::new(BOUNDS);
    let tickets: Vec<_> = (0..32).map(|_| put(&mut queue, "a", Lane::Normal, 1, ()).unwrap()).collect();
    assert_eq!(put(&mut queue, "a", Lane::Normal, 1, ()), Err(Full::Client));
    let place = queue.reserve(&client("a"), Lane::Normal, 0, Some(33)).unwrap();
    assert_eq!(queue.reserve(&client("a"), Lane::Normal, 0, Some(33)).unwrap_err(), Full::Client);
    queue.release(place);

    while put(&mut queue, "b", Lane::Batch, 1, ()).is_ok() {}
    assert_eq!(queue.len(), 48, "batch may not take the last quarter");
    while put(&mut queue, "b", Lane::Normal, 1, ()).is_ok() {}
    assert_eq!(queue.len(), 56, "normal may not take the last eighth");
    while put(&mut queue, "c", Lane::Interactive, 1, ()).is_ok() {}
    assert_eq!((queue.len(), queue.free()), (64, 0));
    assert_eq!(put(&mut queue, "d", Lane::Interactive, 1, ()), Err(Full::Queue));
    assert!(queue.remove(tickets[3]).is_some());
    assert!(queue.remove(tickets[3]).is_none());
    assert_eq!(queue.reserve(&client("d"), Lane::Interactive, 1 << 20, None).unwrap_err(), Full::Bytes);
    put(&mut queue, "d", Lane::Interactive, 1, ()).unwrap();
}

#[test]
fn what_is_ahead_is_what_runs_before() {
    let mut queue = FairQueue::new(BOUNDS);
    let tickets: Vec<_> =
        (0..6).map(|n| put(&mut queue, ["a", "b"][n % 2], Lane::Normal, 10 + n as u64, n).unwrap()).collect();
    let last = *tickets.iter().max().unwrap();
    assert_eq!(queue.ahead_of(last), (5, work(10 + 11 + 12 + 13 + 14)));
    assert_eq!(queue.ahead_of_new(&client("c"), Lane::Normal).0, 2, "behind the first of each");
}

proptest! {
    #[test]
    fn everything_that_went_in_comes_out_once_and_leaves_no_place_taken(
        pushes in prop::collection::vec((0u8..4, 0usize..3, 1u64..5_000, 0u8..12), 0..200),
    ) {
        let mut queue = FairQueue::new(BOUNDS);
        let (mut inside, mut out) = (0u32, Vec::new());
        for (who, lane, cost, pop) in pushes {
            if put(&mut queue, &format!("c{who}"), Lane::ALL[lane], cost, inside).is_ok() {
                inside += 1;
            }
            // Half of the time: one of the lanes that may, which are 1 to 3.
            if pop < 6 { out.extend(queue.pop_of(|lane| pop == 0 || lane as u8 % pop != 1)); }
        }
        while let Some(item) = queue.pop() { out.push(item); }
        out.sort_unstable();
        prop_assert_eq!(out, (0..inside).collect::<Vec<_>>());
        prop_assert!(queue.finished.is_empty() && queue.taken_by.is_empty());
        prop_assert_eq!((queue.taken, queue.taken_bytes), (0, 0));
    }
}
