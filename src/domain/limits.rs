//! Every bound in one place, with its unit and with what happens when it is reached.

mod board;
mod cloud;
mod hub;

use std::time::Duration;

pub use board::*;
pub use cloud::*;
pub use hub::*;

const KIB: usize = 1024;

/// Body of a request, bytes. Beyond: `too_large`. AWS IoT's limit for one message.
pub const REQUEST_BODY_BYTES_MAX: usize = 128 * KIB;
/// Nesting of JSON in a body; `serde_json`'s own recursion limit. Beyond: `invalid_request`.
pub const JSON_DEPTH_MAX: usize = 128;
/// Messages of one conversation. Beyond: `invalid_request`.
pub const MESSAGES_MAX: usize = 512;
/// Stop strings of one request (OpenAI allows 4). Beyond: `invalid_request`.
pub const STOP_STRINGS_MAX: usize = 16;
/// One stop string, bytes. Beyond: `invalid_request`.
pub const STOP_STRING_BYTES_MAX: usize = 256;
/// Entries of `logit_bias`. Beyond: `invalid_request`.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// `top_logprobs` (OpenAI's own limit). Beyond: `invalid_request`.
pub const TOP_LOGPROBS_MAX: usize = 20;
/// Longest deadline that a request can ask for: a week. Beyond: `invalid_request`.
pub const DEADLINE_MAX: Duration = Duration::from_hours(168);

/// Client id, bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 64;
/// Request id, bytes. Beyond: `invalid_request`.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// What `service.queued_max` may be at most. Configuration beyond it is refused.
pub const QUEUED_REQUESTS_MAX: usize = 4096;
/// Bodies of all requests that wait for a slot, bytes. Beyond: `queue_full`.
pub const QUEUED_BYTES_MAX: usize = 16 * 1024 * KIB;
/// Requests without a final: waiting, running, on their way to the disk. Beyond: `queue_full`.
pub const LIVE_REQUESTS_MAX: usize = 8192;
/// Requests that the engine has or is offered, its slots included. Beyond: they wait in the queue.
pub const RUNNING_MAX: usize = SLOTS_MAX + 4;
/// Times that a request is started at most. One at which the daemon died each time ends with `internal`.
pub const RUN_ATTEMPTS_MAX: u32 = 5;
/// Wait before a final is written again after the disk refused it.
pub const SETTLE_RETRY: Duration = Duration::from_secs(2);
/// Progress reports that wait for the transport. Beyond: they are dropped, finals never are.
pub const NOTICES_IN_FLIGHT_MAX: usize = 256;
/// A delta goes out over MQTT when it is this old…
pub const DELTA_COALESCE: Duration = Duration::from_millis(150);
/// …or has this many tokens.
pub const DELTA_COALESCE_TOKENS: usize = 16;
/// Longest that the sweep for passed deadlines sleeps; its timer stands still while the board sleeps.
pub const EXPIRY_SWEEP: Duration = Duration::from_secs(30);
/// Key of `supersedes`, bytes. Beyond: `invalid_request`.
pub const SUPERSEDES_BYTES_MAX: usize = 256;
/// Data class of a request, bytes. Beyond: `invalid_request`.
pub const DATA_CLASS_BYTES_MAX: usize = 64;
/// A reading that the broker sends again is taken for the one that was accepted at most this long ago.
pub const READING_AGAIN: Duration = Duration::from_mins(10);
/// Clients and models whose usage waits for the ledger. Beyond: not counted, and the log says so.
pub const TALLY_ROWS_MAX: usize = 1024;
/// Between two writes of that usage.
pub const TALLY_INTERVAL: Duration = Duration::from_mins(1);
/// Clients whose rate is remembered. Beyond: the fullest allowance is forgotten.
pub const RATES_MAX: usize = 1024;
/// Sequences that run at once. Configuration beyond it is refused.
pub const SLOTS_MAX: usize = 64;
/// Deltas between engine and a slow reader. Beyond: deltas are merged, none is lost.
pub const DELTAS_IN_FLIGHT_MAX: usize = 64;
/// Times in a row that the engine is built anew after a panic or a failed run. Beyond: `failed`.
pub const ENGINE_DEATHS_MAX: u32 = 3;
/// Steps after which an engine counts as sound and its deaths are forgotten.
pub const ENGINE_SOUND_STEPS: u64 = 10_000;
/// Tokens of one prefill chunk. A chunk is what a cancel waits for at most.
pub const PREFILL_CHUNK_TOKENS: usize = 128;
/// Tokens of a prompt in one run of a graph of fixed shapes. Fewer than 3 would leave a lone token at its end.
pub const FIXED_PREFILL_TOKENS_MIN: usize = 4;
/// The same, at most: attention is over the whole cache, `tokens × context` numbers for each head.
pub const FIXED_PREFILL_TOKENS_MAX: usize = 256;
/// Room for one run beside weights and cache: hidden states of a part of a prompt, logits, ONNX Runtime itself, bytes.
pub const ENGINE_SCRATCH_BYTES: u64 = 64_000_000;
/// Packages from this size on have their weights packed to the disk, bytes. Smaller ones are packed in a second.
pub const PACKED_WEIGHTS_BYTES_MIN: u64 = 1 << 30;
/// Disk that packed weights take, in halves of their files: as they are and as they are packed (2.2 times was seen).
pub const PACKED_WEIGHTS_SIZE_HALVES: u64 = 5;
/// How often a model that lacked memory looks whether there is enough of it now.
pub const ROOM_LOOK: Duration = Duration::from_secs(1);
/// How long an execution provider may take to load a model when it is tried. Beyond: it is passed over. Some compile the
/// graph for minutes.
pub const PROBE_DEADLINE: Duration = Duration::from_mins(15);
/// What such a trial is asked and answers, bytes.
pub const PROBE_ANSWER_BYTES_MAX: u64 = 1024 * KIB as u64;
/// How long its last words are waited for once it has ended.
pub const PROBE_WORDS_WAIT: Duration = Duration::from_secs(1);
/// What is kept of a trial's last words, bytes.
pub const PROBE_WORDS_BYTES_MAX: usize = 2 * KIB;
/// How long `outpost doctor` waits for a broker to take a connection.
pub const DOCTOR_CONNECT: Duration = Duration::from_secs(3);
/// Entries of `[[provider]]`.
pub const PROVIDERS_MAX: usize = 16;
/// Logits of one run of a graph that gives them for every token of the prompt, bytes. Beyond: fewer tokens in one
/// run.
pub const LOGITS_BYTES_MAX: usize = 32 * 1024 * KIB;

