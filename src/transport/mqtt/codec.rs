//! Between MQTT messages and requests, finals, news. Pure.

use bytes::Bytes;
use serde_json::json;

use super::{
    Incoming, Outgoing, Properties, Qos,
    topics::{Meaning, Topics},
};
use crate::{
    domain::{ClientId, Error, ErrorKind, Lane, Result, limits},
    service::{Defaults, Envelope, News, Own, Reply, Request, TopicReply, reply::error_body},
    store::{Message, NewMessage, RequestKey},
};

/// What a request needs besides its message.
pub(super) struct Reader<'a> {
    pub(super) topics: &'a Topics,
    pub(super) lane: Lane,
    pub(super) defaults: Defaults,
}

/// A request with the way back.
pub(super) struct Letter {
    pub(super) reply: TopicReply,
    pub(super) request: Result<Request>,
}

impl Reader<'_> {
    /// Reads a request. Even one that is refused has an address for its final.
    pub(super) fn read(&self, key: &RequestKey, message: &Incoming) -> Letter {
        let p = &message.properties;
        let (topic, denied) = self.response_topic(&key.client, key, p);
        let reply = TopicReply { topic, properties: keep_correlation(p.correlation.as_ref()) };
        let request = denied.and_then(|()| self.request(key, message));
        Letter { reply, request }
    }

    fn response_topic(&self, client: &ClientId, key: &RequestKey, p: &Properties) -> (String, Result<()>) {
        match &p.response_topic {
            None => (self.topics.response(key), Ok(())),
            Some(topic) if self.topics.may_respond(client, topic) => (topic.clone(), Ok(())),
            Some(_) => {
                let why = "answers go below this client's own response topic; for others the operator sets \
                           `mqtt.response_topic_allow`";
                (self.topics.response(key), Err(Error::new(ErrorKind::ResponseTopicDenied, why)))
            }
        }
    }

    fn request(&self, key: &RequestKey, message: &Incoming) -> Result<Request> {
        if message.retain {
            let why =
                "the request was published as retained; publish it without, or it would be asked for ever";
            return Err(Error::invalid("retain", why));
        }
        if message.payload.len() > limits::REQUEST_BODY_BYTES_MAX {
            let max = limits::REQUEST_BODY_BYTES_MAX / 1024;
            return Err(Error::new(ErrorKind::TooLarge, format!("the body is larger than {max} KiB")));
        }
        let p = &message.properties;
        check_content_type(p.content_type.as_deref())?;
        check_user_properties(&p.user)?;
        let pairs = p.user.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut own = Own::from_pairs(pairs)?;
        // The id is the topic's; said elsewhere as well it must be the same.
        own = own.merge(&Own { id: Some(key.id.as_str().into()), ..Own::default() })?;
        let envelope =
            Envelope { client: key.client.clone(), uid: None, own, lane: self.lane, defaults: self.defaults };
        // A copy: the bytes may be part of a larger packet buffer, and the request is kept for long.
        let mut request = Request::chat(Bytes::copy_from_slice(&message.payload), envelope)?;
        if let Some(seconds) = p.expiry_s {
            // What the broker would no longer deliver nobody waits for.
            let expiry = std::time::Duration::from_secs(u64::from(seconds)).min(limits::DEADLINE_MAX);
            request.deadline = Some(request.deadline.map_or(expiry, |d| d.min(expiry)));
        }
        Ok(request)
    }
}

