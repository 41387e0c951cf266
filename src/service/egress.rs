//! What leaves: who asks in the policy's terms, what it needs, and the rows of the audit.

use std::sync::Arc;

use serde_json::Value;

use super::{Keeping, Reply, Service, live::Live, shared::lock};
use crate::{
    cloud::{Account, Ask, Need, NoWay, Nobody, Objection, Target, Today, Way},
    domain::{Error, ErrorKind, MicroUsd, Zone, limits},
    policy::{Denial, Effect, Policy, Subject, Verdict},
    store::{AuditEntry, AuditEvent, UtcDay},
    task::Schema,
};

/// Why a request does not go anywhere now.
pub(super) enum Stop {
    /// The policy keeps it here.
    Denied(Denial),
    /// There is nobody who could answer it now.
    NoWay(NoWay),
    /// The catalogue must be asked for first.
    Stale,
}

impl Service {
    /// Everybody who may be asked for an answer now, best first.
    pub(super) fn ways(&self, live: &Live, target: &Target) -> Result<Vec<Way>, Stop> {
        let s = &self.shared;
        let now = s.clock.boot();
        let policy = self.policy();
        let body = body_of(live);
        let verdict = self.verdict(live, &policy, target, &body).map_err(Stop::Denied)?;
        let reaches_cloud = s.remotes.zones(target).contains(&Zone::Cloud) && verdict.reaches(Zone::Cloud);
        if reaches_cloud && s.remotes.is_stale(now) {
            return Err(Stop::Stale);
        }
        let ask = Ask {
            target,
            need: need(live, &body),
            client: &live.key().client,
            cloud_first: self.preference(live) == Zone::Cloud,
            // What could be answered here goes no farther than its task wishes.
            farthest: if lock(&live.away).first { self.preference(live) } else { Zone::Cloud },
        };
        let today = self.today();
        let budget = lock(&s.remotes.budget);
        let ways = s.remotes.ways(&ask, now, |zone, listing, worst| {
            let offers = verdict.offers(zone, &listing.provider);
            if offers.is_empty() {
                return Some(Objection::Denied("is not let have it by the policy".into()));
            }
            if !offers.iter().any(|offer| offer.grant.cap.is_none_or(|cap| worst <= cap)) {
                return Some(Objection::Denied(format!("could cost {worst}, more than the policy allows")));
            }
            let account = account(live, &listing.provider);
            let over = (zone == Zone::Cloud).then(|| budget.allows(&account, worst, today).err()).flatten();
            over.map(
                |over| if over.for_now { Objection::Reserved } else { Objection::Budget }(over.to_string()),
            )
        });
        ways.map_err(|no_way| match no_way.kind {
            Nobody::Denied => Stop::Denied(Denial { rule: None, reason: no_way.why }),
            _ => Stop::NoWay(no_way),
        })
    }

    /// Whether the policy lets a request go anywhere that could answer it.
    pub(super) fn may_leave(&self, live: &Live, target: &Target) -> Result<(), Denial> {
        self.verdict(live, &self.policy(), target, &body_of(live)).map(drop)
    }

