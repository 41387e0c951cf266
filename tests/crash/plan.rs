//! Who is killed, how often and when: all of it drawn from one seed.

use std::time::Duration;

use crate::dice::Dice;

/// What happens to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL for the daemon, some time after its READY.
    Daemon,
    /// The same, and again while it starts, before its READY or about then.
    Early,
    /// SIGTERM for the daemon.
    Term,
    /// SIGKILL for the broker.
    Broker,
    /// SIGKILL for both at once.
    Both,
}

/// How often each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) daemon: usize,
    pub(crate) early: usize,
    pub(crate) term: usize,
    pub(crate) broker: usize,
    pub(crate) both: usize,
}

impl Plan {
    pub(crate) fn times(self, n: usize) -> Self {
        let Self { daemon, early, term, broker, both } = self;
        Self { daemon: daemon * n, early: early * n, term: term * n, broker: broker * n, both: both * n }
    }

    /// All of them, shuffled.
    pub(crate) fn blows(&self, dice: &mut Dice) -> Vec<Blow> {
        let mut blows = Vec::new();
        for (blow, n) in [
            (Blow::Daemon, self.daemon),
            (Blow::Early, self.early),
            (Blow::Term, self.term),
            (Blow::Broker, self.broker),
            (Blow::Both, self.both),
        ] {
            blows.extend(std::iter::repeat_n(blow, n));
        }
        for last in (1..blows.len()).rev() {
            blows.swap(last, dice.below(last as u64 + 1) as usize);
        }
        blows
    }
}

/// When a blow falls. This is a test's input: nothing is waited for because of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// So long after READY: the model loads, which takes about a second, or has just begun.
    Ready(Duration),
    /// So long after the client has heard so many more answers: others are written, stored and on
    /// their way. However slow the machine is, the run goes on.
    Answers(usize, Duration),
}

pub(crate) fn moment(dice: &mut Dice) -> Moment {
    if dice.once_in(3) {
        Moment::Ready(dice.millis(100, 2_000))
    } else {
        Moment::Answers(1 + dice.below(4) as usize, dice.millis(0, 300))
    }
}

/// From exec to a blow that comes before READY, or in its moment.
pub(crate) fn until_early_blow(dice: &mut Dice) -> Duration {
    dice.millis(0, 40)
}