fn check_content_type(given: Option<&str>) -> Result<()> {
    let essence = given.map(|t| t.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
    match essence.as_deref() {
        None | Some("" | "application/json" | "text/json" | "text/plain") => Ok(()),
        Some(other) => {
            Err(Error::invalid("content_type", format!("content type `{other}` is not application/json")))
        }
    }
}

fn check_user_properties(user: &[(String, String)]) -> Result<()> {
    let bytes: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    let (count_max, bytes_max) = (limits::USER_PROPERTIES_MAX, limits::USER_PROPERTIES_BYTES_MAX);
    if user.len() > count_max || bytes > bytes_max {
        let why = format!("at most {count_max} user properties of {bytes_max} bytes together are taken");
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    Ok(())
}

/// The correlation data as the service keeps it: a mark that there is some, then its bytes.
fn keep_correlation(data: Option<&Bytes>) -> Vec<u8> {
    data.map_or_else(Vec::new, |data| [&[1][..], data].concat())
}

fn correlation(kept: &[u8]) -> Option<Bytes> {
    kept.split_first().map(|(_, data)| Bytes::copy_from_slice(data))
}

fn json_properties(kept: &[u8]) -> Properties {
    Properties {
        correlation: correlation(kept),
        content_type: Some("application/json".into()),
        payload_is_utf8: true,
        ..Properties::default()
    }
}

/// A row of the outbox as a message.
pub(super) fn of_outbox(message: &Message) -> Outgoing {
    let mut out =
        final_message(message.topic.clone(), message.payload.clone(), &message.properties, message.retain);
    // A task without a schema answers in plain text.
    if serde_json::from_slice::<serde::de::IgnoredAny>(&out.payload).is_err() {
        out.properties.content_type = Some("text/plain; charset=utf-8".into());
    }
    out
}

/// A final as a message.
pub(super) fn final_message(topic: String, body: Vec<u8>, properties: &[u8], retain: bool) -> Outgoing {
    Outgoing {
        topic,
        payload: body.into(),
        qos: Qos::AtLeastOnce,
        retain,
        properties: json_properties(properties),
    }
}

/// What a task says and the store has no room for.
pub(super) fn of_task(message: NewMessage) -> Outgoing {
    final_message(message.topic, message.payload.unwrap_or_default(), &message.properties, message.retain)
}

/// The final of a request that was not accepted.
pub(super) fn refusal(reply: &TopicReply, key: &RequestKey, error: &Error) -> Outgoing {
    let body = error_body(error, Some(&key.id)).to_string().into_bytes();
    final_message(reply.topic.clone(), body, &reply.properties, false)
}

/// What goes out instead of a final that the broker would not take.
pub(super) fn too_large_for_broker(message: &Message, bytes: usize, max: u32) -> Outgoing {
    let body = too_large(message.key.as_ref(), bytes, max);
    final_message(message.topic.clone(), body, &message.properties, message.retain)
}

/// The same for the final of a request that came on `request`.
pub(super) fn too_large_in_place(
    topics: &Topics,
    message: Outgoing,
    request: &str,
    bytes: usize,
    max: u32,
) -> Outgoing {
    let key = match topics.meaning(request) {
        Meaning::Request(key) => Some(key),
        _ => None,
    };
    Outgoing { payload: too_large(key.as_ref(), bytes, max).into(), ..message }
}

fn too_large(key: Option<&RequestKey>, bytes: usize, max: u32) -> Vec<u8> {
    let why = format!(
        "the answer has {bytes} bytes as a message and the broker takes {max}; ask for fewer `max_tokens`, or \
         raise the broker's limit"
    );
    let error = Error::new(ErrorKind::TooLarge, why);
    error_body(&error, key.map(|key| &key.id)).to_string().into_bytes()
}

/// News of a request: an event at `QoS` 1, a piece of the answer at `QoS` 0.
pub(super) fn news(topics: &Topics, key: &RequestKey, properties: &[u8], news: &News) -> Outgoing {
    let (topic, qos, body) = match news {
        News::Queued { position, eta } => {
            let eta = eta.map(|d| d.as_millis() as u64);
            (
                topics.event(key),
                Qos::AtLeastOnce,
                json!({"event": "queued", "position": position, "eta_ms": eta}),
            )
        }
        News::Running { place } => {
            (topics.event(key), Qos::AtLeastOnce, json!({"event": "running", "place": place}))
        }
        News::Deferred { why } => {
            (topics.event(key), Qos::AtLeastOnce, json!({"event": "deferred", "why": why}))
        }
        News::Delta { seq, text, tokens } => {
            (topics.delta(key), Qos::AtMostOnce, json!({"seq": seq, "text": text, "tokens": tokens}))
        }
    };
    let payload = body.to_string().into_bytes().into();
    Outgoing { topic, payload, qos, retain: false, properties: json_properties(properties) }
}

/// The reply as the service keeps it.
pub(super) fn reply(to: TopicReply) -> Reply {
    Reply::Topic(to)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{domain::RequestId, transport::mqtt::Receipt};

    const BODY: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

    fn key() -> RequestKey {
        RequestKey { client: ClientId::new("plc").unwrap(), id: RequestId::new("7").unwrap() }
    }

    fn message(body: &str, properties: Properties) -> Incoming {
        Incoming {
            topic: "outpost/v1/n/request/plc/7".into(),
            payload: body.to_owned().into(),
            qos: 1,
            retain: false,
            dup: false,
            properties,
            receipt: Receipt::new(1, 1, 1),
        }
    }

    fn read(message: &Incoming) -> Letter {
        let topics = Topics::new("outpost/v1", "n", &[], Vec::new());
        let defaults = Defaults { answer_tokens: 9, temperature: 0.0, deadline: Duration::from_mins(1) };
        Reader { topics: &topics, lane: Lane::Normal, defaults }.read(&key(), message)
    }

    fn user(pairs: &[(&str, &str)]) -> Properties {
        let user = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Properties { user, ..Properties::default() }
    }

    fn refused(message: &Incoming) -> (ErrorKind, Option<String>) {
        let error = read(message).request.unwrap_err();
        (error.kind, error.param)
    }

    #[test]
    fn an_old_device_needs_nothing_but_topic_and_body() {
        let letter = read(&message(BODY, Properties::default()));
        let request = letter.request.unwrap();
        assert_eq!((request.key, request.lane, request.deadline), (key(), Lane::Normal, None));
        assert_eq!(letter.reply.topic, "outpost/v1/n/response/plc/7");
        assert_eq!(json_properties(&letter.reply.properties).correlation, None);
    }

    #[test]
    fn correlation_data_comes_back_byte_for_byte() {
        for data in [&b""[..], b"\0\xff", b"abc"] {
            let p = Properties { correlation: Some(Bytes::copy_from_slice(data)), ..Properties::default() };
            let letter = read(&message(BODY, p));
            assert_eq!(json_properties(&letter.reply.properties).correlation.as_deref(), Some(data));
        }
    }

    #[test]
    fn expiry_is_a_deadline_and_the_sooner_one_counts() {
        let with = |expiry_s, pairs: &[(&str, &str)]| {
            let p = Properties { expiry_s: Some(expiry_s), ..user(pairs) };
            read(&message(BODY, p)).request.unwrap().deadline
        };
        assert_eq!(with(5, &[]), Some(Duration::from_secs(5)));
        assert_eq!(with(5, &[("deadline_ms", "800")]), Some(Duration::from_millis(800)));
        assert_eq!(with(1, &[("deadline_ms", "8000")]), Some(Duration::from_secs(1)));
        assert_eq!(with(u32::MAX, &[]), Some(limits::DEADLINE_MAX));
    }

    #[test]
    fn what_does_not_belong_is_refused_by_name() {
        let body = |own: &str| BODY.replacen('{', &format!("{{\"outpost\":{own},"), 1);
        let plain = Properties::default;
        let invalid = |param: &str| (ErrorKind::InvalidRequest, Some(param.to_owned()));
        assert_eq!(refused(&Incoming { retain: true, ..message(BODY, plain()) }), invalid("retain"));
        assert_eq!(refused(&message(&body(r#"{"id":"8"}"#), plain())), invalid("outpost.id"));
        assert_eq!(refused(&message(BODY, user(&[("id", "8")]))), invalid("outpost.id"));
        assert_eq!(refused(&message(BODY, user(&[("lane", "fast")]))), invalid("outpost.lane"));
        let twice = message(&body(r#"{"lane":"batch"}"#), user(&[("lane", "normal")]));
        assert_eq!(refused(&twice), invalid("outpost.lane"));
        let typed = Properties { content_type: Some("image/png".into()), ..plain() };
        assert_eq!(refused(&message(BODY, typed)), invalid("content_type"));
        assert_eq!(refused(&message(BODY, user(&[("a", "b"); 17]))).0, ErrorKind::TooLarge);
        assert_eq!(refused(&message(BODY, user(&[("a", &"b".repeat(2048))]))).0, ErrorKind::TooLarge);
        assert_eq!(refused(&message(&"x".repeat(128 * 1024 + 1), plain())).0, ErrorKind::TooLarge);
        let elsewhere = Properties { response_topic: Some("plant/valve".into()), ..plain() };
        let letter = read(&message(BODY, elsewhere));
        assert_eq!(letter.request.unwrap_err().kind, ErrorKind::ResponseTopicDenied);
        assert_eq!(letter.reply.topic, "outpost/v1/n/response/plc/7");
    }

    #[test]
    fn news_go_below_the_response_topic() {
        let topics = Topics::new("outpost/v1", "n", &[], Vec::new());
        let delta = News::Delta { seq: 2, text: "a".into(), tokens: 1 };
        let out = news(&topics, &key(), &[1, 9], &delta);
        assert_eq!((out.topic.as_str(), out.qos), ("outpost/v1/n/response/plc/7/delta", Qos::AtMostOnce));
        assert_eq!(&out.payload[..], br#"{"seq":2,"text":"a","tokens":1}"#);
        let queued = news(&topics, &key(), &[], &News::Queued { position: 3, eta: None });
        assert_eq!(queued.topic, "outpost/v1/n/response/plc/7/event");
        assert_eq!(&queued.payload[..], br#"{"event":"queued","position":3,"eta_ms":null}"#);
    }
}
