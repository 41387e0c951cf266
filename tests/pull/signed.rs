//! Packages that the operator's key has signed, and those that it has not. `tests/data/signed/README` says how
//! the signatures were made.

use std::{fs, path::PathBuf};

use crate::{
    board::{Board, Pulled},
    hub_files::{Hub, Repo},
};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/signed").join(name)
}

fn signed() -> Repo {
    let names = [
        "LICENSE",
        "SHA256SUMS",
        "SHA256SUMS.minisig",
        "config.json",
        "model.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    Repo::new("acme/signed", &names.map(|name| (name, fs::read(data("repo").join(name)).unwrap())))
}

fn key(name: &str) -> String {
    format!("pull.public_key={}", fs::read_to_string(data(name)).unwrap().lines().last().unwrap())
}

fn pull(board: &Board, hub: &Hub, key: &str) -> Pulled {
    board.pull(hub, &["acme/signed", "--set", key, "--revision", "main"])
}

#[test]
fn what_the_key_has_signed_is_taken_with_its_signature() {
    let (board, hub) = (Board::new(), Hub::start(signed()));
    let done = pull(&board, &hub, &key("minisign.pub")).well();
    assert_eq!(done["vouched"], "signature");
    assert_eq!(done["comment"], "outpost test model, 2026-11-23");
    let places: Vec<_> = board.package("signed-fp32").into_iter().map(|(path, _)| path).collect();
    assert!(
        places.contains(&"SHA256SUMS".into()) && places.contains(&"SHA256SUMS.minisig".into()),
        "{places:?}"
    );
    // From there it goes on to the next board, signature and all.
    let next = Board::new();
    let dir = board.models().join("signed-fp32");
    let mut command =
        next.outpost(&["--json", "pull", "--set", &key("minisign.pub"), "--from-dir", dir.to_str().unwrap()]);
    assert_eq!(Pulled::of(command.output().unwrap()).well()["vouched"], "signature");
    // Without a key none is wanted.
    let mut command = Board::new().outpost(&["--json", "pull", "--from-dir", dir.to_str().unwrap()]);
    assert_eq!(Pulled::of(command.output().unwrap()).well()["vouched"], "sums");
}

#[test]
fn what_it_has_not_signed_is_refused_before_a_weight_is_fetched() {
    let refused = |change: fn(&mut Repo), key: &str, words: &str| {
        let (board, hub) = (Board::new(), Hub::start(signed()));
        hub.change(change);
        pull(&board, &hub, key).refused(65, words);
        assert!(!board.models().join("signed-fp32").exists());
        assert!(!hub.seen().iter().any(|seen| seen.target.contains("model.onnx")), "{words}");
    };
    let ours = key("minisign.pub");
    refused(|_| {}, &key("other.pub"), "not one of the key");
    refused(|repo| drop(repo.files.remove("SHA256SUMS.minisig")), &ours, "there is no `SHA256SUMS.minisig`");
    refused(|repo| drop(repo.files.remove("SHA256SUMS")), &ours, "there is no `SHA256SUMS`");
    refused(|repo| repo.files.get_mut("SHA256SUMS").unwrap()[3] ^= 1, &ours, "changed since");
    refused(|repo| repo.files.get_mut("model.onnx").unwrap()[3] ^= 1, &ours, "the source has another");
    refused(
        |repo| drop(repo.files.insert("chat_template.jinja".into(), b"evil".to_vec())),
        &ours,
        "`chat_template.jinja` is not named",
    );
    let (board, hub) = (Board::new(), Hub::start(signed()));
    pull(&board, &hub, "pull.public_key=nonsense")
        .refused(78, "`pull.public_key` is no public key of minisign");
}

#[test]
fn a_small_file_that_was_exchanged_is_found_by_the_signed_list() {
    let (board, hub) = (Board::new(), Hub::start(signed()));
    // Its git id fits, for the server has computed it anew.
    hub.change(|repo| repo.files.get_mut("config.json").unwrap()[0] ^= 1);
    pull(&board, &hub, &key("minisign.pub")).refused(65, "config.json is not what it should be");
    pull(&Board::new(), &hub, "pull.public_key=").well();
}

#[test]
fn what_was_pulled_without_a_key_does_not_become_signed_by_being_there() {
    let (board, hub) = (Board::new(), Hub::start(signed()));
    pull(&board, &hub, "pull.public_key=").well();
    pull(&board, &hub, &key("minisign.pub")).refused(65, "holds something else");
}
