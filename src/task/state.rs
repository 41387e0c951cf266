//! What the gate remembers, within its bounds.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::{Held, Task, payload};
use crate::{
    config::OnChange,
    domain::{BootTime, limits},
};

/// The span that a rate is counted over.
const MINUTE: Duration = Duration::from_mins(1);

/// What is known of one topic of one task.
#[derive(Default)]
pub(super) struct Topic {
    /// When it last ran.
    pub(super) last_run: Option<BootTime>,
    /// Of the reading that last ran.
    pub(super) print: Option<u64>,
    /// Where its held reading is among those of all tasks.
    held: Option<Place>,
    /// Larger is younger.
    touched: u64,
}

/// When a held reading is due, and a number that keeps those of one moment in order.
type Place = (BootTime, u64);

#[derive(Default)]
struct OfTask {
    topics: HashMap<Box<str>, Topic>,
    /// When the task ran, of the last minute.
    runs: VecDeque<BootTime>,
}

/// What is known of all tasks.
#[derive(Default)]
pub(super) struct Memory {
    tasks: HashMap<Box<str>, OfTask>,
    held: BTreeMap<Place, Held>,
    pub(super) held_bytes: usize,
    pub(super) dropped: u64,
    counter: u64,
    hasher: RandomState,
}

impl Memory {
    /// What stands for the part of a payload that `on_change` looks at; `None` when it looks at none.
    pub(super) fn fingerprint(&self, on_change: &OnChange, bytes: &[u8]) -> Option<u64> {
        match on_change {
            OnChange::Off => None,
            OnChange::Payload => Some(self.hasher.hash_one(bytes)),
            OnChange::Values(pointers) => Some(match payload::json(bytes) {
                Ok(value) => {
                    let at = |pointer: &String| value.pointer(pointer).map(ToString::to_string);
                    self.hasher.hash_one(pointers.iter().map(at).collect::<Vec<_>>())
                }
                // It will not render; told once, not with every copy of it.
                Err(_) => self.hasher.hash_one(bytes),
            }),
        }
    }

    /// What is known of a topic; one that is not known yet may push out the oldest.
    pub(super) fn topic(&mut self, task: &str, topic: &str) -> &mut Topic {
        self.counter += 1;
        let known = self.tasks.get(task).map(|of| (of.topics.contains_key(topic), of.topics.len()));
        if let Some((false, limits::GATE_TOPICS_PER_TASK_MAX..)) = known {
            self.forget_oldest(task);
        }
        let of = self.tasks.entry(task.into()).or_default();
        let topic = of.topics.entry(topic.into()).or_default();
        topic.touched = self.counter;
        topic
    }

    fn forget_oldest(&mut self, task: &str) {
        let Some(of) = self.tasks.get_mut(task) else { return };
        let oldest = of.topics.iter().min_by_key(|(_, topic)| topic.touched).map(|(name, _)| name.clone());
        let Some(forgotten) = oldest.and_then(|name| of.topics.remove(&name)) else { return };
        if forgotten.held.is_some_and(|place| self.remove(place).is_some()) {
            self.dropped += 1;
        }
    }

    /// Whether the task may run once more within its rate; counts the run when it may.
    pub(super) fn admit(&mut self, task: &Task, now: BootTime) -> bool {
        let Some(rate) = task.options().rate_per_minute else { return true };
        let runs = &mut self.tasks.entry(task.name().into()).or_default().runs;
        while runs.front().is_some_and(|run| now.since(*run) >= MINUTE) {
            runs.pop_front();
        }
        let admitted = runs.len() < rate;
        if admitted {
            runs.push_back(now);
        }
        admitted
    }

    /// Notes a run, for tasks whose topics are remembered.
    pub(super) fn ran(&mut self, task: &Task, topic: &str, print: Option<u64>, now: BootTime) {
        if task.options().every_ms.is_some() || print.is_some() {
            let known = self.topic(task.name(), topic);
            (known.last_run, known.print) = (Some(now), print);
        }
    }

    /// Lets go of the reading that is held for a topic, which a newer one has made worthless.
    pub(super) fn release(&mut self, task: &str, topic: &str) {
        let of = self.tasks.get_mut(task);
        let place = of.and_then(|of| of.topics.get_mut(topic)).and_then(|known| known.held.take());
        place.and_then(|place| self.remove(place));
    }

    /// Holds a reading; for room, those that are due first are dropped.
    pub(super) fn hold(&mut self, held: Held, at: BootTime) {
        self.counter += 1;
        let place = (at, self.counter);
        self.topic(held.task.name(), &held.topic).held = Some(place);
        self.held_bytes += held.payload.len();
        self.held.insert(place, held);
        while self.held_bytes > limits::GATE_HELD_BYTES_MAX {
            let Some(first) = self.held.first_key_value().map(|(place, _)| *place) else { break };
            self.take(first);
            self.dropped += 1;
        }
    }

    /// The next reading whose time has come.
    pub(super) fn take_due(&mut self, now: BootTime) -> Option<Held> {
        let place = self.held.first_key_value().map(|(place, _)| *place).filter(|(at, _)| *at <= now)?;
        self.take(place)
    }

    /// When the next held reading's time comes.
    pub(super) fn next_due(&self) -> Option<BootTime> {
        self.held.first_key_value().map(|((at, _), _)| *at)
    }

    fn take(&mut self, place: Place) -> Option<Held> {
        let held = self.remove(place)?;
        let of = self.tasks.get_mut(held.task.name());
        if let Some(known) = of.and_then(|of| of.topics.get_mut(held.topic.as_str())) {
            known.held = None;
        }
        Some(held)
    }

    fn remove(&mut self, place: Place) -> Option<Held> {
        let held = self.held.remove(&place)?;
        self.held_bytes -= held.payload.len();
        Some(held)
    }
}
