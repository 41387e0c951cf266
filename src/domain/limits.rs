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
