//! One day: a daemon that is killed and started again, its clients, its disk, its broker.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use outpost::{
    domain::{ClientId, Clock, Prefer, Pressure, limits},
    engine::{EngineState, EngineStats, LoadStage},
    host::BoardState,
    observe::Metrics,
    scheduler::Bounds,
    service::{
        ClientRule, Clients, Defaults, Parts, Service,
        status::{BrokerState, Identity},
    },
    store::Store,
    task::Tasks,
    transport::mqtt::{Client, Remembered, Setup, Topics},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    board, books,
    broker::Broker,
    check::check,
    client::{self, Asking},
    clock::SimClock,
    dice::Dice,
    disk::Disk,
    engine::engine,
    remote::{self, Faults, Remote},
};

/// On a bad day every other call goes wrong.
const FAULTS: Faults = Faults { refuses: 4, breaks: 6, hangs: 8 };
/// On some days this is not enough.
const USD_PER_DAY: f64 = 0.001;

/// Which bugs are planted.
#[allow(clippy::struct_excessive_bools, reason = "one for each bug")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    /// The disk says that it has synced when it has not.
    pub(crate) fsync_lies: bool,
    /// The broker's word about a final that it never got.
    pub(crate) puback_too_early: bool,
    /// A final that is said to be stored and is not.
    pub(crate) loses_finals: bool,
    /// What a call cost is said to be in the ledger and is not.
    pub(crate) loses_settlements: bool,
}

/// A daemon that runs; dropped, it is killed.
struct Daemon {
    tasks: JoinSet<()>,
    service: Service,
    store: Store,
}

/// Everything of a day that outlives the daemon.
struct Day {
    seed: u64,
    clock: SimClock,
    disk: Disk,
    heat: watch::Sender<BoardState>,
    broker: Broker,
    remote: Remote,
    runs: Arc<AtomicU64>,
    dice: Dice,
    faulty: bool,
}

/// Plays one day on its own runtime, whose clock jumps to whatever happens next.
pub(crate) fn on_paused_time<T>(day: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(day)
}

/// Plays the day of `seed`; the error says which promise was broken.
pub(crate) fn play(seed: u64, plan: Plan) -> Result<(), String> {
    on_paused_time(async move {
        let mut day = Day::new(seed, plan);
        let askings = day.run().await?;
        check(&askings, &day.broker)
    })
}

/// All finals of a day, for comparison.
pub(crate) fn story(seed: u64) -> Vec<(usize, bytes::Bytes)> {
    on_paused_time(async move {
        let mut day = Day::new(seed, Plan::default());
        let askings = day.run().await.expect("a good day");
        askings.iter().flat_map(|asking| day.broker.received(&asking.response)).collect()
    })
}

/// Calls that arrived off the device in the day of `seed`, and of those nobody learnt the end.
pub(crate) fn calls(seed: u64) -> (usize, usize) {
    on_paused_time(async move {
        let mut day = Day::new(seed, Plan::default());
        day.run().await.expect("a good day");
        let daemon = day.start().await;
        (day.remote.calls().len(), books::lost(&daemon.store).await)
    })
}

/// The clients whose data may leave.
fn public() -> Clients {
    let rule = ClientRule { data_class: Some("public".into()), ..ClientRule::default() };
    Clients::new(client::PUBLIC.map(|who| (ClientId::new(who).expect("a name"), rule.clone())))
}

impl Day {
    fn new(seed: u64, plan: Plan) -> Self {
        let clock = SimClock::new();
        Self {
            seed,
            heat: watch::channel(BoardState::unknown(clock.boot())).0,
            clock,
            disk: Disk::new(seed, plan),
            broker: Broker::new(seed, plan),
            remote: Remote::new(seed, FAULTS),
            runs: Arc::default(),
            dice: Dice::new(seed, "day"),
            faulty: true,
        }
    }

    async fn run(&mut self) -> Result<Vec<Asking>, String> {
        let devices = ["plc", "hmi", "cell"];
        let askings: Vec<Asking> = devices.iter().flat_map(|who| client::plan(who, self.seed)).collect();
        let mut clients = JoinSet::new();
        for (n, asking) in askings.iter().enumerate() {
            let dice = Dice::new(self.seed, &format!("asking {n}"));
            clients.spawn(client::ask(asking.clone(), self.broker.clone(), dice));
        }
        let mut daemon = self.start().await;
        for _ in 0..2 + self.dice.below(8) {
            tokio::time::sleep(self.dice.millis(10, 30_000)).await;
            daemon = self.mischief(daemon).await;
        }
        self.heal();
        drop(daemon);
        let daemon = self.start().await;
        let all_answered = async { while clients.join_next().await.is_some() {} };
        if timeout(Duration::from_hours(1), all_answered).await.is_err() {
            let mute = |asking: &&Asking| client::finals(&self.broker, asking).next().is_none();
            let mute: Vec<_> = askings.iter().filter(mute).map(|asking| &asking.request).collect();
            return Err(format!(
                "{} clients still wait after an hour without faults: {mute:?}",
                clients.len()
            ));
        }
        self.settled(&daemon).await?;
        books::check(&daemon.store, &askings, &self.remote).await?;
        Ok(askings)
    }

