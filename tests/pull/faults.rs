//! Everything that a server, or what stands before it, can do wrong, one after the other.

use std::{sync::Mutex, thread};

use serde_json::json;

use crate::{
    board::Board,
    hub_files::{Act, Door, Hub, Repo},
};

const DATA: usize = 600_000;
const REPO: &str = "acme/tiny-ONNX";
const NAME: &str = "tiny-ONNX-q4";

/// What must come of it.
enum Must {
    /// A whole package. `again`: bytes that may come more than once, at most.
    Come { again: u64 },
    /// Nothing, with this exit code and these words; and a whole package once the server behaves.
    Refuse { code: i32, words: &'static str },
}

use Must::{Come, Refuse};

struct Case {
    name: &'static str,
    plays: Vec<(Door, usize, Act)>,
    must: Must,
}

const ALWAYS: usize = usize::MAX;

fn case(name: &'static str, plays: Vec<(Door, usize, Act)>, must: Must) -> Case {
    Case { name, plays, must }
}

fn status(status: u16, headers: &str, body: &'static str) -> Act {
    Act::Status(status, headers.into(), body)
}

/// Connections that break, and ranges.
fn broken() -> Vec<Case> {
    use Door::{Api, Resolve, Storage};
    let none = Come { again: 0 };
    vec![
        case("cut after 100,000 bytes, five times", vec![(Storage, 5, Act::Cut(100_000))], Come { again: 0 }),
        case("cut before the first byte, twice", vec![(Storage, 2, Act::Cut(0))], none),
        case(
            "always cut after 100 bytes",
            vec![(Storage, ALWAYS, Act::Cut(100))],
            Refuse { code: 69, words: "are kept" },
        ),
        case("stands still in the middle", vec![(Storage, 1, Act::Stall(200_000))], Come { again: 0 }),
        case("never answers, once", vec![(Resolve, 1, Act::Silent)], Come { again: 0 }),
        case(
            "never answers to the listing",
            vec![(Api, ALWAYS, Act::Silent)],
            Refuse { code: 69, words: "waited 1 s in vain" },
        ),
        case(
            "knows no ranges: 200 instead of 206",
            vec![(Storage, 1, Act::Cut(20_000)), (Storage, 1, Act::IgnoreRange)],
            Come { again: 20_000 },
        ),
        case(
            "206 with the wrong range",
            vec![(Storage, 1, Act::Cut(20_000)), (Storage, ALWAYS, Act::ContentRange("bytes 0-29999/30000"))],
            Refuse { code: 69, words: "other bytes than were asked for" },
        ),
        case(
            "416 in the middle",
            vec![(Storage, 1, Act::Cut(20_000)), (Storage, 1, status(416, "", ""))],
            Come { again: 20_000 },
        ),
        case(
            "a length that is too large",
            vec![(Storage, ALWAYS, Act::Longer(7))],
            Refuse { code: 69, words: "instead of" },
        ),
        case(
            "a length that is too small",
            vec![(Storage, ALWAYS, Act::Longer(-7))],
            Refuse { code: 69, words: "instead of" },
        ),
        case("no length, in chunks", vec![(Storage, 2, Act::Chunked)], Come { again: 0 }),
        case(
            "packed with gzip unasked",
            vec![(Storage, ALWAYS, Act::Packed)],
            Refuse { code: 69, words: "packed as `gzip`" },
        ),
    ]
}

/// Other content than was listed.
fn changed() -> Vec<Case> {
    use Door::{Resolve, Storage};
    let other = "ab".repeat(32);
    vec![
        case("one wrong byte, once", vec![(Storage, 1, Act::Flip(5))], Come { again: 30_000 }),
        case(
            "one wrong byte, always",
            vec![(Storage, ALWAYS, Act::Flip(5))],
            Refuse { code: 65, words: "do not use it" },
        ),
        case(
            "one wrong byte in a small file",
            vec![(Resolve, ALWAYS, Act::Flip(1))],
            Refuse { code: 65, words: "git blob" },
        ),
        case(
            "another content behind a cut",
            vec![(Storage, 1, Act::Cut(20_000)), (Storage, 1, Act::Flip(25_000))],
            Come { again: 30_000 },
        ),
        case(
            "another ETag than was listed",
            vec![(Resolve, ALWAYS, Act::Linked(other))],
            Refuse { code: 65, words: "another file than it listed" },
        ),
        case("a page instead of a file, twice", vec![(Storage, 2, Act::Page)], Come { again: 0 }),
        case(
            "always a page instead of a file",
            vec![(Storage, ALWAYS, Act::Page)],
            Refuse { code: 69, words: "a portal or proxy" },
        ),
    ]
}

/// Redirects and refusals.
fn refused() -> Vec<Case> {
    use Door::{Api, Resolve, Storage};
    let again = || Come { again: 0 };
    let gated =
        "x-error-code: GatedRepo\r\nx-error-message: Access to model acme/tiny-ONNX is restricted.\r\n";
    let bad_token = "x-error-message: Invalid credentials in Authorization header\r\n";
    vec![
        case(
            "redirects in a circle",
            vec![(Resolve, ALWAYS, Act::Loop)],
            Refuse { code: 69, words: "more than 5 times" },
        ),
        case(
            "redirects to a file",
            vec![(Resolve, ALWAYS, Act::Redirect("file:///etc/passwd".into()))],
            Refuse { code: 69, words: "not followed" },
        ),
        case(
            "401 for a bad token",
            vec![(Api, ALWAYS, status(401, bad_token, ""))],
            Refuse { code: 78, words: "the token is not accepted" },
        ),
        case(
            "401 without a word",
            vec![(Api, ALWAYS, status(401, "", ""))],
            Refuse { code: 65, words: "no token was sent" },
        ),
        case(
            "403, gated",
            vec![(Api, ALWAYS, status(403, gated, ""))],
            Refuse { code: 78, words: "accept them with the account" },
        ),
        case(
            "403, gated, at the file",
            vec![(Resolve, ALWAYS, status(403, gated, ""))],
            Refuse { code: 78, words: "is gated" },
        ),
        case(
            "403",
            vec![(Api, ALWAYS, status(403, "", ""))],
            Refuse { code: 78, words: "lacks the right to read" },
        ),
        case(
            "404, repository",
            vec![(Api, ALWAYS, status(404, "x-error-code: RepoNotFound\r\n", ""))],
            Refuse { code: 65, words: "there is no repository" },
        ),
        case(
            "404, revision",
            vec![(Api, ALWAYS, status(404, "x-error-code: RevisionNotFound\r\n", ""))],
            Refuse { code: 65, words: "has no revision `main`" },
        ),
        case(
            "404, file",
            vec![(Resolve, ALWAYS, status(404, "x-error-code: EntryNotFound\r\n", ""))],
            Refuse { code: 65, words: "is no longer there" },
        ),
        case("a signed address that has run out", vec![(Storage, 1, status(403, "", "<Error/>"))], again()),
        case("429 with Retry-After: 1", vec![(Resolve, 1, status(429, "retry-after: 1\r\n", ""))], again()),
        case(
            "429 with Retry-After: 100000",
            vec![(Api, ALWAYS, status(429, "retry-after: 100000\r\n", ""))],
            Refuse { code: 69, words: "come back in 100000 s" },
        ),
        case(
            "500, then 502, then 503",
            [500, 502, 503].map(|n| (Storage, 1, status(n, "", ""))).to_vec(),
            again(),
        ),
        case(
            "always 503",
            vec![(Api, ALWAYS, status(503, "", "overloaded"))],
            Refuse { code: 69, words: "overloaded" },
        ),
    ]
}

/// Listings that no Hub would write.
fn listings() -> Vec<Case> {
    let with = |name, siblings: serde_json::Value, words| {
        let body = json!({"id": REPO, "sha": "a".repeat(40), "siblings": siblings}).to_string();
        case(name, vec![(Door::Api, ALWAYS, Act::Listing(body.into()))], Refuse { code: 78, words })
    };
    let one = |path: &str| json!([{"rfilename": path, "size": 1}]);
    let many: Vec<_> = (0..100_000).map(|n| json!({"rfilename": n.to_string(), "size": 1})).collect();
    let giant = vec![b' '; 17 << 20];
    vec![
        with("a path with `..`", one("../../etc/cron.d/x"), "no path below"),
        with("an absolute path", one("/etc/cron.d/x"), "no path below"),
        with("a path with NUL", one("a\0b"), "no path below"),
        with(
            "a file twice",
            json!([{"rfilename": "a", "size": 1}, {"rfilename": "a", "size": 2}]),
            "is in it twice",
        ),
        with("100,000 files", json!(many), "100000 files"),
        case(
            "a listing of 17 MiB",
            vec![(Door::Api, ALWAYS, Act::Listing(giant))],
            Refuse { code: 65, words: "more than 16777216 bytes" },
        ),
        case(
            "a page instead of the listing",
            vec![(Door::Api, ALWAYS, Act::Page)],
            Refuse { code: 78, words: "HTML page" },
        ),
        case(
            "no JSON",
            vec![(Door::Api, ALWAYS, Act::Listing(b"{\"sha\"".to_vec()))],
            Refuse { code: 78, words: "no listing" },
        ),
    ]
}

/// Plays one; the line of the table.
fn play(case: &Case) -> String {
    let (board, repo) = (Board::new(), Repo::tiny(DATA));
    let hub = Hub::start(repo.clone());
    for (door, times, act) in &case.plays {
        hub.play(*door, *times, act.clone());
    }
    let size: u64 = repo.q4().iter().map(|(_, content)| content.len() as u64).sum();
    let pulled = board.pull(&hub, &[REPO, "--precision", "q4", "--retries", "3"]);
    let whole = |out: &serde_json::Value| {
        let mut files = board.package(NAME);
        files.retain(|(path, _)| path != "outpost-pull.toml");
        let wanted: Vec<_> = repo.q4().into_iter().map(|(path, c)| (path.to_owned(), c.to_vec())).collect();
        assert!(files == wanted, "{}: what was installed is not what was published", case.name);
        assert_eq!(out["bytes"], size, "{}", case.name);
        assert_eq!(board.leftovers(), 0, "{}", case.name);
    };
    match &case.must {
        Come { again } => {
            assert_eq!(pulled.code, 0, "{}: {}", case.name, pulled.words);
            whole(&pulled.out);
            let of = |key: &str| pulled.out[key].as_u64().unwrap();
            assert!(of("fetched_bytes") <= size + again, "{}: {}", case.name, pulled.out);
            let tries = of("retries");
            format!(
                "| {} | whole after {tries} more tries; {} bytes came twice |",
                case.name,
                of("fetched_bytes") - size
            )
        }
        Refuse { code, words } => {
            let said = pulled.refused(*code, words);
            assert!(!board.models().join(NAME).exists(), "{}: something was installed", case.name);
            let kept = board.part("onnx/model_q4.onnx").max(board.part("onnx/model_q4.onnx_data"));
            hub.behave();
            whole(&board.pull(&hub, &[REPO, "--precision", "q4"]).well());
            let said = said.trim().rsplit("outpost: ").next().unwrap_or_default().replace('\n', " ");
            format!("| {} | refused ({code}), {kept} bytes of the file kept: {said} |", case.name)
        }
    }
}

#[test]
fn whatever_goes_wrong_a_package_is_whole_or_not_there() {
    let cases: Vec<Case> = [broken(), changed(), refused(), listings()].into_iter().flatten().collect();
    let rows = Mutex::new(vec![String::new(); cases.len()]);
    let next = std::sync::atomic::AtomicUsize::new(0);
    // They mostly wait.
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some((n, case)) = {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    cases.get(n).map(|case| (n, case))
                } {
                    let row = play(case);
                    rows.lock().unwrap()[n] = row;
                }
            });
        }
    });
    println!("\n| fault | what came of it |\n|---|---|\n{}", rows.lock().unwrap().join("\n"));
}
