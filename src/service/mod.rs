//! The one door: every request, whatever its transport, comes in here, and gets here its one final.
//!
//! ```text
//! body → Request → ask (a caller waits) or accept (on disk first) → queue → engine → final
//! ```
//! - `own`, `body`, `input`, `request`: from bytes to a [`Request`]; pure.
//! - `board`: what the board's state means for requests.
//! - `clients`: who may ask how urgently and how often.
//! - `door`: intake. `keeper`: the writes that intake and finals need. `run`: the way through the engine.
//! - `settle`: the one final. `life`: start, deadlines, end. `reading`: what sensors send.
//! - `reply`: what all transports answer. `status`: what the daemon says of itself.
//!
//! Promises: nothing is acknowledged before it is on disk; what is accepted ends with exactly
//! one final, across restarts; who asks again by the same id gets the same final; what is
//! refused is refused before it takes room; a caller that goes away frees its place within
//! one engine step.

mod answer;
mod away;
mod bill;
mod board;
mod body;
mod call;
mod clients;
mod door;
mod egress;
mod heard;
mod input;
mod keeper;
mod life;
mod listing;
mod live;
mod needs;
mod notice;
mod overflow;
mod own;
mod prepare;
mod query;
mod reading;
mod reconcile;
mod refusal;
mod relay;
pub mod reply;
mod request;
mod run;
mod settle;
mod shared;
mod spec;
pub mod status;
mod tally;
mod tools;

use std::sync::Arc;

pub use answer::{Answer, Same};
pub use clients::{ClientRule, Clients};
pub use door::{Asked, Receipt};
pub use input::Input;
pub use keeper::Orders;
pub use life::Backstage;
pub use live::{Progress, Shown};
pub use needs::{Needs, Wanted};
pub use notice::{News, Notice};
pub use own::Own;
pub use query::Known;
pub use reading::Reading;
pub use request::{Defaults, Envelope, Request};
pub use shared::Parts;
pub use spec::{Reply, TaskReply, TopicReply};
pub use tools::Tools;

use live::Keeping;

/// Handle of the service; clones are the same service.
#[derive(Clone)]
pub struct Service {
    shared: Arc<shared::Shared>,
}
