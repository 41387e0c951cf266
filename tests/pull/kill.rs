//! Kills in the middle.

use crate::{
    board::{Board, Pulled, until},
    hub_files::{Act, Door, Hub, Repo, sha256},
};

const KILLS: usize = 20;
const DATA: usize = 84 << 20;
const FILE: &str = "onnx/model_q4.onnx_data";

#[test]
fn twenty_kills_in_the_middle_cost_next_to_nothing() {
    let (board, repo) = (Board::new(), Repo::tiny(DATA));
    let hub = Hub::start(repo.clone());
    hub.play(Door::Storage, usize::MAX, Act::Pace);
    let mut twice = Vec::new();
    let mut before = 0;
    for n in 0..KILLS {
        let mut command = board.outpost(&["pull", "acme/tiny-ONNX"]);
        let mut child = command.env("HF_ENDPOINT", hub.url()).spawn().unwrap();
        let mark = ((n + 1) * (DATA / (KILLS + 2))) as u64;
        until("it is in the middle", || (board.part(FILE) >= mark).then_some(()));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it was killed, and had not ended");
        let there = board.part(FILE);
        assert!(there >= before && there < DATA as u64, "{there}");
        before = there;
        // What is on disk is what the next one goes on behind.
        let last = hub.seen().into_iter().rfind(|seen| seen.door == Door::Storage).unwrap();
        twice.push((there, last.from() as u64));
    }
    let sent = hub.sent();
    hub.behave();
    let done = Pulled::of({
        let mut command = board.outpost(&["--json", "pull", "acme/tiny-ONNX"]);
        command.env("HF_ENDPOINT", hub.url()).output().unwrap()
    });
    let done = done.well();
    for (kill, (there, _)) in twice.iter().enumerate().take(KILLS - 1) {
        assert_eq!(twice[kill + 1].1, *there, "what was on disk was not asked for again");
    }
    let package = board.package("tiny-ONNX-q4");
    let data = &package.iter().find(|(path, _)| path == FILE).unwrap().1;
    assert_eq!(sha256(data), sha256(&repo.files[FILE]));
    let size: u64 = repo.q4().iter().map(|(_, content)| content.len() as u64).sum();
    assert_eq!(done["kept_bytes"].as_u64().unwrap() + done["fetched_bytes"].as_u64().unwrap(), size);
    let lost = sent + done["fetched_bytes"].as_u64().unwrap() - size;
    println!(
        "{KILLS} kills in {DATA} bytes: {lost} bytes were on their way and came again, {} a kill",
        lost / KILLS as u64
    );
    // What was on its way lies in the buffers of the two sockets; nothing that the program had taken is lost.
    assert!(lost <= (KILLS as u64) * (8 << 20), "{lost}");
    assert_eq!(board.leftovers(), 0);
}
