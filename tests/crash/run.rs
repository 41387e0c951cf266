//! One run: blow after blow, then peace, then the figures.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::{
    broker::Broker,
    client::Client,
    dice::Dice,
    node::{Node, found_within, until, with_model},
    plan::{self, Blow, Moment, Plan},
    tally::Tally,
};

/// After a broker's death the client sends a request again when it has no final by then.
const PATIENCE: Duration = Duration::from_secs(4);
/// A blow that is to come after some answers comes after so long in any case: the daemon may be
/// waiting for its next try to connect.
const PATIENCE_WITH_ANSWERS: Duration = Duration::from_secs(10);
/// For the last answers when nobody is killed any more; the daemon may wait up to 30 s before it
/// tries the broker again.
const LAST_ANSWERS: Duration = Duration::from_secs(90);
const NODE: &str = "crash";

pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    sound: String,
    unfinished: u64,
    outbox: u64,
    panics: usize,
    set_aside: bool,
}

impl Outcome {
    /// Holds it against the promise.
    pub(crate) fn must_be_exact(&self) {
        assert_eq!(self.tally.unanswered(), [""; 0], "acknowledged and never answered");
        assert_eq!(self.tally.contradictions(), [""; 0], "two different finals for one id");
        assert_eq!((self.unfinished, self.outbox), (0, 0), "left in the store: unfinished, outbox");
        assert_eq!(self.sound, "ok", "PRAGMA quick_check");
        assert_eq!(self.panics, 0, "the daemon panicked");
        assert!(!self.set_aside, "the daemon took its own database for a corrupt one");
        assert!(self.tally.answered() > 0, "nothing was asked");
    }
}

struct Board {
    node: Node,
    broker: Broker,
    client: Client,
    dice: Dice,
    /// From exec to READY, each time.
    starts: Vec<Duration>,
    /// Kills that met a running daemon before its READY.
    before_ready: usize,
}

impl Board {
    fn set_up(seed: u64) -> Self {
        let broker = Broker::start("max_queued_messages 0\nmax_inflight_messages 0");
        let mut settings = with_model();
        settings.extend([
            format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port()),
            format!("node.id={NODE}"),
            "engine.slots=4".into(),
            "service.stop_grace_s=1".into(),
            "store.free_min_mb=1".into(),
        ]);
        let mut node = Node::new(&settings);
        let starts = vec![node.start()];
        let client = Client::start(broker.port(), NODE, seed);
        until("the first request is answered", || (client.tally().answered() > 0).then_some(()));
        Self { node, broker, client, dice: Dice::new(seed, "blows"), starts, before_ready: 0 }
    }

    fn strike(&mut self, blow: Blow) {
        let after = match plan::moment(&mut self.dice) {
            Moment::Ready(after) => after,
            Moment::Answers(more, after) => {
                let goal = self.client.answered() + more;
                found_within(PATIENCE_WITH_ANSWERS, || (self.client.answered() >= goal).then_some(()));
                after
            }
        };
        // Not a wait for anything: the moment of the blow is this test's input.
        thread::sleep(after);
        match blow {
            Blow::Daemon => drop(self.node.kill()),
            Blow::Early => {
                self.node.kill();
                self.node.launch();
                // Input, as above.
                thread::sleep(plan::until_early_blow(&mut self.dice));
                self.before_ready += usize::from(self.node.kill());
            }
            Blow::Term => {
                let status = self.node.stop();
                assert_eq!(status.code(), Some(0), "after SIGTERM:\n{}", self.node.log());
            }
            Blow::Broker => return self.broker_dies(),
            Blow::Both => {
                self.node.kill();
                self.broker_dies();
            }
        }
        let took = self.node.start();
        self.starts.push(took);
    }

    fn broker_dies(&mut self) {
        self.broker.kill9();
        self.broker.restart();
        self.client.at_risk(PATIENCE);
    }

    /// Nobody is killed any more: waits for the last answers and ends everything in order.
    fn end(mut self, seed: u64, kills: &Plan, began: Instant) -> Outcome {
        self.client.no_more();
        // When that never comes, the outcome names the requests.
        found_within(LAST_ANSWERS, || {
            let tally = self.client.tally();
            let store = &self.node.get("/v1/status")?.1["store"];
            let done = tally.acked() == tally.sent() && tally.unanswered().is_empty();
            (done && store["outbox"] == 0 && store["unfinished"] == 0).then_some(())
        });
        let store = self.node.status()["store"].clone();
        assert_eq!(self.node.stop().code(), Some(0));
        let tally = self.client.end();
        let log = self.node.log();
        let outcome = Outcome {
            sound: self.node.quick_check(),
            unfinished: store["unfinished"].as_u64().unwrap(),
            outbox: store["outbox"].as_u64().unwrap(),
            panics: log.matches("panicked at").count(),
            set_aside: log.contains("the database was corrupt"),
            tally,
        };
        let bytes = fs::metadata(self.node.database()).unwrap().len();
        self.starts.sort();
        report(seed, kills, &outcome, &self.starts, self.before_ready, bytes, began.elapsed());
        outcome
    }
}

/// Kills as planned; what came of it.
pub(crate) fn run(kills: &Plan, seed: u64) -> Outcome {
    println!("seed {seed}, {kills:?}");
    let began = Instant::now();
    let mut board = Board::set_up(seed);
    for blow in kills.blows(&mut board.dice) {
        board.strike(blow);
    }
    board.end(seed, kills, began)
}

fn report(
    seed: u64,
    kills: &Plan,
    outcome: &Outcome,
    starts: &[Duration],
    before_ready: usize,
    bytes: u64,
    took: Duration,
) {
    let Outcome { tally, sound, .. } = outcome;
    let Plan { daemon, early, term, broker, both } = kills;
    let at = |percent: usize| starts[(starts.len() - 1) * percent / 100].as_millis();
    println!(
        "seed {seed}, {:.0} s\n\
         SIGKILL of the daemon     {} ({before_ready} before READY, {both} together with the broker)\n\
         SIGKILL of the broker     {}\n\
         SIGTERM of the daemon     {term}\n\
         requests                  {} sent, {} acknowledged, {} answered\n\
         finals                    {} heard, {} of them identical copies, {} contradictions\n\
         kinds of finals           {:?}\n\
         asked twice by the client {}, for the same final again\n\
         sent again by the client  {}, for want of a final after the broker's death\n\
         client's connections      {}, {} of them to a broker that did not know it\n\
         exec to READY, ms         median {}, 95 % {}, longest {}\n\
         database                  {bytes} bytes, quick_check {sound}",
        took.as_secs_f64(),
        daemon + 2 * early + both,
        broker + both,
        tally.sent(),
        tally.acked(),
        tally.answered(),
        tally.finals(),
        tally.copies(),
        tally.contradictions().len(),
        tally.kinds,
        tally.twice(),
        tally.again,
        tally.connections.0,
        tally.connections.1,
        at(50),
        at(95),
        at(100),
    );
}
