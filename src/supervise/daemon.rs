//! One run of the daemon, from its sockets to its last word.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    broker::Broker,
    parts, signals,
    signals::StopSignals,
    systemd::{notify, report},
    upkeep,
};
use crate::{
    config::Config,
    domain::{Clock, SystemClock, limits},
    engine::{Engine, EngineOptions, EngineState, EngineStats},
    host,
    observe::Metrics,
    service::{
        Notice, Parts, Service,
        status::{BrokerState, Identity},
    },
    task::Tasks,
    transport::{
        http::{self, App, Listener, Token},
        mqtt::{Client, MqttConnector, Renew, Setup},
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
    let mut stop_signals = StopSignals::new()?;
    std::fs::create_dir_all(&config.store.path).map_err(|e| {
        StartError::Configuration(format!("`store.path` {} cannot be made: {e}", config.store.path.display()))
    })?;
    let token =
        config.http.token_file.as_deref().map(Token::read).transpose().map_err(StartError::Configuration)?;
    let listeners = bind(config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let node = host::node_name(&config.node.id);
    // Before the engine: what was accepted is taken up before anything new is.
    let store = parts::open_store(config, &clock)?;
    let url = config.mqtt.url.clone();
    let broker = match &url {
        Some(url) if with_broker => Some(Broker::start(&config.store.path, url).await?),
        _ => None,
    };

    let (engine, state, stats) = start_engine(config, &clock)?;
    let (service, backstage) = Service::new(Parts {
        engine: state.clone(),
        stats: Arc::clone(&stats),
        store: store.clone(),
        clients: parts::clients(config),
        tasks,
        bounds: parts::bounds(config),
        defaults: parts::defaults(config),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::clone(&clock),
    });
    let keeper = tokio::spawn(service.clone().keep(backstage.orders));
    let taken_up = service.recover().await.map_err(|e| StartError::Unavailable(e.to_string()))?;
    if taken_up > 0 {
        tracing::info!(requests = taken_up, "taking up what was accepted before");
    }
    let mut helpers = vec![
        keeper,
        tokio::spawn(service.clone().watch_deadlines()),
        tokio::spawn(service.clone().release_readings()),
        tokio::spawn(upkeep::prune(store.clone())),
        tokio::spawn(report(state)),
    ];
    let dispatch = engine.as_ref().map(|e| tokio::spawn(service.clone().dispatch(e.commands.clone())));

    let identity = Identity {
        node: node.clone(),
        boot_id: clock.stamp().boot_id.into(),
        started: clock.boot(),
        stats,
        clock: Arc::clone(&clock),
        broker: None,
    };
    let stop = CancellationToken::new();
    let (identity, mqtt) = match url {
        None => {
            helpers.push(tokio::spawn(swallow(backstage.notices)));
            (identity, None)
        }
        Some(url) => {
            let (identity, client) = mqtt_client(config, &url, &service, identity, backstage.notices)?;
            let renew = client.renew();
            (identity, Some((tokio::spawn(client.run(stop.clone())), renew)))
        }
    };
    let servers = TaskTracker::new();
    let app = http::routes(App { service: service.clone(), identity, token });
    for listener in listeners {
        servers.spawn(http::serve(listener, app.clone(), stop.clone()));
    }
    servers.close();
    notify(&[sd_notify::NotifyState::Ready]);

    let renew = mqtt.as_ref().map(|(_, renew)| renew);
    let ended = tokio::select! {
        () = wait(&mut stop_signals, engine.as_ref(), renew) => Ok(()),
        reason = upkeep::broken(&store) => Err(StartError::Unavailable(format!(
            "the store can no longer be trusted ({reason}); the next start looks at it and moves it aside if it must"
        ))),
    };
    tracing::info!(grace_s = config.service.stop_grace_s, in_flight = service.in_flight(), "stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    let grace =
        if ended.is_ok() { Duration::from_secs(config.service.stop_grace_s as u64) } else { Duration::ZERO };
    tokio::select! {
        () = service.drain(grace) => {}
        // A second signal is impatience: no grace.
        () = stop_signals.recv() => service.drain(Duration::ZERO).await,
    }
    stop.cancel();
    servers.wait().await;
    if let Some((client, _)) = mqtt {
        let _ = tokio::time::timeout(limits::MQTT_CLOSE_TIMEOUT * 2, client).await;
    }
    for helper in helpers {
        helper.abort();
    }
    if let (Some(engine), Some(dispatch)) = (engine, dispatch) {
        join_engine(engine, &dispatch).await;
    }
    if let Err(error) = store.close().await {
        tracing::warn!(%error, "the store was not closed in good order; nothing is lost by that");
    }
    drop(broker);
    tracing::info!("stopped");
    ended
}

/// Without a broker nobody hears the news of requests.
async fn swallow(mut notices: mpsc::Receiver<Notice>) {
    while notices.recv().await.is_some() {}
}

async fn wait(signals: &mut StopSignals, engine: Option<&Engine>, renew: Option<&Renew>) {
    signals::wait_for_stop(signals, || {
        // A full channel means that the engine is at work and has nothing to load.
        let asked = engine.is_some_and(|e| e.commands.try_send(crate::engine::Command::Reload).is_ok());
        tracing::info!(asked, "SIGHUP: loading the model again if it is not loaded");
        if let Some(renew) = renew {
            renew.now();
        }
    })
    .await;
}

fn mqtt_client(
    config: &Config,
    url: &str,
    service: &Service,
    identity: Identity,
    notices: mpsc::Receiver<Notice>,
) -> Result<(Identity, Client<MqttConnector>), StartError> {
    let (state, receiver) = watch::channel(BrokerState::new(url, identity.clock.boot()));
    let identity = Identity { broker: Some(receiver), ..identity };
    let connector = MqttConnector::new(parts::link_options(config, url, &identity.node)?);
    let setup = Setup {
        service: service.clone(),
        topics: parts::topics(config, &identity.node),
        identity: identity.clone(),
        notices,
        lane: config.mqtt.lane,
        state,
    };
    Ok((identity, Client::new(connector, setup)))
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
    let Some(package) = config.model.package.clone() else {
        tracing::warn!("no model is configured: every prompt will be refused; set `model.package`");
        let (_, state) = watch::channel(EngineState::Absent);
        return Ok((None, state, Arc::default()));
    };
    let options = EngineOptions {
        package,
        runtime: config.runtime.onnxruntime.clone(),
        verified: config.store.path.join("verified.json"),
        providers: config.model.providers.clone(),
        slots: config.engine.slots,
        context: config.engine.context,
        threads: host::engine_threads(config.engine.threads),
    };
    let engine = Engine::start(options, Arc::clone(clock))?;
    let (state, stats) = (engine.state.clone(), Arc::clone(&engine.stats));
    Ok((Some(engine), state, stats))
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
