//! Providers that fail, so that who is asked next is asked under the same policy.

use crate::{
    dice::Dice,
    hf::{Router, faults},
};

/// What comes of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next is asked, and the one that failed may be asked for the next request.
    Next,
    /// The next is asked, and the one that failed rests.
    Rests,
    /// Nobody else is asked.
    Ends,
}

/// The first calls of a request fail so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    name: &'static str,
    pub(crate) then: Then,
    pub(crate) times: usize,
}

const KINDS: [(&str, Then); 10] = [
    ("400 wrong_api_format", Then::Next),
    ("400 tool_use_failed", Then::Next),
    ("400 context", Then::Next),
    ("429 with Retry-After", Then::Rests),
    ("502 in HTML", Then::Rests),
    ("503", Then::Rests),
    ("410", Then::Rests),
    ("somebody else answers", Then::Rests),
    ("a redirect", Then::Rests),
    ("400 of the caller", Then::Ends),
];

impl Fault {
    /// `calm`: nobody is to rest afterwards.
    pub(crate) fn random(dice: &mut Dice, calm: bool) -> Option<Self> {
        let (name, then) = *dice.pick(&KINDS);
        let fault = Self { name, then, times: 1 + dice.below(2) };
        (dice.one_in(2) && !(calm && then == Then::Rests)).then_some(fault)
    }

    pub(crate) fn play(self, router: &Router) {
        let row = faults::ROWS.iter().find(|row| row.name == self.name).unwrap();
        router.play(None, self.times, row.script);
    }
}
