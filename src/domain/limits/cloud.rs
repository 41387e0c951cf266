//! Of those who are asked off the device, and of what they answer.

use std::time::Duration;

use super::KIB;

/// Models of the router's catalogue. Beyond: passed over.
pub const CATALOGUE_MODELS_MAX: usize = 2_000;
/// Providers of one of them. Beyond: passed over.
pub const CATALOGUE_PROVIDERS_MAX: usize = 64;
/// The catalogue, bytes. Beyond: it is not read, and the last one that was is used.
pub const CATALOGUE_BYTES_MAX: usize = 4 * 1024 * KIB;
/// For a document to come: the catalogue, the bill. Beyond: as above.
pub const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a catalogue is used before it is asked for again.
pub const CATALOGUE_TTL: Duration = Duration::from_mins(5);
/// The same after it could not be had.
pub const CATALOGUE_RETRY: Duration = Duration::from_secs(15);
/// How long a catalogue that cannot be had again is used: prices do not keep for ever.
pub const CATALOGUE_AGE_MAX: Duration = Duration::from_hours(24);
/// Name of a provider, bytes. Beyond: passed over.
pub const PROVIDER_NAME_BYTES_MAX: usize = 64;
/// What a provider says of a failure, characters. Beyond: cut.
pub const PROVIDER_WORDS_CHARS_MAX: usize = 300;
/// Body of a failure, bytes. Beyond: cut.
pub const PROVIDER_FAILURE_BYTES_MAX: usize = 64 * KIB;
/// One line of a provider's stream, bytes. Beyond: the answer counts as broken.
pub const PROVIDER_LINE_BYTES_MAX: usize = 256 * KIB;
/// A provider's whole answer, bytes of stream. Beyond: it counts as broken.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = 8 * 1024 * KIB;
/// Calls of tools in one answer. Beyond: passed over.
pub const TOOL_CALLS_MAX: usize = 128;
/// Pairs of model and provider that breakers and measurements remember. Beyond: those that rest stay.
pub const BREAKERS_MAX: usize = 1_024;
/// First rest of a pair that failed; doubles with each failure in a row.
pub const PAIR_REST_FIRST: Duration = Duration::from_secs(5);
/// Longest rest of a pair, also when it asks for more.
pub const PROVIDER_REST_MAX: Duration = Duration::from_mins(10);
/// Rest of a pair that no longer exists.
pub const PAIR_GONE_REST: Duration = Duration::from_hours(1);
/// Rest of a pair for which somebody else answered.
pub const PAIR_SUSPENDED: Duration = Duration::from_hours(24);
/// Rest of an account without money or rights. A SIGHUP ends it.
pub const ACCOUNT_REST: Duration = Duration::from_hours(1);
/// First rest of a network that is gone; doubles with each failure in a row.
pub const NETWORK_REST_FIRST: Duration = Duration::from_secs(2);
/// Longest rest of a network.
pub const NETWORK_REST_MAX: Duration = Duration::from_mins(1);
/// Entries of `[[site]]`. Configuration beyond it is refused.
pub const SITES_MAX: usize = 16;
/// Entries of `[[budget]]`. Configuration beyond it is refused.
pub const BUDGETS_MAX: usize = 256;
/// Entries of `[[price]]`. Configuration beyond it is refused.
pub const PRICES_MAX: usize = 256;
/// Providers that may be asked for one request. Configuration beyond it is refused.
pub const CALL_ATTEMPTS_MAX: usize = 12;
/// Times that a request is taken to providers, each time to as many as `cloud.attempts`, before it is
/// given up or left to the device: failures cost money, too.
pub const AWAY_ROUNDS_MAX: u32 = 5;
/// Before another look for somebody elsewhere, when nobody knows when there will be one.
pub const AWAY_RETRY: Duration = Duration::from_secs(5);
/// Shortest time between two such looks for one request.
pub const AWAY_RETRY_MIN: Duration = Duration::from_millis(250);
/// A request with less time than this does not wait for a model that is being loaded, if it may be
/// answered elsewhere.
pub const LOADING_PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks whether the device will still be in time.
pub const OVERFLOW_LOOK: Duration = Duration::from_secs(1);
/// Shortest rest between two looks for which nobody has asked.
pub const OVERFLOW_REST: Duration = Duration::from_millis(1);
/// For an answer from elsewhere to a request without a deadline.
pub const CALL_TOTAL_MAX: Duration = Duration::from_mins(10);
/// Calls to providers at once, all together. Beyond: the rest waits.
pub const REMOTE_CALLS_MAX: usize = 64;
/// Tokens that one image can cost at most: what the largest vision models take of one (Qwen-VL, 16,384 patches).
pub const IMAGE_TOKENS_MAX: u64 = 16_384;
/// Tokens that one image is likely to cost.
pub const IMAGE_TOKENS_LIKELY: u64 = 1_000;
/// Tokens that a chat template puts around the messages and tools at most.
pub const TEMPLATE_TOKENS_MAX: u64 = 1_024;
/// A provider's failures count half after so long.
pub const FAILURES_HALVE: Duration = Duration::from_mins(10);
/// A bill, bytes. Beyond: it is not read.
pub const BILL_BYTES_MAX: usize = 8 * 1024 * KIB;
/// Between two readings of the bill.
pub const BILL_INTERVAL: Duration = Duration::from_hours(1);
/// Calls of so long ago are looked up in the bill: by then every price is on it.
pub const BILL_REACH: Duration = Duration::from_hours(48);
/// Calls that are looked up at once, the newest first.
pub const BILL_CALLS_MAX: usize = 2_000;
