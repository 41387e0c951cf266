//! Files that are not what was written.

use std::{fs, sync::LazyLock};

use proptest::{prelude::*, sample::Index};

use super::*;

/// A store with something in every table, as the bytes of its file and of its log.
struct Sample {
    closed: Vec<u8>,
    file: Vec<u8>,
    log: Vec<u8>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    fill(&mut db);
    let (file, log) = (read("outpost.db"), read("outpost.db-wal"));
    db.close().unwrap();
    drop(db);
    Sample { closed: read("outpost.db"), file, log }
});

fn fill(db: &mut Db) {
    for n in 0..12 {
        let name = format!("r{n}");
        let spec = vec![n; 700 * usize::from(n)];
        run(db, Op::Accept(Box::new(NewRequest { spec, ..request(&name) }))).unwrap();
        if n % 3 > 0 {
            let usage = UsageEntry {
                zone: "device".into(),
                provider: String::new(),
                model: format!("m{n}"),
                prompt_tokens: u64::from(n),
                completion_tokens: 1,
                bytes_out: 0,
                cost_micro_usd: 0,
            };
            end(db, Finish { usage: Some(usage), ..finish_with_message(&name) }).unwrap();
        }
    }
    run(db, Op::Prune).unwrap();
}

/// Everything that can be asked.
fn contents(db: &mut Db) -> Vec<crate::domain::Result<Reply>> {
    let mut ops = vec![
        Op::Unfinished,
        Op::Undelivered { after: 0, limit: 100 },
        Op::Usage(UsageQuery::default()),
        Op::Wear,
        Op::FindByDigest(key("r0").client, Digest([2; 32])),
    ];
    ops.extend((0..13).map(|n| Op::Find(key(&format!("r{n}")))));
    ops.into_iter().map(|op| run(db, op)).collect()
}

static EXPECTED: LazyLock<Vec<crate::domain::Result<Reply>>> = LazyLock::new(|| {
    let dir = put(&SAMPLE.closed, &[]);
    contents(&mut open_db(options(dir.path())).0)
});

fn put(file: &[u8], log: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("outpost.db"), file).unwrap();
    if !log.is_empty() {
        fs::write(dir.path().join("outpost.db-wal"), log).unwrap();
    }
    dir
}

/// Opens what was damaged: it is sound and says what it said before, or it lies aside unchanged
/// and the store is empty. Returns whether it was moved.
fn opened_or_set_aside(dir: &Path, damaged: &[u8]) -> bool {
    let (mut db, opened) = open_db(options(dir));
    let moved = match opened {
        Opened::Sound => {
            assert_eq!(contents(&mut db), *EXPECTED);
            false
        }
        Opened::StartedEmpty { moved_to, reason } => {
            assert!(!reason.is_empty());
            assert_eq!(fs::read(moved_to).unwrap(), damaged, "kept as it was found");
            assert_eq!(stats(&db).requests_rows, 0);
            true
        }
        Opened::Created => panic!("a damaged store was taken for none"),
    };
    accept(&mut db, "afterwards").unwrap();
    moved
}

proptest! {
    // Each case makes and syncs files.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_never_change_what_the_store_says(flips in prop::collection::vec((any::<Index>(), 0u8..8), 1..4)) {
        let mut file = SAMPLE.closed.clone();
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        let dir = put(&file, &[]);
        opened_or_set_aside(dir.path(), &file);
    }

    #[test]
    fn a_file_that_was_cut_is_set_aside(at in any::<Index>()) {
        let file = &SAMPLE.closed[..at.index(SAMPLE.closed.len())];
        let dir = put(file, &[]);
        prop_assert!(opened_or_set_aside(dir.path(), file));
    }

    #[test]
    fn a_damaged_log_reads_as_a_shorter_one(at in any::<Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut log = SAMPLE.log.clone();
        let at = at.index(log.len());
        if cut { log.truncate(at) } else { log[at] ^= 1 << bit }
        let dir = put(&SAMPLE.file, &log);
        let (mut db, opened) = open_db(options(dir.path()));
        prop_assert_ne!(opened, Opened::Created);
        // Requests come in order, and each is whole.
        let rows = unfinished(&mut db).len() + waiting(&mut db).len();
        prop_assert_eq!(rows as u64, stats(&db).requests_rows);
        for n in 0..rows {
            let name = format!("r{n}");
            prop_assert!(found(&mut db, &name).is_some(), "{}", name);
        }
        accept(&mut db, "afterwards").unwrap();
    }
}

