//! The way to providers off the device.
//!
//! ```text
//! catalogue → rank (filters, score) → budget → permit → carrier → pieces → settled
//! ```
//! Nothing here decides what may leave: whoever sends brings a [`Permit`](crate::policy::Permit),
//! a [`Carrier`] takes it by value, and what is sent are its bytes.
//!
//! - `name`, `need`, `catalogue`, `measure`, `choice`: who could answer, and who is to be asked first; pure.
//! - `breaker`, `budget`, `billing`, `fault`: who is left alone, what may be spent, what the bill says of it, what
//!   a failure means; pure.
//! - `body`, `quirks`: what a provider is sent. `sse`, `reply`: what comes back.
//! - `carrier`: the way there and back; `http`: the real one.

mod billing;
mod body;
mod breaker;
mod budget;
mod carrier;
mod catalogue;
mod choice;
mod fault;
mod http;
mod measure;
mod name;
mod need;
mod quirks;
mod remotes;
mod reply;
mod sse;
mod ways;

pub use billing::{Bill, Cents};
pub use body::{Outgoing, draft};
pub use breaker::{Breakers, Pair, Rest};
pub use budget::{Account, Budget, Cap, Exhausted, Reservation, Scope, Today};
pub use carrier::{Carried, Carrier, Failed, Sending, Served, Timers};
pub use catalogue::{Catalogue, Listing, Price};
pub use choice::{Candidate, Objection, Question, Ranking, rank};
pub use fault::{Class, Cure, Fault};
pub use http::{Credential, Http, HttpOptions, Hub, causes, client};
pub use measure::{Behaviour, Measures, Took};
pub use name::{ModelName, Pin};
pub use need::Need;
pub use remotes::{RemoteOptions, Remotes, Room, Router, Site, Target};
pub use reply::{End, tokens_of};
pub use ways::{Ask, NoWay, Nobody, Way};
