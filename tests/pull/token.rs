//! The token: who gets it, and who does not.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    board::{Board, Pulled},
    hub_files::{Act, Door, Hub, Repo},
};

const TOKEN: &str = "hf_secretsecretsecret";
const REPO: &str = "acme/tiny-ONNX";

fn with_token(board: &Board, hub: &Hub, arguments: &[&str]) -> Pulled {
    let mut command = board.outpost(&[&["--json", "pull", REPO], arguments].concat());
    Pulled::of(command.env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", TOKEN).output().unwrap())
}

#[test]
fn the_endpoint_gets_the_token_and_nobody_else_does() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    hub.want_token(TOKEN);
    with_token(&board, &hub, &[]).well();
    let seen = hub.seen();
    let (storage, home): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.door == Door::Storage);
    assert!(storage.len() >= 2 && home.len() >= 4, "{} and {}", storage.len(), home.len());
    assert!(home.iter().all(|seen| seen.header("authorization").is_some()));
    for seen in storage {
        assert_eq!(seen.header("authorization"), None, "{seen:?}");
        assert!(!seen.target.contains(TOKEN) && seen.headers.iter().all(|(_, value)| !value.contains(TOKEN)));
    }
    let files = board.package("tiny-ONNX-q4");
    assert!(files.iter().all(|(_, content)| !content.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes())));
}

#[test]
fn a_redirect_to_another_server_takes_no_token_along() {
    let (board, hub, other) =
        (Board::new(), Hub::start(Repo::tiny(600_000)), Hub::start(Repo::tiny(600_000)));
    hub.play(
        Door::Api,
        1,
        Act::Redirect(format!("{}/api/models/{REPO}/revision/main?blobs=true", other.url())),
    );
    with_token(&board, &hub, &["--dry-run"]).well();
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].header("authorization"), None);
    assert!(hub.seen()[0].header("authorization").is_some());
}

#[test]
fn a_gate_and_a_bad_token_are_told_apart_and_no_token_is_ever_printed() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    hub.want_token("hf_another");
    let bad = with_token(&board, &hub, &[]).refused(78, "the token is not accepted");
    let none = board.pull(&hub, &[REPO]).refused(78, "is gated");
    assert!(none.contains("set `HF_TOKEN`") && none.contains(&format!("{}/{REPO}", hub.url())), "{none}");
    assert!(!bad.contains(TOKEN));
    // What comes over the way is not printed either, whatever it says.
    hub.play(Door::Api, 1, Act::Status(500, String::new(), "\u{1b}[2Jboom"));
    let words = with_token(&board, &hub, &["--retries", "0"]).refused(69, "boom");
    assert!(!words.contains('\u{1b}'), "{words:?}");
}

#[test]
fn a_token_comes_from_the_environment_or_a_file_that_others_cannot_read() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    hub.want_token(TOKEN);
    let file = board.dir().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let setting = format!("cloud.token_file={}", file.display());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    board.pull(&hub, &[REPO, "--dry-run", "--set", &setting]).refused(78, "chmod 0640");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    board.pull(&hub, &[REPO, "--dry-run", "--set", &setting]).well();
    let mut command = board.outpost(&["--json", "pull", REPO, "--dry-run"]);
    let pulled =
        Pulled::of(command.env("HF_ENDPOINT", hub.url()).env("HF_TOKEN_PATH", &file).output().unwrap());
    pulled.well();
    board.pull(&hub, &[REPO, "--endpoint", "http://u:p@127.0.0.1:1"]).refused(78, "holds a password");
    board
        .pull(&hub, &[REPO, "--retries", "0", "--endpoint", "http://127.0.0.1:1"])
        .refused(69, "cannot be reached");
}
