//! Random operations give the answers of a simple model, over restarts.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Accept(u8),
    Begin(u8),
    Forget(u8),
    Finish { name: u8, message: bool, insert: bool },
    Deliver(prop::sample::Index),
    Prune,
    Restart { close: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0u8..6;
    let step = prop_oneof![
        4 => name.clone().prop_map(Step::Accept),
        2 => name.clone().prop_map(Step::Begin),
        1 => name.clone().prop_map(Step::Forget),
        4 => (name, any::<bool>(), any::<bool>())
            .prop_map(|(name, message, insert)| Step::Finish { name, message, insert }),
        2 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        1 => Just(Step::Prune),
        1 => any::<bool>().prop_map(|close| Step::Restart { close }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What is known of one request.
#[derive(Clone, Debug, Default)]
struct Known {
    attempts: u32,
    body: Option<Vec<u8>>,
}

#[derive(Default)]
struct Model {
    requests: HashMap<u8, Known>,
    /// In order of acceptance.
    order: Vec<u8>,
    outbox: Vec<u8>,
}

impl Model {
    fn step(&mut self, db: &mut Db, step: &Step, number: usize) {
        match step {
            Step::Accept(name) => {
                let reply = accept(db, &name.to_string()).unwrap();
                let new = matches!(reply, Reply::Accepted(Accepted::New));
                assert_eq!(new, !self.requests.contains_key(name));
                self.enter(*name);
            }
            Step::Begin(name) => {
                let reply = run(db, Op::Begin(key(&name.to_string()))).ok();
                let known = self.requests.get_mut(name).filter(|known| known.body.is_none());
                let attempts = known.map(|known| {
                    known.attempts += 1;
                    Reply::Attempts(known.attempts)
                });
                assert_eq!(reply, attempts);
            }
            Step::Forget(name) => {
                let unfinished = self.requests.get(name).is_some_and(|known| known.body.is_none());
                let reply = run(db, Op::Forget(key(&name.to_string())));
                assert_eq!(reply, Ok(Reply::Forgotten(unfinished)));
                if unfinished {
                    self.requests.remove(name);
                    self.order.retain(|other| other != name);
                }
            }
            Step::Finish { name, message, insert } => self.finish(db, *name, *message, *insert, number),
            Step::Deliver(index) => {
                let messages = waiting(db);
                if !messages.is_empty() {
                    let at = index.index(messages.len());
                    run(db, Op::Delivered(messages[at].seq)).unwrap();
                    self.outbox.remove(at);
                }
            }
            Step::Prune => assert_eq!(pruned(db), Pruned::default(), "nothing is old"),
            Step::Restart { .. } => {}
        }
    }

    fn enter(&mut self, name: u8) {
        self.requests.entry(name).or_insert_with(|| {
            self.order.push(name);
            Known::default()
        });
    }

    fn finish(&mut self, db: &mut Db, name: u8, message: bool, insert: bool, number: usize) {
        let text = name.to_string();
        let base = if message { finish_with_message(&text) } else { finish(&text) };
        let body = format!("final {number}").into_bytes();
        let insert = insert.then(|| Box::new(request(&text)));
        let inserts = insert.is_some();
        let reply = end(db, Finish { body: body.clone(), insert, ..base });
        match self.requests.get(&name).cloned() {
            None if !inserts => assert_eq!(reply.unwrap_err().kind, ErrorKind::RequestNotFound),
            Some(Known { body: Some(first), .. }) => {
                let Ok(Reply::Finished(Finished::Already(last))) = reply else { panic!("{reply:?}") };
                assert_eq!(last.body, first);
            }
            _ => {
                let Ok(Reply::Finished(Finished::Stored { outbox })) = reply else { panic!("{reply:?}") };
                assert_eq!(outbox.is_some(), message);
                self.enter(name);
                self.requests.get_mut(&name).unwrap().body = Some(body);
                if message {
                    self.outbox.push(name);
                }
            }
        }
    }

    fn holds(&self, db: &mut Db) {
        for name in 0..6 {
            let stored = found(db, &name.to_string());
            let seen = stored.map(|stored| (stored.attempts, stored.finished.map(|last| last.body)));
            let known = self.requests.get(&name).map(|known| (known.attempts, known.body.clone()));
            assert_eq!(seen, known, "request {name}");
        }
        let bodies: Vec<_> = waiting(db).into_iter().map(|message| message.payload).collect();
        let outbox: Vec<_> =
            self.outbox.iter().map(|name| self.requests[name].body.clone().unwrap()).collect();
        assert_eq!(bodies, outbox);
        let order: Vec<_> =
            unfinished(db).into_iter().map(|s| s.key.id.as_str().parse::<u8>().unwrap()).collect();
        let expected: Vec<_> =
            self.order.iter().filter(|n| self.requests[n].body.is_none()).copied().collect();
        assert_eq!(order, expected);
        assert_eq!(Counts { next_request: 0, next_message: 0, ..db.counts.clone() }, {
            let counted = Counts::load(&db.conn).unwrap();
            Counts { next_request: 0, next_message: 0, ..counted }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_map_would(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut db, _) = open_db(options(dir.path()));
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            if let Step::Restart { close } = step {
                if *close {
                    db.close().unwrap();
                }
                drop(db);
                let (again, opened) = open_db(options(dir.path()));
                prop_assert_eq!(opened, Opened::Sound);
                db = again;
            }
            model.step(&mut db, step, number);
        }
        model.holds(&mut db);
    }
}