    fn verdict<'p>(
        &self,
        live: &Live,
        policy: &'p Policy,
        target: &Target,
        body: &Value,
    ) -> Result<Verdict<'p>, Denial> {
        let mut verdict = policy.evaluate(&self.subject(live, policy), body);
        if let Some(denial) = verdict.denial.take() {
            return Err(denial);
        }
        let zones = self.shared.remotes.zones(target);
        if zones.iter().any(|zone| verdict.reaches(*zone)) {
            return Ok(verdict);
        }
        let names = zones.iter().map(|zone| zone.name()).collect::<Vec<_>>().join(" or ");
        Err(Denial { rule: None, reason: format!("no rule of the policy lets it go to the {names}") })
    }

    /// Who asks, as far as a rule may ask about it.
    pub(super) fn subject<'a>(&'a self, live: &'a Live, policy: &Policy) -> Subject<'a> {
        let own = &live.request.own;
        let task = match &live.keeping {
            Keeping::Durable(Reply::Task(to)) => Some(to),
            _ => None,
        };
        let of_task = task.and_then(|to| self.shared.tasks.get(&to.task)?.options().data_class.as_deref());
        let operators = of_task.or_else(|| self.shared.clients.data_class(&live.key().client));
        Subject {
            client: &live.key().client,
            uid: live.request.uid,
            lane: live.request.lane,
            chose_lane: task.is_none() && own.lane.is_some(),
            topic: task.map(|to| to.source.as_str()),
            task: task.map(|to| to.task.as_str()),
            class: policy.classes().effective(operators, own.data_class.as_deref()),
            zone_max: own.zone_max.unwrap_or(Zone::Cloud),
        }
    }

    /// Where its task wants it answered.
    pub(super) fn preference(&self, live: &Live) -> Zone {
        match &live.keeping {
            Keeping::Durable(Reply::Task(to)) => {
                self.shared.tasks.get(&to.task).map_or(Zone::Device, |task| task.options().prefer)
            }
            _ => Zone::Device,
        }
    }

    /// The rules that hold now.
    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.shared.policy.borrow())
    }

    /// Today for the budget.
    pub(super) fn today(&self) -> Today {
        let day = UtcDay::of(self.shared.clock.wall());
        Today { day: day.0, month: day.month().0 }
    }

    /// Writes once that a request was not let out, and why.
    pub(super) async fn note_denial(&self, live: &Live, denial: &Denial) {
        if std::mem::replace(&mut lock(&live.away).kept, true) {
            return;
        }
        tracing::info!(id = %live.key().id, client = %live.key().client, why = denial.reason, "not let out");
        let target = lock(&live.away).target();
        let zones = target.map(|target| self.shared.remotes.zones(&target)).unwrap_or_default();
        let zone = zones.into_iter().max().unwrap_or(Zone::Cloud);
        let entry = AuditEntry {
            event: AuditEvent::Denied,
            rule: denial.rule.clone().unwrap_or_default(),
            reason: denial.reason.clone(),
            ..self.entry(live, zone)
        };
        if let Err(error) = self.shared.store.audit(entry).await {
            tracing::warn!(%error, "a denial is not in the audit; nothing left all the same");
        }
    }

    /// A row of the audit about a request, with nothing said yet.
    pub(super) fn entry(&self, live: &Live, zone: Zone) -> AuditEntry {
        AuditEntry::new(self.shared.clock.stamp(), AuditEvent::Denied, live.key().clone(), zone)
    }
}

impl Service {
    /// Holds an answer against the `response_format` of its request. A schema with words that are not
    /// known here is the provider's to keep: then it must be JSON at least.
    pub(super) fn check_format(live: &Live, text: &str) -> Result<(), String> {
        let Some(kind) = &live.request.needs.format else { return Ok(()) };
        let value: Value = serde_json::from_str(text).map_err(|e| format!("the answer is not JSON: {e}"))?;
        if kind == "json_object" {
            return if value.is_object() { Ok(()) } else { Err("the answer is not an object".into()) };
        }
        let body = body_of(live);
        let schema = body["response_format"]["json_schema"]["schema"].to_string();
        Schema::compile(&schema).map_or(Ok(()), |schema| schema.check(&value))
    }

    /// Somebody has to look at this; a SIGHUP takes it back.
    pub(super) fn alert_egress(&self, why: &str) {
        let known = self.egress_alert().unwrap_or_default();
        if !known.contains(why) && known.len() < limits::PROVIDER_WORDS_CHARS_MAX {
            let joined = if known.is_empty() { why.to_owned() } else { format!("{known}; {why}") };
            self.set_egress_alert(Some(joined));
        }
    }

    /// What somebody has to look at about what leaves the device; `None`: nothing.
    pub fn egress_alert(&self) -> Option<String> {
        lock(&self.shared.egress_alert).clone()
    }

    /// Sets it, or takes it back.
    pub fn set_egress_alert(&self, alert: Option<String>) {
        if let Some(why) = &alert {
            tracing::error!(why, "what leaves the device is not as it should be");
        }
        *lock(&self.shared.egress_alert) = alert;
    }

    /// Somebody has changed something: whoever rests is tried again.
    pub fn try_remotes_again(&self) {
        self.shared.remotes.reset();
        for live in self.shared.lives.all() {
            let mut away = lock(&live.away);
            (away.next, away.kept) = (None, false);
        }
        self.shared.overflow_stirred.notify_one();
        self.shared.bill_wanted.notify_one();
    }

    /// Spent and reserved today and this month, and the bounds of both.
    pub fn spending(&self) -> [(MicroUsd, Option<MicroUsd>); 2] {
        let budget = lock(&self.shared.remotes.budget);
        let ((day, month), (of_day, of_month)) = (budget.total(self.today()), budget.cap());
        [(day, of_day), (month, of_month)]
    }

