//! What may be started while the board is under pressure. Pure: pressure and time come in.

use std::time::Duration;

use crate::domain::{BootTime, Lane, Pressure, limits};

/// Counts what runs, and how long the batch lane rests.
///
/// | pressure | |
/// |---|---|
/// | nominal | everything |
/// | warm | of the batch lane one request at a time; after each it rests as long as that one took |
/// | hot | nothing of the batch lane; of the others as many as half the slots |
/// | critical | nothing |
///
/// What runs already goes on, whatever the pressure.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    running: usize,
    batch: usize,
    rest_until: Option<BootTime>,
}

impl Pace {
    /// A request was handed to the engine.
    pub fn started(&mut self, lane: Lane) {
        self.running += 1;
        self.batch += usize::from(lane == Lane::Batch);
    }

    /// It has ended, `took` after it was handed over.
    pub fn ended(&mut self, lane: Lane, took: Duration, now: BootTime) {
        self.running = self.running.saturating_sub(1);
        if lane == Lane::Batch {
            self.batch = self.batch.saturating_sub(1);
            self.rest_until = Some(now.after(took.min(limits::BATCH_REST_MAX)));
        }
    }

    /// Whether a request of this lane may start beside those that run.
    pub fn may_start(&self, lane: Lane, pressure: Pressure, slots: usize, now: BootTime) -> bool {
        let batch = lane == Lane::Batch;
        match pressure {
            Pressure::Nominal => true,
            Pressure::Warm => !batch || (self.batch == 0 && self.rest(pressure, now).is_none()),
            Pressure::Hot => !batch && self.running < (slots / 2).max(1),
            Pressure::Critical => false,
        }
    }

    /// For how long the batch lane still rests.
    pub fn rest(&self, pressure: Pressure, now: BootTime) -> Option<Duration> {
        let left = self.rest_until?.since(now);
        (pressure == Pressure::Warm && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }

    /// The lanes that may start.
    fn may(pace: &Pace, pressure: Pressure, slots: usize, seconds: u64) -> Vec<&'static str> {
        let lanes = Lane::ALL.into_iter().filter(|lane| pace.may_start(*lane, pressure, slots, at(seconds)));
        lanes.map(Lane::name).collect()
    }

    const ALL: [&str; 3] = ["interactive", "normal", "batch"];

    #[test]
    fn nominal_holds_nothing_up() {
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.started(Lane::Batch);
        }
        pace.ended(Lane::Batch, Duration::from_secs(100), at(0));
        assert_eq!(may(&pace, Pressure::Nominal, 4, 0), ALL);
    }

    #[test]
    fn warm_runs_one_of_batch_at_a_time_and_rests_as_long_as_it_took() {
        let mut pace = Pace::default();
        assert_eq!(may(&pace, Pressure::Warm, 4, 0), ALL);
        pace.started(Lane::Batch);
        assert_eq!(may(&pace, Pressure::Warm, 4, 5), ALL[..2], "one runs");
        pace.ended(Lane::Batch, Duration::from_secs(10), at(10));
        assert_eq!(pace.rest(Pressure::Warm, at(13)), Some(Duration::from_secs(7)));
        assert_eq!(may(&pace, Pressure::Warm, 4, 19), ALL[..2], "it rests");
        assert_eq!(may(&pace, Pressure::Nominal, 4, 19), ALL, "the board has cooled");
        assert_eq!((pace.rest(Pressure::Nominal, at(13)), pace.rest(Pressure::Warm, at(20))), (None, None));
        assert_eq!(may(&pace, Pressure::Warm, 4, 20), ALL);
        pace.started(Lane::Batch);
        pace.ended(Lane::Batch, Duration::from_hours(10), at(100));
        assert_eq!(pace.rest(Pressure::Warm, at(100)), Some(limits::BATCH_REST_MAX), "not for ever");
    }

    #[test]
    fn warm_does_not_hold_up_those_who_wait_for_an_answer() {
        let mut pace = Pace::default();
        for lane in [Lane::Interactive, Lane::Normal, Lane::Interactive] {
            pace.started(lane);
            pace.ended(lane, Duration::from_secs(10), at(0));
            pace.started(lane);
        }
        assert_eq!(may(&pace, Pressure::Warm, 4, 0), ALL);
    }

    #[test]
    fn hot_stops_batch_and_halves_the_slots_but_never_to_none() {
        for (slots, half) in [(1, 1), (2, 1), (3, 1), (4, 2), (64, 32)] {
            let mut pace = Pace::default();
            for running in 0..half {
                assert_eq!(may(&pace, Pressure::Hot, slots, 0), ALL[..2], "{running} of {slots}");
                pace.started(Lane::Normal);
            }
            assert_eq!(may(&pace, Pressure::Hot, slots, 0), [""; 0], "{half} of {slots}");
            pace.ended(Lane::Normal, Duration::ZERO, at(0));
            assert_eq!(may(&pace, Pressure::Hot, slots, 0), ALL[..2]);
        }
    }

    #[test]
    fn critical_starts_nothing() {
        assert_eq!(may(&Pace::default(), Pressure::Critical, 64, 0), [""; 0]);
    }
}
