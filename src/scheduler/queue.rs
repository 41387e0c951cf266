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
        let ticket = Ticket { start: self.claim(&place.client, lane, work), lane, number: self.next_number };
        self.next_number += 1;
        self.lanes[lane as usize].insert(ticket, Entry { place, work, item });
        ticket
    }

    /// Puts one in again that [`remove`](Self::remove) took out: its turn is not later than it was.
    pub fn put_back(&mut self, was: Ticket, place: Place, work: Work, item: T) -> Ticket {
        // The clocks may have begun anew since, and then its old tag says nothing.
        let start = self.claim(&place.client, was.lane, work).min(was.start);
        let ticket = Ticket { start, ..was };
        self.lanes[was.lane as usize].insert(ticket, Entry { place, work, item });
        ticket
    }

    /// Moves a flow's clock on by one entry; where that begins.
    fn claim(&mut self, client: &ClientId, lane: Lane, work: Work) -> u64 {
        let flow = (client.clone(), lane);
        let start = self.finished.get(&flow).copied().unwrap_or(0).max(self.clock(lane));
        self.finished.insert(flow, start + advance(work, lane));
        start
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
mod tests;