/// Tokens of one answer that a request may ask for. Beyond: this many; no context is larger.
pub const ANSWER_TOKENS_MAX: usize = 1 << 24;
/// Connections served at once per listener. Beyond: they wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 128;
/// From connect, or from the last answer, to the end of the next request's head. Beyond: closed.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// From head to the end of the body. Beyond: `invalid_request`, closed.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a body that is too large this much is read and thrown away, so that its sender gets to
/// read the answer, bytes. Beyond: closed.
pub const BODY_DISCARD_BYTES_MAX: usize = 32 * 1024 * KIB;
/// Silence in a stream after which a comment is sent, so that proxies and readers know it lives.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// Bearer token file, bytes. Beyond: refused.
pub const TOKEN_FILE_BYTES_MAX: u64 = 4 * KIB as u64;
/// For the last words to those whose answers did not finish in `stop_grace`.
pub const DRAIN_DELIVERY: Duration = Duration::from_secs(2);
/// For the engine to end its last step at the end of the daemon. Beyond: the process ends without it.
pub const ENGINE_STOP: Duration = Duration::from_secs(10);
/// From asking the daemon to the head of its answer, for the command line. Beyond: an error.
pub const CLIENT_PATIENCE: Duration = Duration::from_mins(10);
/// Head of a request, bytes. Beyond: 431, closed.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;

/// Messages that the broker may have sent and we have not acknowledged. Beyond: it waits.
pub const MQTT_RECEIVE_MAXIMUM: u16 = 16;
/// `QoS` 1 messages under way to the broker, if it does not ask for fewer. Beyond: they stay where
/// they are stored.
pub const MQTT_SEND_WINDOW_MAX: u16 = 16;
/// `QoS` 0 messages that wait for the socket. Beyond: dropped.
pub const MQTT_UNRELIABLE_WAITING_MAX: usize = 16;
/// Messages from the broker that wait to be looked at. Beyond: the connection is not read.
pub const MQTT_EVENTS_WAITING_MAX: usize = 32;
/// Packet from the broker, bytes. A body between its own limit and this one is answered with
/// `too_large`; beyond, the broker keeps the message from us, and nobody answers.
pub const MQTT_PACKET_BYTES_MAX: u32 = 2 * REQUEST_BODY_BYTES_MAX as u32;
/// Any packet of MQTT, bytes: the header, and what its length can count (MQTT 5, 2.1.4).
pub const MQTT_PROTOCOL_PACKET_BYTES_MAX: u32 = 5 + 268_435_455;
/// Silence after which the broker is asked whether it lives.
pub const MQTT_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// For address, TCP, TLS and CONNACK together. Beyond: the attempt has failed.
pub const MQTT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The broker keeps our session that long without us. Beyond: we subscribe anew.
pub const MQTT_SESSION_EXPIRY: Duration = Duration::from_hours(24);
/// Connections in a row that were cut before their first keep-alive. From then on the log says
/// what that often means.
pub const MQTT_SHORT_CONNECTIONS: u32 = 3;
/// For acknowledgements under way when the connection is closed. Beyond: cut.
pub const MQTT_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A certificate, chain or key, bytes. Beyond: refused.
pub const TLS_FILE_BYTES_MAX: u64 = 1024 * KIB as u64;

