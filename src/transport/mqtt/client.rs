//! The client's life: connect, work, and connect again, for ever.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Connector, backoff,
    intake::Intake,
    remembered::Remembered,
    report::Reports,
    session::{End, Session},
    topics::Topics,
};
use crate::{
    domain::{Clock, Lane, limits},
    service::{
        Notice, Service,
        status::{BrokerState, Identity},
    },
};

/// Everything that the client needs besides its connections.
pub struct Setup {
    /// The one door.
    pub service: Service,
    /// Who this node is; its `broker` shows the other end of `state`.
    pub identity: Identity,
    /// Where news of requests comes from.
    pub notices: mpsc::Receiver<Notice>,
    /// The names of our topics.
    pub topics: Topics,
    /// Lane of requests that name none.
    pub lane: Lane,
    /// Which filters the broker may still have of us.
    pub remembered: Remembered,
    /// Where the client says how it stands.
    pub state: watch::Sender<BrokerState>,
}

/// An MQTT client that works once [`run`](Self::run) is polled.
pub struct Client<C> {
    connector: C,
    intake: Arc<Intake>,
    reports: Reports,
    notices: mpsc::Receiver<Notice>,
    clock: Arc<dyn Clock>,
    node: String,
}

/// Asks a client to connect again, so that it takes new certificates and passwords.
#[derive(Clone)]
pub struct Renew(Arc<Intake>);

impl Renew {
    /// Once, as soon as it can.
    pub fn now(&self) {
        self.0.renew.notify_one();
    }
}

impl<C: Connector> Client<C> {
    /// A client that has not connected yet.
    pub fn new(connector: C, setup: Setup) -> Self {
        let intake = Intake {
            service: setup.service.clone(),
            topics: setup.topics.clone(),
            lane: setup.lane,
            remembered: setup.remembered,
            renew: Notify::new(),
        };
        Self {
            connector,
            intake: Arc::new(intake),
            clock: Arc::clone(&setup.identity.clock),
            node: setup.identity.node.clone(),
            reports: Reports::new(setup.service, setup.identity, setup.topics, setup.state),
            notices: setup.notices,
        }
    }

    /// For a reload of the configuration's files.
    pub fn renew(&self) -> Renew {
        Renew(Arc::clone(&self.intake))
    }

    /// Connects and works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tries = 0;
        while !stop.is_cancelled() {
            let places =
                self.intake.service.free_places().clamp(1, usize::from(limits::MQTT_RECEIVE_MAXIMUM));
            let connecting = self.connector.connect(self.reports.offline(), places as u16);
            let lost = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                connection = connecting => match connection {
                    Err(lost) => lost,
                    Ok((link, connected)) => {
                        let began = self.clock.boot();
                        let session = Session::new(link, &self.intake, &mut self.reports, &mut self.notices);
                        let end = session.run(&connected, &stop).await;
                        if self.clock.boot().since(began) > limits::MQTT_SOUND_CONNECTION {
                            tries = 0;
                        }
                        match end {
                            End::Stopped => break,
                            End::Renew => {
                                tracing::info!("connecting to the broker again, with its files read anew");
                                self.reports.lost("connecting again, with files read anew");
                                tries = 0;
                                continue;
                            }
                            End::Lost(lost) => lost,
                        }
                    }
                },
            };
            let patient = lost.permanent || lost.taken_over;
            let wait = backoff::wait(&self.node, tries, patient);
            tries = tries.saturating_add(1);
            tracing::warn!(
                reason = lost.reason,
                retry_in_ms = wait.as_millis() as u64,
                "no connection to the broker"
            );
            self.reports.lost(&lost.reason);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                () = self.intake.renew.notified() => {}
            }
        }
        self.reports.lost("Outpost is stopping");
    }
}
