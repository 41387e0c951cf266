//! Providers off the device, as a router shows them: each takes the time that its listing says, some
//! fail, some hang. What they were sent is on record here, beyond the reach of the daemon.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use outpost::{
    cloud::{
        Budget, Cap, Carried, Carrier, Catalogue, Class, End, Failed, Fault, RemoteOptions, Remotes, Router,
        Scope, Sending, Served, Timers,
    },
    domain::{BootTime, ClientId, Delta, FinishReason, MicroUsd, Prefer, RequestId, Usage, Zone},
    policy::{Permit, Policy},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    catalogue::{Provider, document, named},
    dice::Dice,
};

/// The model that everybody there offers.
pub(crate) const MODEL: &str = "org/small";
/// What the public class may do, and no other.
pub(crate) const PUBLIC_MAY_LEAVE: &str = "version = 1\n[classes]\norder = [\"public\", \"restricted\"]\n\
    [[rule]]\nname = \"public\"\neffect = \"allow\"\nwhen = { class = [\"public\"] }\nto = { zone = \"cloud\" }\n";

pub(crate) fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse("policy.toml".as_ref(), text).expect("a sound policy"))
}

/// One call in so many goes wrong in each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) refuses: u64,
    pub(crate) breaks: u64,
    pub(crate) hangs: u64,
}

/// What arrived off the device.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: ClientId,
    pub(crate) id: RequestId,
    pub(crate) digest: [u8; 32],
    /// What the provider will write on its bill.
    pub(crate) billed: MicroUsd,
}

/// Everybody off the device; outlives the daemon.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Mutex<Book>>);

struct Book {
    dice: Dice,
    faults: Option<Faults>,
    calls: Vec<Call>,
    /// What no daemon may ever do.
    wrong: Vec<String>,
}

enum Fate {
    Answers,
    Refuses(Class),
    Breaks,
    Hangs,
}

impl Remote {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let dice = Dice::new(seed, "remote");
        Self(Arc::new(Mutex::new(Book { dice, faults: Some(faults), calls: Vec::new(), wrong: Vec::new() })))
    }

    /// From now on everybody answers.
    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faults = None;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().calls.clone()
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.0.lock().unwrap().wrong.clone()
    }

    /// What a daemon knows of them when it starts: nothing but where they are.
    pub(crate) fn remotes(&self, prefer: Prefer, usd_per_day: f64) -> Arc<Remotes> {
        let router = Router {
            model: Some(MODEL.into()),
            prices: Vec::new(),
            carrier: Box::new(self.clone()),
            calls_max: 4,
        };
        let second = Duration::from_secs;
        let timers = Timers { first_byte: second(20), gap: second(10), total: second(600) };
        let cap = Cap {
            scope: Scope::All,
            per_request: None,
            per_day: Some(MicroUsd::of_usd(usd_per_day)),
            per_month: None,
        };
        let options = RemoteOptions { prefer, attempts: 3, timers };
        Arc::new(Remotes::new(Some(router), Vec::new(), options, Budget::new(vec![cap])))
    }

    fn fate(&self) -> (Fate, f64) {
        let mut book = self.0.lock().unwrap();
        // Half as long to twice as long as the listing says.
        let pace = 0.5 + book.dice.below(1_501) as f64 / 1_000.0;
        let Some(faults) = book.faults else { return (Fate::Answers, pace) };
        let dice = &mut book.dice;
        let classes = [
            Class::Down,
            Class::RateLimited,
            Class::Unreachable,
            Class::Gone,
            Class::Unsupported,
            Class::BadRequest,
            Class::OutOfCredit,
        ];
        let fate = if dice.once_in(faults.refuses) {
            // The first of them most often; the last ones rest the whole account or end the request.
            let reach = 1 + dice.below(classes.len() as u64);
            Fate::Refuses(classes[dice.below(reach) as usize])
        } else if dice.once_in(faults.breaks) {
            Fate::Breaks
        } else if dice.once_in(faults.hangs) {
            Fate::Hangs
        } else {
            Fate::Answers
        };
        (fate, pace)
    }

    /// Puts a call on record; its number among all.
    fn receive(&self, permit: &Permit, now: BootTime, tokens: Usage, fate: &Fate) -> usize {
        let mut book = self.0.lock().unwrap();
        if !permit.holds_at(now) || permit.zone() != Zone::Cloud {
            book.wrong.push(format!("{} came with a permit that does not hold", permit.id()));
        }
        let price = named(permit.provider()).and_then(|provider| provider.price);
        let of = |answer: usize| {
            let price = price.map(|(input, output)| outpost::cloud::Price { input, output });
            price.map_or(MicroUsd::ZERO, |price| price.of(tokens.prompt_tokens as u64, answer as u64))
        };
        let billed = match fate {
            Fate::Answers => of(tokens.completion_tokens),
            Fate::Breaks => of(tokens.completion_tokens / 2),
            Fate::Refuses(_) | Fate::Hangs => MicroUsd::ZERO,
        };
        book.calls.push(Call {
            client: permit.client().clone(),
            id: permit.id().clone(),
            digest: permit.digest(),
            billed,
        });
        book.calls.len()
    }
}

