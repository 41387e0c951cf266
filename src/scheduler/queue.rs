//! The queue before the engine: bounded, fair among clients, weighted by lane.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996, §2): each flow (one client in one
//! lane) has its own virtual clock that advances by cost ÷ weight, and the entry with the
//! smallest start tag is next. A client that sends a hundred prompts waits behind its own
//! prompts, not in front of everybody else's, and the batch lane gets little, never nothing.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{ClientId, Lane, limits};

/// Names one waiting entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    start: u64,
    lane: Lane,
    number: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The whole queue.
    Queue,
    /// This client's share of it.
    Client,
}

struct Entry<T> {
    client: ClientId,
    item: T,
}

/// A bounded queue of `T`.
pub struct FairQueue<T> {
    entries: BTreeMap<Ticket, Entry<T>>,
    finished: HashMap<(ClientId, Lane), u64>,
    virtual_time: u64,
    next_number: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), finished: HashMap::new(), virtual_time: 0, next_number: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Puts `item` in; `cost` is what it takes of the engine, in tokens.
    pub fn push(&mut self, client: &ClientId, lane: Lane, cost: u64, item: T) -> Result<Ticket, Full> {
        if self.entries.len() >= limits::QUEUED_REQUESTS_MAX {
            return Err(Full::Queue);
        }
        if self.entries.values().filter(|e| e.client == *client).count()
            >= limits::QUEUED_REQUESTS_PER_CLIENT_MAX
        {
            return Err(Full::Client);
        }
        let flow = (client.clone(), lane);
        let start = self.finished.get(&flow).copied().unwrap_or(0).max(self.virtual_time);
        let advance = cost.max(1) * (Lane::Interactive.weight() / lane.weight());
        self.finished.insert(flow, start + advance);
        let ticket = Ticket { start, lane, number: self.next_number };
        self.next_number += 1;
        self.entries.insert(ticket, Entry { client: client.clone(), item });
        Ok(ticket)
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<T> {
        let (ticket, entry) = self.entries.pop_first()?;
        self.virtual_time = ticket.start;
        if self.entries.is_empty() {
            // Nobody waits, so nobody has a claim from before; this also bounds the map.
            self.finished.clear();
            self.virtual_time = 0;
        } else {
            let now = self.virtual_time;
            self.finished.retain(|_, finish| *finish > now);
        }
        Some(entry.item)
    }

    /// Takes one out that no longer wants to wait.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.entries.remove(&ticket).map(|e| e.item)
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<T> {
        self.finished.clear();
        self.virtual_time = 0;
        std::mem::take(&mut self.entries).into_values().map(|e| e.item).collect()
    }

    /// Entries that wait in `lane`.
    pub fn depth(&self, lane: Lane) -> usize {
        self.entries.keys().filter(|t| t.lane == lane).count()
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    #[test]
    fn a_client_with_many_prompts_waits_behind_its_own() {
        let mut queue = FairQueue::default();
        for n in 0..5 {
            queue.push(&client("greedy"), Lane::Normal, 100, format!("greedy {n}")).unwrap();
        }
        queue.push(&client("modest"), Lane::Normal, 100, "modest".into()).unwrap();
        assert_eq!(queue.pop().unwrap(), "greedy 0");
        assert_eq!(queue.pop().unwrap(), "modest");
        assert_eq!(queue.pop().unwrap(), "greedy 1");
    }

    #[test]
    fn lanes_share_by_weight_and_batch_is_not_starved() {
        let mut queue = FairQueue::default();
        for _ in 0..30 {
            queue.push(&client("a"), Lane::Interactive, 10, Lane::Interactive).unwrap();
        }
        for _ in 0..20 {
            queue.push(&client("b"), Lane::Batch, 10, Lane::Batch).unwrap();
        }
        let first: Vec<Lane> = (0..20).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(first[0], Lane::Interactive);
        let batch = first.iter().filter(|l| **l == Lane::Batch).count();
        assert!((1..=2).contains(&batch), "{batch} of 20");
    }

    #[test]
    fn both_bounds_hold_and_free_up() {
        let mut queue = FairQueue::default();
        let (a, b, c) = (client("a"), client("b"), client("c"));
        let tickets: Vec<_> = (0..limits::QUEUED_REQUESTS_PER_CLIENT_MAX)
            .map(|_| queue.push(&a, Lane::Normal, 1, ()).unwrap())
            .collect();
        assert_eq!(queue.push(&a, Lane::Normal, 1, ()), Err(Full::Client));
        while queue.push(&b, Lane::Batch, 1, ()).is_ok() {}
        assert_eq!(queue.len(), limits::QUEUED_REQUESTS_MAX);
        assert_eq!(queue.push(&c, Lane::Interactive, 1, ()), Err(Full::Queue));
        assert!(queue.remove(tickets[3]).is_some());
        assert!(queue.remove(tickets[3]).is_none());
        assert!(queue.push(&c, Lane::Interactive, 1, ()).is_ok());
    }

    proptest! {
        #[test]
        fn everything_that_went_in_comes_out_once(
            pushes in prop::collection::vec((0u8..4, 0usize..3, 1u64..5_000, any::<bool>()), 0..200),
        ) {
            let mut queue = FairQueue::default();
            let (mut inside, mut out) = (0u32, Vec::new());
            for (who, lane, cost, pop) in pushes {
                if queue.push(&client(&format!("c{who}")), Lane::ALL[lane], cost, inside).is_ok() {
                    inside += 1;
                }
                if pop { out.extend(queue.pop()); }
            }
            while let Some(item) = queue.pop() { out.push(item); }
            out.sort_unstable();
            prop_assert_eq!(out, (0..inside).collect::<Vec<_>>());
            prop_assert!(queue.finished.is_empty());
        }
    }
}
