//! Everybody off the device who could answer: the router with its providers, and the sites.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    breaker::{Breakers, Pair},
    budget::Budget,
    carrier::{Carrier, Timers},
    catalogue::{Catalogue, Listing, Price},
    fault::{Class, Cure, Fault},
    http::Hub,
    measure::{Measures, Took},
    name::ModelName,
    ways::Way,
};
use crate::domain::{BootTime, ClientId, Prefer, Zone, limits};

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

pub(super) struct Known {
    catalogue: Arc<Catalogue>,
    /// When it was read; `None`: never.
    read: Option<BootTime>,
    /// Not before this it is asked for again.
    pub(super) next: Option<BootTime>,
    fault: Option<Fault>,
    /// It is being asked for.
    pub(super) under_way: bool,
}

pub(super) struct State {
    pub(super) breakers: Vec<Breakers>,
    pub(super) measures: Measures,
    /// Who answered a client last.
    pub(super) warm: HashMap<ClientId, String>,
    pub(super) known: Known,
}

/// Room for one call, until it is dropped.
pub type Room = OwnedSemaphorePermit;

/// Everybody off the device.
pub struct Remotes {
    pub(super) router: Option<Router>,
    pub(super) sites: Vec<Site>,
    pub(super) options: RemoteOptions,
    pub(super) room: Vec<Arc<Semaphore>>,
    state: Mutex<State>,
    /// What may be spent.
    pub budget: Mutex<Budget>,
    hub: Option<Hub>,
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
            hub: None,
        }
    }

    /// The same with a bill to hold the books against.
    #[must_use]
    pub fn with_hub(self, hub: Option<Hub>) -> Self {
        Self { hub, ..self }
    }

    /// Where the bill is, when it may be read.
    pub fn hub(&self) -> Option<&Hub> {
        self.hub.as_ref()
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
    pub fn room(&self, way: &Way) -> Option<Room> {
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

    /// A call went well.
    pub fn succeeded(&self, way: &Way, client: &ClientId, took: Took, now: BootTime) {
        let mut state = self.state();
        state.breakers[way.server].succeeded(&way.pair());
        state.measures.succeeded(&way.model, &way.listing, took, now);
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
        let its_own = !matches!(
            fault.class,
            Class::BadRequest | Class::ContextTooLong | Class::Unsupported | Class::Unreachable
        );
        if its_own && fault.class.cure() == Cure::Another {
            state.measures.failed(&way.model, &way.listing, now);
        }
        state.warm.remove(client);
        if matches!(fault.class, Class::ModelUnavailable | Class::Gone) {
            // What the catalogue says of it is no longer so.
            let soonest = state.known.read.map(|read| read.after(limits::CATALOGUE_RETRY));
            state.known.next = state.known.next.min(soonest.or(state.known.next));
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
