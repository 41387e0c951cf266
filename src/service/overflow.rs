//! Who of those that wait is answered elsewhere, and when.
//!
//! What the device could answer stays in its queue until somebody elsewhere is found for it: if the
//! device is free first, it takes it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Progress, Service,
    away::{Route, Stage},
    board,
    egress::{self, Stop},
    live::Live,
    run::sleep,
    shared::lock,
};
use crate::{
    cloud::{Account, NoWay, Nobody, Target},
    domain::{BootTime, ClientId, Lane, MicroUsd, Pressure, Zone, limits},
    engine::EngineState,
    scheduler::{Outlook, Work},
    store::{AuditEntry, AuditEvent, Egress, Settlement, UsageEntry, UsageQuery},
};

impl Service {
    /// Sends what the device cannot answer in time to whoever may. Does not end.
    pub async fn overflow(self) {
        let s = &self.shared;
        let (mut board, mut engine) = (s.board.clone(), s.engine.clone());
        // Each on its own: none waits until the others have been looked at.
        let mut calls = JoinSet::new();
        loop {
            let stirred = s.overflow_stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            let next = self.look_for_overflow(&mut calls).await;
            tokio::select! {
                biased;
                Some(ended) = calls.join_next() => if let Err(error) = ended
                    && error.is_panic()
                {
                    // With it goes this part of the daemon, and with that the daemon: systemd knows what to do.
                    std::panic::resume_unwind(error.into_panic());
                },
                () = stirred => {}
                () = board::changed(&mut board) => {}
                Ok(()) = engine.changed() => self.take_home(),
                () = sleep(next.map(|at| at.since(s.clock.boot()).max(limits::OVERFLOW_REST))) => {}
            }
        }
    }

    /// A model is there now: what waits for somebody elsewhere only because there was none may be
    /// answered here again.
    fn take_home(&self) {
        for live in self.shared.lives.all() {
            let only_away = lock(&live.away).route == Route::Away(Target::Any);
            let now = self.route(&live.request);
            if only_away && now == Ok(Route::Overflow) && self.take_from_queue(&live) {
                self.set_route(&live, Route::Overflow);
                self.requeue(&live);
            }
        }
    }

    /// Begins every call that may begin; when the next look is worth its while.
    async fn look_for_overflow(&self, calls: &mut JoinSet<()>) -> Option<BootTime> {
        let s = &self.shared;
        let now = s.clock.boot();
        let mut next: Option<BootTime> = None;
        // Those who were found to wait for room: others like them wait as well.
        let mut full: Vec<(Target, Arc<Live>)> = Vec::new();
        let mut sooner = |at: BootTime| next = Some(next.map_or(at, |known| known.min(at)));
        for live in fair(s.lives.all()) {
            if calls.len() >= limits::REMOTE_CALLS_MAX {
                break;
            }
            let Some(target) = self.wants_away(&live, now, &mut sooner) else { continue };
            let waits_for_room = lock(&live.away).stage == Stage::WaitsForRoom;
            if waits_for_room && full.iter().any(|(to, who)| *to == target && live.is_like(who)) {
                continue;
            }
            // Room is taken here and now: the next of them is not to count on it as well.
            let ways = self.ways(&live, &target).and_then(|ways| match s.remotes.room(&ways[0]) {
                Some(room) => Ok((ways, room)),
                None => Err(Stop::NoWay(NoWay::busy())),
            });
            match ways {
                Ok((ways, room)) => {
                    if self.take_for_call(&live) {
                        calls.spawn(self.clone().call_away(live, target, ways, room));
                    }
                }
                Err(Stop::Stale) => {
                    // Until it is there nobody else asks for it.
                    let remotes = Arc::clone(&s.remotes);
                    calls.spawn(async move { remotes.refresh(now).await });
                    sooner(now.after(limits::AWAY_RETRY_MIN));
                    return next;
                }
                Err(Stop::Denied(denial)) => {
                    self.note_denial(&live, &denial).await;
                    if self.gives_up(&live) {
                        self.dismiss(&live, egress::denied(&denial));
                    }
                }
                Err(Stop::NoWay(no_way)) => {
                    if no_way.kind == Nobody::Busy {
                        // What is under way ends with a call, and then everybody is looked at again; this is for
                        // what somebody else has begun.
                        sooner(now.after(limits::OVERFLOW_LOOK));
                        lock(&live.away).stage = Stage::WaitsForRoom;
                        full.push((target, Arc::clone(&live)));
                    } else {
                        let again = no_way.until.unwrap_or_else(|| now.after(limits::AWAY_RETRY));
                        let again = again.max(now.after(limits::AWAY_RETRY_MIN));
                        lock(&live.away).next = Some(again);
                        sooner(again);
                    }
                    // The device does not stand idle for somebody who may come.
                    let wish = lock(&live.away).first && no_way.kind != Nobody::Busy;
                    if (wish || no_way.ends(live.deadline.is_some())) && self.gives_up(&live) {
                        let wait = no_way.until.map(|until| until.since(now));
                        self.dismiss(&live, egress::nobody(&no_way, wait));
                    } else {
                        self.tell_deferred(&live, &no_way.why);
                    }
                }
            }
        }
        next
    }

    /// Nobody elsewhere is going to answer it. True when it is out of the queue and has to end; one that the
    /// device can answer waits for the device instead.
    fn gives_up(&self, live: &Arc<Live>) -> bool {
        let only_away = matches!(lock(&live.away).route, Route::Away(_));
        if !only_away && std::mem::replace(&mut lock(&live.away).first, false) && self.take_from_queue(live) {
            self.requeue(live);
        }
        only_away && self.take_from_queue(live)
    }

