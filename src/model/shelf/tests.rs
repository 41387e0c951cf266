//! Trials, and power cuts in the middle of them.

use super::*;
use crate::model::{Vouched, fixture};

fn name(text: &str) -> PackageName {
    text.parse().unwrap()
}

/// A models' folder with these packages.
fn shelf(packages: &[&str]) -> (tempfile::TempDir, Shelf) {
    let dir = tempfile::tempdir().unwrap();
    for package in packages {
        fs::create_dir(dir.path().join(package)).unwrap();
        fixture::write(&dir.path().join(package), 10, &[("a.onnx", b"abc")]);
    }
    let shelf = Shelf::new(dir.path());
    (dir, shelf)
}

fn loaded(shelf: &Shelf) -> Option<String> {
    shelf.begin().unwrap().map(|load| load.name.to_string())
}

/// `old` has proved itself, and `new` is on trial.
fn on_trial() -> (tempfile::TempDir, Shelf) {
    let (dir, shelf) = shelf(&["old", "new"]);
    assert!(shelf.activate(&name("old")).unwrap());
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
    shelf.passed(&name("old")).unwrap();
    assert!(shelf.activate(&name("new")).unwrap());
    (dir, shelf)
}

#[test]
fn a_package_that_passes_stays_and_the_one_before_it_is_kept() {
    let (_dir, shelf) = on_trial();
    assert_eq!(loaded(&shelf).as_deref(), Some("new"));
    assert_eq!(shelf.view().trial.unwrap().loads, 1);
    shelf.passed(&name("new")).unwrap();
    let view = shelf.view();
    assert_eq!((view.current, view.previous, view.trial), (Some(name("new")), Some(name("old")), None));
    // From now on a failure is one of the board: nothing is switched behind the operator's back.
    assert!(!shelf.failed(&name("new"), "no memory").unwrap());
    assert_eq!(loaded(&shelf).as_deref(), Some("new"));
    assert!(!shelf.activate(&name("new")).unwrap(), "it is used already");
}

#[test]
fn a_package_that_fails_goes_and_the_one_before_it_comes_back_with_the_reason() {
    let (_dir, shelf) = on_trial();
    assert_eq!(loaded(&shelf).as_deref(), Some("new"));
    assert!(shelf.failed(&name("new"), "self-test failed").unwrap());
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
    let view = shelf.view();
    assert_eq!(view.returned, Some(Returned { from: name("new"), why: "self-test failed".into() }));
    assert_eq!((view.previous, view.trial), (None, None));
    // It may be tried again.
    assert!(shelf.activate(&name("new")).unwrap());
    assert_eq!((loaded(&shelf).as_deref(), shelf.view().returned), (Some("new"), None));
}

#[test]
fn a_process_that_dies_while_it_loads_counts_and_in_the_end_the_former_comes_back() {
    let (_dir, shelf) = on_trial();
    for _ in 0..limits::TRIAL_LOADS_MAX {
        assert_eq!(loaded(&shelf).as_deref(), Some("new"));
    }
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
    assert!(shelf.view().returned.unwrap().why.contains("ended 2 times while it was loaded"));
}

#[test]
fn without_a_former_package_there_is_nothing_to_go_back_to() {
    let (_dir, shelf) = shelf(&["new"]);
    assert_eq!(loaded(&shelf), None);
    shelf.activate(&name("new")).unwrap();
    for _ in 0..5 {
        assert_eq!(loaded(&shelf).as_deref(), Some("new"));
    }
    assert!(!shelf.failed(&name("new"), "broken").unwrap());
    assert_eq!(shelf.view().trial.unwrap().failed.as_deref(), Some("broken"));
}

#[test]
fn one_on_trial_is_none_to_go_back_to() {
    let (dir, shelf) = on_trial();
    fixture::write(&dir.path().join("old"), 10, &[("a.onnx", b"abc")]);
    fs::create_dir(dir.path().join("newest")).unwrap();
    fixture::write(&dir.path().join("newest"), 10, &[("a.onnx", b"abc")]);
    shelf.activate(&name("newest")).unwrap();
    assert_eq!(shelf.view().previous, Some(name("old")));
    loaded(&shelf);
    shelf.failed(&name("newest"), "x").unwrap();
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
}

#[test]
fn a_power_cut_at_any_moment_leaves_one_of_the_two() {
    // Activation: the state is written, the links are not.
    let (dir, shelf) = on_trial();
    symlink("old", dir.path().join("x")).unwrap();
    fs::rename(dir.path().join("x"), dir.path().join(CURRENT)).unwrap();
    assert_eq!((loaded(&shelf).as_deref(), shelf.view().trial), (Some("old"), None));
    assert_eq!(shelf.view().previous, None, "it is the current one");
    // Going back: the reason is written, `current` still points to the one that failed.
    let (_dir, shelf) = on_trial();
    let returned = Some(Returned { from: name("new"), why: "x".into() });
    shelf.write(&State { trial: None, returned }).unwrap();
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
    // Before `previous` was removed.
    let (dir, shelf) = on_trial();
    loaded(&shelf);
    shelf.failed(&name("new"), "x").unwrap();
    symlink("old", dir.path().join(PREVIOUS)).unwrap();
    assert_eq!((loaded(&shelf).as_deref(), shelf.view().previous), (Some("old"), None));
    // A state of zeros, as some file systems leave it.
    fs::write(dir.path().join(STATE), [0; 100]).unwrap();
    assert_eq!(loaded(&shelf).as_deref(), Some("old"));
}

#[test]
fn only_a_package_that_runs_can_be_activated_and_only_one_that_is_not_used_removed() {
    let (dir, shelf) = on_trial();
    fs::create_dir(dir.path().join("gguf")).unwrap();
    let record = Pulled::new(Layout::Gguf, Vouched::Nothing, Vec::new());
    fs::write(dir.path().join("gguf/outpost-pull.toml"), record.to_toml().unwrap()).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let refused = |package: &str| shelf.activate(&name(package)).unwrap_err().to_string();
    assert!(refused("gguf").contains("outpost-forge import"));
    assert!(refused("empty").contains("no package"));
    assert!(refused("nothing").contains("models installed"));
    let layouts: Vec<_> =
        shelf.installed().into_iter().map(|one| (one.name.to_string(), one.layout, one.bytes)).collect();
    let ours = Some(Layout::Outpost);
    let expected = [("empty", None, 0), ("gguf", Some(Layout::Gguf), 0), ("new", ours, 3), ("old", ours, 3)];
    assert_eq!(layouts, expected.map(|(name, layout, bytes)| (name.to_owned(), layout, bytes)));
    for used in ["old", "new"] {
        assert!(matches!(shelf.remove(&name(used)), Err(ShelfError::InUse { .. })), "{used}");
    }
    shelf.remove(&name("gguf")).unwrap();
    assert!(!dir.path().join("gguf").exists());
    assert!(matches!(shelf.remove(&name("gguf")), Err(ShelfError::NotThere { .. })));
}

#[test]
fn a_link_that_leads_elsewhere_is_not_followed() {
    let (dir, shelf) = shelf(&["old"]);
    symlink("../../etc", dir.path().join(CURRENT)).unwrap();
    assert_eq!(loaded(&shelf), None);
}
