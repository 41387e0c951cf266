//! Everybody off the device who could answer: the router with its providers, and the sites.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{
    breaker::{Breakers, Pair},
    budget::Budget,
    carrier::{Carrier, Timers},
    catalogue::{Catalogue, Listing, Price},
    choice::{Candidate, Need, Objection, Question, rank},
    fault::{Class, Fault},
    measure::Measures,
    name::{ModelName, Pin},
};
use crate::domain::{BootTime, ClientId, MicroUsd, Prefer, Zone, limits};

/// Who is asked for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever may: sites first, then the model for overflow in the cloud.
    Any,
    /// One site, by its place in the list.
    Site(usize),
    /// A cloud model by its name.
    Cloud(ModelName),
}

/// A server on the premises.
pub struct Site {
    /// Its model, as it calls it.
    pub model: String,
    /// What it can do; its provider is its name.
    pub listing: Listing,
    /// The way there.
    pub carrier: Box<dyn Carrier>,
    /// Calls at once.
    pub calls_max: usize,
}

/// Hugging Face's router.
pub struct Router {
    /// Model for overflow.
    pub model: Option<String>,
    /// Prices that its catalogue may not name: model, provider, price.
    pub prices: Vec<(String, String, Price)>,
    /// The way there.
    pub carrier: Box<dyn Carrier>,
    /// Calls at once.
    pub calls_max: usize,
}

/// How requests are spread.
#[derive(Clone, Copy, Debug)]
pub struct RemoteOptions {
    /// Who is asked first.
    pub prefer: Prefer,
    /// Providers that are asked for one request.
    pub attempts: usize,
    /// How long to wait for what; `total` is the bound of a request without a deadline.
    pub timers: Timers,
}

/// Somebody who may be asked, and in which words.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Which server: 0 is the router, then the sites.
    server: usize,
    /// Its zone.
    pub zone: Zone,
    /// The model as the catalogue and the ledger call it.
    pub model: String,
    /// The model as the body calls it.
    pub named: String,
    /// Who is asked.
    pub listing: Listing,
    /// What it can cost at most.
    pub worst: MicroUsd,
}

impl Way {
    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.listing.provider
    }

    fn pair(&self) -> Pair {
        Pair { model: self.model.clone(), provider: self.listing.provider.clone() }
    }
}

/// Why nobody can be asked now.
#[derive(Clone, Debug, PartialEq)]
pub struct NoWay {
    /// In words, for each who was looked at.
    pub why: String,
    /// When it may be different, when that is known.
    pub until: Option<BootTime>,
    /// What kind of reason it is.
    pub kind: Nobody,
}

/// What kind of reason there is that nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// Somebody can as soon as something that is under way has ended.
    Busy,
    /// Somebody may later.
    Yet,
    /// There would be somebody, and no money.
    Money,
    /// The prompt is too long for everybody.
    TooLong,
    /// Nobody offers such a model.
    UnknownModel,
    /// Nobody may have it or can do it.
    Fit,
}

impl NoWay {
    /// Whether it is no use to wait: nothing will change, or nobody said how long he would.
    pub fn ends(&self, has_deadline: bool) -> bool {
        match self.kind {
            Nobody::Busy => false,
            Nobody::Yet => !has_deadline,
            Nobody::Money | Nobody::TooLong | Nobody::UnknownModel | Nobody::Fit => true,
        }
    }
}

/// What is asked of whom.
pub struct Ask<'a> {
    /// Whom.
    pub target: &'a Target,
    /// What it takes.
    pub need: Need,
    /// For whom.
    pub client: &'a ClientId,
    /// Whether the cloud is asked before the sites.
    pub cloud_first: bool,
}

struct Known {
    catalogue: Arc<Catalogue>,
    /// When it was read; `None`: never.
    read: Option<BootTime>,
    /// Not before this it is asked for again.
    next: Option<BootTime>,
    fault: Option<Fault>,
    /// It is being asked for.
    under_way: bool,
}

