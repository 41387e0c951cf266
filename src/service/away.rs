//! Whether a request may be answered off the device, and how that stands.

use super::{Request, Service, Wanted, live::Live, shared::lock};
use crate::{
    cloud::Target,
    domain::{BootTime, Error, ErrorKind, Result, Zone},
    engine::EngineState,
    scheduler::{Place, Ticket},
};

/// Where a request may be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// On the device and nowhere else.
    #[default]
    Device,
    /// On the device, and elsewhere when that cannot do it in time.
    Overflow,
    /// Elsewhere: the device cannot do it, or is not asked to.
    Away(Target),
}

/// How far a request is on its way to somebody elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits.
    #[default]
    Waits,
    /// It waits because there was no room for one more call when it was last looked at.
    WaitsForRoom,
    /// It is being answered there.
    UnderWay,
}

/// How it stands with an answer from elsewhere.
#[derive(Debug, Default)]
pub(super) struct Away {
    pub(super) route: Route,
    /// Its task wants it answered elsewhere: the device is asked when nobody there can be.
    pub(super) first: bool,
    /// Its place among those who wait, when it does not wait in the device's queue.
    pub(super) place: Option<Place>,
    /// How far it is on its way.
    pub(super) stage: Stage,
    /// Where it stood in the device's queue before that.
    pub(super) stood: Option<Ticket>,
    /// Not before this it is tried again.
    pub(super) next: Option<BootTime>,
    /// Times that somebody was asked and failed, without a rest that would have kept the next from trying.
    pub(super) rounds: u32,
    /// Why it was put off, as it was last told.
    pub(super) told: Option<String>,
    /// The policy keeps it here.
    pub(super) kept: bool,
}

impl Away {
    /// Whether it waits for somebody elsewhere and for nobody here.
    pub(super) fn waits(&self) -> bool {
        self.place.is_some()
    }

    /// Whether it is not to wait in the device's queue.
    pub(super) fn skips_queue(&self) -> bool {
        self.first || matches!(self.route, Route::Away(_))
    }

    /// Whom to ask, when it may go.
    pub(super) fn target(&self) -> Option<Target> {
        match &self.route {
            Route::Device => None,
            Route::Overflow => Some(Target::Any),
            Route::Away(target) => Some(target.clone()),
        }
    }
}

impl Service {
    /// Where a request may be answered, as far as its model, its needs and what is configured say.
    pub(super) fn route(&self, request: &Request) -> Result<Route> {
        let remotes = &self.shared.remotes;
        let may_leave = request.own.zone_max != Some(Zone::Device);
        let overflows = may_leave && remotes.takes_overflow() && request.is_chat();
        match &request.model {
            Wanted::Local => Ok(Route::Device),
            Wanted::Auto if !overflows => Ok(Route::Device),
            Wanted::Auto if self.beyond_device(request).is_some() => Ok(Route::Away(Target::Any)),
            Wanted::Auto => Ok(match &*self.shared.engine.borrow() {
                EngineState::Absent | EngineState::Failed(_) => Route::Away(Target::Any),
                EngineState::Loading(_) | EngineState::Ready(_) => Route::Overflow,
            }),
            Wanted::Named(name) => self.route_by_name(request, name, may_leave),
        }
    }

    /// What the model that is loaded cannot do of it; one that is not there yet calls no tools, for all one knows.
    pub(super) fn beyond_device(&self, request: &Request) -> Option<Error> {
        let calls_tools = self.shared.engine.borrow().model().is_some_and(|model| model.calls.is_some());
        request.needs.beyond_device(calls_tools)
    }

    /// Notes where a request may be answered.
    pub(super) fn set_route(&self, live: &Live, route: Route) {
        let prefers = self.preference(live) > Zone::Device;
        let mut away = lock(&live.away);
        away.first = prefers && route == Route::Overflow;
        away.route = route;
    }

    fn route_by_name(&self, request: &Request, name: &str, may_leave: bool) -> Result<Route> {
        let loaded = self.shared.engine.borrow().model().is_some_and(|m| m.manifest.name == *name);
        let Some(target) = self.shared.remotes.named(name).filter(|_| !loaded) else {
            return Ok(Route::Device);
        };
        if !request.is_chat() {
            let why = format!("`{name}` is asked by /v1/chat/completions only");
            return Err(Error::invalid("model", why));
        }
        if !may_leave {
            let why =
                format!("`{name}` is not on this device, and `zone_max` lets the request go no farther");
            return Err(Error::new(ErrorKind::PolicyDenied, why));
        }
        Ok(Route::Away(target))
    }
}
