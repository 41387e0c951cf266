//! One request, answered elsewhere: provider after provider, each call on record before it is made and
//! settled after it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Keeping, Progress, Reply, Service,
    away::{Route, Stage},
    bill::{Bill, Call},
    egress::{self, Stop, price},
    heard::Heard,
    live::Live,
    notice::News,
    relay::Relay,
    reply::Frame,
    run::{too_late, wants_news},
    shared::lock,
};
use crate::{
    cloud::{Class, Cure, Failed, Fault, NoWay, Nobody, Room, Sending, Served, Target, Timers, Took, Way},
    domain::{Delta, Error, ErrorKind, FinishReason, MicroUsd, Outcome, Usage, Zone, limits},
    engine::Cancel,
    policy::Denial,
};
/// What came of one provider.
pub(super) enum Tried {
    /// The request has its final, or nobody wants one any more.
    Over,
    /// Another may do better.
    Next(Fault),
    /// Others were quicker to spend what was left for this one.
    Outspent,
    /// Nobody would.
    Stop(Error),
    /// The policy keeps it here after all.
    Denied(Denial),
    /// It cannot be put on record, and so nothing has left.
    Unrecorded(Error),
}

impl Service {
    /// Asks provider after provider, until one has answered, the request is over, or it has to wait.
    /// `ways`: who could be asked when it was taken out of where it waited; `room`: for the first of them.
    pub(super) async fn call_away(self, live: Arc<Live>, target: Target, ways: Vec<Way>, room: Room) {
        let mut caller = lock(&live.deltas).take();
        let mut found = Some((ways, room));
        let (mut tried, mut last) = (Vec::new(), None);
        for _ in 0..self.shared.remotes.options().attempts {
            if let Some(error) = self.is_over(&live) {
                lock(&live.away).stage = Stage::Waits;
                return self.dismiss(&live, error);
            }
            let (way, room) = match found.take() {
                Some((ways, room)) => (ways.into_iter().next(), Some(room)),
                None => match self.next_way(&live, &target, &tried) {
                    Ok(way) => {
                        let room = way.as_ref().and_then(|way| self.shared.remotes.room(way));
                        (way, room)
                    }
                    Err(Stop::Denied(denial)) => return self.keep_here(&live, caller, &denial).await,
                    Err(Stop::NoWay(no_way)) if no_way.kind != Nobody::Busy => {
                        return self.put_off(&live, caller, Some(no_way));
                    }
                    // Room, or the catalogue, which no longer is as it says: both are seen to where it waits.
                    Err(Stop::NoWay(_) | Stop::Stale) => return self.wait_on(&live, caller),
                },
            };
            let Some(way) = way else { break };
            let Some(room) = room else { return self.wait_on(&live, caller) };
            tried.push(way.provider().to_owned());
            let outcome = self.try_way(&live, way, &mut caller).await;
            drop(room);
            match outcome {
                Tried::Over => return,
                Tried::Denied(denial) => return self.keep_here(&live, caller, &denial).await,
                Tried::Unrecorded(error) if live.is_durable() => {
                    // It was accepted: the disk's trouble is to be waited out, not to be its final.
                    self.tell_deferred(&live, &error.public);
                    return self.put_off(&live, caller, None);
                }
                Tried::Stop(error) | Tried::Unrecorded(error) => return self.end_away(&live, caller, error),
                Tried::Next(fault) => last = Some(fault),
                Tried::Outspent => {}
            }
        }
        let no_way = last.map(|fault| Self::tired(&live, &fault, tried.len()));
        self.put_off(&live, caller, no_way);
    }

    /// The next who may be asked, of those who were not.
    fn next_way(&self, live: &Live, target: &Target, tried: &[String]) -> Result<Option<Way>, Stop> {
        let mut ways = self.ways(live, target)?.into_iter();
        Ok(ways.find(|way| tried.iter().all(|name| name != way.provider())))
    }

    async fn keep_here(&self, live: &Arc<Live>, caller: Option<mpsc::Sender<Delta>>, denial: &Denial) {
        self.note_denial(live, denial).await;
        self.end_away(live, caller, egress::denied(denial));
    }

