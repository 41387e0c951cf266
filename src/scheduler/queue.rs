//! The queue before the engine: bounded, fair among clients, weighted by lane.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996, §2): each flow (one client in one
//! lane) has its own virtual clock that advances by cost ÷ weight, and the entry with the
//! smallest start tag is next. A client that sends a hundred prompts waits behind its own
//! prompts, not in front of everybody else's. Waiting counts: what waits keeps its start tag
//! while virtual time comes nearer, so the batch lane gets little, never nothing.
//!
//! A lane may be told to wait while others go on. It keeps the order of its own entries and its
//! share, but gathers no claims meanwhile: its clock stands still, or everybody else would stand
//! behind its backlog once it may go on.
//!
//! A [`Place`] is taken before a request is written to disk, so that what is on disk
//! always has room here.

use std::collections::{BTreeMap, HashMap};

use super::admit::Work;
use crate::domain::{ClientId, Lane};

/// Names one waiting entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// By the clock of its lane.
    start: u64,
    lane: Lane,
    number: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The whole queue, or what this lane may take of it.
    Queue,
    /// This client's share of it.
    Client,
    /// The bytes of all that wait.
    Bytes,
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries, all lanes together.
    pub entries: usize,
    /// Entries of one client, unless it has its own bound.
    pub per_client: usize,
    /// Bytes of all entries.
    pub bytes: usize,
}

/// Room for one entry; to be used by [`FairQueue::push`] or given back by [`FairQueue::release`].
#[must_use]
#[derive(Debug)]
pub struct Place {
    client: ClientId,
    bytes: usize,
}

struct Entry<T> {
    place: Place,
    work: Work,
    item: T,
}

/// A bounded queue of `T`.
pub struct FairQueue<T> {
    bounds: Bounds,
    lanes: [BTreeMap<Ticket, Entry<T>>; Lane::ALL.len()],
    /// By the clocks of the lanes.
    finished: HashMap<(ClientId, Lane), u64>,
    virtual_time: u64,
    /// How far the clock of each lane is behind virtual time, because it had to wait.
    delay: [u64; Lane::ALL.len()],
    next_number: u64,
    /// Places taken, whether their entries are in yet or not.
    taken: usize,
    taken_bytes: usize,
    taken_by: HashMap<ClientId, usize>,
}