    /// Whom to ask for a request that waits; `None` when it is to go on waiting here.
    fn wants_away(&self, live: &Live, now: BootTime, sooner: &mut impl FnMut(BootTime)) -> Option<Target> {
        if !matches!(*live.progress.borrow(), Progress::Queued) {
            return None;
        }
        let target = {
            let away = lock(&live.away);
            if away.stage == Stage::UnderWay || away.kept {
                return None;
            }
            if let Some(next) = away.next.filter(|next| *next > now) {
                sooner(next);
                return None;
            }
            away.target()?
        };
        if target != Target::Any || lock(&live.away).waits() {
            return Some(target);
        }
        let outlook = self.outlook_of(live, now);
        if let Some(why) = outlook.overflow() {
            tracing::debug!(id = %live.key().id, why = why.words(), "a candidate for overflow");
            return Some(target);
        }
        // The estimate changes with the queue, which says so, and with time, which does not.
        if outlook.left.is_some() {
            let slack = outlook.slack().unwrap_or(limits::OVERFLOW_LOOK);
            sooner(now.after(slack.clamp(limits::AWAY_RETRY_MIN, limits::OVERFLOW_LOOK)));
        }
        None
    }

    fn outlook_of(&self, live: &Live, now: BootTime) -> Outlook {
        let s = &self.shared;
        let ticket = *lock(&live.ticket);
        let mut ahead = ticket.map_or(Work::default(), |ticket| s.queue().ahead_of(ticket).1);
        let running = s.stats.running.load(std::sync::atomic::Ordering::Relaxed);
        if s.engine.borrow().model().is_some_and(|model| running >= model.slots as u64) {
            // Each slot is in the middle of an answer, on average.
            ahead.answer += s.answer_mean() * running / 2;
        }
        let left = live.deadline.map(|d| d.remaining(now).unwrap_or(Duration::ZERO));
        Outlook {
            speed: s.speed(),
            ahead,
            own: self.work(live),
            left,
            hot: self.pressure() >= Pressure::Hot,
            no_model: match &*s.engine.borrow() {
                EngineState::Ready(_) => false,
                EngineState::Absent | EngineState::Failed(_) => true,
                EngineState::Loading(_) => left.is_some_and(|left| left < limits::LOADING_PATIENCE),
            },
            prefers_away: self.preference(live) > Zone::Device,
        }
    }

    /// Takes a request out of where it waits; false when somebody was quicker.
    fn take_for_call(&self, live: &Live) -> bool {
        // Before it is taken: whoever looks in between must not take it for one that waits.
        let before = std::mem::replace(&mut lock(&live.away).stage, Stage::UnderWay);
        let stood = *lock(&live.ticket);
        let taken = self.take_from_queue(live);
        let mut away = lock(&live.away);
        if taken {
            away.stood = stood;
        } else {
            away.stage = before;
        }
        taken
    }

    /// Takes up the books where the last run of the daemon left them: what was spent, and calls
    /// of which nobody knows how they ended, at the most that they can have cost.
    pub(super) async fn take_up_books(&self) -> crate::domain::Result<()> {
        let s = &self.shared;
        for open in s.store.open_egress().await? {
            tracing::warn!(
                provider = open.provider, cost = %open.cost,
                "the daemon ended in the middle of a call; the most that it can have cost is booked"
            );
            let seq = open.seq;
            if let Err(error) = s.store.settle(self.lost(open)).await {
                // Its bill is open until the next start; the daemon is needed now.
                tracing::error!(%error, seq, "what a call of the last run can have cost is not in the ledger");
            }
        }
        // All that the ledger has: which month it is may be known only later, once the clock is set.
        for row in s.store.usage(UsageQuery::default()).await? {
            if row.sums.zone == Zone::Cloud.name() {
                let account = Account { client: row.client, provider: row.sums.provider };
                let cost = MicroUsd(row.sums.cost_micro_usd);
                lock(&s.remotes.budget).spent_before(row.day.0, account, cost);
            }
        }
        Ok(())
    }

    fn lost(&self, open: Egress) -> Settlement {
        let zone = Zone::named(&open.zone).unwrap_or(Zone::Cloud);
        let entry = AuditEntry {
            provider: open.provider.clone(),
            model: open.model.clone(),
            reason: "the daemon ended before it knew how; the most that it can have cost".into(),
            bytes_out: open.bytes_out,
            cost: Some(open.cost),
            settles: Some(open.seq),
            ..AuditEntry::new(self.shared.clock.stamp(), AuditEvent::Settled, open.key, zone)
        };
        let usage = UsageEntry {
            zone: open.zone,
            provider: open.provider,
            model: open.model,
            prompt_tokens: 0,
            completion_tokens: 0,
            bytes_out: open.bytes_out,
            cost_micro_usd: open.cost.0,
        };
        Settlement { entry, usage, requests: 0 }
    }
}

/// The order in which they get room elsewhere: lanes by their weight, and within a lane one of each client
/// in turn, the oldest first. Who has calls under way already has had its turn.
fn fair(mut lives: Vec<Arc<Live>>) -> Vec<Arc<Live>> {
    // Read once each: calls begin and end while this is sorted.
    lives.sort_by_cached_key(|live| {
        let under_way = lock(&live.away).stage == Stage::UnderWay;
        (!under_way, live.accepted)
    });
    let mut turns: HashMap<(ClientId, Lane), u64> = HashMap::new();
    let mut ordered: Vec<_> = lives
        .into_iter()
        .map(|live| {
            let lane = live.request.lane;
            let turn = turns.entry((live.key().client.clone(), lane)).or_default();
            *turn += Lane::Interactive.weight() / lane.weight();
            (*turn, live)
        })
        .collect();
    // Stable: among equals the oldest.
    ordered.sort_by_key(|(turn, live)| (*turn, live.request.lane));
    ordered.into_iter().map(|(_, live)| live).collect()
}