    /// Why it is put off when everybody who was asked has failed; `last`: the last of them.
    fn tired(live: &Live, last: &Fault, asked: usize) -> NoWay {
        let mut away = lock(&live.away);
        away.rounds += match last.class {
            // A network that is gone has cost nothing, however often it was tried.
            Class::Unreachable => 0,
            // It is the request's own: the next round would end, and cost, as this one.
            Class::Empty | Class::SchemaMissed | Class::Unsupported | Class::ContextTooLong => {
                limits::AWAY_ROUNDS_MAX
            }
            _ => 1,
        };
        let kind = match last.class {
            Class::ModelUnavailable => Nobody::UnknownModel,
            Class::ContextTooLong => Nobody::TooLong,
            _ if away.rounds >= limits::AWAY_ROUNDS_MAX => Nobody::Fit,
            _ => Nobody::Yet,
        };
        let why = format!("{asked} asked; the last said {}: {}", last.class.name(), last.words);
        NoWay { why, until: None, kind }
    }

    async fn try_way(&self, live: &Arc<Live>, way: Way, caller: &mut Option<mpsc::Sender<Delta>>) -> Tried {
        let s = &self.shared;
        let Some(carrier) = s.remotes.carrier(&way) else {
            return Tried::Next(Fault::new(Class::Gone, "there is no way there any more"));
        };
        let (call, permit, restore) = match self.begin_call(live, way).await {
            Ok(begun) => begun,
            Err(tried) => return tried,
        };
        if live.is_durable() && live.claim_begin() {
            s.store.note_begin(live.key().clone());
        }
        live.advance(Progress::Running);
        self.tell(live, News::Running { place: place(&call.way) });
        let frame = Frame {
            id: live.key().id.clone(),
            created: s.clock.wall(),
            model: call.way.model.clone(),
            fingerprint: String::new(),
            kind: live.request.kind,
            zone: call.way.zone,
            provider: call.way.provider().to_owned(),
        };
        // What is held against a schema is looked at as a whole, and put back as JSON writes it.
        let hold =
            live.request.needs.format.is_some() || matches!(live.keeping, Keeping::Durable(Reply::Task(_)));
        let (sender, pieces) = mpsc::channel(limits::DELTAS_IN_FLIGHT_MAX);
        let (restored, mut whole) = mpsc::channel(limits::DELTAS_IN_FLIGHT_MAX);
        let mut relay = Relay::new(restore, hold);
        let mut heard = Heard::default();
        let timers = self.timers(live);
        let end = {
            let (session, now) = (call.session.clone(), s.clock.boot());
            let sending = carrier.send(Sending { permit, session, timers, now, pieces: sender });
            let relaying = relay.run(pieces, restored, || drop(live.frame.send_replace(Some(frame.clone()))));
            let hearing = heard.hear(self, live, &mut whole, caller.as_ref());
            let all = async { tokio::join!(sending, relaying, hearing).0 };
            tokio::select! {
                biased;
                // First: what nobody wants any more is not sent, and whose time is over is no provider's fault.
                () = live.stopped() => Err(live.cancel.error().unwrap_or_else(too_late)),
                () = self.until(live.deadline) => Err(too_late()),
                end = all => Ok(end),
            }
        };
        let given = !heard.is_empty() && (caller.is_some() || wants_news(live));
        let held = relay.held();
        match end {
            Ok(Ok(served)) => self.served(live, call, served, frame, (heard, held)).await,
            Ok(Err(failed)) => self.failed(live, call, failed, given).await,
            Err(error) => {
                live.stop(Cancel::Caller);
                let answer_tokens = heard.tokens() + held.tokens;
                let bill = call.broken_off(error.kind.name(), error.kind.name(), answer_tokens);
                self.settle_call(call, bill).await;
                self.dismiss(live, error);
                Tried::Over
            }
        }
    }

