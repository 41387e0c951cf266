//! A USB stick instead of a network.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    board::{Board, Pulled},
    hub_files::{Act, Door, Hub, Repo, sha256},
};

fn copy(repo: &Repo, dir: &Path) {
    for (path, content) in &repo.files {
        let to = dir.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, content).unwrap();
    }
}

fn from(board: &Board, dir: &Path, arguments: &[&str]) -> Pulled {
    let mut command =
        board.outpost(&[&["--json", "pull", "--from-dir", dir.to_str().unwrap()], arguments].concat());
    Pulled::of(command.output().unwrap())
}

#[test]
fn a_folder_without_digests_is_taken_and_said_to_be_vouched_for_by_nothing() {
    let (board, stick, repo) = (Board::new(), tempfile::tempdir().unwrap(), Repo::tiny(100_000));
    copy(&repo, stick.path());
    let done = from(&board, stick.path(), &["--name", "tiny"]).well();
    assert_eq!((done["vouched"].as_str(), done["commit"].as_str()), (Some("nothing"), None));
    let mut command =
        board.outpost(&["pull", "--from-dir", stick.path().to_str().unwrap(), "--name", "other"]);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("Nothing vouches for what it holds"), "{said}");
    let record = fs::read_to_string(board.models().join("tiny/outpost-pull.toml")).unwrap();
    assert!(record.contains(&sha256(&repo.files["onnx/model_q4.onnx"])), "{record}");
    for (path, mode) in [
        ("tiny", 0o755),
        ("tiny/onnx", 0o755),
        ("tiny/config.json", 0o644),
        ("tiny/outpost-pull.toml", 0o644),
    ] {
        let found = fs::metadata(board.models().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
}

#[test]
fn what_one_board_has_pulled_another_takes_from_it_and_a_changed_byte_is_found() {
    let (first, second, repo) = (Board::new(), Board::new(), Repo::tiny(100_000));
    let hub = Hub::start(repo.clone());
    first.pull(&hub, &["acme/tiny-ONNX"]).well();
    let stick = first.models().join("tiny-ONNX-q4");
    let done = from(&second, &stick, &[]).well();
    assert_eq!(
        (done["vouched"].as_str(), done["commit"].as_str()),
        (Some("sums"), Some(repo.commit.as_str()))
    );
    assert_eq!(done["package"], "tiny-ONNX-q4");
    let data = stick.join("onnx/model_q4.onnx_data");
    let mut content = fs::read(&data).unwrap();
    content[77_000] ^= 1;
    fs::write(&data, &content).unwrap();
    from(&Board::new(), &stick, &[]).refused(65, "do not use it");
    content.pop();
    fs::write(&data, &content).unwrap();
    from(&Board::new(), &stick, &[]).refused(65, "the copy is not whole");
}

#[test]
fn sums_beside_the_files_are_held_against_them() {
    let (board, stick, repo) = (Board::new(), tempfile::tempdir().unwrap(), Repo::tiny(100_000));
    copy(&repo, stick.path());
    let lines: Vec<String> =
        repo.files.iter().map(|(path, content)| format!("{}  ./{path}\n", sha256(content))).collect();
    let mut sums = lines.concat();
    fs::write(stick.path().join("SHA256SUMS"), &sums).unwrap();
    assert_eq!(from(&board, stick.path(), &["--name", "tiny"]).well()["vouched"], "sums");
    sums = sums.replace(&sha256(&repo.files["tokenizer.json"]), &"0".repeat(64));
    fs::write(stick.path().join("SHA256SUMS"), &sums).unwrap();
    from(&board, stick.path(), &["--name", "again"]).refused(65, "tokenizer.json is not what it should be");
    assert!(!board.models().join("again").exists());
}

#[test]
fn links_of_a_cache_are_followed_and_what_has_a_place_is_never_replaced() {
    let (board, stick, repo) = (Board::new(), tempfile::tempdir().unwrap(), Repo::tiny(100_000));
    copy(&repo, &stick.path().join("blobs"));
    fs::create_dir(stick.path().join("snapshot")).unwrap();
    for name in ["config.json", "tokenizer.json", "onnx"] {
        std::os::unix::fs::symlink(
            stick.path().join("blobs").join(name),
            stick.path().join("snapshot").join(name),
        )
        .unwrap();
    }
    let snapshot = stick.path().join("snapshot");
    from(&board, &snapshot, &["--name", "tiny"]).well();
    assert_eq!(from(&board, &snapshot, &["--name", "tiny"]).well()["was_there"], true);
    fs::write(stick.path().join("blobs/config.json"), "{\"changed\": 1}").unwrap();
    from(&board, &snapshot, &["--name", "tiny"]).refused(65, "--name");
    assert_eq!(fs::read(board.models().join("tiny/config.json")).unwrap(), b"{}");
    let hub = Hub::start(repo);
    hub.play(Door::Api, usize::MAX, Act::Silent);
    from(&board, &snapshot, &["acme/tiny-ONNX"]).refused(65, "`--from-dir` takes no repository");
    assert!(hub.seen().is_empty());
}
