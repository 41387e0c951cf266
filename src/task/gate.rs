//! Whether a reading is worth a run: a sensor at 100 Hz must not drown the board.
//!
//! In this order: unchanged readings are passed over (`on_change`), readings that come too
//! soon wait and the newest of them is run (`every_ms`), and what is beyond the task's rate is
//! passed over (`rate_per_minute`). "Changed" is against the last reading that was run.
//!
//! Bounds: [`crate::domain::limits::GATE_TOPICS_PER_TASK_MAX`] topics of a task are remembered and
//! [`crate::domain::limits::GATE_HELD_BYTES_MAX`] of readings are held, of all tasks; beyond, the oldest is
//! forgotten and counted. A topic that was forgotten begins anew: its next reading runs.

use std::{sync::Arc, time::Duration};

use super::{Task, state::Memory};
use crate::domain::BootTime;

/// What to do with a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run it now.
    Run,
    /// Too soon: [`Gate::hold`] it until then, in place of what is held for the same topic.
    Later {
        /// When it may run.
        at: BootTime,
    },
    /// Pass it over.
    Skip(Skipped),
}

/// Why a reading is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Nothing that the task looks at has changed since the last run.
    Unchanged,
    /// The task has had its runs for this minute.
    Rate,
}

impl Skipped {
    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Rate => "rate",
        }
    }
}

/// A reading whose time has come.
#[derive(Clone, Debug)]
pub struct Held {
    /// The task.
    pub task: Arc<Task>,
    /// The topic it came on.
    pub topic: String,
    /// What came in.
    pub payload: Vec<u8>,
}

/// What the gate knows of all tasks. Not shared: one owner asks it about each message.
#[derive(Default)]
pub struct Gate {
    memory: Memory,
}

impl Gate {
    /// Decides about one reading and remembers the decision.
    pub fn decide(&mut self, task: &Task, topic: &str, payload: &[u8], now: BootTime) -> Decision {
        let options = task.options();
        let print = self.memory.fingerprint(&options.on_change, payload);
        let every = options.every_ms.map(Duration::from_millis);
        if every.is_some() || print.is_some() {
            let known = self.memory.topic(task.name(), topic);
            if print.is_some() && known.print == print {
                self.memory.release(task.name(), topic);
                return Decision::Skip(Skipped::Unchanged);
            }
            let next = every.zip(known.last_run).map(|(every, last)| last.after(every));
            if let Some(at) = next.filter(|at| *at > now) {
                return Decision::Later { at };
            }
            // What is held is older than this one.
            self.memory.release(task.name(), topic);
        }
        if !self.memory.admit(task, now) {
            return Decision::Skip(Skipped::Rate);
        }
        self.memory.ran(task, topic, print, now);
        Decision::Run
    }

    /// Keeps a reading until `at`, in place of an older one of the same task and topic.
    pub fn hold(&mut self, task: &Arc<Task>, topic: &str, payload: &[u8], at: BootTime) {
        self.memory.release(task.name(), topic);
        let held = Held { task: Arc::clone(task), topic: topic.to_owned(), payload: payload.to_owned() };
        self.memory.hold(held, at);
    }

    /// The readings whose time has come: they are to run now.
    pub fn due(&mut self, now: BootTime) -> Vec<Held> {
        let mut due = Vec::new();
        while let Some(held) = self.memory.take_due(now) {
            if self.memory.admit(&held.task, now) {
                let print = self.memory.fingerprint(&held.task.options().on_change, &held.payload);
                self.memory.ran(&held.task, &held.topic, print, now);
                due.push(held);
            } else {
                self.memory.dropped += 1;
            }
        }
        due
    }

    /// When the next held reading's time comes.
    pub fn next_due(&self) -> Option<BootTime> {
        self.memory.next_due()
    }

    /// What a run was started for did not happen, because the queue was full or the model not
    /// there: the next reading counts as changed.
    pub fn forget(&mut self, task: &Task, topic: &str) {
        self.memory.topic(task.name(), topic).print = None;
    }

    /// Readings that were held and will not run: for want of room, or beyond their task's rate.
    pub fn dropped(&self) -> u64 {
        self.memory.dropped
    }

