//! What durability and MQTT cost without the model: a real broker, a real database on a real disk,
//! an engine that answers at once. `make bench-mqtt` prints the figures; nothing here is asserted.
//!
//! The same round trip against a client that merely echoes, in the same run, is what the
//! figures are held against.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are what it is for")]
#![allow(clippy::disallowed_methods, reason = "a benchmark has the clock that benchmarks have")]

#[path = "../sim/board.rs"]
mod board;
#[path = "../support/broker.rs"]
mod broker;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broker::Broker;
use bytes::Bytes;
use outpost::{
    cloud::Remotes,
    domain::{
        ClientId, Clock, Delta, FinishReason, Lane, MicroUsd, Outcome, RequestId, SystemClock, Usage, limits,
    },
    engine::{Command, EngineState, EngineStats},
    host::BoardState,
    observe::Metrics,
    scheduler::Bounds,
    service::{
        Clients, Defaults, Envelope, Own, Parts, Receipt, Reply, Request, Service,
        status::{BrokerState, Identity},
    },
    store::{Store, StoreOptions},
    task::Tasks,
    transport::mqtt::{
        AckReason, Client, Connector, Event, Link, LinkOptions, MqttConnector, MqttLink, Outgoing,
        Properties, Qos, Remembered, Setup, Topics,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;
const REQUESTS: usize = 400;

fn body(n: usize) -> Bytes {
    format!(r#"{{"messages": [{{"role": "user", "content": "Reading number {n}: is it normal?"}}], "max_tokens": 8}}"#)
        .into()
}

/// Answers everything at once.
async fn instant_engine(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if let Command::Run(job) = command {
            let _ = job.done.send(Ok(Outcome {
                rest: Delta { text: "{\"normal\": true}".into(), tokens: 8, ..Delta::default() },
                finish: FinishReason::Stop,
                usage: Usage { prompt_tokens: job.prompt.len(), completion_tokens: 8 },
                time_to_first_token: Duration::ZERO,
                decode_time: Duration::ZERO,
                cost: MicroUsd::ZERO,
            }));
        }
    }
}

fn will() -> Outgoing {
    message("bench/will", Bytes::new())
}

fn message(topic: &str, payload: Bytes) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
    }
}

fn options(broker: &Broker, id: &str) -> LinkOptions {
    LinkOptions::new(format!("mqtt://127.0.0.1:{}", broker.port()).parse().expect("a url"), id)
}

async fn connect(broker: &Broker, id: &str, filter: &str) -> MqttLink {
    let (mut link, _) =
        MqttConnector::new(options(broker, id)).connect(will(), 16).await.expect("a connection");
    link.subscribe(&[filter.into()]).expect("a subscription");
    while !matches!(link.next().await.expect("alive"), Event::Subscribed(_)) {}
    link
}

/// The service with everything but a model, connected to `broker`.
async fn serve(broker: &Broker, store: Store, clock: Arc<dyn Clock>) -> Service {
    let (state, engine) = watch::channel(EngineState::Ready(board::model()));
    let (commands, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        instant_engine(receiver).await;
        drop(state);
    });
    let stats = Arc::new(EngineStats::default());
    let (service, backstage) = Service::new(Parts {
        engine,
        stats: Arc::clone(&stats),
        board: watch::channel(BoardState::unknown(clock.boot())).1,
        store,
        clients: Clients::default(),
        tasks: Tasks::default(),
        remotes: Arc::new(Remotes::none()),
        policy: watch::channel(Arc::default()).1,
        bounds: Bounds { entries: 4096, per_client: 4096, bytes: limits::QUEUED_BYTES_MAX },
        defaults: Defaults { answer_tokens: 8, temperature: 0.0, deadline: Duration::from_mins(10) },
        metrics: Arc::new(Metrics::default()),
        clock: Arc::clone(&clock),
    });
    tokio::spawn(service.clone().keep(backstage.orders));
    tokio::spawn(service.clone().dispatch(commands));
    let identity = Identity {
        node: "bench".into(),
        boot_id: "bench".into(),
        started: clock.boot(),
        stats,
        clock: Arc::clone(&clock),
        broker: None,
    };
    let (state, mut connected) = watch::channel(BrokerState::new("bench", clock.boot()));
    let setup = Setup {
        service: service.clone(),
        identity,
        notices: backstage.notices,
        topics: Topics::new("outpost/v1", "bench", &[], Vec::new()),
        lane: Lane::Normal,
        remembered: Remembered::default(),
        state,
    };
    tokio::spawn(
        Client::new(MqttConnector::new(options(broker, "outpost-bench")), setup)
            .run(CancellationToken::new()),
    );
    connected.wait_for(|state| state.lost.is_none()).await.expect("the client lives");
    service
}

