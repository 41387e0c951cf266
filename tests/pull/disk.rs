//! Disks without room, and two pulls at once.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    board::{Board, Pulled, until},
    hub_files::{Act, Door, Hub, Repo},
};

const REPO: &str = "acme/tiny-ONNX";
const FILE: &str = "onnx/model_q4.onnx_data";

#[test]
fn without_room_nothing_is_begun() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    let words = board.pull(&hub, &[REPO, "--set", "store.free_min_mb=1000000000"]);
    words.refused(69, "1000000000 MB have to stay free, but only");
    assert!(hub.seen().iter().all(|seen| seen.door == Door::Api), "only the listing was asked for");
    assert!(!board.models().exists());
}

#[test]
fn a_file_that_may_not_grow_keeps_what_it_has() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    // In units of 512 bytes: 200 KiB. The signal would end the program before it could say anything.
    let wrapper = ["sh", "-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh"];
    let mut command = board.wrapped(&wrapper, &["--json", "pull", REPO]);
    let pulled = Pulled::of(command.env("HF_ENDPOINT", hub.url()).output().unwrap());
    let words = pulled.refused(69, "the disk is full");
    assert!(words.contains("of 600000 bytes of it are kept"), "{words}");
    let kept = board.part(FILE);
    assert_eq!(kept, 204_800);
    let done = board.pull(&hub, &[REPO]).well();
    assert_eq!(done["fetched_bytes"].as_u64().unwrap() + done["kept_bytes"].as_u64().unwrap(), done["bytes"]);
    assert!(done["kept_bytes"].as_u64().unwrap() >= kept);
}

#[test]
fn a_disk_that_fills_up_in_the_middle_is_named() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(4_000_000)));
    let mut probe = Command::new("unshare");
    probe
        .args(["-m", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"])
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!("NOT TRIED: this machine permits no mount in a namespace of one's own");
        return;
    }
    hub.play(Door::Storage, 1, Act::IgnoreRange);
    hub.play(Door::Storage, 1, Act::Pause(500_000));
    let script = "dir=$0; mount -t tmpfs -o size=8m none \"$dir\" && exec \"$@\"";
    let dir = board.dir().to_str().unwrap();
    let wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, dir];
    let mut command = board.wrapped(&wrapper, &["pull", REPO, "--set", "store.free_min_mb=0"]);
    let child = command.env("HF_ENDPOINT", hub.url()).spawn().unwrap();
    hub.wait_for_pause();
    let mut ballast = File::create(format!("/proc/{}/root{dir}/ballast", child.id())).unwrap();
    for size in [65_536, 4_096] {
        while ballast.write_all(&vec![1; size]).is_ok() {}
    }
    hub.go_on();
    let words = Pulled::of(child.wait_with_output().unwrap()).refused(69, "the disk is full");
    assert!(
        words.contains("of 4000000 bytes of it are kept: the same command goes on from there"),
        "{words}"
    );
}

#[test]
fn the_second_of_two_at_once_says_so_and_touches_nothing() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    hub.play(Door::Storage, 1, Act::IgnoreRange);
    hub.play(Door::Storage, 1, Act::Pause(200_000));
    let mut command = board.outpost(&["--json", "pull", REPO]);
    let first = command.env("HF_ENDPOINT", hub.url()).spawn().unwrap();
    hub.wait_for_pause();
    board.pull(&hub, &[REPO]).refused(69, "another `outpost pull` fetches the same now");
    let key = fs::read_dir(board.models().join(".pull")).unwrap().map(|e| e.unwrap().file_name());
    let key = key
        .map(|name| name.into_string().unwrap())
        .find(|name| name.contains('@') && board.models().join(".pull").join(name).is_dir())
        .unwrap();
    board.pull(&hub, &["--discard", &key]).refused(69, "another `outpost pull`");
    hub.go_on();
    Pulled::of(first.wait_with_output().unwrap()).well();
    let again = board.pull(&hub, &[REPO]).well();
    assert_eq!((again["was_there"].as_bool(), again["fetched_bytes"].as_u64()), (Some(true), Some(0)));
}

#[test]
fn a_kill_between_the_last_two_steps_leaves_nothing_behind_for_ever() {
    let (board, repo) = (Board::new(), Repo::tiny(600_000));
    let hub = Hub::start(repo.clone());
    board.pull(&hub, &[REPO]).well();
    let key = format!("acme--tiny-ONNX@{}+q4", repo.commit);
    fs::create_dir_all(board.models().join(".pull").join(key).join("part")).unwrap();
    assert_eq!(board.pull(&hub, &[REPO]).well()["was_there"], true);
    assert_eq!(board.leftovers(), 0);
}

#[test]
fn an_unfinished_pull_stays_until_it_is_discarded_by_name() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    hub.play(Door::Storage, 1, Act::IgnoreRange);
    hub.play(Door::Storage, usize::MAX, Act::Stall(100_000));
    let mut command = board.outpost(&["pull", REPO]);
    let mut child = command.env("HF_ENDPOINT", hub.url()).spawn().unwrap();
    until("a part is there", || (board.part(FILE) == 100_000).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let list = board.pull(&hub, &["--list-partial"]).well();
    let key = list["unfinished"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(list["unfinished"][0]["there_bytes"], 130_000);
    board.pull(&hub, &["--discard", "nothing"]).refused(65, "--list-partial");
    // Where `main` is now does not matter: what was begun is brought to its end.
    hub.behave();
    hub.change(|repo| repo.files.clear());
    let commit = "c0ffee".repeat(7)[..40].to_owned();
    board.pull(&hub, &[REPO]).refused(65, "is no longer there");
    assert!(
        hub.seen().iter().filter(|seen| seen.door == Door::Api).count() == 1,
        "nobody asked where `main` is"
    );
    board.pull(&hub, &["--discard", &key]).well();
    assert_eq!(board.pull(&hub, &["--list-partial"]).well()["unfinished"].as_array().unwrap().len(), 0);
    assert!(key.contains(&commit), "{key}");
}

#[test]
fn a_branch_that_moves_is_followed_only_when_it_is_named() {
    let (board, mut repo) = (Board::new(), Repo::tiny(600_000));
    let hub = Hub::start(repo.clone());
    hub.play(Door::Storage, 1, Act::IgnoreRange);
    hub.play(Door::Storage, usize::MAX, Act::Cut(100_000));
    board.pull(&hub, &[REPO, "--retries", "0"]).refused(69, "are kept");
    hub.behave();
    hub.forget();
    // It moves; what was pinned is still there under its commit.
    let pinned = repo.commit.clone();
    assert_eq!(board.pull(&hub, &[REPO, "--dry-run"]).well()["commit"], pinned);
    assert!(hub.seen().is_empty(), "the plan was on disk");
    repo.commit = "b".repeat(40);
    hub.change(|now| now.commit.clone_from(&repo.commit));
    assert_eq!(board.pull(&hub, &[REPO, "--dry-run"]).well()["commit"], pinned);
    let named = board.pull(&hub, &[REPO, "--dry-run", "--revision", "main"]).well();
    assert_eq!(named["commit"], repo.commit);
    assert_eq!(board.pull(&hub, &[REPO, "--revision", "main"]).well()["commit"], repo.commit);
}