    /// How each zone stands: its word and the reason.
    pub fn zones(&self) -> [(Zone, &'static str, Option<String>); 3] {
        let s = &self.shared;
        let now = s.clock.boot();
        let device = if s.engine.borrow().model().is_some() { "ok" } else { "off" };
        let policy = self.policy();
        let opens = |zone: Zone| {
            policy
                .rules()
                .iter()
                .any(|rule| matches!(&rule.effect, Effect::Allow(grant) if grant.to.zone == zone))
        };
        let state = |zone: Zone, rests: Option<String>| {
            if !s.remotes.has(zone) {
                (zone, "off", None)
            } else if !opens(zone) {
                (zone, "blocked", Some("no rule of the policy lets anything go there".into()))
            } else if let Some(why) = rests {
                (zone, "breaker open", Some(why))
            } else {
                (zone, "ok", None)
            }
        };
        [
            (Zone::Device, device, None),
            state(Zone::Site, s.remotes.sites_resting(now)),
            state(Zone::Cloud, s.remotes.resting(now)),
        ]
    }
}

/// Whose money it is.
pub(super) fn account(live: &Live, provider: &str) -> Account {
    Account { client: live.key().client.clone(), provider: provider.into() }
}

/// The body that is to be answered.
pub(super) fn body_of(live: &Live) -> Value {
    serde_json::from_slice(live.body()).unwrap_or_default()
}

/// What a request takes of whoever answers it.
pub(super) fn need(live: &Live, body: &Value) -> Need {
    let needs = &live.request.needs;
    Need {
        answer_tokens: live.request.options.tokens_max as u64,
        tools: needs.tools,
        schema: needs.format.is_some(),
        images: needs.image.is_some(),
        logprobs: live.request.options.logprobs.is_some(),
        ..Need::of_prompt(body)
    }
}

/// JSON without the fence of Markdown that some models put around it, asked for or not.
pub(super) fn unfenced(text: String) -> String {
    let inside = || {
        let fenced = text.trim().strip_prefix("```")?.strip_suffix("```")?;
        let (language, inside) = fenced.split_once('\n')?;
        matches!(language.trim(), "" | "json").then(|| inside.trim().to_owned())
    };
    inside().unwrap_or(text)
}

/// The error of a request that the policy keeps here.
pub(super) fn denied(denial: &Denial) -> Error {
    Error::new(ErrorKind::PolicyDenied, denial.reason.clone())
}

/// The error of a request that nobody could be asked for.
pub(super) fn nobody(no_way: &NoWay, wait: Option<std::time::Duration>) -> Error {
    let kind = match no_way.kind {
        Nobody::UnknownModel => ErrorKind::ModelNotFound,
        Nobody::TooLong => ErrorKind::ContextLengthExceeded,
        Nobody::Money => ErrorKind::BudgetExhausted,
        Nobody::Busy | Nobody::Yet | Nobody::Denied | Nobody::Fit => ErrorKind::ProviderError,
    };
    let what = match kind {
        // In words that clients such as LiteLLM know it by.
        ErrorKind::ContextLengthExceeded => {
            "the prompt, with room for the answer, is longer than the model's context length"
        }
        _ => "nobody can be asked for it",
    };
    let error = Error::new(kind, format!("{what}: {}", no_way.why));
    match wait {
        Some(wait) if kind == ErrorKind::ProviderError => error.with_retry_after(wait),
        _ => error,
    }
}

/// The price of a call of which only this is known.
pub(super) fn price(way: &Way, prompt_tokens: u64, answer_tokens: u64) -> MicroUsd {
    way.listing.price.map_or(MicroUsd::ZERO, |price| price.of(prompt_tokens, answer_tokens))
}

#[cfg(test)]
mod tests {
    use super::unfenced;

    #[test]
    fn a_fence_around_json_is_no_part_of_it() {
        for (said, meant) in [
            ("```json\n{\"a\": 1}\n```\n", "{\"a\": 1}"),
            ("```\n[]\n```", "[]"),
            ("{\"a\": \"```\"}", "{\"a\": \"```\"}"),
            ("```rust\nfn\n```", "```rust\nfn\n```"),
            ("```json\n{", "```json\n{"),
        ] {
            assert_eq!(unfenced(said.to_owned()), meant);
        }
    }
}
