//! The lists, `[[client]]` and `[[task]]`: every key of an entry, with its type, its default
//! and its meaning beside it.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    schema::{Config, Key},
    setting::Setting,
    words::{OnChange, OneOrMore, PayloadForm},
};
use crate::domain::{ClientId, DeviceKind, Lane, Zone};

/// One list as `config show` and messages need it.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The name in `[[name]]`.
    pub name: &'static str,
    /// What an entry is.
    pub doc: &'static str,
    /// Every key of an entry; `path` is the key alone.
    pub keys: &'static [Key],
    /// The keys that every entry must have.
    pub required: &'static [&'static str],
}

/// Writes the structs of entries, their defaults and the tables of keys from one list.
macro_rules! lists {
    ($($(#[doc = $list_doc:literal])* $list:ident: $Entry:ident requires($($required:ident),*) {
        $($(#[doc = $doc:literal])* $key:ident: $Type:ty = $default:expr;)*
    })*) => {
        $(
            $(#[doc = $list_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Entry {
                $($(#[doc = $doc])* pub $key: $Type,)*
            }

            impl Default for $Entry {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        impl Config {
            /// Every list there is.
            pub const LISTS: &[List] = &[$(List {
                name: stringify!($list),
                doc: concat!($($list_doc, "\n",)*),
                keys: &[$(Key { path: stringify!($key), doc: concat!($($doc, "\n",)*) }),*],
                required: &[$(stringify!($required)),*],
            }),*];

            /// Entries of a list.
            pub fn entries(&self, list: &str) -> usize {
                $(if list == stringify!($list) {
                    return self.$list.len();
                })*
                0
            }

            /// Appends an entry of defaults.
            pub(super) fn add_entry(&mut self, list: &str) {
                $(if list == stringify!($list) {
                    self.$list.push($Entry::default());
                })*
            }

            /// Sets one key of an entry from TOML; `None` when there is no such entry or key.
            pub(super) fn set_entry(
                &mut self, list: &str, index: usize, key: &str, value: &toml::Value,
            ) -> Option<Result<(), String>> {
                $($(if list == stringify!($list) && key == stringify!($key) {
                    let entry = self.$list.get_mut(index)?;
                    return Some(<$Type>::from_toml(value).map(|v| entry.$key = v));
                })*)*
                None
            }

            /// The value of one key of an entry as it would stand in a file.
            pub fn get_entry(&self, list: &str, index: usize, key: &str) -> Option<toml::Value> {
                $($(if list == stringify!($list) && key == stringify!($key) {
                    return Some(self.$list.get(index)?.$key.to_toml());
                })*)*
                None
            }
        }
    };
}

lists! {
    /// Somebody who asks, and what they may take of the device.
    client: Client requires(name) {
        /// The name: the client of MQTT topics, and of status and log. Letters, digits and `-_.:@`, at most 64.
        name: String = String::new();
        /// User id of the local processes that are this client, over the Unix socket. Empty: none.
        uid: Option<u32> = None;
        /// The most urgent lane that this client's requests may have: interactive, normal or batch. A request
        /// for a more urgent one gets this one.
        lane_max: Lane = Lane::Interactive;
        /// Requests of this client that may wait. Empty: `service.queued_per_client_max`.
        queued_max: Option<usize> = None;
        /// Requests of this client that are taken in per minute. Empty: as many as come.
        requests_per_minute: Option<usize> = None;
        /// Class of this client's data, for the policy; a request may say that its own are more restricted.
        /// Empty: the most restricted.
        data_class: Option<String> = None;
    }
    /// What to make of messages on some topics: a prompt for each, and where its answer goes.
    task: Task requires(name, topic, prompt, result) {
        /// The name, unique: letters, digits, `-` and `_`, at most 59.
        name: String = String::new();
        /// Topic filter, or a list of them. `+` and `#` are wildcards as in MQTT; a level `{line}` is a `+` that
        /// the templates know by this name.
        topic: OneOrMore = OneOrMore::default();
        /// The prompt, a Jinja template. It sees `payload`, `topic` (the list of levels), `topic_text`, the levels
        /// that the filter names, and `schema`. A field that is not there is an error, never an empty text.
        prompt: String = String::new();
        /// The system message, a template as well. Empty: none.
        system: Option<String> = None;
        /// JSON Schema that an answer must meet, as text. Empty: any answer is right.
        schema: Option<String> = None;
        /// File with that JSON Schema, instead of `schema`. Read once, at the start.
        schema_file: Option<PathBuf> = None;
        /// How the templates see what came in: json, text or bytes.
        payload: PayloadForm = PayloadForm::Json;
        /// Topic that answers are published to, a template as well. A value is one level of it: one that holds
        /// `/`, `+`, `#` or a control character is refused. Only `topic_text` brings its slashes.
        result: String = String::new();
        /// Topic that errors are published to, a template of the levels alone. Empty:
        /// `<root>/<node>/task/<name>/error`.
        error: Option<String> = None;
        /// Let the broker keep the latest answer for those who subscribe later.
        result_retained: bool = false;
        /// Lane of the requests: interactive, normal or batch.
        lane: Lane = Lane::Normal;
        /// Milliseconds after which an answer is worthless. Empty: `service.deadline_s`.
        deadline_ms: Option<u64> = None;
        /// Class of the data, for the policy. Empty: the most restricted.
        data_class: Option<String> = None;
        /// Temperature, 0 to 2. Empty: `service.temperature`.
        temperature: Option<f32> = None;
        /// Tokens of an answer. Empty: `service.answer_tokens`.
        max_tokens: Option<usize> = None;
        /// Same seed, same prompt, same answer. Empty: another one each time.
        seed: Option<i64> = None;
        /// Model to ask. Empty: `auto`.
        model: Option<String> = None;
        /// Where it is answered when that is free to choose: device, site or cloud. Farther than the device only as
        /// the policy allows.
        prefer: Zone = Zone::Device;
        /// Run at most once in this many milliseconds per topic; what comes in between waits, and the newest
        /// of it is run. Empty: each message runs.
        every_ms: Option<u64> = None;
        /// Run only when the payload is another than the last one on the same topic (`true`), or when a value
        /// at one of these JSON pointers is (a list such as `["/rms", "/state"]`).
        on_change: OnChange = OnChange::Off;
        /// A newer message on the same topic takes the place of one that still waits.
        supersedes: bool = true;
        /// Runs of this task per minute, all topics together; what is beyond is passed over and counted.
        /// Empty: as many as come.
        rate_per_minute: Option<usize> = None;
        /// Second attempts when an answer does not meet the schema, 0 or 1.
        retries: usize = 1;
        /// Run for messages that the broker kept from before this node subscribed, too.
        accept_retained: bool = false;
    }
    /// A server on the premises with OpenAI's interface, such as vLLM, llama-server or Ollama: the zone `site`.
    site: Site requires(name, base_url, model) {
        /// The name: the policy's provider, and a model that can be asked for. Letters, digits and `-_.`.
        name: String = String::new();
        /// Where its interface begins, such as `http://10.0.0.5:8000/v1`.
        base_url: String = String::new();
        /// Its model, as it calls it.
        model: String = String::new();
        /// File with its token; not readable by others. Empty: it wants none.
        token_file: Option<PathBuf> = None;
        /// File with the certificates of authorities that are trusted beside the system's, PEM.
        ca: Option<PathBuf> = None;
        /// Tokens of prompt and answer together. Empty: not known, and tried.
        context: Option<usize> = None;
        /// Whether it calls tools.
        tools: bool = false;
        /// Whether it keeps to a JSON Schema.
        structured_output: bool = false;
        /// Whether it reads images.
        images: bool = false;
        /// Calls at once, 1 to 64.
        calls_max: usize = 4;
    }
    /// A bound on what somebody may spend in the cloud, beside those of `[cloud]`. Name one of client, task, provider.
    budget: Budget requires() {
        /// This client's requests.
        client: Option<String> = None;
        /// This task's requests.
        task: Option<String> = None;
        /// What goes to this provider.
        provider: Option<String> = None;
        /// US dollars that one request may cost at most.
        usd_per_request: Option<f64> = None;
        /// US dollars of one day in UTC.
        usd_per_day: Option<f64> = None;
        /// US dollars of one month in UTC.
        usd_per_month: Option<f64> = None;
    }
    /// Options of an execution provider of `model.providers`, or the library that it is in.
    provider: Provider requires(name) {
        /// The name in `model.providers`: letters, digits and `-_.`.
        name: String = String::new();
        /// Library of a plug-in provider. Empty: it is built into ONNX Runtime.
        library: Option<PathBuf> = None;
        /// Which of a plug-in's devices: cpu, gpu or npu. Empty: all that it shows.
        device: Option<DeviceKind> = None;
        /// Its own options, such as `{ backend_path = "libQnnHtp.so" }`.
        options: BTreeMap<String, String> = BTreeMap::new();
    }
    /// A price that the router's catalogue does not name. Without one a provider is not asked.
    price: Price requires(model, provider, input, output) {
        /// The model, `org/name`.
        model: String = String::new();
        /// The provider.
        provider: String = String::new();
        /// US dollars per million tokens of the prompt.
        input: f64 = 0.0;
        /// US dollars per million tokens of the answer.
        output: f64 = 0.0;
    }
}

impl Client {
    /// The name as the service knows it; `None` for one that [`super::Layered::checked`] refuses.
    pub fn id(&self) -> Option<ClientId> {
        ClientId::new(&self.name)
    }
}
