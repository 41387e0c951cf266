//! A stand-in for the Hub's files: the listing of a repository, `resolve` with its redirect to a storage on
//! another origin, tags, ranges, and every way to misbehave, on command.
//!
//! Speaks HTTP/1.1 by hand, because what is to be tried is what no HTTP library lets one send.

#![allow(dead_code, reason = "not every test crate uses all of it")]

mod answer;
mod repo;

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub(crate) use repo::{Repo, git_blob, sha256};

/// Which of its doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/api/models/…`
    Api,
    /// `/org/name/resolve/…`
    Resolve,
    /// The storage, on another origin.
    Storage,
}

/// How it misbehaves.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Resets the connection after so many bytes of the body.
    Cut(usize),
    /// Stops after so many bytes of the body, and says nothing more until the caller goes away.
    Stall(usize),
    /// The same until the test lets it go on.
    Pause(usize),
    /// Takes a while for each piece.
    Pace,
    /// Answers a question for a range with the whole file.
    IgnoreRange,
    /// Says this of the range that it sends.
    ContentRange(&'static str),
    /// Sends the whole file with another byte at this place.
    Flip(usize),
    /// Says that the body is longer by so many bytes.
    Longer(i64),
    /// A page instead of what was asked for.
    Page,
    /// Sends elsewhere.
    Redirect(String),
    /// Sends to itself.
    Loop,
    /// A status with headers of its own, each ending in CRLF, and a body.
    Status(u16, String, &'static str),
    /// Never answers.
    Silent,
    /// Says that the body is packed.
    Packed,
    /// Another tag of the file than in the listing.
    Linked(String),
    /// This instead of the listing.
    Listing(Vec<u8>),
    /// Without a length, in chunks.
    Chunked,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) door: Door,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Where a question for a range begins.
    pub(crate) fn from(&self) -> usize {
        self.header("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0)
    }
}

#[derive(Default)]
struct State {
    repo: Repo,
    orders: Vec<(Door, usize, Act)>,
    seen: Vec<Seen>,
    /// Bytes of files that were sent.
    sent: u64,
    paused: usize,
    goes_on: bool,
    /// The token that is wanted.
    token: Option<String>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    home: SocketAddr,
    storage: SocketAddr,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, with: impl FnOnce(&mut State)) {
        with(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        let all = self.changed.wait_timeout_while(self.lock(), Duration::from_mins(1), |state| !until(state));
        !all.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What is to be done to this request.
    fn order(&self, door: Door) -> Option<Act> {
        let mut state = self.lock();
        let at = state.orders.iter().position(|(of, times, _)| *of == door && *times > 0)?;
        state.orders[at].1 -= 1;
        Some(state.orders[at].2.clone())
    }
}

/// The stand-in; dropping it closes it.
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

impl Hub {
    pub(crate) fn start(repo: Repo) -> Self {
        let [home, storage] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { repo, ..State::default() }),
            changed: Condvar::new(),
            home: home.local_addr().unwrap(),
            storage: storage.local_addr().unwrap(),
        });
        for (listener, is_storage) in [(home, false), (storage, true)] {
            let serving = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if serving.lock().closed {
                        return;
                    }
                    let serving = Arc::clone(&serving);
                    thread::spawn(move || serve(&serving, stream, is_storage));
                }
            });
        }
        Self { shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.shared.home)
    }

    /// The next `times` requests at this door are answered so.
    pub(crate) fn play(&self, door: Door, times: usize, act: Act) {
        self.shared.change(|state| state.orders.push((door, times, act)));
    }

    pub(crate) fn behave(&self) {
        self.shared.change(|state| state.orders.clear());
    }

    /// Only with this token from now on.
    pub(crate) fn want_token(&self, token: &str) {
        self.shared.change(|state| state.token = Some(token.into()));
    }

    pub(crate) fn change(&self, with: impl FnOnce(&mut Repo)) {
        self.shared.change(|state| with(&mut state.repo));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    pub(crate) fn forget(&self) {
        self.shared.change(|state| (state.seen, state.sent) = (Vec::new(), 0));
    }

    /// Bytes of files that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.lock().sent
    }

    /// Waits until an answer stands still in the middle.
    pub(crate) fn wait_for_pause(&self) {
        assert!(self.shared.wait(|state| state.paused > 0), "nothing stands still");
    }

    pub(crate) fn go_on(&self) {
        self.shared.change(|state| state.goes_on = true);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.change(|state| (state.closed, state.goes_on) = (true, true));
        // Those who wait for the next connection get it.
        for address in [self.shared.home, self.shared.storage] {
            let _ = TcpStream::connect(address);
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream, is_storage: bool) {
    let _ = stream.set_nodelay(true);
    let Ok(out) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some((target, headers)) = read(&mut reader) {
        let door = match (is_storage, target.starts_with("/api/")) {
            (true, _) => Door::Storage,
            (_, true) => Door::Api,
            _ => Door::Resolve,
        };
        let seen = Seen { door, target, headers };
        shared.change(|state| state.seen.push(seen.clone()));
        let act = shared.order(door);
        if !answer::answer(shared, &seen, act.as_ref(), &out) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((target, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