/// Port of a broker whose address names none (IANA).
pub const fn mqtt_port(tls: bool) -> u16 {
    if tls { 8883 } else { 1883 }
}

/// Chat template, bytes. Beyond: the package is refused.
pub const TEMPLATE_BYTES_MAX: usize = 256 * KIB;
/// Steps that a template may take (minijinja fuel). Beyond: `invalid_request`.
pub const TEMPLATE_FUEL: u64 = 2_000_000;
/// Nesting of a template's macros and includes.
pub const TEMPLATE_DEPTH_MAX: usize = 64;
/// Stack of the thread that a template runs on, bytes of address space. Enough for values nested
/// as deep as [`TEMPLATE_FUEL`] allows.
pub const TEMPLATE_STACK_BYTES: usize = 256 * 1024 * KIB;
/// Rendered prompt, bytes. Beyond: `context_length_exceeded`.
pub const PROMPT_BYTES_MAX: usize = 4 * 1024 * KIB;
/// Manifest of a package, bytes. Beyond: the package is refused.
pub const MANIFEST_BYTES_MAX: u64 = 1024 * KIB as u64;
/// Tokenizer file, bytes. Beyond: the package is refused. The largest known is 33 MB.
pub const TOKENIZER_BYTES_MAX: u64 = 64 * 1024 * KIB as u64;
/// `config.json`, `generation_config.json` and `genai_config.json` of a published package, bytes. Beyond: it is refused.
pub const PUBLISHED_CONFIG_BYTES_MAX: u64 = 4 * 1024 * KIB as u64;
/// Files of one package. Beyond: the package is refused.
pub const PACKAGE_FILES_MAX: usize = 256;
/// `tokenizer_config.json`, bytes. Beyond: the package is refused.
pub const TOKENIZER_CONFIG_BYTES_MAX: u64 = 8 * 1024 * KIB as u64;
/// Read at once while a file is hashed, bytes.
pub const HASH_CHUNK_BYTES: usize = 1024 * KIB;
/// Files remembered as verified. Beyond: the oldest is forgotten and hashed when next needed.
pub const VERIFIED_FILES_MAX: usize = 4096;
/// The file that remembers them, bytes. Beyond: it is ignored.
pub const VERIFIED_MEMORY_BYTES_MAX: u64 = 8 * 1024 * KIB as u64;
/// What a template says when it refuses messages, characters. Beyond: cut.
pub const TEMPLATE_REFUSAL_CHARS_MAX: usize = 500;
/// Configuration file, bytes. Beyond: refused.
pub const CONFIG_BYTES_MAX: u64 = 1024 * KIB as u64;

