//! From an OpenAI body to a request: every value held against its range, in words that name
//! the field. Pure; nothing here knows which model is loaded.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    body::{self, ChatBody, CommonBody, CompletionBody},
    input::{self, Input},
    needs::{self, Needs, Wanted},
    own::Own,
    reply::Kind,
    tools::Tools,
};
use crate::{
    domain::{ClientId, Error, GenerationOptions, Lane, RequestId, Result, Sampling, limits},
    store::{Digest, RequestKey},
};

/// A request that is well formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who asks, and its id, unique within the client.
    pub key: RequestKey,
    /// Whether the client chose the id: then it may ask again by it.
    pub keyed: bool,
    /// Tells two bodies under one id apart.
    pub digest: Digest,
    /// Which interface it came by.
    pub kind: Kind,
    /// The body as it came.
    pub body: Bytes,
    /// Outpost's own fields, as given.
    pub own: Own,
    /// Priority class.
    pub lane: Lane,
    /// Time from now after which the answer is worthless.
    pub deadline: Option<Duration>,
    /// Which model.
    pub model: Wanted,
    /// What it must be able to do.
    pub needs: Needs,
    /// What it may call.
    pub tools: Option<Tools>,
    /// The user behind the socket, as the kernel says.
    pub uid: Option<u32>,
    /// What to answer.
    pub input: Input,
    /// How to answer.
    pub options: GenerationOptions,
    /// Whether pieces of the answer are wanted while it is written.
    pub stream: bool,
    /// Whether a stream ends with the token counts.
    pub include_usage: bool,
}

/// What the transport knows of a request besides its body.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who asks.
    pub client: ClientId,
    /// The user behind the socket, as the kernel says.
    pub uid: Option<u32>,
    /// Outpost's own fields, as given outside the body.
    pub own: Own,
    /// Lane when nobody names one.
    pub lane: Lane,
    /// What else holds when the body is silent.
    pub defaults: Defaults,
}

/// What the operator wants when a request does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Most tokens of an answer.
    pub answer_tokens: usize,
    /// Temperature of sampling.
    pub temperature: f32,
    /// Deadline of an accepted request.
    pub deadline: Duration,
}

impl Request {
    /// Whether it is a conversation, which is all that is understood elsewhere.
    pub fn is_chat(&self) -> bool {
        self.kind == Kind::Chat
    }

    /// Reads the body of `POST /v1/chat/completions`.
    pub fn chat(bytes: Bytes, envelope: Envelope) -> Result<Self> {
        let body = body::parse(&bytes)?;
        let chat: ChatBody = body::fields(&body)?;
        let mut common: CommonBody = body::fields(&body)?;
        if chat.max_completion_tokens.is_some() {
            at_least_one("max_completion_tokens", chat.max_completion_tokens)?;
            common.max_tokens = chat.max_completion_tokens;
        }
        let tools = Tools::of(chat.tools, chat.tool_choice.as_ref(), chat.parallel_tool_calls);
        let (messages, image) = input::messages(chat.messages)?;
        let needs =
            Needs { tools: tools.is_some(), image, format: needs::format(common.response_format.as_ref())? };
        let logprobs = match (chat.logprobs, chat.top_logprobs) {
            (Some(true), top) => Some(top.unwrap_or(0)),
            (_, Some(n)) if n > 0 => {
                return Err(Error::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
            }
            _ => None,
        };
        let asked = Asked { kind: Kind::Chat, input: Input::Chat(messages), tools, needs, logprobs };
        assemble(bytes, asked, common, envelope)
    }

    /// Reads the body of `POST /v1/completions`.
    pub fn completion(bytes: Bytes, envelope: Envelope) -> Result<Self> {
        let body = body::parse(&bytes)?;
        let text: CompletionBody = body::fields(&body)?;
        let common: CommonBody = body::fields(&body)?;
        let unsupported = [
            ("echo", text.echo == Some(true)),
            ("suffix", text.suffix.is_some_and(|s| !s.is_empty())),
            ("best_of", text.best_of.is_some_and(|n| n > 1)),
        ];
        if let Some((field, _)) = unsupported.iter().find(|(_, asked)| *asked) {
            return Err(Error::invalid(*field, format!("`{field}` is not offered here; leave it out")));
        }
        let input = input::prompt(&text.prompt)?;
        let needs = Needs { format: needs::format(common.response_format.as_ref())?, ..Needs::default() };
        let asked = Asked { kind: Kind::Text, input, tools: None, needs, logprobs: text.logprobs };
        assemble(bytes, asked, common, envelope)
    }
}

/// What differs between the interfaces.
struct Asked {
    kind: Kind,
    input: Input,
    tools: Option<Tools>,
    needs: Needs,
    logprobs: Option<usize>,
}

fn assemble(bytes: Bytes, asked: Asked, common: CommonBody, envelope: Envelope) -> Result<Request> {
    let Asked { kind, input, tools, needs, logprobs } = asked;
    let own = common.outpost.clone().unwrap_or_default().merge(&envelope.own)?;
    own.check_lengths()?;
    let id = own.request_id()?;
    at_most("top_logprobs", logprobs.unwrap_or(0), limits::TOP_LOGPROBS_MAX)?;
    if common.n.is_some_and(|n| n != 1) {
        return Err(Error::invalid("n", "`n` must be 1: this device writes one answer per request"));
    }
    Ok(Request {
        keyed: id.is_some(),
        key: RequestKey { client: envelope.client, id: id.unwrap_or_else(RequestId::generate) },
        digest: digest(kind, &bytes),
        kind,
        body: bytes,
        lane: own.lane.unwrap_or(envelope.lane),
        deadline: own.deadline()?,
        model: Wanted::of(common.model.as_deref()),
        needs,
        tools,
        uid: envelope.uid,
        stream: common.stream.unwrap_or(false),
        include_usage: common.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false),
        options: options(&common, logprobs, envelope.defaults)?,
        input,
        own,
    })
}

