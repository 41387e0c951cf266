//! Who is next. Pure data structures; the service owns one and does the waiting.

mod queue;

pub use queue::{FairQueue, Full, Ticket};
