//! Every key, with its type, its default and its meaning beside it.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    list::{Budget, Client, Price, Provider, Site, Task},
    setting::{FileMode, LogLevel, Setting},
    words::{OnCorruption, PackedWeights},
};
use crate::domain::{Lane, Prefer};

/// One key as `config show` and messages need it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub path: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// Writes the structs, their defaults and the table of keys from one list.
macro_rules! settings {
    ($($(#[doc = $section_doc:literal])* $section:ident: $Section:ident {
        $($(#[doc = $doc:literal])* $key:ident: $Type:ty = $default:expr;)*
    })*) => {
        /// The daemon's configuration.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])* pub $section: $Section,)*
            /// The entries of `[[client]]`, in the order of the files.
            pub client: Vec<Client>,
            /// The entries of `[[task]]`, in the order of the files.
            pub task: Vec<Task>,
            /// The entries of `[[site]]`, in the order of the files.
            pub site: Vec<Site>,
            /// The entries of `[[budget]]`, in the order of the files.
            pub budget: Vec<Budget>,
            /// The entries of `[[price]]`, in the order of the files.
            pub price: Vec<Price>,
            /// The entries of `[[provider]]`, in the order of the files.
            pub provider: Vec<Provider>,
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $($(#[doc = $doc])* pub $key: $Type,)*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        impl Config {
            /// Every key there is, in the order of this file.
            pub const KEYS: &[Key] = &[$($(Key {
                path: concat!(stringify!($section), ".", stringify!($key)),
                doc: concat!($($doc, "\n",)*),
            },)*)*];

            /// Every section there is.
            pub const SECTIONS: &[&str] = &[$(stringify!($section)),*];

            /// Sets one key from TOML; `None` when there is no such key.
            pub fn set(&mut self, path: &str, value: &toml::Value) -> Option<Result<(), String>> {
                $($(if path == concat!(stringify!($section), ".", stringify!($key)) {
                    return Some(<$Type>::from_toml(value).map(|v| self.$section.$key = v));
                })*)*
                None
            }

            /// Sets one key from an environment variable or a flag; `None` when there is no such key.
            pub fn set_text(&mut self, path: &str, text: &str) -> Option<Result<(), String>> {
                $($(if path == concat!(stringify!($section), ".", stringify!($key)) {
                    return Some(<$Type>::from_text(text).map(|v| self.$section.$key = v));
                })*)*
                None
            }

            /// One key's value as it would stand in a file.
            pub fn get(&self, path: &str) -> Option<toml::Value> {
                $($(if path == concat!(stringify!($section), ".", stringify!($key)) {
                    return Some(self.$section.$key.to_toml());
                })*)*
                None
            }
        }
    };
}

settings! {
    /// Who this node is.
    node: Node {
        /// Name of this node in status and logs. Empty: the host name.
        id: String = String::new();
    }
    /// The ONNX Runtime library.
    runtime: Runtime {
        /// Path of `libonnxruntime.so`. Empty: `ORT_DYLIB_PATH`, then the model package's directory, then the
        /// library shipped with Outpost, then the system's.
        onnxruntime: Option<PathBuf> = None;
    }
    /// The resident model.
    model: Model {
        /// Directory of the model package; `outpost models activate` then changes nothing. Empty: the package that was
        /// activated in `model.dir`; none: every prompt is refused.
        package: Option<PathBuf> = None;
        /// Where `outpost pull` puts models, and where `current` and `previous` say which of them is used. Empty:
        /// `models` below `store.path`.
        dir: Option<PathBuf> = None;
        /// Execution providers, best first: the first on which the model runs is taken. Built in are `cpu`, `xnnpack`,
        /// `qnn`, `nnapi`, `cuda`, `tensorrt`, `acl` and `openvino`, each where ONNX Runtime was built with it; any other
        /// name is that of a `[[provider]]` with a `library`.
        providers: Vec<String> = vec!["cpu".into()];
    }
    /// What the engine may take of the board.
    engine: Engine {
        /// Answers that are written at once, 1 to 64. Each takes room in the KV cache.
        slots: usize = 4;
        /// Tokens of prompt and answer together, per slot. The package's own limit holds too.
        context: usize = 4096;
        /// Threads of one run. 0: one per big core.
        threads: usize = 0;
        /// Refuse a model that does not fit into the memory that can be had, instead of letting the board swap.
        check_memory: bool = true;
        /// Keep weights below `store.path` as ONNX Runtime packs them for this processor: the model then takes little memory
        /// that cannot be given back, loads faster, and needs two and a half times its size of disk. `auto`: from 1 GiB on.
        packed_weights: PackedWeights = PackedWeights::Auto;
        /// Keep below `store.path` what an accelerator's compiler makes of a model, so that it compiles once and not at every
        /// start. For one that cannot write it down, or writes what it cannot read, nothing is kept.
        keep_compiled: bool = true;
    }
    /// How requests are taken in.
    service: Service {
        /// Requests that may wait for the engine, 1 to 4096.
        queued_max: usize = 256;
        /// Requests of one client that may wait, 1 to `queued_max`.
        queued_per_client_max: usize = 64;
        /// Seconds after which an accepted request that names no deadline of its own is given up, 1 to 604800.
        deadline_s: usize = 86_400;
        /// Tokens of an answer when the request does not say.
        answer_tokens: usize = 1024;
        /// Temperature when the request does not say, 0 to 2. Small quantised models wander at OpenAI's 1.
        temperature: f32 = 0.7;
        /// Seconds that running answers get to finish after SIGTERM.
        stop_grace_s: usize = 20;
    }
    /// Where the daemon keeps its files.
    store: Store {
        /// Directory; must be writable.
        path: PathBuf = "/var/lib/outpost".into();
        /// When the database cannot be read: `start_empty` keeps it aside and begins anew, `stop` does not start.
        on_corruption: OnCorruption = OnCorruption::StartEmpty;
        /// Requests that are kept, finished ones included, 16 to 1000000. Beyond: the oldest finished ones go;
        /// when none is finished, new requests are refused.
        requests_max: usize = 20_000;
        /// Size of the database, MB, 8 to 65536. Beyond: as with `requests_max`.
        bytes_max_mb: usize = 256;
        /// Hours that the answer of a finished request is kept, so that asking again gives the same answer,
        /// 1 to 8760.
        keep_hours: usize = 24;
        /// Room that must be left on the disk, MB. Below: new requests are refused.
        free_min_mb: usize = 64;
        /// Messages that may wait for the broker, 16 to 1000000. Beyond: what tasks say of readings that became no
        /// request is dropped; the answers of accepted requests always wait.
        outbox_max: usize = 20_000;
        /// Hours that an answer waits for the broker, 1 to 8760. Beyond: it is dropped and counted.
        outbox_keep_hours: usize = 168;
    }
    /// The HTTP interface.
    http: Http {
        /// Unix socket. Empty: none.
        socket: Option<PathBuf> = Some("/run/outpost/outpost.sock".into());
        /// Permissions of the socket.
        socket_mode: FileMode = FileMode(0o660);
        /// Group of the socket, by name. Empty: the daemon's own.
        socket_group: Option<String> = None;
        /// TCP address to listen on as well, such as `127.0.0.1:8080`. Empty: none.
        tcp: Option<SocketAddr> = None;
        /// Listen on a `tcp` address that is not loopback only when this is `"allow"`.
        tcp_beyond_loopback: Option<String> = None;
        /// File with the bearer token that TCP clients must send. Required with `tcp`.
        token_file: Option<PathBuf> = None;
    }
    /// The MQTT broker.
    mqtt: Mqtt {
        /// The broker: `mqtts://host` or `mqtt://host`, with a port when it is not 8883 or 1883. Empty: no MQTT.
        url: Option<String> = None;
        /// Client id towards the broker, the same at every start. Empty: `outpost-<node>`.
        client_id: Option<String> = None;
        /// File with the certificates that the broker's may be signed by, PEM. Required with mqtts://.
        ca: Option<PathBuf> = None;
        /// File with this node's own certificate, PEM. Empty: none.
        cert: Option<PathBuf> = None;
        /// File with the private key of `cert`, PEM.
        key: Option<PathBuf> = None;
        /// User name. Empty: none.
        username: Option<String> = None;
        /// File with the password of `username`.
        password_file: Option<PathBuf> = None;
        /// First levels of all topics of Outpost's own.
        root: String = "outpost/v1".into();
        /// Topic filters: where else than below this node's own topics a requester may have its answer sent.
        response_topic_allow: Vec<String> = Vec::new();
        /// Pools whose requests this node answers as well, together with the other nodes that name them.
        pools: Vec<String> = Vec::new();
        /// Lane of requests over MQTT that name none: interactive, normal or batch.
        lane: Lane = Lane::Normal;
        /// Seconds of silence after which the broker is asked for a sign of life, 5 to 65535.
        keep_alive_s: usize = 30;
        /// Seconds that the broker keeps our session while we are away, 0 to 4294967295.
        session_expiry_s: usize = 86_400;
    }
    /// The board's state: heat, throttling, memory and power, and what is done about them.
    board: Board {
        /// Where the kernel shows the board's sensors; another folder is for tests.
        sys: PathBuf = "/sys".into();
        /// Where the kernel shows memory and control groups; likewise.
        proc: PathBuf = "/proc".into();
        /// Seconds between two readings, 2 to 60.
        poll_s: usize = 2;
        /// Seconds that every reading must have been clearly better before the pressure falls by one level, 1 to 3600.
        calm_s: usize = 30;
        /// Degrees Celsius from which on any thermal zone is warm. Empty: what its own trip points say.
        warm_c: Option<f32> = None;
        /// Likewise for hot.
        hot_c: Option<f32> = None;
        /// Likewise for critical.
        critical_c: Option<f32> = None;
    }
    /// What may leave the device.
    policy: Policy {
        /// File with the rules. Empty: nothing leaves.
        file: Option<PathBuf> = None;
    }
    /// Hugging Face Inference Providers: where overflow goes when the policy lets it, and models that are
    /// asked for by `org/name`. Off without a token.
    cloud: Cloud {
        /// Where the router's interface begins.
        base_url: String = "https://router.huggingface.co/v1".into();
        /// File with the token; not readable by others. Empty: the systemd credential `hf-token`, when there is one.
        token_file: Option<PathBuf> = None;
        /// Model that overflow is sent to, such as `org/name`. Empty: overflow goes to sites only.
        model: Option<String> = None;
        /// Which provider is asked first: cost, latency, throughput or balanced.
        prefer: Prefer = Prefer::Cost;
        /// Providers that are asked for one request before it is given up or goes back to the device, 1 to 12.
        attempts: usize = 3;
        /// Calls at once, 1 to 64.
        calls_max: usize = 8;
        /// US dollars that one request may cost at most. Who may spend less is said by `[[budget]]`.
        usd_per_request: f64 = 0.05;
        /// US dollars of one day in UTC, all requests together.
        usd_per_day: f64 = 1.0;
        /// US dollars of one month in UTC, all requests together.
        usd_per_month: f64 = 10.0;
        /// HTTP proxy on the way, such as `http://proxy:3128`. Empty: none; the environment is not asked.
        proxy: Option<String> = None;
        /// File with `user:password` for the proxy.
        proxy_credentials_file: Option<PathBuf> = None;
        /// File with the certificates of authorities that are trusted beside the system's, PEM: for a proxy that
        /// looks into TLS.
        ca: Option<PathBuf> = None;
        /// Organisation that pays. Empty: the token's owner.
        bill_to: Option<String> = None;
        /// File with a token that may read the bill (`Billing read`): the books are held against it every hour.
        /// Empty: the bill is not read.
        billing_token_file: Option<PathBuf> = None;
        /// Where the bill is asked for.
        hub_url: String = "https://huggingface.co".into();
        /// Seconds for address, proxy, TCP and TLS together, 1 to 120.
        connect_timeout_s: usize = 10;
        /// Seconds to the first byte of an answer, 1 to 600.
        first_byte_timeout_s: usize = 30;
        /// Seconds between two pieces of an answer, 1 to 600.
        gap_timeout_s: usize = 30;
    }
    /// How models are fetched.
    pull: Pull {
        /// Public key of minisign. With it only what it has signed is taken: `SHA256SUMS` and `SHA256SUMS.minisig`
        /// must lie beside the files. Empty: no signature is wanted.
        public_key: Option<String> = None;
    }
    /// The log.
    log: Log {
        /// error, warn, info, debug or trace.
        level: LogLevel = LogLevel(tracing::Level::INFO);
    }
}

impl Config {
    /// Where models are.
    pub fn models_dir(&self) -> PathBuf {
        self.model.dir.clone().unwrap_or_else(|| self.store.path.join("models"))
    }
}