struct State {
    breakers: Vec<Breakers>,
    measures: Measures,
    /// Who answered a client last.
    warm: HashMap<ClientId, String>,
    known: Known,
}

/// Everybody off the device.
pub struct Remotes {
    router: Option<Router>,
    sites: Vec<Site>,
    options: RemoteOptions,
    room: Vec<Arc<Semaphore>>,
    state: Mutex<State>,
    /// What may be spent.
    pub budget: Mutex<Budget>,
}

impl Remotes {
    /// Of a router, of sites, of both.
    pub fn new(router: Option<Router>, sites: Vec<Site>, options: RemoteOptions, budget: Budget) -> Self {
        let calls = router.as_ref().map_or(0, |router| router.calls_max);
        let room = std::iter::once(calls).chain(sites.iter().map(|site| site.calls_max));
        let known =
            Known { catalogue: Arc::default(), read: None, next: None, fault: None, under_way: false };
        Self {
            room: room.map(|n| Arc::new(Semaphore::new(n))).collect(),
            state: Mutex::new(State {
                breakers: vec![Breakers::default(); sites.len() + 1],
                measures: Measures::default(),
                warm: HashMap::new(),
                known,
            }),
            router,
            sites,
            options,
            budget: Mutex::new(budget),
        }
    }

    /// Nobody.
    pub fn none() -> Self {
        let timers = Timers { first_byte: Duration::ZERO, gap: Duration::ZERO, total: Duration::ZERO };
        let options = RemoteOptions { prefer: Prefer::Cost, attempts: 1, timers };
        Self::new(None, Vec::new(), options, Budget::default())
    }

    /// Whether there is anybody at all in this zone.
    pub fn has(&self, zone: Zone) -> bool {
        match zone {
            Zone::Device => false,
            Zone::Site => !self.sites.is_empty(),
            Zone::Cloud => self.router.is_some(),
        }
    }

    /// Whether overflow has somewhere to go.
    pub fn takes_overflow(&self) -> bool {
        self.has(Zone::Site) || self.router.as_ref().is_some_and(|router| router.model.is_some())
    }

    /// Who is meant by the name of a model; `None` when it is nobody here.
    pub fn named(&self, name: &str) -> Option<Target> {
        let site = |by: fn(&Site) -> &str| self.sites.iter().position(|site| by(site) == name);
        let site = site(|site| &site.listing.provider).or_else(|| site(|site| &site.model));
        site.map(Target::Site).or_else(|| {
            self.router.as_ref()?;
            ModelName::parse(name).map(Target::Cloud)
        })
    }

    /// Zones in which a target may be answered.
    pub fn zones(&self, target: &Target) -> Vec<Zone> {
        let zones = match target {
            Target::Site(_) => vec![Zone::Site],
            Target::Cloud(_) => vec![Zone::Cloud],
            Target::Any => vec![Zone::Site, Zone::Cloud],
        };
        zones.into_iter().filter(|zone| self.has(*zone)).collect()
    }

    /// The bounds of time and tries.
    pub fn options(&self) -> RemoteOptions {
        self.options
    }

    /// The sites: name and model.
    pub fn sites(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sites.iter().map(|site| (site.listing.provider.as_str(), site.model.as_str()))
    }

    /// The way to a server.
    pub fn carrier(&self, way: &Way) -> Option<&dyn Carrier> {
        match way.server {
            0 => self.router.as_ref().map(|router| &*router.carrier),
            n => self.sites.get(n - 1).map(|site| &*site.carrier),
        }
    }

