//! The service's own life: taking up what was accepted before, watching deadlines, ending.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::mpsc;

use super::{
    Keeping, Notice, Parts, Service,
    keeper::Orders,
    live::{Live, Progress},
    run::too_late,
    shared::{KEEPER_ROOM, Shared, lock},
    spec,
};
use crate::{
    domain::{Deadline, Error, ErrorKind, Result, Stamp, limits},
    engine::Cancel,
    store::Stored,
};

/// What the daemon has to drive.
pub struct Backstage {
    /// For [`Service::keep`].
    pub orders: Orders,
    /// For the transport that tells of progress.
    pub notices: mpsc::Receiver<Notice>,
}

impl Service {
    /// A service that does nothing yet: [`keep`](Self::keep), [`dispatch`](Self::dispatch),
    /// [`watch_deadlines`](Self::watch_deadlines) and [`release_readings`](Self::release_readings)
    /// drive it.
    pub fn new(parts: Parts) -> (Self, Backstage) {
        let (keeper, orders) = mpsc::channel(KEEPER_ROOM);
        let (sender, notices) = mpsc::channel(limits::NOTICES_IN_FLIGHT_MAX);
        let service = Self { shared: Arc::new(Shared::new(parts, keeper, sender)) };
        (service, Backstage { orders: Orders(orders), notices })
    }

    /// Takes up every request that was accepted and has no final: in the order in which they came.
    pub async fn recover(&self) -> Result<usize> {
        self.take_up_books().await?;
        let unfinished = self.shared.store.unfinished().await?;
        let count = unfinished.len();
        for stored in unfinished {
            self.take_up(stored);
        }
        Ok(count)
    }

    pub(super) fn take_up(&self, stored: Stored) {
        let s = &self.shared;
        let now = s.clock.boot();
        let left = left_of(stored.budget, &stored.accepted, &s.clock.stamp());
        let deadline = left.map(|left| Deadline::after(now, left));
        let (reply, read) = spec::read(&stored.key, &stored.spec, s.defaults);
        let (request, unreadable) = match read {
            Ok(request) => (request, None),
            Err(error) => (spec::stub(stored.key, stored.digest, stored.lane), Some(error)),
        };
        let live = Arc::new(Live::new(request, Keeping::Durable(reply), deadline, now, None));
        // A name that means nobody any more is the device's to refuse.
        self.set_route(&live, self.route(&live.request).unwrap_or_default());
        if s.lives.insert(&live).is_err() {
            return;
        }
        let lost = unreadable.or_else(|| match left {
            Some(Duration::ZERO) => Some(too_late()),
            _ if stored.attempts >= limits::RUN_ATTEMPTS_MAX => Some(Error::internal(format!(
                "the daemon died each of the {} times that it ran this request",
                stored.attempts
            ))),
            _ => None,
        });
        if let Some(error) = lost {
            self.settle(&live, Err(error), None);
            return;
        }
        let place = s.queue().reserve_anyway(&live.key().client, live.request.body.len());
        self.enqueue(&live, place);
    }

