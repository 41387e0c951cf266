//! A stand-in for Hugging Face's router: `GET /v1/models` and `POST /v1/chat/completions` as the
//! documentation of the Inference Providers describes them, twelve providers that differ in price,
//! speed and what they offer, and every way to misbehave, on command.
//!
//! Speaks HTTP/1.1 by hand, because what is to be tried is what no HTTP library lets one send.

#![allow(dead_code, reason = "not every test crate uses all of it")]

pub(crate) mod catalogue;
pub(crate) mod faults;
pub(crate) mod front;
pub(crate) mod hub;
pub(crate) mod script;

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use self::script::{Script, Step};

/// The token that it takes.
pub(crate) const TOKEN: &str = "hf_testtesttesttesttest";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Every byte that came, with whatever stood behind the body.
    pub(crate) raw: Vec<u8>,
    /// Who is to answer, when it is a prompt.
    pub(crate) provider: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The text of the last message.
    pub(crate) fn prompt(&self) -> String {
        let body = self.json();
        let last = body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        last["content"].as_str().unwrap_or_default().to_owned()
    }
}

type Play = Arc<dyn Fn(&Seen) -> Script + Send + Sync>;

struct Order {
    provider: Option<String>,
    times: usize,
    play: Play,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    orders: VecDeque<Order>,
    catalogue: Option<Vec<u8>>,
    /// Calls wait here until they are let go.
    held: bool,
    waiting: usize,
    /// Answers that stand still in the middle, and how often they were told to go on.
    paused: usize,
    goes_on: usize,
    /// Callers that went away in the middle of an answer.
    gone: usize,
    /// What the Hub says that calls have cost.
    bill: Vec<hub::Entry>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
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
        let patience = Duration::from_mins(1);
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !until(state))
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }
}

/// The stand-in; dropping it closes it.
pub(crate) struct Router {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Router {
    pub(crate) fn start() -> Self {
        Self::on("127.0.0.1:0")
    }

    pub(crate) fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.lock().closed {
                    return;
                }
                let serving = Arc::clone(&serving);
                if let Ok(stream) = stream {
                    thread::spawn(move || serve(&serving, stream));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The next `times` prompts (for this provider) are answered so.
    pub(crate) fn play(
        &self,
        provider: Option<&str>,
        times: usize,
        play: impl Fn(&Seen) -> Script + Send + Sync + 'static,
    ) {
        let order = Order { provider: provider.map(Into::into), times, play: Arc::new(play) };
        self.shared.change(|state| state.orders.push_back(order));
    }

    /// Nothing is out of order any more.
    pub(crate) fn behave(&self) {
        self.shared.change(|state| state.orders.clear());
    }

    /// What `/v1/models` says from now on.
    pub(crate) fn offer(&self, catalogue: &Value) {
        self.offer_bytes(catalogue.to_string().into_bytes());
    }

    pub(crate) fn offer_bytes(&self, catalogue: Vec<u8>) {
        self.shared.change(|state| state.catalogue = Some(catalogue));
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Every prompt so far.
    pub(crate) fn prompts(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == "POST").collect()
    }

    /// Waits until so many prompts have come.
    pub(crate) fn wait_for_prompts(&self, n: usize) {
        let count = |state: &State| state.seen.iter().filter(|seen| seen.method == "POST").count();
        assert!(self.shared.wait(|state| count(state) >= n), "only {:?}", self.prompts());
    }

    /// Prompts are not answered until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.shared.change(|state| state.held = true);
    }

    /// Waits until so many wait.
    pub(crate) fn wait_for_held(&self, n: usize) {
        assert!(self.shared.wait(|state| state.waiting >= n), "{} wait", self.shared.lock().waiting);
    }

    pub(crate) fn release(&self) {
        self.shared.change(|state| state.held = false);
    }

    /// Waits until so many answers stand still in the middle.
    pub(crate) fn wait_for_paused(&self, n: usize) {
        assert!(self.shared.wait(|state| state.paused >= n), "{} stand still", self.shared.lock().paused);
    }

    /// What stands still goes on; waits until something does.
    pub(crate) fn go_on(&self) {
        self.wait_for_paused(1);
        self.shared.change(|state| state.goes_on += 1);
    }

