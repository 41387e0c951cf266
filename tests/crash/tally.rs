//! What the client did and heard, request by request, and what of it is wrong.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    acked: bool,
    /// It was asked once more after its final.
    twice: bool,
    /// Finals by the digest of their bytes, and how often each came.
    finals: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    requests: BTreeMap<String, Request>,
    /// First finals by kind.
    pub(crate) kinds: BTreeMap<String, usize>,
    /// Requests that were sent once more by the client.
    pub(crate) again: usize,
    /// Connections of the client, and those at which the broker had forgotten it.
    pub(crate) connections: (usize, usize),
}

impl Tally {
    pub(crate) fn hear(&mut self, event: &Value) {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "sent" => {
                self.requests.insert(text("id"), Request::default());
            }
            "acked" => {
                let reason = event["reason"].as_u64().unwrap();
                assert_eq!(reason, 0, "the broker acknowledged {} with 0x{reason:02X}", text("id"));
                self.of(&text("id")).acked = true;
            }
            "again" => self.again += 1,
            "twice" => self.of(&text("id")).twice = true,
            "final" => {
                let request = self.of(&text("id"));
                let first = request.finals.is_empty();
                *request.finals.entry(text("digest")).or_default() += 1;
                if first {
                    *self.kinds.entry(text("kind")).or_default() += 1;
                }
            }
            "connected" => {
                self.connections.0 += 1;
                self.connections.1 += usize::from(event["session"] != true);
            }
            other => panic!("the client says {other}"),
        }
    }

    fn of(&mut self, id: &str) -> &mut Request {
        self.requests.get_mut(id).unwrap_or_else(|| panic!("nobody sent {id}"))
    }

    pub(crate) fn sent(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn acked(&self) -> usize {
        self.requests.values().filter(|r| r.acked).count()
    }

    pub(crate) fn answered(&self) -> usize {
        self.requests.values().filter(|r| !r.finals.is_empty()).count()
    }

    /// Requests that were asked once more after their final.
    pub(crate) fn twice(&self) -> usize {
        self.requests.values().filter(|r| r.twice).count()
    }

    /// Messages with a final, copies included.
    pub(crate) fn finals(&self) -> usize {
        self.requests.values().flat_map(|r| r.finals.values()).sum()
    }

    /// Finals that came again, byte for byte.
    pub(crate) fn copies(&self) -> usize {
        self.requests.values().flat_map(|r| r.finals.values()).map(|n| n - 1).sum()
    }

    /// Requests that got two different finals.
    pub(crate) fn contradictions(&self) -> Vec<&str> {
        self.named(|r| r.finals.len() > 1)
    }

    /// Requests that the broker acknowledged and nobody answered, or not as often as they were asked.
    pub(crate) fn unanswered(&self) -> Vec<&str> {
        self.named(|r| r.acked && r.finals.values().sum::<usize>() < 1 + usize::from(r.twice))
    }

    fn named(&self, wrong: impl Fn(&Request) -> bool) -> Vec<&str> {
        self.requests.iter().filter(|(_, r)| wrong(r)).map(|(id, _)| id.as_str()).collect()
    }
}
