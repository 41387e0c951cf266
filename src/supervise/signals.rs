//! What the outside may say to a running daemon.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Until SIGTERM or SIGINT. SIGHUP is answered by `reload`.
pub(super) async fn wait_for_stop(signals: &mut StopSignals, reload: impl Fn()) {
    loop {
        tokio::select! {
            _ = signals.term.recv() => return,
            _ = signals.int.recv() => return,
            _ = signals.hup.recv() => reload(),
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