    async fn served(
        &self,
        live: &Arc<Live>,
        call: Call,
        served: Served,
        frame: Frame,
        (heard, held): (Heard, Delta),
    ) -> Tried {
        let rest = held;
        let counted =
            Usage { prompt_tokens: call.prompt_tokens as usize, completion_tokens: served.answer_tokens };
        let usage = served.end.usage.unwrap_or(counted);
        let cost = self.cost_of(&call, usage, served.end.cost_usd);
        // A call of tools is no answer yet, and what was cut is cut the same by whoever is asked next.
        let complete = rest.tool_calls.is_empty() && served.end.finish != FinishReason::Length;
        let missed = if complete { Self::check_format(live, &rest.text).err() } else { None };
        let estimated = if served.end.usage.is_none() { " (its tokens are an estimate)" } else { "" };
        let result = if missed.is_none() { "answered" } else { Class::SchemaMissed.name() };
        let reason = format!("{result}{estimated}");
        let bill = Bill {
            result,
            reason,
            usage,
            cost,
            bytes_in: served.bytes_in,
            answered: missed.is_none(),
            unsent: false,
        };
        let way = call.way.clone();
        self.settle_call(call, bill).await;
        if let Some(why) = missed {
            let fault = Fault::new(Class::SchemaMissed, why);
            self.shared.remotes.failed(&way, &live.key().client, &fault, self.shared.clock.boot());
            return Tried::Next(fault);
        }
        let Served { first_token, rest: decode_time, .. } = served;
        let took = Took { first_token, rest: decode_time, tokens: usage.completion_tokens as u64 };
        self.shared.remotes.succeeded(&way, &live.key().client, took, self.shared.clock.boot());
        let outcome = Outcome {
            rest,
            finish: served.end.finish,
            usage,
            time_to_first_token: first_token,
            decode_time,
            cost,
        };
        lock(&live.away).stage = Stage::Waits;
        live.frame.send_replace(Some(frame.clone()));
        self.conclude(live, frame, outcome, heard);
        Tried::Over
    }

    /// What a call cost, as far as its own words can be believed: never more than it can have cost.
    fn cost_of(&self, call: &Call, usage: Usage, said_usd: Option<f64>) -> MicroUsd {
        let by_price = price(&call.way, usage.prompt_tokens as u64, usage.completion_tokens as u64);
        let said = said_usd.filter(|usd| call.way.zone == Zone::Cloud && *usd > 0.0).map(MicroUsd::of_usd);
        let cost = said.unwrap_or(by_price);
        if cost > call.way.worst {
            let (provider, worst) = (call.way.provider(), call.way.worst);
            self.alert_egress(&format!(
                "{provider} says that a call cost {cost}, which can have cost {worst} at most"
            ));
        }
        cost.min(call.way.worst)
    }

    async fn failed(&self, live: &Arc<Live>, call: Call, failed: Failed, given: bool) -> Tried {
        let Failed { fault, billed, answer_tokens, bytes_in } = failed;
        let way = call.way.clone();
        tracing::warn!(
            id = %live.key().id, provider = way.provider(), model = way.model,
            why = fault.brief(), "a provider failed"
        );
        // They may repeat the prompt.
        tracing::debug!(id = %live.key().id, words = fault.words, "what it said");
        let mut bill = call.broken_off(fault.class.name(), &fault.brief(), answer_tokens);
        bill.bytes_in = bytes_in;
        bill.unsent = fault.class == Class::Unreachable;
        if !billed {
            (bill.cost, bill.usage) = (MicroUsd::ZERO, Usage::default());
        }
        self.settle_call(call, bill).await;
        self.shared.remotes.failed(&way, &live.key().client, &fault, self.shared.clock.boot());
        if fault.class == Class::WrongProvider {
            self.alert_egress(&format!("{}: {}", way.model, fault.words));
        }
        if given {
            let why = format!("{} failed in the middle of the answer: {}", way.provider(), fault.words);
            return Tried::Stop(Error::new(ErrorKind::ProviderError, why));
        }
        // Whoever answers next says so himself.
        live.frame.send_replace(None);
        match fault.class.cure() {
            Cure::Final => {
                let why = format!("{} does not take it: {}", way.provider(), fault.words);
                let kind = if fault.words.starts_with("413") {
                    ErrorKind::TooLarge
                } else {
                    ErrorKind::InvalidRequest
                };
                Tried::Stop(Error::new(kind, why))
            }
            Cure::Another | Cure::Account | Cure::Wait => Tried::Next(fault),
        }
    }

