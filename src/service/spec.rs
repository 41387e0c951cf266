//! What of a request is written to disk, so that a later run of the daemon can answer it.
//!
//! One line of JSON, then the body as it came: nothing is escaped or parsed twice.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Defaults, Envelope, Input, Own, Request,
    needs::{Needs, Wanted},
    reply::Kind,
};
use crate::{
    domain::{Error, GenerationOptions, Lane, Result},
    store::{Digest, RequestKey},
};

/// Where the final of an accepted request goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "lowercase")]
pub enum Reply {
    /// It is kept until somebody asks for it by id.
    Kept,
    /// To a topic, through the outbox.
    Topic(TopicReply),
    /// To the topics of the task that made the request.
    Task(TaskReply),
}

impl Reply {
    /// Whether a final that goes here reaches one who wants it `there`: anybody may fetch one that
    /// is kept, and a topic is the same whatever the transport adds to its message.
    pub(super) fn serves(&self, there: &Self) -> bool {
        match (self, there) {
            (_, Self::Kept) => true,
            (Self::Topic(here), Self::Topic(there)) => here.topic == there.topic,
            (here, there) => here == there,
        }
    }
}

/// Where and how a final is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReply {
    /// The topic.
    pub topic: String,
    /// What the transport wants to have with it; the service only keeps it.
    pub properties: Vec<u8>,
}

/// A request that a task made of a reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReply {
    /// Name of the task.
    pub task: String,
    /// Where the reading came from.
    pub source: String,
    /// Where the result goes.
    pub result: String,
    /// Where the reason goes when there is no result.
    pub error: String,
    /// Whether the broker keeps the result for later subscribers.
    pub retain: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    kind: Kind,
    lane: Lane,
    own: Own,
    #[serde(default)]
    uid: Option<u32>,
    reply: Reply,
}

/// The form in which it is written.
const VERSION: u32 = 1;

/// A request as it is kept on disk.
pub(super) fn write(request: &Request, reply: &Reply) -> Result<Vec<u8>> {
    let head = Head {
        version: VERSION,
        kind: request.kind,
        lane: request.lane,
        own: request.own.clone(),
        uid: request.uid,
        reply: reply.clone(),
    };
    let mut bytes = serde_json::to_vec(&head).map_err(Error::internal)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&request.body);
    Ok(bytes)
}

/// The request again. The reply comes even when the request does not: somebody waits for its final.
pub(super) fn read(key: &RequestKey, bytes: &[u8], defaults: Defaults) -> (Reply, Result<Request>) {
    let Some((head, body)) = split(bytes) else {
        return (Reply::Kept, Err(Error::internal(format!("request {key:?} on disk has no readable head"))));
    };
    // The id is in the key; a made one was not in the fields and would not be told from a chosen one.
    let own = Own { id: Some(key.id.as_str().into()), ..head.own };
    let envelope = Envelope { client: key.client.clone(), uid: head.uid, own, lane: head.lane, defaults };
    let body = Bytes::copy_from_slice(body);
    let request = match head.kind {
        Kind::Chat => Request::chat(body, envelope),
        Kind::Text => Request::completion(body, envelope),
    };
    // The lane was decided when the request was accepted.
    (head.reply, request.map(|r| Request { lane: head.lane, ..r }))
}

/// Stands for a request that cannot be read back, on its way to its final.
pub(super) fn stub(key: RequestKey, digest: Digest, lane: Lane) -> Request {
    Request {
        key,
        keyed: true,
        digest,
        kind: Kind::Chat,
        body: Bytes::new(),
        own: Own::default(),
        lane,
        deadline: None,
        model: Wanted::Auto,
        needs: Needs::default(),
        tools: None,
        uid: None,
        input: Input::Text(String::new()),
        options: GenerationOptions::default(),
        stream: false,
        include_usage: false,
    }
}

fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    (head.version == VERSION).then_some((head, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ClientId, ErrorKind};

    const DEFAULTS: Defaults =
        Defaults { answer_tokens: 9, temperature: 0.5, deadline: std::time::Duration::from_mins(1) };

    fn request() -> Request {
        let body =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\nb\"}],\n \"outpost\":{\"lane\":\"batch\"}}";
        let own = Own { deadline_ms: Some(70), ..Own::default() };
        let envelope = Envelope {
            client: ClientId::new("plc").unwrap(),
            uid: Some(7),
            own,
            lane: Lane::Normal,
            defaults: DEFAULTS,
        };
        Request::chat(body.into(), envelope).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_request() {
        let written = request();
        let reply = Reply::Topic(TopicReply { topic: "a/b".into(), properties: vec![0, 255, 10] });
        let bytes = write(&written, &reply).unwrap();
        let (back, read) = read(&written.key, &bytes, DEFAULTS);
        let read = read.unwrap();
        assert_eq!(back, reply);
        assert_eq!((read.input, read.options, read.lane), (written.input, written.options, Lane::Batch));
        assert_eq!((read.digest, read.key, read.deadline), (written.digest, written.key, written.deadline));
        assert_eq!(read.uid, Some(7));
    }

    #[test]
    fn what_cannot_be_read_back_is_an_error_and_still_knows_where_its_final_goes() {
        let written = request();
        let reply = Reply::Topic(TopicReply { topic: "a/b".into(), properties: Vec::new() });
        let bytes = write(&written, &reply).unwrap();
        let (back, read_cut) = read(&written.key, &bytes[..bytes.len() - 1], DEFAULTS);
        assert_eq!((back, read_cut.unwrap_err().kind), (reply, ErrorKind::InvalidRequest));
        for bad in [&b""[..], b"\n", b"{}\n{}", b"\xff\xff"] {
            assert_eq!(read(&written.key, bad, DEFAULTS).1.unwrap_err().kind, ErrorKind::Internal);
        }
    }
}