    /// Room for one call there, when there is any.
    pub fn room(&self, way: &Way) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(self.room.get(way.server)?).try_acquire_owned().ok()
    }

    /// Whether the catalogue has to be asked for before the cloud can be.
    pub fn is_stale(&self, now: BootTime) -> bool {
        let known = &self.state().known;
        self.router.is_some() && !known.under_way && known.next.is_none_or(|next| next <= now)
    }

    /// Asks for the catalogue; the one that is there stays when it cannot be had.
    pub async fn refresh(&self, now: BootTime) {
        let Some(router) = &self.router else { return };
        if std::mem::replace(&mut self.state().known.under_way, true) {
            return;
        }
        let _over = UnderWay(self);
        let answer = router.carrier.catalogue().await;
        let mut state = self.state();
        state.known.next = Some(now.after(limits::CATALOGUE_RETRY));
        match answer {
            Ok(catalogue) => {
                state.known.catalogue = Arc::new(catalogue);
                (state.known.read, state.known.fault) = (Some(now), None);
                state.known.next = Some(now.after(limits::CATALOGUE_TTL));
            }
            Err(fault) => {
                tracing::warn!(why = fault.words, "the catalogue of cloud models cannot be had");
                state.known.fault = Some(fault);
            }
        }
        // Before the guard, which wants it.
        drop(state);
    }

    /// The catalogue, unless it is too old to be believed.
    pub fn catalogue(&self, now: BootTime) -> Result<Arc<Catalogue>, String> {
        let state = self.state();
        let known = &state.known;
        match known.read {
            Some(read) if now.since(read) < limits::CATALOGUE_AGE_MAX => Ok(Arc::clone(&known.catalogue)),
            _ => Err(known.fault.as_ref().map_or_else(
                || "the catalogue of cloud models was not read yet".to_owned(),
                |fault| format!("the catalogue of cloud models cannot be had: {}", fault.words),
            )),
        }
    }

    /// What a provider offers, with the configured price where the catalogue names none.
    pub fn offers(&self, catalogue: &Catalogue, model: &str) -> Vec<Listing> {
        let mut listings = catalogue.of(model).to_vec();
        for listing in &mut listings {
            let set = self.router.iter().flat_map(|router| &router.prices);
            let price = set.into_iter().find(|(m, p, _)| m == model && *p == listing.provider);
            listing.price = listing.price.or(price.map(|(_, _, price)| *price));
        }
        listings
    }

    /// Everybody who may be asked now, best first. `kept`: why policy or budget keep it from somebody at
    /// this price.
    pub fn ways(
        &self,
        ask: &Ask<'_>,
        now: BootTime,
        mut kept: impl FnMut(Zone, &Listing, MicroUsd) -> Option<Objection>,
    ) -> Result<Vec<Way>, NoWay> {
        let mut search = Search::default();
        let mut cloud = Vec::new();
        let mut sites = Vec::new();
        match ask.target {
            Target::Site(n) => sites = self.site_ways(ask, &[*n], now, &mut kept, &mut search),
            Target::Cloud(name) => cloud = self.cloud_ways(ask, name, now, &mut kept, &mut search),
            Target::Any => {
                let all: Vec<usize> = (0..self.sites.len()).collect();
                sites = self.site_ways(ask, &all, now, &mut kept, &mut search);
                if let Some(model) = self.router.as_ref().and_then(|router| router.model.as_deref()) {
                    let name = ModelName { model: model.into(), pin: Pin::Any };
                    cloud = self.cloud_ways(ask, &name, now, &mut kept, &mut search);
                }
            }
        }
        let ways = if ask.cloud_first { [cloud, sites].concat() } else { [sites, cloud].concat() };
        if ways.is_empty() { Err(search.no_way()) } else { Ok(ways) }
    }

    fn cloud_ways(
        &self,
        ask: &Ask<'_>,
        name: &ModelName,
        now: BootTime,
        kept: &mut impl FnMut(Zone, &Listing, MicroUsd) -> Option<Objection>,
        search: &mut Search,
    ) -> Vec<Way> {
        let catalogue = match self.catalogue(now) {
            Ok(catalogue) => catalogue,
            Err(why) => {
                let known = &self.state().known;
                if known.under_way {
                    search.busy("the catalogue of cloud models is being read".into());
                } else {
                    search.wait(why, known.next);
                }
                return Vec::new();
            }
        };
        let listings = self.offers(&catalogue, &name.model);
        if listings.is_empty() {
            search.unknown_model(format!("nobody offers {}", name.model));
            return Vec::new();
        }
        let state = self.state();
        if let Some(rest) = state.breakers[0].account(now) {
            search.wait(rest.why.clone(), Some(rest.until));
            return Vec::new();
        }
        if self.room[0].available_permits() == 0 {
            search.busy("as many calls as allowed are under way".into());
            return Vec::new();
        }
        let question = Question {
            model: &name.model,
            pin: &name.pin,
            prefer: self.options.prefer,
            need: ask.need,
            warm: state.warm.get(ask.client).map(String::as_str),
        };
        let ranking = rank(&question, &listings, &state.measures, |listing, worst| {
            let pair = Pair { model: name.model.clone(), provider: listing.provider.clone() };
            if let Some(rest) = state.breakers[0].pair(&pair, now) {
                search.rests(rest.until);
                return Some(Objection::Kept(format!("rests after {}", rest.why)));
            }
            kept(Zone::Cloud, listing, worst)
        });
        search.objections(&ranking.objections);
        let way = |candidate: Candidate| Way {
            server: 0,
            zone: Zone::Cloud,
            model: name.model.clone(),
            // By name and not by the router's choice: price and privacy are known before.
            named: format!("{}:{}", name.model, candidate.listing.provider),
            worst: candidate.worst,
            listing: candidate.listing,
        };
        ranking.candidates.into_iter().map(way).collect()
    }

    fn site_ways(
        &self,
        ask: &Ask<'_>,
        which: &[usize],
        now: BootTime,
        kept: &mut impl FnMut(Zone, &Listing, MicroUsd) -> Option<Objection>,
        search: &mut Search,
    ) -> Vec<Way> {
        let state = self.state();
        let mut ways = Vec::new();
        for &n in which {
            let Some(site) = self.sites.get(n) else { continue };
            let breakers = &state.breakers[n + 1];
            let pair = Pair { model: site.model.clone(), provider: site.listing.provider.clone() };
            if let Some(rest) = breakers.account(now).or_else(|| breakers.pair(&pair, now)) {
                search.wait(format!("{} rests after {}", site.listing.provider, rest.why), Some(rest.until));
                continue;
            }
            if self.room[n + 1].available_permits() == 0 {
                search.busy(format!("{} has as many calls as allowed", site.listing.provider));
                continue;
            }
            let question = Question {
                model: &site.model,
                pin: &Pin::Any,
                prefer: self.options.prefer,
                need: ask.need,
                warm: None,
            };
            let one = std::slice::from_ref(&site.listing);
            let ranking =
                rank(&question, one, &state.measures, |listing, worst| kept(Zone::Site, listing, worst));
            search.objections(&ranking.objections);
            ways.extend(ranking.candidates.into_iter().map(|candidate| {
                let way = Way {
                    server: n + 1,
                    zone: Zone::Site,
                    model: site.model.clone(),
                    named: site.model.clone(),
                    worst: candidate.worst,
                    listing: candidate.listing,
                };
                (candidate.score, way)
            }));
        }
        ways.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        ways.into_iter().map(|(_, way)| way).collect()
    }

    /// A call went well.
    pub fn succeeded(
        &self,
        way: &Way,
        client: &ClientId,
        first_token: Duration,
        tokens: u64,
        rest: Duration,
    ) {
        let mut state = self.state();
        state.breakers[way.server].succeeded(&way.pair());
        state.measures.succeeded(&way.model, &way.listing, first_token, tokens, rest);
        if way.zone == Zone::Cloud {
            if state.warm.len() >= limits::BREAKERS_MAX {
                state.warm.clear();
            }
            state.warm.insert(client.clone(), way.listing.provider.clone());
        }
    }

    /// A call failed.
    pub fn failed(&self, way: &Way, client: &ClientId, fault: &Fault, now: BootTime) {
        let mut state = self.state();
        state.breakers[way.server].failed(&way.pair(), fault, now);
        state.measures.failed(&way.model, &way.listing);
        state.warm.remove(client);
        if matches!(fault.class, Class::ModelUnavailable | Class::Gone) {
            // What the catalogue says of it is no longer so.
            state.known.next = None;
        }
    }

    /// Why nothing goes to the cloud, when its breaker is open.
    pub fn resting(&self, now: BootTime) -> Option<String> {
        self.state().breakers[0].account(now).map(|rest| rest.why.clone())
    }

    /// Why nothing goes to any site.
    pub fn sites_resting(&self, now: BootTime) -> Option<String> {
        let state = self.state();
        let rests: Vec<String> = state.breakers[1..]
            .iter()
            .zip(&self.sites)
            .filter_map(|(breakers, site)| {
                let pair = Pair { model: site.model.clone(), provider: site.listing.provider.clone() };
                let rest = breakers.account(now).or_else(|| breakers.pair(&pair, now))?;
                Some(format!("{}: {}", site.listing.provider, rest.why))
            })
            .collect();
        (!rests.is_empty() && rests.len() == self.sites.len()).then(|| rests.join("; "))
    }

    /// Somebody has changed something: everybody is tried again.
    pub fn reset(&self) {
        let mut state = self.state();
        state.breakers.iter_mut().for_each(Breakers::reset);
        state.known.next = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue is no longer being asked for, however that ended.
struct UnderWay<'a>(&'a Remotes);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().known.under_way = false;
    }
}

