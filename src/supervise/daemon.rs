//! One run of the daemon, from its sockets to its last word.

use std::{io, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    signals::{StopSignals, wait_for_stop},
    systemd::{notify, report},
};
use crate::{
    config::Config,
    domain::{Clock, SystemClock, limits},
    engine::{Engine, EngineOptions, EngineState, EngineStats},
    host,
    observe::Metrics,
    service::{Defaults, Service, status::Identity},
    transport::http::{self, App, Listener, Token},
};

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that the configuration names cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The system refuses what the daemon needs.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(config: &Config) -> Result<(), StartError> {
    // Two workers for I/O; the model has its own thread and its own pool.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<(), StartError> {
    let mut stop_signals = StopSignals::new()?;
    std::fs::create_dir_all(&config.store.path).map_err(|e| {
        StartError::Configuration(format!("`store.path` {} cannot be made: {e}", config.store.path.display()))
    })?;
    let token =
        config.http.token_file.as_deref().map(Token::read).transpose().map_err(StartError::Configuration)?;
    let listeners = bind(config).await?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (engine, state, stats) = start_engine(config, &clock)?;
    let service = Service::new(
        state.clone(),
        Defaults { answer_tokens: config.service.answer_tokens, temperature: config.service.temperature },
        Arc::new(Metrics::default()),
        Arc::clone(&clock),
    );
    let identity = Identity {
        node: host::node_name(&config.node.id),
        boot_id: boot_id(),
        started: clock.boot(),
        stats,
        clock: Arc::clone(&clock),
    };
    let dispatch = engine.as_ref().map(|e| tokio::spawn(service.clone().dispatch(e.commands.clone())));

    let (stop, servers) = (CancellationToken::new(), TaskTracker::new());
    let app = http::routes(App { service: service.clone(), identity, token });
    for listener in listeners {
        servers.spawn(http::serve(listener, app.clone(), stop.clone()));
    }
    servers.close();
    let reporter = tokio::spawn(report(state));
    notify(&[sd_notify::NotifyState::Ready]);

    wait_for_stop(&mut stop_signals, engine.as_ref()).await;
    tracing::info!(grace_s = config.service.stop_grace_s, in_flight = service.in_flight(), "stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    let grace = Duration::from_secs(config.service.stop_grace_s as u64);
    tokio::select! {
        () = service.drain(grace) => {}
        // A second signal is impatience: no grace.
        () = stop_signals.recv() => service.drain(Duration::ZERO).await,
    }
    stop.cancel();
    servers.wait().await;
    reporter.abort();
    if let (Some(engine), Some(dispatch)) = (engine, dispatch) {
        join_engine(engine, &dispatch).await;
    }
    tracing::info!("stopped");
    Ok(())
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

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
}
