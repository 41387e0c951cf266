//! One run of the daemon, from its sockets to its last word.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    board::{self, Watch},
    broker::Broker,
    parts::{self, prepared},
    remotes,
    rules::{Reread, Rules},
    signals::{self, StopSignals},
    systemd::{notify, report},
    tokens::Tokens,
    upkeep,
    vital::Vital,
};
use crate::{
    config::Config,
    domain::{Clock, SystemClock, limits},
    engine::{Engine, EngineOptions, EngineState, EngineStats, Provider, Room},
    host,
    model::Shelf,
    observe::Metrics,
    service::{
        Notice, Parts, Service,
        status::{BrokerState, Identity},
    },
    store::Store,
    task::Tasks,
    transport::{
        http::{self, App, Listener, Token},
        mqtt::{Client, MqttConnector, Remembered, Renew, Setup},
    },
};

/// Why the daemon does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that the configuration names cannot be used; a restart does not help.
    #[error("{0}")]
    Configuration(String),
    /// The machine refuses what the daemon needs; a restart may help.
    #[error("{0}")]
    Unavailable(String),
    /// The system refuses what the daemon needs.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs the daemon until SIGTERM or SIGINT. `with_broker`: starts an MQTT broker for a first try.
pub fn run(config: &Config, tasks: Tasks, with_broker: bool) -> Result<(), StartError> {
    // Two workers for I/O; the model has its own thread and its own pool, the store its thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(config, tasks, with_broker))
}