/// Requests that the store keeps, finished ones included. Beyond: the oldest that are finished and
/// delivered go first; when none is left, `store_full`.
pub const STORE_REQUESTS_MAX: usize = 4096;
/// What requests and finals take in the store, bytes. Beyond: as with their number.
pub const STORE_REQUESTS_BYTES_MAX: u64 = 64 * 1024 * KIB as u64;
/// How long a finished request is known, so that it is answered again and not run again.
pub const STORE_KEEP_FINISHED: Duration = Duration::from_hours(24);
/// Messages that wait for the broker. Beyond: `store_full` for messages without a request; the
/// finals of accepted requests are always stored, and bounded by [`STORE_REQUESTS_MAX`].
pub const STORE_OUTBOX_MAX: usize = 4096;
/// What these messages take, bytes. Beyond: as with their number.
pub const STORE_OUTBOX_BYTES_MAX: u64 = 16 * 1024 * KIB as u64;
/// How long a message waits for the broker. Beyond: dropped, counted and logged.
pub const STORE_OUTBOX_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// Rows of the usage ledger: one per day, client, zone, provider and model. Beyond: the oldest goes.
pub const STORE_LEDGER_ROWS_MAX: usize = 20_000;
/// How long usage and flash wear are kept: 400 days, a year and a month. Beyond: dropped.
pub const STORE_LEDGER_AGE_MAX: Duration = Duration::from_hours(400 * 24);
/// What must stay free on the store's disk, bytes. Beyond: nothing new is accepted (`store_full`).
pub const STORE_FREE_BYTES_MIN: u64 = 64 * 1024 * KIB as u64;
/// A full disk counts as one with room again when so many more bytes are free, without a try.
pub const STORE_RELIEF_BYTES: u64 = 512 * KIB as u64;
/// Between two looks at a disk or a quota that is full.
pub const STORE_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Retry after `store_full`.
pub const STORE_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Operations that wait for the store's writer. Beyond: callers wait.
pub const STORE_QUEUE_MAX: usize = 256;
/// Operations of one commit. Beyond: the next commit takes them.
pub const STORE_BATCH_OPS_MAX: usize = 128;
/// Bytes after which no further operation joins a commit.
pub const STORE_BATCH_BYTES_MAX: usize = 1024 * KIB;
/// Write-ahead log, bytes, after which it is brought into the database file.
pub const STORE_WAL_CHECKPOINT_BYTES: u64 = 1024 * KIB as u64;
/// Write-ahead log, bytes. A commit may pass it by its own size; then the file is cut back to this.
pub const STORE_WAL_BYTES_MAX: u64 = 4 * 1024 * KIB as u64;
/// Memory for the database's pages, KiB.
pub const STORE_CACHE_KIB: i64 = 2048;
/// For another program to let go of the database file at start. Beyond: the daemon does not start.
pub const STORE_LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Database file, bytes, up to which every page and row is checked at start. Beyond: skipped and logged.
pub const STORE_CHECK_BYTES_MAX: u64 = 256 * 1024 * KIB as u64;
/// Corrupt databases that are kept aside. Beyond: the oldest is removed.
pub const STORE_CORRUPT_KEPT: usize = 3;
/// Rows of each table that one pruning takes out. Beyond: the next one goes on.
pub const STORE_PRUNE_ROWS_MAX: usize = 256;
/// Rows of one reading of the outbox. Beyond: the caller asks again.
pub const STORE_READ_ROWS_MAX: usize = 256;
/// Unused pages of the database file, each 4 KiB, that are kept for what comes next.
pub const STORE_SPARE_PAGES: i64 = 256;
/// Unused pages that one pruning gives back to the disk.
pub const STORE_SHRINK_PAGES: i64 = 256;
/// Commits after which the account of flash wear is written along with the next one.
pub const STORE_WEAR_COMMITS: u64 = 256;
/// A topic name or filter, bytes (MQTT 5, §4.7.3). Beyond: refused.
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// Client id towards the broker, bytes. Configuration beyond it is refused. AWS IoT's limit.
pub const MQTT_CLIENT_ID_BYTES_MAX: usize = 128;
/// Pools that one node serves. Configuration beyond it is refused.
pub const POOLS_MAX: usize = 16;
/// Filters of `mqtt.response_topic_allow`. Configuration beyond it is refused.
pub const RESPONSE_TOPICS_MAX: usize = 64;
/// Entries of `[[client]]`. Configuration beyond it is refused.
pub const CLIENTS_MAX: usize = 256;
/// Entries of `[[task]]`. Configuration beyond it is refused.
pub const TASKS_MAX: usize = 64;
/// Name of a task, bytes: with `task-` before it, it is a client id. Configuration beyond it is refused.
pub const TASK_NAME_BYTES_MAX: usize = CLIENT_ID_BYTES_MAX - 5;
/// Topic filters of one task. Configuration beyond it is refused.
pub const TASK_TOPICS_MAX: usize = 16;
/// Values that one task's `on_change` looks at. Configuration beyond it is refused.
pub const TASK_POINTERS_MAX: usize = 16;
/// One template of a task, bytes. Configuration beyond it is refused.
pub const TASK_TEMPLATE_BYTES_MAX: usize = 64 * KIB;
/// Longest `every_ms` of a task: a day. Configuration beyond it is refused.
pub const TASK_EVERY_MAX: Duration = Duration::from_hours(24);
/// Highest `rate_per_minute` and `requests_per_minute`. Configuration beyond it is refused.
pub const RATE_PER_MINUTE_MAX: usize = 6_000;
/// JSON Schema of a task, bytes. Configuration beyond it is refused.
pub const SCHEMA_BYTES_MAX: usize = 64 * KIB;

