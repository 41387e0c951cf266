//! Of what is fetched from a Hub, and of the shelf it is put on.

use std::time::Duration;

use super::KIB;

/// Answer with the files of a repository, bytes. Beyond: refused.
pub const HUB_LISTING_BYTES_MAX: usize = 16 * 1024 * KIB;
/// Files of a repository. Beyond: refused.
pub const HUB_LISTING_FILES_MAX: usize = 20_000;
/// `SHA256SUMS`, its signature and a manifest, bytes each. Beyond: refused.
pub const HUB_TEXT_BYTES_MAX: usize = 1024 * KIB;
/// What a Hub says of a failure, bytes. Beyond: cut.
pub const HUB_WORDS_CHARS_MAX: usize = 300;
/// Redirects of one request. Beyond: refused.
pub const HUB_REDIRECTS_MAX: usize = 5;
/// Name of a repository, bytes (the Hub's own limit). Beyond: refused.
pub const REPO_NAME_BYTES_MAX: usize = 96;
/// Branch, tag or commit, bytes. Beyond: refused.
pub const REVISION_BYTES_MAX: usize = 255;
/// Path of a file in a repository, bytes. Beyond: refused.
pub const HUB_PATH_BYTES_MAX: usize = 512;
/// Name of a package in the models' folder, bytes. Beyond: refused.
pub const PACKAGE_NAME_BYTES_MAX: usize = 96;
/// One file, bytes. Beyond: refused.
pub const PULL_FILE_BYTES_MAX: u64 = 1 << 40;
/// A file that nothing vouches for, bytes: it is fetched from its beginning each time. Beyond: refused.
pub const PULL_UNVOUCHED_BYTES_MAX: u64 = 64 << 20;
/// First wait before another try; doubles with each failure in a row.
pub const PULL_RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait of that kind.
pub const PULL_RETRY_MAX: Duration = Duration::from_secs(30);
/// What `--retries` may be at most.
pub const PULL_RETRIES_MAX: u32 = 1_000;
/// Bytes after which failures before them no longer count. Fewer are no progress: a server that cuts
/// after each byte is not asked for ever.
pub const PULL_PROGRESS_BYTES: u64 = 16 * KIB as u64;
/// Longest time without such progress. Beyond: given up.
pub const PULL_STILL_MAX: Duration = Duration::from_mins(15);
/// Longest `Retry-After` that is waited for. Beyond: given up, with the time.
pub const PULL_RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// A connection over which fewer than [`PULL_TRICKLE_BYTES`] came in so long is given up for another.
pub const PULL_TRICKLE_WINDOW: Duration = Duration::from_mins(1);
/// See [`PULL_TRICKLE_WINDOW`].
pub const PULL_TRICKLE_BYTES: u64 = 16 * KIB as u64;
/// Bytes after which what came is put on the disk itself: what a power cut can cost.
pub const PULL_SYNC_BYTES: u64 = 64 << 20;
/// Times that a file is fetched anew because it is not what it should be. Beyond: refused.
pub const PULL_ANEW_MAX: u32 = 1;
/// Unfinished pulls and installed packages that are listed. Beyond: passed over.
pub const MODELS_LISTED_MAX: usize = 1_000;
/// Folders in one another that `--from-dir` looks into. Beyond: refused.
pub const FROM_DIR_DEPTH_MAX: usize = 8;
/// State of an unfinished pull, record of a finished one, state of the shelf, bytes. Beyond: refused.
pub const PULL_RECORD_BYTES_MAX: u64 = 1024 * KIB as u64;
/// Times that a package on trial is loaded. One whose load ended the process that often is given up:
/// once may have been a power cut.
pub const TRIAL_LOADS_MAX: u32 = 2;
