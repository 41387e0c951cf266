//! Outpost's own topics: their names, and what an incoming one means. Pure.

use crate::domain::{ClientId, RequestId, TopicFilter};
use crate::store::RequestKey;

/// The names of this node.
#[derive(Clone, Debug)]
pub struct Topics {
    root: String,
    node: String,
    pools: Vec<String>,
    response_allow: Vec<TopicFilter>,
}

/// What a message on one of our topics is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A request, of this node or of a pool.
    Request(RequestKey),
    /// A wish to end one.
    Cancel(RequestKey),
    /// On one of our own topics, but without the levels that it needs.
    Malformed,
    /// Not ours: a sensor's, perhaps.
    Foreign,
}

impl Topics {
    /// `root` and `node` are topic names, `pools` single levels; the configuration sees to that.
    pub fn new(root: &str, node: &str, pools: &[String], response_allow: Vec<TopicFilter>) -> Self {
        Self { root: root.into(), node: node.into(), pools: pools.to_vec(), response_allow }
    }

    /// What to subscribe to, tasks aside.
    pub(super) fn filters(&self) -> Vec<String> {
        let (root, node) = (&self.root, &self.node);
        let own = [format!("{root}/{node}/request/+/+"), format!("{root}/{node}/cancel/+/+")];
        let pools = self.pools.iter().map(|pool| format!("$share/{pool}/{root}/pool/{pool}/request/+/+"));
        own.into_iter().chain(pools).collect()
    }

    /// What a message on `topic` is.
    pub(super) fn meaning(&self, topic: &str) -> Meaning {
        let Some(below) = below(topic, &self.root) else { return Meaning::Foreign };
        if let Some(rest) = below.strip_prefix("pool/") {
            // Also of a pool that this node has left: the broker picked us, and nobody else answers it.
            let request = rest.split_once('/').and_then(|(_, rest)| rest.strip_prefix("request/"));
            return request.and_then(key).map_or(Meaning::Malformed, Meaning::Request);
        }
        let Some(own) = below_node(below, &self.node) else { return Meaning::Foreign };
        if let Some(rest) = own.strip_prefix("request/") {
            return key(rest).map_or(Meaning::Malformed, Meaning::Request);
        }
        if let Some(rest) = own.strip_prefix("cancel/") {
            return key(rest).map_or(Meaning::Malformed, Meaning::Cancel);
        }
        Meaning::Foreign
    }

    /// Where the final of a request goes when nobody says otherwise.
    pub(super) fn response(&self, key: &RequestKey) -> String {
        format!("{}/{}/response/{}/{}", self.root, self.node, key.client, key.id)
    }

    /// Where news of a request goes.
    pub(super) fn event(&self, key: &RequestKey) -> String {
        format!("{}/event", self.response(key))
    }

    /// Where pieces of its answer go.
    pub(super) fn delta(&self, key: &RequestKey) -> String {
        format!("{}/delta", self.response(key))
    }

    /// Whether `client` may have its answer sent to `topic`: below its own responses, or where
    /// the operator allows. A requester must never make the daemon write to an actuator.
    pub(super) fn may_respond(&self, client: &ClientId, topic: &str) -> bool {
        if crate::domain::topic_name_problem(topic).is_some() {
            return false;
        }
        let own = format!("{}/{}/response/{client}/", self.root, self.node);
        let below_own = topic.strip_prefix(&own).is_some_and(|rest| !rest.is_empty());
        below_own || self.response_allow.iter().any(|filter| filter.matches(topic))
    }

    /// One of the node's own reports: `availability`, `status`, `alert/disk`.
    pub(super) fn report(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.root, self.node)
    }

    /// The pools that this node serves.
    pub(super) fn pools(&self) -> &[String] {
        &self.pools
    }
}

fn below<'t>(topic: &'t str, root: &str) -> Option<&'t str> {
    topic.strip_prefix(root)?.strip_prefix('/')
}

fn below_node<'t>(topic: &'t str, node: &str) -> Option<&'t str> {
    below(topic, node)
}

/// `<client>/<id>`. Names that the socket's clients have are not to be had over MQTT.
fn key(rest: &str) -> Option<RequestKey> {
    let (client, id) = rest.split_once('/')?;
    let client = ClientId::new(client).filter(|c| !c.is_reserved())?;
    Some(RequestKey { client, id: RequestId::new(id)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        let allow = vec![TopicFilter::parse("plant/+/answers/#").unwrap()];
        Topics::new("outpost/v1", "press-3", &["line".into()], allow)
    }

    fn request(client: &str, id: &str) -> RequestKey {
        RequestKey { client: ClientId::new(client).unwrap(), id: RequestId::new(id).unwrap() }
    }

    #[test]
    fn a_topic_says_what_its_message_is() {
        let t = topics();
        for (topic, meaning) in [
            ("outpost/v1/press-3/request/plc/7", Meaning::Request(request("plc", "7"))),
            ("outpost/v1/pool/line/request/plc/7", Meaning::Request(request("plc", "7"))),
            ("outpost/v1/press-3/cancel/plc/7", Meaning::Cancel(request("plc", "7"))),
            ("outpost/v1/pool/left/request/plc/7", Meaning::Request(request("plc", "7"))),
            ("outpost/v1/press-3/request/plc", Meaning::Malformed),
            ("outpost/v1/press-3/request/plc/7/8", Meaning::Malformed),
            ("outpost/v1/press-3/request//7", Meaning::Malformed),
            ("outpost/v1/press-3/request/p lc/7", Meaning::Malformed),
            ("outpost/v1/press-3/request/uid-0/7", Meaning::Malformed),
            ("outpost/v1/press-3/request/tcp-127.0.0.1/7", Meaning::Malformed),
            ("outpost/v1/press-3/request/task-vibration/7", Meaning::Malformed),
            ("outpost/v1/press-30/request/plc/7", Meaning::Foreign),
            ("outpost/v1x/press-3/request/plc/7", Meaning::Foreign),
            ("plant/3/vibration", Meaning::Foreign),
        ] {
            assert_eq!(t.meaning(topic), meaning, "{topic}");
        }
    }

    #[test]
    fn every_filter_is_well_formed_and_finds_its_requests() {
        let t = topics();
        assert_eq!(t.filters().len(), 3);
        for filter in t.filters() {
            let parsed = TopicFilter::parse(&filter).unwrap();
            let hit = [
                "outpost/v1/press-3/request/a/b",
                "outpost/v1/press-3/cancel/a/b",
                "outpost/v1/pool/line/request/a/b",
            ];
            assert_eq!(hit.iter().filter(|topic| parsed.matches(topic)).count(), 1, "{filter}");
        }
    }

    #[test]
    fn an_answer_goes_only_where_the_requester_or_the_operator_owns_the_topic() {
        let (t, plc) = (topics(), ClientId::new("plc").unwrap());
        assert_eq!(t.response(&request("plc", "7")), "outpost/v1/press-3/response/plc/7");
        for good in
            ["outpost/v1/press-3/response/plc/7", "outpost/v1/press-3/response/plc/a/b", "plant/2/answers/x"]
        {
            assert!(t.may_respond(&plc, good), "{good}");
        }
        for bad in [
            "outpost/v1/press-3/response/plc/",
            "outpost/v1/press-3/response/plc2/7",
            "outpost/v1/press-3/response/other/7",
            "outpost/v1/press-3/request/plc/8",
            "outpost/v1/press-3/response/plc/#",
            "plant/2/actuator",
            "plant/+/answers/x",
            "$SYS/x",
            "",
        ] {
            assert!(!t.may_respond(&plc, bad), "{bad}");
        }
    }
}
