//! The eye on the board: one reading every few seconds, for everybody.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    config::Config,
    domain::{Clock, Pressure},
    host::{Board, BoardState, HeatOverrides, Judge, Roots, State},
};

/// The board as it is configured.
pub fn of(config: &Config) -> Board {
    let b = &config.board;
    let roots = Roots { sys: b.sys.clone(), proc: b.proc.clone(), store: config.store.path.clone() };
    let heat = HeatOverrides {
        warm: b.warm_c.map(f64::from),
        hot: b.hot_c.map(f64::from),
        critical: b.critical_c.map(f64::from),
    };
    Board::new(roots, heat)
}

/// Reads the board and says how it stands. Receivers are woken only when its state changes, not by
/// each reading.
pub(super) struct Watch {
    board: Board,
    judge: Judge,
    every: Duration,
    clock: Arc<dyn Clock>,
    sender: watch::Sender<BoardState>,
}

impl Watch {
    pub(super) fn new(config: &Config, clock: &Arc<dyn Clock>) -> (Self, watch::Receiver<BoardState>) {
        let b = &config.board;
        let (sender, receiver) = watch::channel(BoardState::unknown(clock.boot()));
        let watch = Self {
            board: of(config),
            judge: Judge::new(Duration::from_secs(b.calm_s as u64), clock.boot()),
            every: Duration::from_secs(b.poll_s as u64),
            clock: Arc::clone(clock),
            sender,
        };
        (watch, receiver)
    }

    /// Never ends.
    pub(super) async fn run(self) {
        let Self { mut board, mut judge, every, clock, sender } = self;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut untold = true;
        loop {
            ticks.tick().await;
            let by = Arc::clone(&clock);
            // A sensor behind a slow bus holds up nobody else; the next reading waits for it.
            let read = tokio::task::spawn_blocking(move || {
                let reading = board.read(&*by);
                (board, reading)
            });
            // The runtime ends, or a reading has panicked, which ends the daemon.
            let Ok((back, reading)) = read.await else { return };
            board = back;
            let first = std::mem::take(&mut untold);
            if first {
                tracing::info!(
                    zones = reading.zones.len(),
                    unknown = ?reading.unknown(),
                    took_us = reading.took.as_micros() as u64,
                    "the board was read"
                );
            }
            let told = judge.take(&reading, clock.boot());
            if told {
                log(judge.state());
            }
            sender.send_if_modified(|board| {
                board.reading = reading;
                board.state.clone_from(judge.state());
                told || first
            });
        }
    }
}

fn log(state: &State) {
    let pressure = state.pressure.name();
    match &state.blame {
        Some(reason) if state.pressure > Pressure::Warm => tracing::warn!(pressure, reason, "the board"),
        Some(reason) => tracing::info!(pressure, reason, "the board"),
        None => tracing::info!(pressure, "the board"),
    }
}