impl<T> FairQueue<T> {
    /// An empty queue.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lanes: [const { BTreeMap::new() }; Lane::ALL.len()],
            finished: HashMap::new(),
            virtual_time: 0,
            delay: [0; Lane::ALL.len()],
            next_number: 0,
            taken: 0,
            taken_bytes: 0,
            taken_by: HashMap::new(),
        }
    }

    /// Takes a place; `own_bound` is the client's own, when the operator gave it one.
    pub fn reserve(
        &mut self,
        client: &ClientId,
        lane: Lane,
        bytes: usize,
        own_bound: Option<usize>,
    ) -> Result<Place, Full> {
        if self.taken >= lane.share_of(self.bounds.entries) {
            return Err(Full::Queue);
        }
        if self.taken_by.get(client).copied().unwrap_or(0) >= own_bound.unwrap_or(self.bounds.per_client) {
            return Err(Full::Client);
        }
        if self.taken_bytes.saturating_add(bytes) > self.bounds.bytes {
            return Err(Full::Bytes);
        }
        Ok(self.reserve_anyway(client, bytes))
    }

    /// Takes a place beyond all bounds: for what was accepted before a restart.
    pub fn reserve_anyway(&mut self, client: &ClientId, bytes: usize) -> Place {
        self.taken += 1;
        self.taken_bytes += bytes;
        *self.taken_by.entry(client.clone()).or_default() += 1;
        Place { client: client.clone(), bytes }
    }

    /// Gives a place back unused.
    pub fn release(&mut self, place: Place) {
        self.taken -= 1;
        self.taken_bytes -= place.bytes;
        if let Some(n) = self.taken_by.get_mut(&place.client) {
            *n -= 1;
            if *n == 0 {
                self.taken_by.remove(&place.client);
            }
        }
    }

    /// Puts `item` in; `work` is what it takes of the engine.
    pub fn push(&mut self, place: Place, lane: Lane, work: Work, item: T) -> Ticket {
        let flow = (place.client.clone(), lane);
        let start = self.finished.get(&flow).copied().unwrap_or(0).max(self.clock(lane));
        self.finished.insert(flow, start + advance(work, lane));
        let ticket = Ticket { start, lane, number: self.next_number };
        self.next_number += 1;
        self.lanes[lane as usize].insert(ticket, Entry { place, work, item });
        ticket
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_of(|_| true)
    }

    /// Takes the next one of the lanes that may go on out; the other lanes' clocks stand still.
    pub fn pop_of(&mut self, may: impl Fn(Lane) -> bool) -> Option<T> {
        let heads = Lane::ALL.into_iter().filter(|lane| may(*lane)).filter_map(|lane| self.head(lane));
        let next = heads.min_by_key(|ticket| self.order(*ticket))?;
        let entry = self.lanes[next.lane as usize].remove(&next)?;
        self.virtual_time = self.virtual_time.max(self.order(next).0);
        for lane in Lane::ALL.into_iter().filter(|lane| !may(*lane)) {
            let Some(head) = self.head(lane) else { continue };
            self.delay[lane as usize] += self.virtual_time.saturating_sub(self.order(head).0);
        }
        self.forget_the_past();
        self.release(entry.place);
        Some(entry.item)
    }

    fn head(&self, lane: Lane) -> Option<Ticket> {
        self.lanes[lane as usize].first_key_value().map(|(ticket, _)| *ticket)
    }

    /// Virtual time by the clock of a lane.
    fn clock(&self, lane: Lane) -> u64 {
        self.virtual_time.saturating_sub(self.delay[lane as usize])
    }

    /// What the entries of all lanes are ordered by.
    fn order(&self, ticket: Ticket) -> (u64, Lane, u64) {
        (ticket.start + self.delay[ticket.lane as usize], ticket.lane, ticket.number)
    }

    /// Takes one out that no longer wants to wait. Its flow has not had what it asked for, and pays
    /// nothing: a sensor whose newer readings replace older ones keeps its turn.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.lanes[ticket.lane as usize].remove(&ticket)?;
        if let Some(finish) = self.finished.get_mut(&(entry.place.client.clone(), ticket.lane)) {
            *finish = finish.saturating_sub(advance(entry.work, ticket.lane));
        }
        self.forget_the_past();
        self.release(entry.place);
        Some(entry.item)
    }

    /// Drops claims that have no meaning any more; this also bounds the map.
    fn forget_the_past(&mut self) {
        if self.is_empty() {
            // Nobody waits, so nobody has a claim from before.
            self.start_anew();
        } else {
            let now = Lane::ALL.map(|lane| self.clock(lane));
            self.finished.retain(|(_, lane), finish| *finish > now[*lane as usize]);
        }
    }

    fn start_anew(&mut self) {
        self.finished.clear();
        self.virtual_time = 0;
        self.delay = [0; Lane::ALL.len()];
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<T> {
        self.start_anew();
        let lanes = self.lanes.each_mut().map(std::mem::take);
        lanes
            .into_iter()
            .flat_map(BTreeMap::into_values)
            .map(|entry| {
                self.release(entry.place);
                entry.item
            })
            .collect()
    }

    /// What runs before `ticket` if nothing else comes: entries and their work.
    pub fn ahead_of(&self, ticket: Ticket) -> (usize, Work) {
        let end = self.order(ticket);
        let before =
            self.lanes.iter().flat_map(|lane| lane.iter().take_while(|(t, _)| self.order(**t) < end));
        before.fold((0, Work::default()), |(n, work), (_, entry)| (n + 1, work + entry.work))
    }

    /// The same for a request that `client` would push now.
    pub fn ahead_of_new(&self, client: &ClientId, lane: Lane) -> (usize, Work) {
        let finished = self.finished.get(&(client.clone(), lane)).copied().unwrap_or(0);
        let start = finished.max(self.clock(lane));
        self.ahead_of(Ticket { start, lane, number: self.next_number })
    }

    /// Entries that wait in `lane`.
    pub fn depth(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len()
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(BTreeMap::is_empty)
    }

    /// Places that are free for the most urgent lane.
    pub fn free(&self) -> usize {
        self.bounds.entries.saturating_sub(self.taken)
    }
}