impl Carrier for Remote {
    fn send(&self, sending: Sending) -> Carried<'_, Result<Served, Failed>> {
        let Sending { permit, timers, now, pieces, .. } = sending;
        let (fate, pace) = self.fate();
        let body: Value = serde_json::from_slice(permit.bytes()).expect("what leaves is JSON");
        let usage = Usage {
            prompt_tokens: body["messages"].to_string().len() / 4,
            completion_tokens: body["max_tokens"].as_u64().expect("every body has its bound") as usize,
        };
        let number = self.receive(&permit, now, usage, &fate);
        let provider = named(permit.provider()).expect("only who is listed is asked");
        Box::pin(async move {
            // It is gone with the call.
            drop(permit);
            let call = Under { provider, pace, usage, number, pieces };
            let all = call.answer(fate, timers);
            timeout(timers.total, all).await.unwrap_or_else(|_| Err(Failed::early(too_slow())))
        })
    }

    fn catalogue(&self) -> Carried<'_, Result<Catalogue, Fault>> {
        let (fate, pace) = self.fate();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs_f64(0.2 * pace)).await;
            match fate {
                Fate::Answers => {
                    Ok(Catalogue::parse(document().to_string().as_bytes()).expect("a catalogue"))
                }
                _ => Err(Fault::new(Class::Down, "no catalogue today")),
            }
        })
    }
}

/// A call under way.
struct Under {
    provider: &'static Provider,
    pace: f64,
    usage: Usage,
    number: usize,
    pieces: mpsc::Sender<Delta>,
}

impl Under {
    async fn answer(self, fate: Fate, timers: Timers) -> Result<Served, Failed> {
        let tokens = self.usage.completion_tokens;
        let first_token = Duration::from_secs_f64(self.provider.first_token_ms / 1e3 * self.pace);
        let rest = Duration::from_secs_f64(tokens as f64 / self.provider.throughput * self.pace);
        match fate {
            Fate::Refuses(class) => {
                tokio::time::sleep(first_token / 2).await;
                return Err(Failed::early(Fault::new(class, "as it was told to")));
            }
            Fate::Hangs => {
                tokio::time::sleep(timers.first_byte).await;
                return Err(Failed::early(too_slow()));
            }
            Fate::Answers | Fate::Breaks => {}
        }
        tokio::time::sleep(first_token).await;
        let bytes_in = 8 * tokens as u64;
        // No two calls give the same answer, so that one that was paid twice is seen.
        let text = format!("answer from afar {}", self.number);
        let _ = self.pieces.send(Delta { text, tokens: tokens / 2, ..Delta::default() }).await;
        tokio::time::sleep(rest / 2).await;
        if matches!(fate, Fate::Breaks) {
            let fault = Fault::new(Class::Broken, "the stream ended in the middle");
            return Err(Failed { fault, billed: true, answer_tokens: tokens / 2, bytes_in: bytes_in / 2 });
        }
        tokio::time::sleep(rest / 2).await;
        let end = End { finish: FinishReason::Stop, usage: Some(self.usage), cost_usd: None };
        Ok(Served { end, answer_tokens: tokens, first_token, rest, bytes_in })
    }
}

fn too_slow() -> Fault {
    Fault::new(Class::TimedOut, "nothing came in time")
}