    /// Ends a request that was on its way elsewhere with an error, or gives it back to the device where
    /// that may still answer it.
    fn end_away(&self, live: &Arc<Live>, caller: Option<mpsc::Sender<Delta>>, error: Error) {
        let route = lock(&live.away).route.clone();
        let kept = error.kind == ErrorKind::PolicyDenied || error.kind == ErrorKind::BudgetExhausted;
        if route == Route::Overflow && (kept || live.frame.borrow().is_none()) {
            // It would be the same the next time; money may come back with the next day.
            lock(&live.away).kept |= error.kind != ErrorKind::BudgetExhausted;
            return self.put_off(live, caller, None);
        }
        lock(&live.away).stage = Stage::Waits;
        self.dismiss(live, error);
    }

    /// Puts a request back where it waited, to be looked at again soon: nobody has refused it.
    fn wait_on(&self, live: &Arc<Live>, caller: Option<mpsc::Sender<Delta>>) {
        *lock(&live.deltas) = caller;
        lock(&live.away).stage = Stage::WaitsForRoom;
        self.requeue(live);
    }

    /// Puts a request back among those that wait: for the device, or for somebody elsewhere.
    fn put_off(&self, live: &Arc<Live>, caller: Option<mpsc::Sender<Delta>>, no_way: Option<NoWay>) {
        let s = &self.shared;
        let now = s.clock.boot();
        *lock(&live.deltas) = caller;
        if live.claim_spare() {
            // Waiting is no death of the daemon.
            s.store.note_spared(live.key().clone());
        }
        let until = no_way.as_ref().and_then(|no_way| no_way.until);
        let again = until.unwrap_or_else(|| now.after(limits::AWAY_RETRY));
        let route = {
            let mut away = lock(&live.away);
            // Its task gets its wish once; then the device may have it.
            (away.stage, away.first) = (Stage::Waits, false);
            away.kept |= away.rounds >= limits::AWAY_ROUNDS_MAX;
            away.next = Some(again.max(now.after(limits::AWAY_RETRY_MIN)));
            away.route.clone()
        };
        if let (Route::Away(_), Some(no_way)) = (&route, &no_way) {
            // Who waits at the other end of a socket is told; who set a deadline wants it by then.
            if no_way.ends(live.deadline.is_some()) {
                let wait = until.map(|until| until.since(now));
                return self.dismiss(live, egress::nobody(no_way, wait));
            }
        }
        if let Some(no_way) = &no_way {
            self.tell_deferred(live, &no_way.why);
        }
        self.requeue(live);
    }

    /// Tells why a request is put off, once for each reason.
    pub(super) fn tell_deferred(&self, live: &Arc<Live>, why: &str) {
        let told = lock(&live.away).told.replace(why.to_owned());
        if told.as_deref() != Some(why) {
            tracing::info!(id = %live.key().id, why, "deferred");
            self.tell(live, News::Deferred { why: why.to_owned() });
        }
    }

    pub(super) fn timers(&self, live: &Live) -> Timers {
        let timers = self.shared.remotes.options().timers;
        let left = live.deadline.map(|d| d.remaining(self.shared.clock.boot()).unwrap_or(Duration::ZERO));
        // The deadline itself is watched beside the call; this is for a call that does not hear of it.
        let total = left.map_or(timers.total, |left| (left + limits::AWAY_RETRY_MIN).min(timers.total));
        Timers { total, ..timers }
    }

    /// Why a request is not to be taken anywhere any more.
    fn is_over(&self, live: &Live) -> Option<Error> {
        let late = live.deadline.is_some_and(|d| d.remaining(self.shared.clock.boot()).is_none());
        live.cancel.error().or_else(|| late.then(too_late))
    }
}

fn place(way: &Way) -> String {
    format!("{}:{}", way.zone.name(), way.provider())
}