    /// Bytes of the readings that are held.
    pub fn held_bytes(&self) -> usize {
        self.memory.held_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{self, OnChange, OneOrMore},
        domain::limits,
        task::Tasks,
    };

    fn task(change: impl FnOnce(&mut config::Task)) -> Arc<Task> {
        let mut entry = config::Task {
            name: "t".into(),
            topic: OneOrMore(vec!["s/#".into()]),
            prompt: "{{ payload }}".into(),
            result: "r".into(),
            ..config::Task::default()
        };
        change(&mut entry);
        Arc::clone(Tasks::compile(&[entry], "o", "n").unwrap().get("t").unwrap())
    }

    fn at(ms: u64) -> BootTime {
        BootTime::new(Duration::from_millis(ms))
    }

    /// Feeds readings of one topic as the service would; what ran, and when.
    fn run(task: &Arc<Task>, readings: &[(u64, String)], until_ms: u64) -> Vec<(u64, String)> {
        let (mut gate, mut ran) = (Gate::default(), Vec::new());
        let mut readings = readings.iter().peekable();
        for ms in 0..=until_ms {
            for held in gate.due(at(ms)) {
                ran.push((ms, String::from_utf8(held.payload).unwrap()));
            }
            while let Some((_, payload)) = readings.next_if(|(when, _)| *when == ms) {
                match gate.decide(task, "s/a", payload.as_bytes(), at(ms)) {
                    Decision::Run => ran.push((ms, payload.clone())),
                    Decision::Later { at } => gate.hold(task, "s/a", payload.as_bytes(), at),
                    Decision::Skip(_) => {}
                }
            }
        }
        assert_eq!((gate.next_due(), gate.held_bytes()), (None, 0), "nothing is left behind");
        ran
    }

    #[test]
    fn a_sensor_at_100_hz_runs_once_a_second_with_the_newest_reading() {
        let task = task(|t| t.every_ms = Some(1000));
        let readings: Vec<_> = (0..500).map(|n| (n * 10, n.to_string())).collect();
        let ran = run(&task, &readings, 7000);
        let expected = [(0, 0), (1000, 99), (2000, 199), (3000, 299), (4000, 399), (5000, 499)];
        assert_eq!(ran, expected.map(|(ms, n): (u64, u64)| (ms, n.to_string())));
    }

    #[test]
    fn an_unchanged_payload_does_not_run_again() {
        let task = task(|t| t.on_change = OnChange::Payload);
        let readings: Vec<_> = (0..6).map(|n| (n, (n / 2).to_string())).collect();
        assert_eq!(run(&task, &readings, 10), [(0, "0".into()), (2, "1".into()), (4, "2".into())]);
    }

