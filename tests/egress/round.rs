//! One policy, with a daemon and a router of its own, and what is asked under it.

use serde_json::Value;

use crate::{
    allow::CLASSES,
    asked::Asked,
    audit::sha256,
    check::{Evidence, Played, check},
    daemon::Daemon,
    dice::Dice,
    faults::Fault,
    hf::Router,
    kernel::Sent,
    market,
    rules::Rules,
    wire,
};

const REQUESTS: u64 = 100;

pub(crate) struct Round {
    pub(crate) rules: Rules,
    pub(crate) router: Router,
    pub(crate) daemon: Daemon,
    pub(crate) played: Vec<Played>,
    /// What the kernel had counted before, as far as it is explained; `None`: it counts what others send, too.
    pub(crate) before: Option<Sent>,
}

impl Round {
    /// Asks everything that is to be asked under one policy, one request behind the other.
    pub(crate) fn play(seed: u64, before: Option<Sent>) -> Self {
        let mut dice = Dice::new(seed);
        let rules = Rules::random(&mut dice);
        let router = Router::start();
        router.offer(&market::catalogue());
        let class = rules.class.map(|class| CLASSES[class]);
        let prefer = *dice.pick(&["cost", "latency", "throughput", "balanced"]);
        let daemon = Daemon::start(&rules.text, class, prefer, &router.base_url());
        // Where nobody rests it is known how many have to be asked.
        let calm = !seed.is_multiple_of(4);
        let ask = |n| {
            let asked = Asked::random(&mut dice, seed, n);
            let fault = Fault::random(&mut dice, calm);
            if let Some(fault) = fault {
                fault.play(&router);
            }
            let answer = daemon.chat(&asked.text);
            router.behave();
            Played { asked, fault, answer }
        };
        let played = (0..REQUESTS).map(ask).collect();
        Self { rules, router, daemon, played, before }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::new(self.router.seen(), self.daemon.audit())
    }

    /// Everything that is not as it has to be, by the rules and by the kernel.
    pub(crate) fn wrong(&self, evidence: &Evidence) -> Vec<String> {
        let mut wrong = check(&self.rules, &self.played, evidence);
        wrong.extend(self.unexplained(evidence));
        wrong
    }

    /// What the kernel counts and nobody explains.
    pub(crate) fn unexplained(&self, evidence: &Evidence) -> Vec<String> {
        self.before.map(|before| Sent::now().unexplained(before, evidence.explained())).unwrap_or_default()
    }

    /// Holds a few of the calls, and one that was denied, against what `outpost policy explain` says of
    /// them; how many.
    pub(crate) fn explained(&self, evidence: &Evidence, wrong: &mut Vec<String>) -> usize {
        let (prompts, rows) = (evidence.prompts(), evidence.audit.of("sent"));
        let mut sample: Vec<usize> = vec![0, prompts.len() / 2, prompts.len().saturating_sub(1)];
        sample.dedup();
        sample.retain(|at| *at < prompts.len().min(rows.len()));
        let mut explained = 0;
        for at in &sample {
            let (seen, row) = (prompts[*at], rows[*at]);
            let is_mine = |one: &&Played| row["request"] == one.asked.marker;
            let Some(one) = self.played.iter().find(is_mine) else {
                continue;
            };
            explained += 1;
            let worst = row["cost_micro_usd"].as_u64().unwrap();
            let said = self.daemon.explain(&one.asked.text, &seen.provider, worst);
            let digest = Value::from(sha256(&seen.body));
            let same = said["allowed"] == true
                && said["body"] == wire::text(&seen.body)
                && said["sha256"] == digest
                && row["sha256"] == digest
                && said["rule"] == row["rule"];
            if !same {
                wrong.push(format!("{} left and is explained otherwise: {said}", one.asked.marker));
            }
        }
        let is_denied = |one: &&Played| self.rules.grants(&one.asked).is_empty();
        let denied = self.played.iter().find(is_denied);
        if let Some(one) = denied {
            let provider = one.asked.candidates()[0];
            let (_, worst) = market::price(provider, &one.asked);
            let said = self.daemon.explain(&one.asked.text, provider, worst);
            if said["allowed"] != false {
                wrong.push(format!("{} was denied and is explained otherwise: {said}", one.asked.marker));
            }
        }
        explained + usize::from(denied.is_some())
    }
}