    /// Something happens to the daemon.
    async fn mischief(&mut self, daemon: Daemon) -> Daemon {
        match self.dice.below(7) {
            0 => self.broker.cut(),
            1 => self.clock.jump([-86_400 * 365, 86_400 * 365, 7][self.dice.below(3) as usize]),
            6 => {
                let pressure = Pressure::ALL[self.dice.below(4) as usize];
                self.heat.send_modify(|board| board.state.pressure = pressure);
            }
            2 => {
                // SIGTERM: it may finish, or is killed over it.
                let grace = self.dice.millis(1, 5_000);
                let _ = timeout(self.dice.millis(1, 6_000), daemon.service.drain(grace)).await;
                drop(daemon);
                return self.start().await;
            }
            3 => {
                drop(daemon);
                self.disk.power_cut();
                tokio::time::sleep(self.dice.millis(1_000, 60_000)).await;
                let wrong = [0, 0, -86_400 * 365, 86_400 * 365][self.dice.below(4) as usize];
                self.clock.reboot(wrong, wrong == 0);
                return self.start().await;
            }
            // SIGKILL, at once or after a while.
            _ => {
                drop(daemon);
                tokio::time::sleep(self.dice.millis(1, 5_000)).await;
                return self.start().await;
            }
        }
        daemon
    }

    fn heal(&mut self) {
        self.faulty = false;
        self.disk.heal();
        self.broker.heal();
        self.remote.heal();
        self.heat.send_modify(|board| board.state.pressure = Pressure::Nominal);
        self.broker.cut();
    }

    async fn start(&mut self) -> Daemon {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let mut tasks = JoinSet::new();
        let (store, writer) = Store::with_backend(self.disk.open(Arc::clone(&clock)), Arc::clone(&clock));
        tasks.spawn(writer);
        let (state, engine_state) = watch::channel(EngineState::Loading(LoadStage::Runtime));
        let (commands, receiver) = mpsc::channel(1);
        let dice = Dice::new(self.dice.next(), "engine");
        tasks.spawn(engine(board::model(), receiver, state, Arc::clone(&self.runs), dice, self.faulty));
        let stats = Arc::new(EngineStats::default());
        let (service, backstage) = Service::new(Parts {
            engine: engine_state,
            stats: Arc::clone(&stats),
            board: self.heat.subscribe(),
            store: store.clone(),
            clients: public(),
            tasks: Tasks::default(),
            remotes: self.remote.remotes(Prefer::Balanced, USD_PER_DAY),
            policy: watch::channel(remote::policy(remote::PUBLIC_MAY_LEAVE)).1,
            bounds: Bounds { entries: 12, per_client: 6, bytes: limits::QUEUED_BYTES_MAX },
            defaults: Defaults { answer_tokens: 32, temperature: 0.0, deadline: Duration::from_hours(24) },
            metrics: Arc::new(Metrics::default()),
            clock: Arc::clone(&clock),
        });
        tasks.spawn(service.clone().keep(backstage.orders));
        // A disk that fails here ends the daemon, and systemd starts it again.
        while service.recover().await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tasks.spawn(service.clone().watch_deadlines());
        tasks.spawn(service.clone().overflow());
        tasks.spawn(service.clone().dispatch(commands));
        let identity = Identity {
            node: "node".into(),
            boot_id: clock.stamp().boot_id.into(),
            started: clock.boot(),
            stats,
            clock: Arc::clone(&clock),
            broker: None,
        };
        let setup = Setup {
            service: service.clone(),
            identity,
            notices: backstage.notices,
            topics: Topics::new("outpost/v1", "node", &[], Vec::new()),
            lane: outpost::domain::Lane::Normal,
            remembered: Remembered::default(),
            state: watch::channel(BrokerState::new("simulated", clock.boot())).0,
        };
        tasks.spawn(Client::new(self.broker.connector(), setup).run(CancellationToken::new()));
        Daemon { tasks, service, store }
    }

    /// Nothing is left anywhere: no request, no place in the queue, no row, no message.
    async fn settled(&self, daemon: &Daemon) -> Result<(), String> {
        let quiet = async {
            loop {
                let unfinished = daemon.store.unfinished().await.map_err(|e| e.to_string())?.len();
                let waiting = daemon.store.undelivered(0, 100).await.map_err(|e| e.to_string())?.len();
                let in_flight = daemon.service.in_flight();
                let free = daemon.service.free_places();
                if unfinished + waiting + in_flight == 0 && free == 12 && self.broker.is_idle() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        match timeout(Duration::from_hours(1), quiet).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "not settled after an hour: {} unfinished, {} in the outbox, {} in flight, {} places free, broker idle: {}, {} tasks",
                daemon.store.unfinished().await.map_or(999, |u| u.len()),
                daemon.store.undelivered(0, 100).await.map_or(999, |u| u.len()),
                daemon.service.in_flight(),
                daemon.service.free_places(),
                self.broker.is_idle(),
                daemon.tasks.len(),
            )),
        }
    }
}