/// What stood in the way, gathered.
#[derive(Default)]
struct Search {
    whys: Vec<String>,
    busy: bool,
    until: Option<BootTime>,
    may_change: bool,
    unknown: bool,
    objections: usize,
    too_long: usize,
    budget: usize,
}

impl Search {
    fn wait(&mut self, why: String, until: Option<BootTime>) {
        self.whys.push(why);
        self.may_change = true;
        self.until = [self.until, until].into_iter().flatten().min();
    }

    fn busy(&mut self, why: String) {
        self.whys.push(why);
        self.busy = true;
    }

    fn rests(&mut self, until: BootTime) {
        self.may_change = true;
        self.until = Some(self.until.map_or(until, |known| known.min(until)));
    }

    fn unknown_model(&mut self, why: String) {
        self.whys.push(why);
        self.unknown = true;
    }

    fn objections(&mut self, objections: &[(String, Objection)]) {
        // That others were not asked for by name says nothing, unless nobody was.
        let named = objections.iter().any(|(_, objection)| *objection != Objection::NotPinned);
        let told = objections.iter().filter(|(_, o)| !named || *o != Objection::NotPinned);
        for (provider, objection) in told {
            self.objections += 1;
            self.too_long += usize::from(matches!(objection, Objection::Context(_)));
            self.budget += usize::from(matches!(objection, Objection::Budget(_)));
            self.whys.push(match objection {
                // It says whose.
                Objection::Budget(why) => why.clone(),
                objection => format!("{provider} {objection}"),
            });
        }
    }

    fn no_way(self) -> NoWay {
        let mut why = self.whys.join("; ");
        if why.is_empty() {
            why = "nobody is configured who could be asked".into();
        }
        let cut: String = why.chars().take(4 * limits::PROVIDER_WORDS_CHARS_MAX).collect();
        let kind = if self.busy {
            Nobody::Busy
        } else if self.may_change {
            Nobody::Yet
        } else if self.budget > 0 {
            Nobody::Money
        } else if self.objections > 0 && self.too_long == self.objections {
            Nobody::TooLong
        } else if self.unknown && self.objections == 0 {
            Nobody::UnknownModel
        } else {
            Nobody::Fit
        };
        NoWay { why: cut, until: self.until, kind }
    }
}