/// User properties of a request over MQTT. Beyond: `too_large`.
pub const USER_PROPERTIES_MAX: usize = 16;
/// Names and values of all of them, bytes. Beyond: `too_large`. Brokers count them differently (mosquitto#3713).
pub const USER_PROPERTIES_BYTES_MAX: usize = 2 * KIB;
/// Body of a final over MQTT, bytes.
pub const RESPONSE_BYTES_MAX: usize = 128 * KIB;
/// First wait before another try to connect to the broker; doubles with each.
pub const MQTT_RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest wait of that kind.
pub const MQTT_RETRY_MAX: Duration = Duration::from_secs(30);
/// Wait when somebody has to change something first: a password, a certificate, a client id used twice.
pub const MQTT_RETRY_PERMANENT: Duration = Duration::from_mins(2);
/// A connection that held this long was a good one: the next wait is a first one again.
pub const MQTT_SOUND_CONNECTION: Duration = Duration::from_mins(1);
/// Rows of the outbox that are read at once.
pub const OUTBOX_PORTION: usize = 16;
/// Wait before a final goes out again that the broker could not take.
pub const OUTBOX_RETRY: Duration = Duration::from_secs(5);
/// Shortest time between two status messages.
pub const STATUS_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Longest time between two status messages, and between metrics.
pub const STATUS_INTERVAL: Duration = Duration::from_mins(1);
/// For mosquitto to listen after `--with-broker` has started it. Beyond: the daemon does not start.
pub const BROKER_START: Duration = Duration::from_secs(10);
/// Between two rounds of taking out of the store what is too old.
pub const PRUNE_INTERVAL: Duration = Duration::from_mins(10);
/// Patterns of one schema. Configuration beyond it is refused.
pub const SCHEMA_PATTERNS_MAX: usize = 64;
/// One compiled pattern, bytes. Configuration beyond it is refused.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1024 * KIB;
/// Schemas that look at one and the same value, one within the other. Configuration beyond it is refused.
pub const SCHEMA_CHAIN_MAX: usize = 16;
/// Looks at values that one check may take. Beyond: the answer does not meet the schema.
pub const SCHEMA_STEPS_MAX: u64 = 1_000_000;
/// What an error says of a payload or an answer, characters. Beyond: cut.
pub const TASK_REASON_CHARS_MAX: usize = 300;
/// Schema that a second attempt is shown, bytes. Beyond: it is shown none.
pub const SCHEMA_QUOTED_BYTES_MAX: usize = 8 * KIB;
/// Answer that a second attempt or an error topic is shown, bytes. Beyond: cut.
pub const ANSWER_QUOTED_BYTES_MAX: usize = 16 * KIB;
/// Topics of one task that `every_ms` and `on_change` remember. Beyond: the oldest is forgotten.
pub const GATE_TOPICS_PER_TASK_MAX: usize = 1024;
/// Readings that wait for their time, of all tasks, bytes. Beyond: the one due first is dropped.
pub const GATE_HELD_BYTES_MAX: usize = 8 * 1024 * KIB;
/// The file that remembers subscriptions, bytes. Beyond: it is ignored.
pub const MQTT_REMEMBERED_BYTES_MAX: u64 = 1024 * KIB as u64;
/// Messages that came at `QoS` 0 and are not dealt with. Beyond: dropped and counted; a sender that
/// wants them kept sends at `QoS` 1.
pub const MQTT_LOOSE_MAX: usize = 64;
/// Times that the broker may refuse a message without a lasting reason before it is left until the
/// next connection, so that those behind it get through.
pub const OUTBOX_REFUSALS_MAX: u32 = 3;

/// Rules of a policy. A policy with more is refused.
pub const POLICY_RULES_MAX: usize = 256;
/// Detectors that a policy may define. A policy with more is refused.
pub const POLICY_DETECTORS_MAX: usize = 64;
/// Name of such a detector, bytes.
pub const DETECTOR_NAME_BYTES_MAX: usize = 32;
/// Pattern of such a detector, bytes.
pub const DETECTOR_PATTERN_BYTES_MAX: usize = 1024;
/// Memory of such a pattern once it is compiled, bytes.
pub const DETECTOR_COMPILED_BYTES_MAX: usize = 256 * KIB;
/// Literal text that every match of such a pattern must hold, characters.
pub const DETECTOR_ANCHOR_CHARS_MIN: usize = 3;
/// Rows of the audit. Beyond: the oldest go, and the place before the first that is left is kept.
pub const STORE_AUDIT_ROWS_MAX: usize = 100_000;
/// What they take, bytes. Beyond: as with their number.
pub const STORE_AUDIT_BYTES_MAX: u64 = 64 * 1024 * KIB as u64;
/// Settled calls to providers that are kept beside the audit. Beyond: the oldest go.
pub const STORE_EGRESS_ROWS_MAX: usize = 10_000;
/// Rows of the audit that are read at once.
pub const AUDIT_PORTION: usize = 500;