    /// Ends queued requests whose deadlines pass, at the moment they do.
    pub async fn watch_deadlines(self) {
        let s = &self.shared;
        loop {
            let changed = s.waiting_changed.notified();
            let now = s.clock.boot();
            let mut sleep = limits::EXPIRY_SWEEP;
            for live in s.lives.all() {
                let Some(deadline) = live.deadline else { continue };
                match deadline.remaining(now) {
                    Some(left) => sleep = sleep.min(left),
                    // On its way in or out, or running: who has it watches its deadline.
                    None if !self.take_from_queue(&live) => {}
                    None => drop(self.settle(&live, Err(too_late()), None)),
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(sleep) => {}
                () = changed => {}
            }
        }
    }

    /// Stops intake, leaves on disk what waits there, gives what runs `grace` to finish, then
    /// ends it with `draining`.
    pub async fn drain(&self, grace: Duration) {
        let s = &self.shared;
        self.close_readings().await;
        s.draining.store(true, Ordering::Release);
        let mut waiting = s.queue().drain();
        waiting.extend(s.lives.all().into_iter().filter(|live| lock(&live.away).waits()));
        for live in waiting {
            let place = lock(&live.away).place.take();
            if let Some(place) = place {
                s.queue().release(place);
            }
            lock(&live.ticket).take();
            live.stop(Cancel::Drain);
            if live.is_durable() {
                self.shelve(&live);
            } else if let Some(error) = live.cancel.error() {
                self.settle(&live, Err(error), None);
            }
        }
        if tokio::time::timeout(grace, self.idle()).await.is_err() {
            for live in s.lives.all() {
                live.stop(Cancel::Drain);
            }
            // One step of the engine and one write to a socket; no answer is worth more.
            let _ = tokio::time::timeout(limits::DRAIN_DELIVERY, self.idle()).await;
        }
    }

    /// Waits until no request is left without its final.
    async fn idle(&self) {
        loop {
            let ended = self.shared.one_ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Ends a request that its sender no longer wants. False when another final comes first.
    pub(super) fn cancel_live(&self, live: &Arc<Live>) -> bool {
        self.end_early(live, Error::new(ErrorKind::Cancelled, "the request was cancelled"))
    }

    /// The same for one that is on disk and that nobody runs here: it was left for the next run of
    /// the daemon. False when somebody took it up meanwhile.
    pub(super) fn cancel_shelved(&self, stored: Stored) -> bool {
        let now = self.shared.clock.boot();
        let (reply, read) = spec::read(&stored.key, &stored.spec, self.shared.defaults);
        let request = read.unwrap_or_else(|_| spec::stub(stored.key, stored.digest, stored.lane));
        let live = Arc::new(Live::new(request, Keeping::Durable(reply), None, now, None));
        if self.shared.lives.insert(&live).is_err() {
            return false;
        }
        live.advance(Progress::Queued);
        self.cancel_live(&live)
    }
}

/// What a request that was accepted then still has of its budget now; zero when its time is over,
/// `None` when it has no deadline. What may have passed and is not certain is not counted.
fn left_of(budget: Option<Duration>, accepted: &Stamp, now: &Stamp) -> Option<Duration> {
    budget.map(|budget| budget.saturating_sub(accepted.elapsed(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BootTime, UnixSeconds};

    const DAY: i64 = 86_400;
    const YEAR: i64 = 365 * DAY;
    const HOUR: Duration = Duration::from_hours(1);

    fn stamp(boot_id: &str, boot_s: u64, wall: i64, synced: bool) -> Stamp {
        let boot = BootTime::new(Duration::from_secs(boot_s));
        Stamp { boot_id: boot_id.into(), boot, wall: UnixSeconds(wall), synced }
    }

    /// Of an hour, for a request that was accepted at 10,000 s of boot `a`, in the year 2026.
    fn left(synced: bool, now: &Stamp) -> Duration {
        left_of(Some(HOUR), &stamp("a", 10_000, 56 * YEAR, synced), now).unwrap()
    }

    #[test]
    fn a_restart_of_the_daemon_takes_as_much_of_a_deadline_as_it_lasts_whatever_the_wall_clock_does() {
        for wall in [0, 55 * YEAR, 57 * YEAR, -YEAR] {
            for synced in [false, true] {
                let now = stamp("a", 10_600, wall, synced);
                assert_eq!(left(true, &now), Duration::from_mins(50), "{now:?}");
                assert_eq!(left(false, &now), Duration::from_mins(50), "{now:?}");
            }
        }
    }

    #[test]
    fn a_reboot_takes_the_time_without_power_too_when_both_clocks_were_right() {
        assert_eq!(left(true, &stamp("b", 30, 56 * YEAR + 1_200, true)), Duration::from_mins(40));
        assert_eq!(left(true, &stamp("b", 30, 56 * YEAR + DAY, true)), Duration::ZERO, "its time is over");
        assert_eq!(left(true, &stamp("b", 30, 57 * YEAR, true)), Duration::ZERO, "a year in the cupboard");
    }

    #[test]
    fn a_year_that_no_clock_vouches_for_ends_no_request() {
        for (then, now) in [(false, true), (true, false), (false, false)] {
            for wall in [0, 55 * YEAR, 57 * YEAR] {
                let left = left(then, &stamp("b", 60, wall, now));
                assert_eq!(left, Duration::from_mins(59), "only the uptime is certain");
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_prolongs_no_deadline_beyond_the_uptime() {
        assert_eq!(left(true, &stamp("b", 60, 55 * YEAR, true)), Duration::from_mins(59));
        assert_eq!(left(true, &stamp("b", 7_200, 55 * YEAR, true)), Duration::ZERO);
    }

    #[test]
    fn what_has_no_deadline_never_comes_too_late() {
        let now = stamp("b", 30, 99 * YEAR, true);
        assert_eq!(left_of(None, &stamp("a", 10_000, 56 * YEAR, true), &now), None);
    }
}