    /// Writes the bill anew: the price in cents of each prompt so far, by its session; `None`: not known yet.
    pub(crate) fn bill(&self, cents: impl Fn(&Seen) -> Option<f64>) {
        let priced = self.prompts().into_iter().filter_map(|seen| {
            let session = seen.header("x-hf-session-id").unwrap_or_default().to_owned();
            cents(&seen).map(|cents| hub::Entry { session, cents })
        });
        let bill = priced.collect();
        self.shared.change(|state| state.bill = bill);
    }

    /// Where the Hub is.
    pub(crate) fn hub_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until so many callers have gone away in the middle.
    pub(crate) fn wait_for_gone(&self, n: usize) {
        assert!(self.shared.wait(|state| state.gone >= n), "{} are gone", self.shared.lock().gone);
    }

    pub(crate) fn forget(&self) {
        self.shared.change(|state| state.seen.clear());
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.change(|state| {
            (state.closed, state.held) = (true, false);
            state.goes_on += 1;
        });
        // The one that waits for the next connection gets it.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: TcpStream) {
    // Each piece on its own, and at once: a reset throws away what was not sent yet.
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let Some(mut seen) = read(&mut reader) else { return };
    let script = match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/v1/models") => models(shared),
        ("POST", "/v1/chat/completions") => {
            seen.provider = chosen(&seen);
            let play = order(shared, &seen.provider);
            shared.change(|state| state.seen.push(seen.clone()));
            shared.change(|state| state.waiting += 1);
            shared.wait(|state| !state.held);
            shared.change(|state| state.waiting -= 1);
            refusal(&seen).unwrap_or_else(|| play.map_or_else(|| script::echo(&seen), |play| play(&seen)))
        }
        ("GET", _) => hub::answer(&shared.lock(), &seen).unwrap_or_else(not_found),
        _ => not_found(),
    };
    if seen.method == "GET" {
        shared.change(|state| state.seen.push(seen));
    }
    for step in script {
        match step {
            Step::Bytes(bytes) => {
                if out.write_all(&bytes).is_err() {
                    return shared.change(|state| state.gone += 1);
                }
            }
            Step::Pause => {
                let before = shared.lock().goes_on;
                shared.change(|state| state.paused += 1);
                shared.wait(|state| state.goes_on > before);
                shared.change(|state| state.paused -= 1);
            }
            Step::Reset => {
                let _ = rustix::net::sockopt::set_socket_linger(&out, Some(Duration::ZERO));
                return;
            }
            Step::Silence => {
                // Until the caller goes away.
                let _ = reader.read(&mut [0]);
                return shared.change(|state| state.gone += 1);
            }
        }
    }
}

fn not_found() -> Script {
    script::status(404, r#"{"error":"Not Found"}"#)
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut raw = line.clone().into_bytes();
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        raw.extend_from_slice(line.as_bytes());
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    raw.extend_from_slice(&body);
    raw.extend_from_slice(reader.buffer());
    Some(Seen { method, path, headers, body, raw, provider: String::new() })
}

fn models(shared: &Shared) -> Script {
    let body = shared.lock().catalogue.clone();
    script::ok("application/json", &body.unwrap_or_else(|| catalogue::document().to_string().into_bytes()))
}

/// Who answers, by the suffix of the model's name.
fn chosen(seen: &Seen) -> String {
    let body = seen.json();
    let name = body["model"].as_str().unwrap_or_default();
    match name.split_once(':').map_or("fastest", |(_, suffix)| suffix) {
        "fastest" => catalogue::fastest().to_owned(),
        "cheapest" => catalogue::cheapest().to_owned(),
        provider => provider.to_owned(),
    }
}

fn order(shared: &Shared, provider: &str) -> Option<Play> {
    let mut state = shared.lock();
    let mine = |order: &Order| order.provider.as_deref().is_none_or(|name| name == provider);
    let at = state.orders.iter().position(mine)?;
    let order = &mut state.orders[at];
    order.times -= 1;
    let play = Arc::clone(&order.play);
    if order.times == 0 {
        state.orders.remove(at);
    }
    Some(play)
}

/// What the router itself refuses.
fn refusal(seen: &Seen) -> Option<Script> {
    if seen.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Some(faults::bad_token());
    }
    let known = catalogue::PROVIDERS.iter().any(|provider| provider.name == seen.provider);
    (!known).then(faults::model_not_supported)
}

/// An error body of OpenAI's shape.
pub(crate) fn openai_error(message: &str, code: &str) -> String {
    json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}})
        .to_string()
}
