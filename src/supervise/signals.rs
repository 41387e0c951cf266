//! What the outside may say to a running daemon.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::{Command, Engine};

/// Until SIGTERM or SIGINT. SIGHUP tries again to load a model that could not be loaded.
pub(super) async fn wait_for_stop(signals: &mut StopSignals, engine: Option<&Engine>) {
    loop {
        tokio::select! {
            _ = signals.term.recv() => return,
            _ = signals.int.recv() => return,
            _ = signals.hup.recv() => {
                // A full channel means that the engine is at work and has nothing to load.
                let asked = engine.is_some_and(|e| e.commands.try_send(Command::Reload).is_ok());
                tracing::info!(asked, "SIGHUP: loading the model again if it is not loaded");
            }
        }
    }
}

/// SIGTERM and SIGINT end the daemon, SIGHUP does not.
pub(super) struct StopSignals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl StopSignals {
    pub(super) fn new() -> io::Result<Self> {
        let on = |kind| signal(kind);
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    pub(super) async fn recv(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
    }
}