async fn serve(config: &Config, tasks: Tasks, with_broker: bool) -> Result<(), StartError> {
    let mut signals = StopSignals::new()?;
    std::fs::create_dir_all(&config.store.path).map_err(|e| {
        StartError::Configuration(format!("`store.path` {} cannot be made: {e}", config.store.path.display()))
    })?;
    let token =
        config.http.token_file.as_deref().map(Token::read).transpose().map_err(StartError::Configuration)?;
    let listeners = bind(config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Before the engine: what was accepted is taken up before anything new is.
    let store = parts::open_store(config, &clock)?;
    let broker = match &config.mqtt.url {
        Some(url) if with_broker => Some(Broker::start(&config.store.path, url).await?),
        _ => None,
    };
    let mut vital = Vital::new();
    let works = Works::begin(config, tasks, store, clock, &vital).await?;
    let servers = TaskTracker::new();
    let app = http::routes(App { service: works.service.clone(), identity: works.identity.clone(), token });
    for listener in listeners {
        servers.spawn(http::serve(listener, app.clone(), works.stop.clone()));
    }
    servers.close();
    notify(&[sd_notify::NotifyState::Ready]);

    let ended = tokio::select! {
        () = signals::wait_for_stop(&mut signals, || works.reload()) => Ok(()),
        part = vital.fallen() => Err(StartError::Unavailable(format!("{part} has ended unexpectedly; the log says why"))),
        reason = upkeep::broken(&works.store) => Err(StartError::Unavailable(format!(
            "the store can no longer be trusted ({reason}); the next start looks at it and moves it aside if it must"
        ))),
    };
    let grace =
        if ended.is_ok() { Duration::from_secs(config.service.stop_grace_s as u64) } else { Duration::ZERO };
    tracing::info!(grace_s = grace.as_secs(), in_flight = works.service.in_flight(), "stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        () = works.service.drain(grace) => {}
        // A second signal is impatience: no grace.
        () = signals.recv() => works.service.drain(Duration::ZERO).await,
    }
    works.stop.cancel();
    servers.wait().await;
    works.end().await;
    drop(broker);
    tracing::info!("stopped");
    ended
}

/// Everything that runs behind the sockets.
struct Works {
    service: Service,
    store: Store,
    identity: Identity,
    engine: Option<Engine>,
    dispatch: Option<JoinHandle<()>>,
    mqtt: Option<(JoinHandle<()>, Renew)>,
    rules: Rules,
    tokens: Tokens,
    /// Tasks that end with the daemon and have nothing to finish.
    helpers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Works {
    async fn begin(
        config: &Config,
        tasks: Tasks,
        store: Store,
        clock: Arc<dyn Clock>,
        vital: &Vital,
    ) -> Result<Self, StartError> {
        let (remotes, tokens) = remotes::remotes(config, &tasks)?;
        let (rules, policy_trouble) = Rules::begin(config);
        let (watch, mut board) = Watch::new(config, &clock);
        let watching = vital.spawn("the watch over the board", watch.run());
        // Before the first request: a daemon that starts on a hot board is not to make it hotter.
        let _ = tokio::time::timeout(limits::BOARD_FIRST_READING, board.changed()).await;
        let (engine, state, stats) = start_engine(config, &clock)?;
        let (service, backstage) = Service::new(Parts {
            engine: state.clone(),
            stats: Arc::clone(&stats),
            board,
            store: store.clone(),
            clients: parts::clients(config),
            tasks,
            remotes,
            policy: rules.watch(),
            bounds: parts::bounds(config),
            defaults: parts::defaults(config),
            metrics: Arc::new(Metrics::default()),
            clock: Arc::clone(&clock),
        });
        service.set_egress_alert(policy_trouble);
        let mut helpers =
            vec![watching, vital.spawn("the keeper of requests", service.clone().keep(backstage.orders))];
        let taken_up = service.recover().await.map_err(|e| StartError::Unavailable(e.to_string()))?;
        if taken_up > 0 {
            tracing::info!(requests = taken_up, "taking up what was accepted before");
        }
        helpers.extend([
            vital.spawn("the watch over deadlines", service.clone().watch_deadlines()),
            vital.spawn("the way to others", service.clone().overflow()),
            vital.spawn("the look at the bill", service.clone().reconcile()),
            vital.spawn("the watch over readings", service.clone().release_readings()),
            vital.spawn("pruning", upkeep::prune(store.clone())),
            tokio::spawn(upkeep::look_again(store.clone())),
            vital.spawn("the ledger", upkeep::keep_ledger(service.clone())),
            tokio::spawn(report(state)),
        ]);
        let dispatch = engine
            .as_ref()
            .map(|e| vital.spawn("the way to the engine", service.clone().dispatch(e.commands.clone())));
        let mut identity = Identity {
            node: host::node_name(&config.node.id),
            boot_id: clock.stamp().boot_id.into(),
            started: clock.boot(),
            stats,
            clock,
            broker: None,
        };
        let stop = CancellationToken::new();
        let mut mqtt = None;
        if let Some(url) = &config.mqtt.url {
            let client = mqtt_client(config, url, &service, &mut identity, backstage.notices)?;
            let renew = client.renew();
            mqtt = Some((vital.spawn("the MQTT client", client.run(stop.clone())), renew));
        } else {
            helpers.push(tokio::spawn(swallow(backstage.notices)));
        }
        Ok(Self { service, store, identity, engine, dispatch, mqtt, rules, tokens, helpers, stop })
    }

    /// Tries again what may go better now: the model, the broker's certificates and passwords, tokens, the
    /// policy, whoever rests.
    fn reload(&self) {
        self.service.reload_model();
        if let Some((_, renew)) = &self.mqtt {
            renew.now();
        }
        let mut trouble = self.tokens.renew();
        match self.rules.reread() {
            Reread::Taken => {}
            Reread::Unreadable(why) => trouble.push(why),
            Reread::Looser(why) => trouble.push(format!(
                "the policy on disk waits for a restart, for it is looser than the one that holds: {why}"
            )),
        }
        self.service.set_egress_alert((!trouble.is_empty()).then(|| trouble.join("; ")));
        self.service.try_remotes_again();
        tracing::info!("SIGHUP: everything was read and is tried again");
    }

    async fn end(self) {
        if let Some((client, _)) = self.mqtt {
            let _ = tokio::time::timeout(limits::MQTT_CLOSE_TIMEOUT * 2, client).await;
        }
        for helper in self.helpers {
            helper.abort();
        }
        if let (Some(engine), Some(dispatch)) = (self.engine, self.dispatch) {
            join_engine(engine, &dispatch).await;
        }
        if let Err(error) = self.service.write_tally().await {
            tracing::warn!(%error, "the usage of the last minute is not in the ledger");
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store was not closed in good order; nothing is lost by that");
        }
    }
}

/// Without a broker nobody hears the news of requests.
async fn swallow(mut notices: mpsc::Receiver<Notice>) {
    while notices.recv().await.is_some() {}
}

fn mqtt_client(
    config: &Config,
    url: &str,
    service: &Service,
    identity: &mut Identity,
    notices: mpsc::Receiver<Notice>,
) -> Result<Client<MqttConnector>, StartError> {
    let (state, receiver) = watch::channel(BrokerState::new(url, identity.clock.boot()));
    identity.broker = Some(receiver);
    let connector = MqttConnector::new(parts::link_options(config, url, &identity.node)?);
    let setup = Setup {
        service: service.clone(),
        topics: parts::topics(config, &identity.node),
        identity: identity.clone(),
        notices,
        lane: config.mqtt.lane,
        remembered: Remembered::in_file(config.store.path.join("subscriptions.json")),
        state,
    };
    Ok(Client::new(connector, setup))
}

async fn bind(config: &Config) -> Result<Vec<Listener>, StartError> {
    let http = &config.http;
    let mut listeners = Vec::new();
    if let Some(path) = &http.socket {
        let unix = http::bind_unix(path, http.socket_mode.0, http.socket_group.as_deref());
        listeners.push(unix.map_err(StartError::Configuration)?);
        tracing::info!(socket = %path.display(), "listening");
    }
    if let Some(address) = http.tcp {
        listeners.push(http::bind_tcp(address).await.map_err(StartError::Configuration)?);
        tracing::info!(%address, "listening");
    }
    Ok(listeners)
}

type EngineParts = (Option<Engine>, watch::Receiver<EngineState>, Arc<EngineStats>);

fn start_engine(config: &Config, clock: &Arc<dyn Clock>) -> io::Result<EngineParts> {
    // Who pins a package decides; else it is the one that was activated.
    let shelf = config.model.package.is_none().then(|| Shelf::new(config.models_dir()));
    let options = EngineOptions {
        package: config.model.package.clone().unwrap_or_default(),
        shelf,
        runtime: config.runtime.onnxruntime.clone(),
        verified: config.store.path.join("verified.json"),
        providers: config.model.providers.iter().map(|name| provider(config, name)).collect(),
        probe: std::env::current_exe().ok(),
        prepared: Some(prepared(config)),
        room: config.engine.check_memory.then(|| room(config, clock)),
        slots: config.engine.slots,
        context: config.engine.context,
        threads: host::engine_threads(config.engine.threads),
    };
    let engine = Engine::start(options, Arc::clone(clock))?;
    let (state, stats) = (engine.state.clone(), Arc::clone(&engine.stats));
    Ok((Some(engine), state, stats))
}

/// The memory that can be had, as the board says at that moment.
fn room(config: &Config, clock: &Arc<dyn Clock>) -> Room {
    let (board, clock) = (Mutex::new(board::of(config)), Arc::clone(clock));
    Room::new(move || board.lock().unwrap_or_else(PoisonError::into_inner).read(&*clock).memory.room())
}

/// An execution provider with what its `[[provider]]` says, where it has one.
pub fn provider(config: &Config, name: &str) -> Provider {
    let Some(entry) = config.provider.iter().find(|entry| entry.name == name) else {
        return Provider::built_in(name);
    };
    Provider {
        name: name.to_owned(),
        library: entry.library.clone(),
        device: entry.device,
        options: entry.options.clone(),
    }
}

/// The thread ends when nobody can send it commands any more; a step that runs is waited for.
async fn join_engine(engine: Engine, dispatch: &JoinHandle<()>) {
    dispatch.abort();
    let Engine { commands, thread, .. } = engine;
    drop(commands);
    let joined = tokio::task::spawn_blocking(move || thread.join());
    if tokio::time::timeout(limits::ENGINE_STOP, joined).await.is_err() {
        tracing::warn!("the engine did not end in time and is left behind");
    }
}
