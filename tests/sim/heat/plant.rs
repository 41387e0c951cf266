//! The daemon of the hot day: the real service, scheduler and store behind an engine that throttles.

use std::{sync::Arc, time::Duration};

use outpost::{
    cloud::Remotes,
    domain::{ClientId, Clock, Delta, FinishReason, MicroUsd, Outcome, Usage, limits},
    engine::{Command, EngineState, EngineStats, Job},
    host::{BoardState, Judge, Reading, Zone},
    observe::Metrics,
    policy::Policy,
    scheduler::Bounds,
    service::{ClientRule, Clients, Defaults, Parts, Service},
    store::{Db, Quotas, Store},
    task::Tasks,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    day::{self, LEVELS, PUBLIC},
    slots::{SLOTS, Sequence, done, step},
};
use crate::{board, clock::SimClock};

/// As the daemon does it when nobody says otherwise.
const READING: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_secs(30);

/// A daemon that runs; dropped, it is gone.
pub(super) struct Plant {
    pub(super) service: Service,
    pub(super) store: Store,
    _tasks: JoinSet<()>,
}

impl Plant {
    pub(super) fn start(remotes: Arc<Remotes>, policy: Arc<Policy>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new());
        let mut tasks = JoinSet::new();
        let db = Db::open_in_memory(Quotas::default(), Arc::clone(&clock)).expect("a new database");
        let (store, writer) = Store::with_backend(Box::new(db), Arc::clone(&clock));
        tasks.spawn(writer);
        let stats = Arc::new(EngineStats::default());
        let (commands, receiver) = mpsc::channel(1);
        tasks.spawn(engine(receiver, Arc::clone(&stats)));
        let (heat, board) = watch::channel(BoardState::unknown(clock.boot()));
        tasks.spawn(thermometer(heat, Arc::clone(&clock)));
        let (state, engine_state) = watch::channel(EngineState::Ready(board::model()));
        tasks.spawn(async move {
            // The model stays for the whole day.
            state.closed().await;
        });
        let (service, backstage) = Service::new(Parts {
            engine: engine_state,
            stats,
            board,
            store: store.clone(),
            clients: clients(),
            tasks: Tasks::default(),
            remotes,
            policy: watch::channel(policy).1,
            bounds: Bounds { entries: 256, per_client: 64, bytes: limits::QUEUED_BYTES_MAX },
            defaults: Defaults { answer_tokens: 64, temperature: 0.0, deadline: Duration::from_hours(1) },
            metrics: Arc::new(Metrics::default()),
            clock,
        });
        tasks.spawn(service.clone().keep(backstage.orders));
        tasks.spawn(service.clone().watch_deadlines());
        tasks.spawn(service.clone().overflow());
        tasks.spawn(service.clone().dispatch(commands));
        let mut notices = backstage.notices;
        tasks.spawn(async move { while notices.recv().await.is_some() {} });
        Self { service, store, _tasks: tasks }
    }
}

fn clients() -> Clients {
    let rule = ClientRule { data_class: Some("public".into()), ..ClientRule::default() };
    Clients::new(PUBLIC.map(|who| (ClientId::new(who).expect("a name"), rule.clone())))
}

/// Plays the heat of the day through the judge that the daemon has.
async fn thermometer(heat: watch::Sender<BoardState>, clock: Arc<dyn Clock>) {
    let (start, mut judge) = (Instant::now(), Judge::new(CALM, clock.boot()));
    loop {
        let zone =
            Zone { name: "cpu-thermal".into(), celsius: day::celsius(start.elapsed()), levels: LEVELS };
        let reading = Reading { zones: vec![zone], ..Reading::default() };
        let told = judge.take(&reading, clock.boot());
        heat.send_if_modified(|board| {
            board.reading = reading;
            board.state.clone_from(judge.state());
            told
        });
        tokio::time::sleep(READING).await;
    }
}

/// The engine of a board that throttles, with its counters.
async fn engine(mut commands: mpsc::Receiver<Command>, stats: Arc<EngineStats>) {
    let start = Instant::now();
    let mut running: Vec<Sequence<Job>> = Vec::new();
    loop {
        while running.len() < SLOTS {
            let command = match commands.try_recv() {
                Ok(command) => command,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
                Err(mpsc::error::TryRecvError::Empty) if !running.is_empty() => break,
                Err(mpsc::error::TryRecvError::Empty) => match commands.recv().await {
                    Some(command) => command,
                    None => return,
                },
            };
            let Command::Run(job) = command else { continue };
            let (prompt, answer) = (job.prompt.len() as u64, job.options.tokens_max as u64);
            running.push(Sequence::new(*job, prompt, answer));
        }
        for sequence in running.extract_if(.., |sequence| sequence.whose.cancel.error().is_some()) {
            let job = sequence.whose;
            let error = job.cancel.error().expect("just seen");
            let _ = job.done.send(Err(error));
        }
        let step = step(&mut running, day::share(start.elapsed()));
        tokio::time::sleep(step.took()).await;
        for ((tokens, took), add) in [
            (step.read, EngineStats::read as fn(&EngineStats, u64, Duration)),
            (step.written, EngineStats::wrote),
        ] {
            if tokens > 0 {
                add(&stats, tokens, took);
            }
        }
        for job in done(&mut running) {
            let usage = Usage { prompt_tokens: job.prompt.len(), completion_tokens: job.options.tokens_max };
            let outcome = Outcome {
                rest: Delta { text: "done".into(), tokens: usage.completion_tokens, ..Delta::default() },
                finish: FinishReason::Length,
                usage,
                time_to_first_token: Duration::ZERO,
                decode_time: Duration::ZERO,
                cost: MicroUsd::ZERO,
            };
            let _ = job.done.send(Ok(outcome));
        }
    }
}
