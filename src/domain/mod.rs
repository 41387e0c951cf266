//! What Outpost talks about: requests, finals, errors, limits, time.
//!
//! No I/O and no runtime here, only data and the rules that hold for it everywhere. Each
//! type makes one wrong thing impossible: a [`ClientId`] fits into one topic level, a
//! [`Deadline`] cannot be compared with wall time, an [`Error`] always carries words that
//! may be shown to a stranger.

mod broker_url;
mod clock;
mod cover;
mod error;
mod hex;
mod ids;
mod lane;
pub mod limits;
mod money;
mod outcome;
mod prefer;
mod pressure;
mod provider;
mod sampling;
mod secret;
mod stamp;
mod topic;
mod zone;

pub use broker_url::BrokerUrl;
pub use clock::{BootTime, Clock, Deadline, SystemClock, UnixSeconds};
pub use cover::cover;
pub use error::{Error, ErrorKind, Result};
pub use hex::{hex, unhex};
pub use ids::{ClientId, RequestId};
pub use lane::Lane;
pub use money::MicroUsd;
pub use outcome::{Delta, FinishReason, Outcome, TokenLogprob, ToolCallDelta, Usage};
pub use prefer::Prefer;
pub use pressure::Pressure;
pub use provider::{BUILT_IN_PROVIDERS, CPU_PROVIDER, DeviceKind};
pub use sampling::{GenerationOptions, Sampling};
pub use secret::Secret;
pub use stamp::Stamp;
pub use topic::{TopicFilter, topic_name_problem};
pub use zone::Zone;
