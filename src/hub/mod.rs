//! Models from a Hub, a mirror of it, or a folder: what a repository holds, which files of it make a package, and
//! how they come here whole.
//!
//! ```text
//! name → listing → layout (choice) → signature → plan → fetch, file by file → install (one rename)
//! ```
//! Promises:
//! - What has come is never fetched again, whatever ends the pull: a kill costs what was under way, a power cut at
//!   most what was not on the disk yet ([`PULL_SYNC_BYTES`](crate::domain::limits::PULL_SYNC_BYTES)).
//! - A package is in its place whole and verified, or not at all. Nothing that is there is replaced.
//! - No answer of a server leads out of the folder, and none is read beyond its bound.
//! - The token goes to the endpoint alone.
//! - Unfinished pulls are removed by name only.

mod catalogue;
mod disk;
mod error;
mod fault;
mod fetch;
mod folder;
mod install;
mod layout;
mod listing;
mod name;
mod partial;
mod patience;
mod plan;
mod proof;
mod pull;
mod range;
mod redirect;
mod signature;
mod way;

pub use catalogue::{Known, catalogue};
pub use error::{Kept, PullError};
pub use fault::{Blame, Cure, Fault};
pub use fetch::News;
pub use layout::{Choice, NoChoice, Wanted, Wish};
pub use listing::{Listed, Listing};
pub use name::{Commit, RepoId, Revision};
pub use partial::{State, Unfinished, discard, unfinished};
pub use plan::Plan;
pub use proof::Proof;
pub use pull::{Asked, Outcome, Planned, Pull};
pub use signature::{Key, SIGNATURE_FILE, SUMS_FILE};
pub use way::Way;
