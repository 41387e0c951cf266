//! An engine that follows a script: it takes its time, answers each run differently, and dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use outpost::{
    domain::{Delta, FinishReason, MicroUsd, Outcome, Usage},
    engine::{Command, EngineState, Job, LoadStage, Model},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::dice::Dice;

/// Runs until nobody sends commands any more. `runs` counts over all engines of a day: no two
/// runs give the same answer, so that an answer that was computed twice is seen.
pub(crate) async fn engine(
    model: Arc<Model>,
    mut commands: mpsc::Receiver<Command>,
    state: watch::Sender<EngineState>,
    runs: Arc<AtomicU64>,
    mut dice: Dice,
    faulty: bool,
) {
    state.send_replace(EngineState::Loading(LoadStage::Graph { bytes: 0 }));
    tokio::time::sleep(dice.millis(1, 3_000)).await;
    state.send_replace(EngineState::Ready(Arc::clone(&model)));
    let mut running = JoinSet::new();
    loop {
        let death = if faulty { dice.millis(1_000, 60_000) } else { Duration::from_hours(24) };
        tokio::select! {
            biased;
            command = commands.recv(), if running.len() < 4 => match command {
                Some(Command::Run(job)) => {
                    let number = runs.fetch_add(1, Ordering::Relaxed);
                    running.spawn(run(*job, number, dice.millis(5, 900)));
                }
                Some(Command::Reload) => {}
                None => return,
            },
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(death) => {
                // Everything that runs is gone without a word.
                state.send_replace(EngineState::Loading(LoadStage::Graph { bytes: 0 }));
                running.shutdown().await;
                tokio::time::sleep(dice.millis(1, 2_000)).await;
                state.send_replace(EngineState::Ready(Arc::clone(&model)));
            }
        }
    }
}

async fn run(job: Job, number: u64, takes: Duration) {
    tokio::time::sleep(takes).await;
    let outcome = match job.cancel.error() {
        Some(error) => Err(error),
        None => Ok(Outcome {
            rest: Delta { text: format!("answer {number}"), tokens: 3, ..Delta::default() },
            finish: FinishReason::Stop,
            usage: Usage { prompt_tokens: job.prompt.len(), completion_tokens: 3 },
            time_to_first_token: takes / 2,
            decode_time: takes / 2,
            cost: MicroUsd::ZERO,
        }),
    };
    let _ = job.done.send(outcome);
}