#[test]
fn every_byte_of_the_header_may_be_wrong() {
    for at in 0..100 {
        for bit in [0, at % 8] {
            let mut file = SAMPLE.closed.clone();
            file[at] ^= 1 << bit;
            let dir = put(&file, &[]);
            opened_or_set_aside(dir.path(), &file);
        }
    }
}

/// Rows have seals; that indexes agree with them is another check.
#[test]
fn a_name_that_is_damaged_only_in_an_index_is_found() {
    let name = b"press-3r7"; // client and id lie side by side in row and index
    let places: Vec<_> =
        (0..SAMPLE.closed.len()).filter(|at| SAMPLE.closed[*at..].starts_with(name)).collect();
    assert!(places.len() >= 2, "{places:?}");
    for at in places {
        let mut file = SAMPLE.closed.clone();
        file[at + name.len() - 1] ^= 1;
        let dir = put(&file, &[]);
        opened_or_set_aside(dir.path(), &file);
    }
}

#[test]
fn text_another_database_and_an_empty_file_are_set_aside() {
    let other = tempfile::tempdir().unwrap();
    let conn = rusqlite::Connection::open(other.path().join("x.db")).unwrap();
    conn.execute_batch("CREATE TABLE requests (x); PRAGMA user_version = 1").unwrap();
    conn.close().unwrap();
    let foreign = fs::read(other.path().join("x.db")).unwrap();
    for file in [&b"not a database at all"[..], &[0; 8192], &[], &foreign] {
        let dir = put(file, &[]);
        assert!(opened_or_set_aside(dir.path(), file));
    }
}

#[test]
fn a_log_without_its_file_is_set_aside_and_not_mixed_into_a_new_one() {
    let dir = put(&[], &SAMPLE.log);
    fs::remove_file(dir.path().join("outpost.db")).unwrap();
    let (mut db, opened) = open_db(options(dir.path()));
    assert!(matches!(opened, Opened::StartedEmpty { .. }), "{opened:?}");
    assert_eq!(fs::read(dir.path().join("outpost.db.corrupt-1-wal")).unwrap(), SAMPLE.log);
    assert_eq!(unfinished(&mut db).len(), 0);
}

#[test]
fn three_corrupt_files_are_kept_and_the_newest_of_them() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=5u8 {
        fs::write(dir.path().join("outpost.db"), [n; 100]).unwrap();
        let Opened::StartedEmpty { moved_to, .. } = open_db(options(dir.path())).1 else { panic!("sound") };
        assert_eq!(moved_to, dir.path().join(format!("outpost.db.corrupt-{n}")));
    }
    for n in 1..=5u8 {
        let kept = fs::read(dir.path().join(format!("outpost.db.corrupt-{n}"))).ok();
        assert_eq!(kept, (n > 2).then(|| vec![n; 100]), "{n}");
    }
}

#[test]
fn who_chose_to_stop_is_not_started_empty_by_a_restart() {
    let dir = put(b"garbage", &[]);
    let stop = StoreOptions { on_corruption: OnCorruption::Stop, ..options(dir.path()) };
    for _ in 0..3 {
        let error = Db::open(stop.clone(), TestClock::new()).err().unwrap();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("outpost.db.corrupt-1"), "{error}");
    }
    // A backup in its place, or the corrupt file out of the way: the operator has decided.
    fs::write(dir.path().join("outpost.db"), &SAMPLE.closed).unwrap();
    assert_eq!(open_db(stop.clone()).1, Opened::Sound);
    fs::remove_file(dir.path().join("outpost.db")).unwrap();
    fs::rename(dir.path().join("outpost.db.corrupt-1"), dir.path().join("for-the-lab")).unwrap();
    assert_eq!(open_db(stop).1, Opened::Created);
}

#[test]
fn damage_that_is_met_while_running_breaks_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    accept(&mut db, "a").unwrap();
    db.conn.execute_batch("UPDATE requests SET spec = x'00'").unwrap();
    assert_eq!(run(&mut db, Op::Find(key("a"))).unwrap_err().kind, ErrorKind::Internal);
    assert!(matches!(db.health(), Health::Broken(_)));
    assert_eq!(accept(&mut db, "b").unwrap_err().kind, ErrorKind::Internal, "promises nothing any more");
    drop(db);
    assert!(matches!(open_db(options(dir.path())).1, Opened::StartedEmpty { .. }));
}