/// Gives back what it gets: the floor under every round trip through this broker.
async fn echo(mut link: MqttLink) {
    while let Ok(event) = link.next().await {
        if let Event::Message(incoming) = event {
            let topic = incoming.topic.replace("/request/", "/response/");
            link.acknowledge(incoming.receipt, AckReason::Accepted);
            let _ = link.publish(0, message(&topic, incoming.payload));
        }
    }
}

/// One request after the other: the time from publishing to the final, sorted.
async fn latencies(link: &mut MqttLink, to: &str, count: usize, tag: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..count {
        let began = Instant::now();
        link.publish(1, message(&format!("{to}/request/plc/{tag}-{n}"), body(n))).expect("room for one");
        loop {
            match link.next().await.expect("alive") {
                Event::Message(incoming) => {
                    let last = !incoming.topic.ends_with("/event");
                    link.acknowledge(incoming.receipt, AckReason::Accepted);
                    if last {
                        break;
                    }
                }
                Event::Acked { .. } | Event::Subscribed(_) => {}
            }
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times
}

fn ms(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

/// Accepts `count` requests, so many at once; requests a second.
async fn accept_rate(service: &Service, count: usize, at_once: usize, tag: &str) -> f64 {
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for n in 0..count {
        if running.len() >= at_once {
            running.join_next().await;
        }
        let service = service.clone();
        let id = format!("{tag}-{n}");
        running.spawn(async move {
            let client = ClientId::new("bench").expect("a name");
            let own = Own { id: RequestId::new(&id).map(|id| id.as_str().to_owned()), ..Own::default() };
            let envelope =
                Envelope { client, uid: None, own, lane: Lane::Normal, defaults: service.defaults() };
            let request = Request::chat(body(n), envelope).expect("a request");
            let receipt = service.accept(request, Reply::Kept).await.expect("accepted");
            assert!(matches!(receipt, Receipt::Accepted(_)));
        });
    }
    while running.join_next().await.is_some() {}
    count as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; run by `make bench-mqtt`"]
async fn figures() {
    let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache"))
        .expect("a folder on the disk itself");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (store, _) = Store::open(StoreOptions::new(dir.path()), Arc::clone(&clock)).expect("a store");
    // Else the broker waits for more to send with it, and both round trips measure its patience.
    let broker = Broker::start("set_tcp_nodelay true");
    let service = serve(&broker, store.clone(), clock).await;
    tokio::spawn(echo(connect(&broker, "echo", "echo/request/#").await));
    let mut plc = connect(&broker, "plc", "outpost/v1/bench/response/plc/#").await;
    let mut echoed = connect(&broker, "plc-echo", "echo/response/#").await;
    println!("round  echo p50/p99 ms   outpost p50/p99 ms   added p50 ms   accepted/s by 1, 16, 64 at once");
    let before = bytes_to_disk();
    for round in 0..ROUNDS {
        let floor = latencies(&mut echoed, "echo", REQUESTS, &format!("e{round}")).await;
        let ours = latencies(&mut plc, "outpost/v1/bench", REQUESTS, &format!("r{round}")).await;
        let mut rates = Vec::new();
        for at_once in [1, 16, 64] {
            rates.push(accept_rate(&service, REQUESTS, at_once, &format!("a{round}-{at_once}")).await);
            while service.in_flight() > 0 {
                tokio::task::yield_now().await;
            }
        }
        println!(
            "{round:>5}  {:>6.2} {:>7.2}   {:>8.2} {:>9.2}   {:>12.2}   {:>8.0} {:>8.0} {:>8.0}",
            ms(&floor, 50),
            ms(&floor, 99),
            ms(&ours, 50),
            ms(&ours, 99),
            ms(&ours, 50) - ms(&floor, 50),
            rates[0],
            rates[1],
            rates[2],
        );
    }
    let stats = store.stats();
    let requests = (ROUNDS * REQUESTS * 4) as f64;
    println!(
        "per request: {:.0} bytes to the disk by the kernel's count, {:.0} by the store's (an upper bound), \
         {:.2} fsyncs, {:.2} commits; largest batch {} operations",
        (bytes_to_disk() - before) as f64 / requests,
        stats.bytes_written as f64 / requests,
        stats.fsyncs as f64 / requests,
        stats.commits as f64 / requests,
        stats.largest_batch_ops,
    );
}

/// What this process had the kernel write to disks, bytes (proc(5), `/proc/<pid>/io`).
fn bytes_to_disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux counts");
    let count = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    count.and_then(|count| count.parse().ok()).expect("a number")
}
