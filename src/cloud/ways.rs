//! Everybody who may be asked for one request now, and if there is nobody, why.

use super::{
    breaker::Pair,
    catalogue::Listing,
    choice::{Candidate, Objection, Question, rank},
    name::{ModelName, Pin},
    need::Need,
    remotes::{Remotes, Target},
};
use crate::domain::{BootTime, ClientId, MicroUsd, Zone, limits};

/// Somebody who may be asked, and in which words.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Which server: 0 is the router, then the sites.
    pub(super) server: usize,
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

    pub(super) fn pair(&self) -> Pair {
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
    /// The policy lets nobody have it who could.
    Denied,
    /// Nobody may have it or can do it.
    Fit,
}

impl NoWay {
    /// Somebody could be asked, and has as many calls as he may have.
    pub fn busy() -> Self {
        Self { why: "as many calls as allowed are under way".into(), until: None, kind: Nobody::Busy }
    }

    /// Whether it is no use to wait: nothing will change, or nobody said how long he would.
    pub fn ends(&self, has_deadline: bool) -> bool {
        match self.kind {
            Nobody::Busy => false,
            Nobody::Yet => !has_deadline,
            Nobody::Money | Nobody::TooLong | Nobody::UnknownModel | Nobody::Denied | Nobody::Fit => true,
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
    /// How far it goes.
    pub farthest: Zone,
}

impl Remotes {
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
                let router = self.router.as_ref().filter(|_| ask.farthest == Zone::Cloud);
                if let Some(model) = router.and_then(|router| router.model.as_deref()) {
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
        let router_calls = self.router.as_ref().map_or(0, |router| router.calls_max);
        let state = self.state();
        if let Some(rest) = state.breakers[0].account(now) {
            search.wait(rest.why.clone(), Some(rest.until));
            return Vec::new();
        }
        // After a cut of the network one finds out for all whether it is back.
        let under_way = router_calls.saturating_sub(self.room[0].available_permits());
        if self.room[0].available_permits() == 0 || (state.breakers[0].is_shaky() && under_way > 0) {
            search.busy("as many calls as allowed are under way".into());
            return Vec::new();
        }
        let question = Question {
            model: &name.model,
            pin: &name.pin,
            prefer: self.options.prefer,
            need: ask.need,
            warm: state.warm.get(ask.client).map(String::as_str),
            now,
        };
        let ranking = rank(&question, &listings, &state.measures, |listing, worst| {
            // The policy first: who may not have it is not waited for.
            let objection = kept(Zone::Cloud, listing, worst);
            if matches!(objection, Some(Objection::Denied(_))) {
                return objection;
            }
            let pair = Pair { model: name.model.clone(), provider: listing.provider.clone() };
            if let Some(rest) = state.breakers[0].pair(&pair, now) {
                search.rests(rest.until);
                return Some(Objection::Kept(format!("rests after {}", rest.why)));
            }
            objection
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
                now,
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
    denied: usize,
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
            self.denied += usize::from(matches!(objection, Objection::Denied(_)));
            // The next reading of the catalogue may have it otherwise.
            self.may_change |= *objection == Objection::NotLive;
            self.busy |= matches!(objection, Objection::Reserved(_));
            self.whys.push(match objection {
                // It says whose.
                Objection::Budget(why) | Objection::Reserved(why) => why.clone(),
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
        } else if self.denied > 0 {
            Nobody::Denied
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
