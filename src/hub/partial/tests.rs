//! Kills, power cuts and changed plans, and what is left of a pull after them.

use super::*;
use crate::hub::{layout::Choice, proof::Proof};

fn state(files: &[(&str, u64)]) -> State {
    let wanted = |(path, bytes): &(&str, u64)| Wanted {
        from: path.parse().unwrap(),
        to: path.parse().unwrap(),
        bytes: *bytes,
        proof: Proof::sha256(&"a".repeat(64)),
    };
    let choice = Choice {
        layout: Layout::Onnx,
        variant: Some("q4".into()),
        files: files.iter().map(wanted).collect(),
    };
    State {
        repo: Some("a/b".parse().unwrap()),
        commit: Some("0".repeat(40).parse().unwrap()),
        ..State::new("b".parse().unwrap(), choice, String::new(), Vouched::Listing)
    }
}

fn write(partial: &Partial, file: &Wanted, bytes: usize) {
    let mut part = partial.part(file).unwrap();
    part.read(|_| {}).unwrap();
    part.write(&vec![7; bytes]).unwrap();
}

#[test]
fn a_kill_costs_nothing_and_a_power_cut_what_was_not_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&[("x", 100)]);
    let file = &state.files[0];
    let partial = Partial::take(dir.path(), &state, "boot-1").unwrap();
    write(&partial, file, 30);
    drop(partial);
    let partial = Partial::take(dir.path(), &state, "boot-1").unwrap();
    assert_eq!(partial.part(file).unwrap().len, 30, "the kernel has it");
    // Opening it has put it on the disk; these have not been.
    write(&partial, file, 20);
    drop(partial);
    let partial = Partial::take(dir.path(), &state, "boot-2").unwrap();
    assert_eq!(partial.part(file).unwrap().len, 30);
}

#[test]
fn more_than_the_file_has_and_what_nothing_vouches_for_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&[("x", 10)]);
    let partial = Partial::take(dir.path(), &state, "boot").unwrap();
    write(&partial, &state.files[0], 11);
    assert_eq!(partial.part(&state.files[0]).unwrap().len, 0);
    write(&partial, &state.files[0], 5);
    assert_eq!(partial.part(&state.files[0]).unwrap().len, 5);
    assert_eq!(partial.part(&Wanted { proof: None, ..state.files[0].clone() }).unwrap().len, 0);
}

#[test]
fn one_works_on_it_and_the_second_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&[("x", 10)]);
    let first = Partial::take(dir.path(), &state, "boot").unwrap();
    let error = Partial::take(dir.path(), &state, "boot").unwrap_err();
    assert!(error.to_string().contains("another `outpost pull`"), "{error}");
    assert!(matches!(discard(dir.path(), &state.key()), Err(PullError::Busy { .. })));
    drop(first);
    Partial::take(dir.path(), &state, "boot").unwrap().close();
    assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 0, "nothing is left");
}

#[test]
fn what_another_proof_vouched_for_is_verified_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let before = state(&[("x", 2)]);
    let partial = Partial::take(dir.path(), &before, "boot").unwrap();
    let mut part = partial.part(&before.files[0]).unwrap();
    part.write(b"ab").unwrap();
    partial.keep(part, &before.files[0]).unwrap();
    assert!(partial.is_done(&before.files[0]));
    drop(partial);
    assert!(Partial::take(dir.path(), &before, "boot").unwrap().is_done(&before.files[0]));
    let mut after = before.clone();
    after.files[0].proof = Proof::sha256(&"b".repeat(64));
    let partial = Partial::take(dir.path(), &after, "boot").unwrap();
    assert!(!partial.is_done(&after.files[0]));
    assert_eq!(partial.part(&after.files[0]).unwrap().len, 2, "it need not come again");
}

#[test]
fn unfinished_pulls_are_listed_and_go_only_by_name() {
    let dir = tempfile::tempdir().unwrap();
    assert!(unfinished(dir.path()).is_empty());
    let state = state(&[("x", 100), ("y", 5)]);
    let partial = Partial::take(dir.path(), &state, "boot").unwrap();
    write(&partial, &state.files[0], 30);
    drop(partial);
    let [one] = &unfinished(dir.path())[..] else { panic!("one") };
    assert_eq!((one.key.as_str(), one.there), (format!("a--b@{}+q4", "0".repeat(40)).as_str(), 30));
    assert_eq!(begun(dir.path(), &"a/b".parse().unwrap(), ""), Some(state.clone()));
    assert_eq!(begun(dir.path(), &"a/b".parse().unwrap(), "q8"), None, "another wish is another pull");
    for not in ["../x", "", ".", "nothing"] {
        assert!(!discard(dir.path(), not).unwrap(), "{not}");
    }
    assert!(discard(dir.path(), &one.key).unwrap());
    assert!(unfinished(dir.path()).is_empty());
}
