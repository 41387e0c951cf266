//! Every bound in one place, with its unit and with what happens when it is reached.

use std::time::Duration;

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

/// Requests that wait for a slot, all lanes together. Beyond: `queue_full`.
pub const QUEUED_REQUESTS_MAX: usize = 64;
/// Requests of one client that wait for a slot. Beyond: `queue_full`.
pub const QUEUED_REQUESTS_PER_CLIENT_MAX: usize = 32;
/// Largest `service.queued_max`. Configuration beyond it is refused.
pub const QUEUED_MAX_MAX: usize = 4096;
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