    #[test]
    fn only_the_values_that_are_named_count_as_change() {
        let task = task(|t| t.on_change = OnChange::Values(vec!["/rms".into(), "/state".into()]));
        let readings = [
            r#"{"rms":1,"n":1}"#,
            r#"{"n":2,"rms":1}"#,
            r#"{"rms":1,"state":null}"#,
            r#"{"rms":2,"state":null}"#,
            r#"{"rms":2,"state":null,"x":1}"#,
        ];
        let readings: Vec<_> = readings.iter().zip(0..).map(|(text, n)| (n, (*text).to_owned())).collect();
        assert_eq!(run(&task, &readings, 10).iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn a_reading_that_is_back_where_the_last_run_was_takes_the_held_one_with_it() {
        let task = task(|t| (t.every_ms, t.on_change) = (Some(100), OnChange::Payload));
        let readings = [(0, "a"), (10, "b"), (20, "a"), (150, "b"), (160, "c")];
        let readings = readings.map(|(ms, text)| (ms, text.to_owned()));
        assert_eq!(run(&task, &readings, 500), [(0, "a".into()), (150, "b".into()), (250, "c".into())]);
    }

    #[test]
    fn a_run_that_did_not_happen_can_be_tried_again() {
        let task = task(|t| t.on_change = OnChange::Payload);
        let mut gate = Gate::default();
        assert_eq!(gate.decide(&task, "s/a", b"1", at(0)), Decision::Run);
        assert_eq!(gate.decide(&task, "s/a", b"1", at(1)), Decision::Skip(Skipped::Unchanged));
        gate.forget(&task, "s/a");
        assert_eq!(gate.decide(&task, "s/a", b"1", at(2)), Decision::Run);
    }

    #[test]
    fn no_minute_has_more_runs_than_the_rate() {
        let task = task(|t| t.rate_per_minute = Some(3));
        let mut gate = Gate::default();
        let mut decide = |ms, topic: &str| gate.decide(&task, topic, b"1", at(ms));
        assert!(["s/a", "s/b", "s/c"].iter().all(|topic| decide(1000, topic) == Decision::Run));
        assert_eq!(decide(1000, "s/d"), Decision::Skip(Skipped::Rate));
        assert_eq!(decide(60_999, "s/a"), Decision::Skip(Skipped::Rate));
        assert_eq!(decide(61_000, "s/a"), Decision::Run);
    }

    #[test]
    fn a_held_reading_is_held_against_the_rate_too() {
        let task = task(|t| (t.rate_per_minute, t.every_ms) = (Some(1), Some(1000)));
        let mut gate = Gate::default();
        assert_eq!(gate.decide(&task, "s/a", b"1", at(0)), Decision::Run);
        let Decision::Later { at: when } = gate.decide(&task, "s/a", b"2", at(5)) else { panic!("too soon") };
        gate.hold(&task, "s/a", b"2", when);
        assert_eq!((gate.due(at(1000)).len(), gate.dropped()), (0, 1));
    }

    #[test]
    fn without_settings_every_reading_runs_and_nothing_is_remembered() {
        let task = task(|_| {});
        let readings: Vec<_> = (0..50).map(|n| (n / 10, "same".to_owned())).collect();
        assert_eq!(run(&task, &readings, 10).len(), 50);
    }

    #[test]
    fn a_flood_of_topics_is_remembered_up_to_the_bound() {
        let task = task(|t| t.every_ms = Some(1000));
        let mut gate = Gate::default();
        let max = limits::GATE_TOPICS_PER_TASK_MAX;
        for n in 0..max + 10 {
            let topic = format!("s/{n}");
            assert_eq!(gate.decide(&task, &topic, b"1", at(0)), Decision::Run);
            gate.hold(&task, &topic, b"22", at(1000));
        }
        assert_eq!((gate.dropped(), gate.held_bytes()), (10, 2 * max));
        // The oldest was forgotten, the newest was not.
        assert_eq!(gate.decide(&task, "s/0", b"1", at(1)), Decision::Run);
        assert_eq!(gate.decide(&task, &format!("s/{max}"), b"1", at(1)), Decision::Later { at: at(1000) });
    }

    #[test]
    fn what_is_held_has_a_bound_in_bytes() {
        let task = task(|t| t.every_ms = Some(1000));
        let (mut gate, payload) = (Gate::default(), vec![b'x'; 128 * 1024]);
        for n in 0..200 {
            gate.hold(&task, &format!("s/{n}"), &payload, at(1000 + n));
            assert!(gate.held_bytes() <= limits::GATE_HELD_BYTES_MAX);
        }
        let kept = limits::GATE_HELD_BYTES_MAX / payload.len();
        assert_eq!(gate.dropped(), 200 - kept as u64);
        let due = gate.due(at(9999));
        assert_eq!((due.len(), due[0].topic.as_str()), (kept, format!("s/{}", 200 - kept).as_str()));
    }

    proptest! {
        #[test]
        fn runs_of_a_topic_are_never_closer_than_every_and_the_last_reading_is_never_lost(
            gaps in prop::collection::vec(0_u64..80, 1..60), every in 1_u64..200,
        ) {
            let task = task(|t| t.every_ms = Some(every));
            let mut now = 0;
            let readings: Vec<_> = gaps.iter().enumerate().map(|(n, gap)| { now += gap; (now, n.to_string()) }).collect();
            let ran = run(&task, &readings, now + 200);
            for pair in ran.windows(2) {
                prop_assert!(pair[1].0 >= pair[0].0 + every, "{ran:?}");
            }
            prop_assert_eq!(&ran.last().unwrap().1, &readings.last().unwrap().1);
        }
    }
}
