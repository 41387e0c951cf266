//! Why a request is not let in, in words that say what to do.

use std::time::Duration;

use crate::{
    domain::{Error, ErrorKind},
    scheduler::{Full, TooLate},
};

pub(super) fn conflict() -> Error {
    let why = "this id was used for another body; choose a new id, or send the same body again";
    Error { param: Some("outpost.id".into()), ..Error::new(ErrorKind::IdConflict, why) }
}

pub(super) fn queue_full(full: Full, retry_after: Duration) -> Error {
    let why = match full {
        Full::Queue => "too many requests are waiting; try again later",
        Full::Client => "too many requests of this client are waiting; wait for some to end",
        Full::Bytes => "the waiting requests take all the memory there is for them; try again later",
    };
    Error::new(ErrorKind::QueueFull, why).with_retry_after(retry_after)
}

pub(super) fn hopeless(late: TooLate) -> Error {
    match late {
        TooLate::Alone { needs } => {
            let seconds = needs.as_secs_f64();
            let why =
                format!("this device would need {seconds:.1} s for it, longer than its deadline allows");
            Error::new(ErrorKind::DeadlineExceeded, why)
        }
        TooLate::Behind { retry_after } => {
            let why = "the requests before it leave no time for it before its deadline";
            Error::new(ErrorKind::QueueFull, why).with_retry_after(retry_after)
        }
    }
}
