//! From readings to one word. Pure: readings and time come in.
//!
//! A level rises when two readings in a row reach it, so that one wrong value stops nothing, and
//! falls one step at a time, each when every reading was a margin below it for a while: a board
//! that is left alone for a moment is not a cool board, and a load that goes on and off with
//! each reading would be worse than either.

use std::time::Duration;

use super::{
    board::Reading,
    sign::{Sign, signs},
};
use crate::domain::{BootTime, Pressure};

/// How the board stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The word.
    pub pressure: Pressure,
    /// Which reading is to blame, for the technician; `None` while nominal. The figures are those of
    /// the moment at which it came to blame: a text that changed with each reading would be sent with each.
    pub blame: Option<String>,
    /// Since when it is so.
    pub since: BootTime,
}

impl State {
    /// Nothing is wrong.
    pub const fn nominal(since: BootTime) -> Self {
        Self { pressure: Pressure::Nominal, blame: None, since }
    }
}

/// How the board stands, and what it was seen to have.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardState {
    /// What it means.
    pub state: State,
    /// The last reading.
    pub reading: Reading,
}

impl BoardState {
    /// Before the first reading.
    pub fn unknown(now: BootTime) -> Self {
        Self { state: State::nominal(now), reading: Reading::default() }
    }
}

/// Remembers what the next reading is held against.
#[derive(Clone, Debug)]
pub struct Judge {
    /// For how long a level must be over before it falls.
    calm: Duration,
    state: State,
    /// The sensor that is to blame.
    culprit: Option<String>,
    /// What the reading before reached; `None` before the first.
    before: Option<Pressure>,
    /// Since when every reading was below the level.
    calm_since: Option<BootTime>,
}

impl Judge {
    /// Before the first reading the board counts as nominal. A level falls when it was over for `calm`.
    pub const fn new(calm: Duration, now: BootTime) -> Self {
        Self { calm, state: State::nominal(now), culprit: None, before: None, calm_since: None }
    }

    /// How the board stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Takes one more reading; true when the level or who is to blame is another one now.
    pub fn take(&mut self, reading: &Reading, now: BootTime) -> bool {
        let signs = signs(reading);
        let reached = signs.iter().map(Sign::reached).max().unwrap_or_default();
        let held = signs.iter().map(Sign::held).max().unwrap_or_default();
        let agreed = reached.min(self.before.replace(reached).unwrap_or(reached));
        let level = self.state.pressure;
        if agreed > level {
            self.calm_since = None;
            self.go(agreed, &signs, now);
            return true;
        }
        if held >= level {
            self.calm_since = None;
            return self.blame_another(&signs);
        }
        let calm_since = *self.calm_since.get_or_insert(now);
        if now.since(calm_since) < self.calm {
            return false;
        }
        let next = level.relieved();
        self.calm_since = (held < next).then_some(now);
        self.go(next, &signs, now);
        true
    }

    fn go(&mut self, level: Pressure, signs: &[Sign], now: BootTime) {
        (self.state.pressure, self.state.since) = (level, now);
        self.blame(signs);
    }

    /// The level stays while its sensor has recovered: another one holds it.
    fn blame_another(&mut self, signs: &[Sign]) -> bool {
        let level = self.state.pressure;
        let mut holding = signs.iter().filter(|sign| sign.held() >= level).map(Sign::source);
        let same =
            level == Pressure::Nominal || holding.any(|source| Some(source) == self.culprit.as_deref());
        if !same {
            self.blame(signs);
        }
        !same
    }

    fn blame(&mut self, signs: &[Sign]) {
        let level = self.state.pressure;
        let worst = |a: &&Sign, b: &&Sign| a.beyond(level).total_cmp(&b.beyond(level));
        let reached = signs.iter().filter(|sign| sign.reached() >= level).max_by(worst);
        let held = || signs.iter().filter(|sign| sign.held() >= level).max_by(worst);
        let before = self.state.blame.take();
        if level == Pressure::Nominal {
            self.culprit = None;
        } else if let Some(sign) = reached.or_else(held) {
            self.culprit = Some(sign.source().to_owned());
            self.state.blame = Some(sign.blame(level));
        } else {
            self.state.blame = before.map(recovering);
        }
    }
}

/// The level falls although no reading holds it: one step at a time.
fn recovering(blame: String) -> String {
    const AFTER: &str = "recovering from: ";
    if blame.starts_with(AFTER) { blame } else { format!("{AFTER}{blame}") }
}

#[cfg(test)]
mod tests;
