//! Which request is next, and whether there is time for it. Pure: time and speed come in.

mod admit;
mod overflow;
mod pace;
mod queue;
mod rate;

pub use admit::{Speed, TooLate, Work, in_time};
pub use overflow::{Outlook, Why};
pub use pace::Pace;
pub use queue::{Bounds, FairQueue, Full, Place, Ticket};
pub use rate::Bucket;