/// Of the body alone: what is said beside it, such as a message expiry that the broker counts
/// down, may differ from one sending to the next.
fn digest(kind: Kind, body: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update([kind as u8]).chain_update(body);
    Digest(hash.finalize().into())
}

/// Smallest `top_p`: 0 would leave no token to choose from.
const TOP_P_MIN: f32 = 1e-6;

fn options(c: &CommonBody, logprobs: Option<usize>, defaults: Defaults) -> Result<GenerationOptions> {
    at_least_one("max_tokens", c.max_tokens)?;
    let d = Sampling::default();
    Ok(GenerationOptions {
        sampling: Sampling {
            temperature: within("temperature", c.temperature, defaults.temperature, 0.0, 2.0)?,
            // 0 and -1 are common spellings of "off"; the type already refuses negatives.
            top_k: c.top_k.filter(|k| *k > 0),
            top_p: within("top_p", c.top_p, d.top_p, TOP_P_MIN, 1.0)?,
            min_p: within("min_p", c.min_p, d.min_p, 0.0, 1.0)?,
            repetition_penalty: within(
                "repetition_penalty",
                c.repetition_penalty,
                d.repetition_penalty,
                0.01,
                100.0,
            )?,
            presence_penalty: within("presence_penalty", c.presence_penalty, 0.0, -2.0, 2.0)?,
            frequency_penalty: within("frequency_penalty", c.frequency_penalty, 0.0, -2.0, 2.0)?,
            logit_bias: logit_bias(c)?,
            seed: c.seed.map(i64::cast_unsigned),
        },
        tokens_max: c.max_tokens.unwrap_or(defaults.answer_tokens).min(limits::ANSWER_TOKENS_MAX),
        stop: stop_strings(c.stop.as_ref())?,
        logprobs,
        ignore_eos: c.ignore_eos.unwrap_or(false),
    })
}

/// The default, or the given number when it lies in its range; NaN never does.
fn within(field: &str, given: Option<f32>, default: f32, min: f32, max: f32) -> Result<f32> {
    match given {
        None => Ok(default),
        Some(x) if x >= min && x <= max => Ok(x),
        Some(x) => Err(Error::invalid(field, format!("`{field}` is {x}, it must lie in {min} to {max}"))),
    }
}

fn at_least_one(field: &str, given: Option<usize>) -> Result<()> {
    match given {
        Some(0) => Err(Error::invalid(field, format!("`{field}` must be at least 1"))),
        _ => Ok(()),
    }
}

fn at_most(field: &str, given: usize, max: usize) -> Result<()> {
    if given <= max {
        return Ok(());
    }
    Err(Error::invalid(field, format!("`{field}`: {given} is more than the {max} allowed")))
}

fn logit_bias(c: &CommonBody) -> Result<Vec<(u32, f32)>> {
    let Some(bias) = &c.logit_bias else { return Ok(Vec::new()) };
    at_most("logit_bias", bias.len(), limits::LOGIT_BIAS_MAX)?;
    bias.iter()
        .map(|(key, value)| {
            let field = format!("logit_bias.{key}");
            let id = key.parse().map_err(|_| Error::invalid(&field, format!("`{key}` is not a token id")))?;
            Ok((id, within(&field, Some(*value), 0.0, -100.0, 100.0)?))
        })
        .collect()
}