/// How far a flow's clock goes on for an entry.
fn advance(work: Work, lane: Lane) -> u64 {
    work.tokens().max(1) * (Lane::Interactive.weight() / lane.weight())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { entries: 64, per_client: 32, bytes: 1 << 20 };

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    fn work(tokens: u64) -> Work {
        Work { prompt: 0, answer: tokens }
    }

    fn put<T>(queue: &mut FairQueue<T>, who: &str, lane: Lane, cost: u64, item: T) -> Result<Ticket, Full> {
        let place = queue.reserve(&client(who), lane, 10, None)?;
        Ok(queue.push(place, lane, work(cost), item))
    }

    #[test]
    fn a_client_with_many_prompts_waits_behind_its_own() {
        let mut queue = FairQueue::new(BOUNDS);
        for n in 0..5 {
            put(&mut queue, "greedy", Lane::Normal, 100, format!("greedy {n}")).unwrap();
        }
        put(&mut queue, "modest", Lane::Normal, 100, "modest".into()).unwrap();
        assert_eq!(queue.pop().unwrap(), "greedy 0");
        assert_eq!(queue.pop().unwrap(), "modest");
        assert_eq!(queue.pop().unwrap(), "greedy 1");
    }

    #[test]
    fn lanes_share_by_weight_and_batch_is_not_starved() {
        let mut queue = FairQueue::new(BOUNDS);
        for _ in 0..20 {
            put(&mut queue, "b", Lane::Batch, 10, Lane::Batch).unwrap();
        }
        for _ in 0..30 {
            put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
        }
        let first: Vec<Lane> = (0..20).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(first[0], Lane::Interactive);
        let batch = first.iter().filter(|l| **l == Lane::Batch).count();
        assert!((1..=2).contains(&batch), "{batch} of 20");
    }

    #[test]
    fn a_lane_that_must_wait_is_passed_by_and_keeps_its_order() {
        let mut queue = FairQueue::new(BOUNDS);
        for n in 0..3 {
            put(&mut queue, "b", Lane::Batch, 10, format!("batch {n}")).unwrap();
        }
        let last = put(&mut queue, "a", Lane::Interactive, 10, "interactive".into()).unwrap();
        assert_eq!(queue.ahead_of(last).0, 0);
        assert_eq!(queue.pop_of(|lane| lane != Lane::Batch).unwrap(), "interactive");
        assert_eq!(queue.pop_of(|lane| lane != Lane::Batch), None, "nobody else may");
        assert_eq!(queue.depth(Lane::Batch), 3, "and nothing is lost");
        for n in 0..3 {
            assert_eq!(queue.pop().unwrap(), format!("batch {n}"));
        }
    }

    #[test]
    fn what_had_to_wait_for_long_does_not_stand_before_everybody_else_after_it() {
        let mut queue = FairQueue::new(BOUNDS);
        for _ in 0..20 {
            put(&mut queue, "b", Lane::Batch, 10, Lane::Batch).unwrap();
        }
        // A hot hour: only the others run.
        for _ in 0..1_000 {
            put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
            put(&mut queue, "c", Lane::Normal, 10, Lane::Normal).unwrap();
            for _ in 0..2 {
                assert_ne!(queue.pop_of(|lane| lane != Lane::Batch).unwrap(), Lane::Batch);
            }
        }
        for _ in 0..30 {
            put(&mut queue, "a", Lane::Interactive, 10, Lane::Interactive).unwrap();
        }
        let first: Vec<Lane> = (0..20).map(|_| queue.pop().unwrap()).collect();
        let batch = first.iter().filter(|l| **l == Lane::Batch).count();
        assert!((1..=2).contains(&batch), "{batch} of 20, as if it had never waited");
    }

    #[test]
    fn a_client_whose_entries_are_replaced_keeps_its_turn() {
        let mut queue = FairQueue::new(BOUNDS);
        for n in 0..4 {
            put(&mut queue, "plc", Lane::Normal, 100, format!("plc {n}")).unwrap();
        }
        let mut newest = put(&mut queue, "sensor", Lane::Normal, 100, "reading 0".into()).unwrap();
        for n in 1..20 {
            assert!(queue.remove(newest).is_some());
            newest = put(&mut queue, "sensor", Lane::Normal, 100, format!("reading {n}")).unwrap();
        }
        assert_eq!(queue.pop().unwrap(), "plc 0");
        assert_eq!(queue.pop().unwrap(), "reading 19", "what never ran has cost it nothing");
    }

    #[test]
    fn every_bound_holds_and_frees_up() {
        let mut queue = FairQueue::new(BOUNDS);
        let tickets: Vec<_> = (0..32).map(|_| put(&mut queue, "a", Lane::Normal, 1, ()).unwrap()).collect();
        assert_eq!(put(&mut queue, "a", Lane::Normal, 1, ()), Err(Full::Client));
        let place = queue.reserve(&client("a"), Lane::Normal, 0, Some(33)).unwrap();
        assert_eq!(queue.reserve(&client("a"), Lane::Normal, 0, Some(33)).unwrap_err(), Full::Client);
        queue.release(place);

        while put(&mut queue, "b", Lane::Batch, 1, ()).is_ok() {}
        assert_eq!(queue.len(), 48, "batch may not take the last quarter");
        while put(&mut queue, "b", Lane::Normal, 1, ()).is_ok() {}
        assert_eq!(queue.len(), 56, "normal may not take the last eighth");
        while put(&mut queue, "c", Lane::Interactive, 1, ()).is_ok() {}
        assert_eq!((queue.len(), queue.free()), (64, 0));
        assert_eq!(put(&mut queue, "d", Lane::Interactive, 1, ()), Err(Full::Queue));
        assert!(queue.remove(tickets[3]).is_some());
        assert!(queue.remove(tickets[3]).is_none());
        assert_eq!(queue.reserve(&client("d"), Lane::Interactive, 1 << 20, None).unwrap_err(), Full::Bytes);
        put(&mut queue, "d", Lane::Interactive, 1, ()).unwrap();
    }

    #[test]
    fn what_is_ahead_is_what_runs_before() {
        let mut queue = FairQueue::new(BOUNDS);
        let tickets: Vec<_> = (0..6)
            .map(|n| put(&mut queue, ["a", "b"][n % 2], Lane::Normal, 10 + n as u64, n).unwrap())
            .collect();
        let last = *tickets.iter().max().unwrap();
        assert_eq!(queue.ahead_of(last), (5, work(10 + 11 + 12 + 13 + 14)));
        assert_eq!(queue.ahead_of_new(&client("c"), Lane::Normal).0, 2, "behind the first of each");
    }

    proptest! {
        #[test]
        fn everything_that_went_in_comes_out_once_and_leaves_no_place_taken(
            pushes in prop::collection::vec((0u8..4, 0usize..3, 1u64..5_000, 0u8..12), 0..200),
        ) {
            let mut queue = FairQueue::new(BOUNDS);
            let (mut inside, mut out) = (0u32, Vec::new());
            for (who, lane, cost, pop) in pushes {
                if put(&mut queue, &format!("c{who}"), Lane::ALL[lane], cost, inside).is_ok() {
                    inside += 1;
                }
                // Half of the time: one of the lanes that may, which are 1 to 3.
                if pop < 6 { out.extend(queue.pop_of(|lane| pop == 0 || lane as u8 % pop != 1)); }
            }
            while let Some(item) = queue.pop() { out.push(item); }
            out.sort_unstable();
            prop_assert_eq!(out, (0..inside).collect::<Vec<_>>());
            prop_assert!(queue.finished.is_empty() && queue.taken_by.is_empty());
            prop_assert_eq!((queue.taken, queue.taken_bytes), (0, 0));
        }
    }
}