fn stop_strings(stop: Option<&Value>) -> Result<Vec<String>> {
    let wrong = |at: &str| Error::invalid(at, format!("`{at}` must be text or a list of texts"));
    let stops = match stop {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .enumerate()
            .map(|(n, s)| s.as_str().map(Into::into).ok_or_else(|| wrong(&format!("stop[{n}]"))))
            .collect::<Result<Vec<String>>>()?,
        Some(_) => return Err(wrong("stop")),
    };
    at_most("stop", stops.len(), limits::STOP_STRINGS_MAX)?;
    for (n, stop) in stops.iter().enumerate() {
        at_most(&format!("stop[{n}]"), stop.len(), limits::STOP_STRING_BYTES_MAX)?;
    }
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope() -> Envelope {
        let defaults = Defaults { answer_tokens: 99, temperature: 0.7, deadline: Duration::from_mins(1) };
        Envelope {
            client: ClientId::new("uid-0").unwrap(),
            uid: Some(0),
            own: Own::default(),
            lane: Lane::Interactive,
            defaults,
        }
    }

    fn chat(extra: Value) -> Result<Request> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Request::chat(body.to_string().into(), envelope())
    }

    #[test]
    fn what_is_not_said_is_the_operators_default_and_else_openais() {
        let request = chat(json!({})).unwrap();
        let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
        let options = GenerationOptions { sampling, tokens_max: 99, ..GenerationOptions::default() };
        assert_eq!(request.options, options);
        assert_eq!((request.stream, request.lane, request.model), (false, Lane::Interactive, Wanted::Auto));
    }

    #[test]
    fn everything_that_is_said_arrives() {
        let request = chat(json!({
            "model": "smol", "stream": true, "stream_options": {"include_usage": true},
            "max_tokens": 9, "max_completion_tokens": 7, "temperature": 0, "top_p": 0.5, "top_k": 0,
            "stop": ["a", "b"], "seed": -1, "logprobs": true, "top_logprobs": 3, "logit_bias": {"5": -100},
            "outpost": {"id": "x-1", "lane": "batch", "deadline_ms": 250}
        }))
        .unwrap();
        assert_eq!((request.key.id.as_str(), request.keyed), ("x-1", true));
        assert_eq!((request.lane, request.deadline), (Lane::Batch, Some(Duration::from_millis(250))));
        assert_eq!(request.options.tokens_max, 7);
        assert_eq!(request.options.stop, ["a", "b"]);
        assert_eq!(request.options.logprobs, Some(3));
        let sampling = &request.options.sampling;
        assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (0.0, None, Some(u64::MAX)));
        assert_eq!(sampling.logit_bias, [(5, -100.0)]);
        assert!(request.stream && request.include_usage);
    }

    #[test]
    fn every_value_out_of_range_is_refused_by_name() {
        for (extra, field) in [
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"temperature": -0.1}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"min_p": 1.5}), "min_p"),
            (json!({"presence_penalty": 3}), "presence_penalty"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
            (json!({"n": 2}), "n"),
            (json!({"stop": 5}), "stop"),
            (json!({"stop": ["a", 5]}), "stop[1]"),
            (json!({"stop": vec!["x"; 17]}), "stop"),
            (json!({"stop": "x".repeat(300)}), "stop[0]"),
            (json!({"logit_bias": {"x": 1}}), "logit_bias.x"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias.1"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"response_format": "text"}), "response_format"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content"),
            (json!({"messages": [{"role": "assistant"}]}), "messages[0].content"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
                "messages[0].content[0]",
            ),
            (json!({"outpost": {"id": "a/b"}}), "outpost.id"),
            (json!({"outpost": {"deadline_ms": 0}}), "outpost.deadline_ms"),
        ] {
            assert_eq!(chat(extra.clone()).unwrap_err().param.as_deref(), Some(field), "{extra}");
        }
    }

    #[test]
    fn what_the_device_cannot_do_is_noted_and_named_when_it_has_to() {
        let image =
            json!([{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]);
        for (extra, field) in [
            (json!({"response_format": {"type": "json_object"}}), "response_format"),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"messages": [{"role": "user", "content": image}]}), "messages[0].content[1]"),
        ] {
            let needs = chat(extra.clone()).unwrap().needs;
            assert_eq!(needs.beyond_device(false).unwrap().param.as_deref(), Some(field), "{extra}");
        }
        let none = json!({"tools": [{"type": "function"}], "tool_choice": "none", "response_format": {"type": "text"}});
        assert_eq!(chat(none).unwrap().needs.beyond_device(false), None);
    }

    #[test]
    fn two_ids_for_one_request_are_refused() {
        let body =
            json!({"messages": [{"role": "user", "content": "hi"}], "outpost": {"id": "a"}}).to_string();
        let with = |id: &str| {
            let own = Own { id: Some(id.into()), ..Own::default() };
            Request::chat(body.clone().into(), Envelope { own, ..envelope() })
        };
        assert_eq!(with("a").unwrap().key.id.as_str(), "a");
        assert!(with("b").is_err());
        assert!(!chat(json!({})).unwrap().keyed);
    }

    #[test]
    fn the_digest_is_of_the_body_and_of_nothing_beside_it() {
        let read = |body: &str, own| {
            Request::chat(body.to_owned().into(), Envelope { own, ..envelope() }).unwrap().digest
        };
        let one = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
        let late = Own { deadline_ms: Some(5), ..Own::default() };
        assert_eq!(read(one, Own::default()), read(one, late));
        assert_ne!(read(one, Own::default()), read(&one.replace("hi", "ho"), Own::default()));
    }
}
