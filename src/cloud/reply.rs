//! A provider's answer, from the pieces in which it comes to the end that it has.
//!
//! The same fields have several names and places among providers; each that was seen is read.

use serde_json::Value;

use super::fault::{Class, Fault};
use crate::domain::{Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage, limits};

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    cost_usd: Option<f64>,
    done: bool,
    /// Bytes of text and calls, for the count of tokens when nobody tells it.
    written: usize,
    has_answer: bool,
    calls: Delta,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Why.
    pub finish: FinishReason,
    /// What the provider counted; `None` when it did not say.
    pub usage: Option<Usage>,
    /// What the provider says that it costs, US dollars.
    pub cost_usd: Option<f64>,
}

impl Reader {
    /// Takes the data of one event; what it adds to the answer, if anything.
    pub(super) fn event(&mut self, data: &[u8]) -> Result<Option<Delta>, Fault> {
        if self.done {
            return Ok(None);
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(None);
        }
        let chunk: Value = serde_json::from_slice(data)
            .map_err(|_| Fault::new(Class::Broken, "a piece of the answer is not JSON"))?;
        self.chunk(&chunk)
    }

    /// Takes a chunk of a stream, or a whole answer of a server that does not stream.
    pub(super) fn chunk(&mut self, chunk: &Value) -> Result<Option<Delta>, Fault> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let said = error["message"].as_str().or(error.as_str()).unwrap_or("it did not say why");
            let said: String = said.chars().take(limits::PROVIDER_WORDS_CHARS_MAX).collect();
            // Groq's parser made nothing of a call that the model wrote: another may.
            let parser = error["code"] == "tool_use_failed";
            let class = if parser { Class::Unsupported } else { Class::Down };
            return Err(Fault::new(class, format!("in the middle of the answer: {said}")));
        }
        let choice = &chunk["choices"][0];
        for place in [&chunk["usage"], &choice["usage"]] {
            if let Some(usage) = usage(place) {
                self.usage = Some(usage);
                let cost = place["estimated_cost"].as_f64().filter(|cost| cost.is_finite() && *cost >= 0.0);
                self.cost_usd = cost.or(self.cost_usd);
            }
        }
        if let Some(name) = choice["finish_reason"].as_str() {
            if name == "error" {
                return Err(Fault::new(Class::Down, "it ended the answer with `error`"));
            }
            // An end by a name that nobody knows is an end.
            self.finish = Some(FinishReason::named(name).unwrap_or(FinishReason::Stop));
        }
        let message = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        let mut delta = delta(message);
        self.number(message, &mut delta);
        delta.logprobs = logprobs(&choice["logprobs"]["content"]);
        if delta.is_empty() {
            return Ok(None);
        }
        self.has_answer |= !delta.text.is_empty() || !delta.tool_calls.is_empty();
        self.written += delta.text.len() + delta.reasoning.len();
        self.written += delta.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        self.calls.append(&Delta { tool_calls: delta.tool_calls.clone(), ..Delta::default() });
        Ok(Some(delta))
    }

    /// Numbers calls that come without an index: the first of a piece goes on with the last one, unless it
    /// has an id of its own; each other one of the same piece is another.
    fn number(&self, message: &Value, delta: &mut Delta) {
        let last = self.calls.tool_calls.last();
        let goes_on = |call: &ToolCallDelta| last.is_some_and(|last| call.id.is_none() || call.id == last.id);
        let mut next = last.map_or(0, |last| last.index + 1);
        for (n, call) in delta.tool_calls.iter_mut().enumerate() {
            if !message["tool_calls"][n]["index"].is_u64() {
                call.index = if n == 0 && goes_on(call) { next - 1 } else { next };
            }
            next = call.index + 1;
        }
        delta.tool_calls.retain(|call| call.index < limits::TOOL_CALLS_MAX);
    }

    /// Tokens written so far, as far as one can tell: the provider's count, or else a quarter of the
    /// bytes.
    pub(super) fn tokens(&self) -> usize {
        self.usage.map_or_else(|| tokens_of(self.written), |usage| usage.completion_tokens)
    }

    /// Whether nothing more is to come.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the model had nothing to say, and said so at once. Providers send an empty answer for other
    /// reasons as well, and then have counted what they do not show.
    fn is_honestly_empty(&self) -> bool {
        let ended = self.finish == Some(FinishReason::Stop);
        ended && self.written == 0 && self.usage.is_some_and(|usage| usage.completion_tokens <= 1)
    }

    /// The end of the stream. One without `[DONE]` is complete when it said why it ended.
    pub(super) fn end(&self) -> Result<End, Fault> {
        // One that is closed in good order and forgot to say why has ended as well.
        let closed = (self.done && self.has_answer).then_some(FinishReason::Stop);
        let Some(finish) = self.finish.or(closed) else {
            return Err(Fault::new(Class::Broken, "the answer broke off"));
        };
        if !self.has_answer && !self.is_honestly_empty() {
            return Err(Fault::new(Class::Empty, format!("no text, only `{}`", finish.name())));
        }
        if finish == FinishReason::Length {
            let cut = |call: &ToolCallDelta| serde_json::from_str::<Value>(&call.arguments).is_err();
            if self.calls.tool_calls.iter().any(cut) {
                return Err(Fault::new(Class::Broken, "`max_tokens` cut a tool call in the middle"));
            }
        }
        Ok(End { finish, usage: self.usage, cost_usd: self.cost_usd })
    }
}

/// The log-probabilities of a choice, one entry for each token.
fn logprobs(content: &Value) -> Vec<TokenLogprob> {
    let entries = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |entry: &Value| {
        let (bytes, logprob) = token(entry)?;
        let top = entry["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let top = top.iter().filter_map(token).take(limits::TOP_LOGPROBS_MAX).collect();
        Some(TokenLogprob { bytes, logprob, top })
    };
    entries.iter().filter_map(read).collect()
}

/// A token's bytes, where they are told, and its log-probability.
fn token(entry: &Value) -> Option<(Vec<u8>, f32)> {
    let logprob = entry["logprob"].as_f64().filter(|value| value.is_finite())?;
    let told = entry["bytes"].as_array().map(|bytes| {
        bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
    });
    Some((told.or_else(|| entry["token"].as_str().map(|text| text.as_bytes().to_vec()))?, logprob as f32))
}

/// About four bytes of text are a token.
pub fn tokens_of(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

fn usage(value: &Value) -> Option<Usage> {
    // What no context holds is no count.
    let sane = |n: &u64| *n <= limits::ANSWER_TOKENS_MAX as u64;
    let count = |name: &str| value.get(name)?.as_u64().filter(sane).map(|n| n as usize);
    Some(Usage { prompt_tokens: count("prompt_tokens")?, completion_tokens: count("completion_tokens")? })
}

fn delta(message: &Value) -> Delta {
    let text = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    let reasoning = ["reasoning_content", "reasoning", "reasoning_text", "thinking"]
        .iter()
        .find_map(|name| message[*name].as_str().filter(|text| !text.is_empty()))
        .unwrap_or_default()
        .to_owned();
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tool_calls = calls.iter().take(limits::TOOL_CALLS_MAX).map(tool_call).collect();
    let tokens = tokens_of(text.len() + reasoning.len());
    Delta { text, reasoning, tool_calls, tokens, ..Delta::default() }
}

/// An empty id and a name that is null stand for "as before".
fn tool_call(call: &Value) -> ToolCallDelta {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let arguments = &call["function"]["arguments"];
    ToolCallDelta {
        index: call["index"].as_u64().map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX - 1)),
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: if arguments.is_object() {
            arguments.to_string()
        } else {
            text(arguments).unwrap_or_default()
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(chunks: &[Value]) -> (Delta, Result<End, Class>) {
        let (mut reader, mut all) = (Reader::default(), Delta::default());
        for chunk in chunks {
            match reader.event(chunk.to_string().as_bytes()) {
                Ok(Some(delta)) => all.append(&delta),
                Ok(None) => {}
                Err(fault) => return (all, Err(fault.class)),
            }
        }
        (all, reader.end().map_err(|fault| fault.class))
    }

    fn piece(delta: Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
    }

    fn finish(reason: &str) -> Value {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    }

    #[test]
    fn usage_is_read_wherever_it_stands() {
        let counts = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
        let places = [
            vec![finish("stop"), json!({"choices": [], "usage": counts})],
            vec![json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": counts})],
            vec![json!({"choices": [{"delta": {}, "finish_reason": "stop", "usage": counts}]})],
        ];
        for place in places {
            let (all, end) = read(&[vec![piece(json!({"content": "hi"}))], place].concat());
            assert_eq!(all.text, "hi");
            let usage = Some(Usage { prompt_tokens: 5, completion_tokens: 7 });
            assert_eq!(end, Ok(End { finish: FinishReason::Stop, usage, cost_usd: None }));
        }
        let (_, none) = read(&[piece(json!({"content": "hi"})), finish("stop")]);
        assert_eq!(none.unwrap().usage, None);
        let deepinfra = json!({"choices": [], "usage":
            {"prompt_tokens": 1, "completion_tokens": 1, "estimated_cost": 0.000_12}});
        let (_, priced) = read(&[piece(json!({"content": "hi"})), finish("stop"), deepinfra]);
        assert_eq!(priced.unwrap().cost_usd, Some(0.000_12));
    }

    #[test]
    fn calls_without_an_index_are_told_apart_by_their_ids() {
        let call = |id: Value, arguments: &str| {
            piece(json!({"tool_calls": [{"id": id, "function": {"name": "f", "arguments": arguments}}]}))
        };
        let (all, _) = read(&[
            call(json!("a"), "{\"x\""),
            call(json!(""), ": 1}"),
            call(json!("b"), "{}"),
            piece(json!({"tool_calls": [{"index": 200, "function": {"arguments": "no"}}, 7]})),
        ]);
        let calls: Vec<_> = all.tool_calls.iter().map(|c| (c.index, c.arguments.as_str())).collect();
        assert_eq!(calls[..2], [(0, "{\"x\": 1}"), (1, "{}")]);
        assert!(calls.iter().all(|(index, _)| *index < limits::TOOL_CALLS_MAX));
        let two = json!([{"function": {"name": "f", "arguments": "1"}}, {"function": {"name": "g", "arguments": "2"}}]);
        assert_eq!(read(&[piece(json!({"tool_calls": two}))]).0.tool_calls.len(), 2);
    }

    #[test]
    fn log_probabilities_and_an_honest_silence_are_passed_on() {
        let entry = json!({"token": "hi", "logprob": -0.5, "bytes": [104, 105],
            "top_logprobs": [{"token": "hi", "logprob": -0.5}, {"token": "ho", "logprob": "?"}]});
        let mut chunk = piece(json!({"content": "hi"}));
        chunk["choices"][0]["logprobs"] = json!({"content": [entry, {"token": "x"}]});
        let (all, _) = read(&[chunk]);
        assert_eq!(all.logprobs.len(), 1);
        assert_eq!((all.logprobs[0].bytes.as_slice(), all.logprobs[0].top.len()), (b"hi".as_slice(), 1));
        let silence = |tokens: u64| {
            let usage = json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}});
            read(&[finish("stop"), usage]).1
        };
        assert!(silence(1).is_ok(), "it had nothing to say");
        assert_eq!(silence(60), Err(Class::Empty), "it is not shown what it said");
    }

    #[test]
    fn thoughts_have_many_names_and_text_may_come_in_parts() {
        for name in ["reasoning", "reasoning_content", "reasoning_text", "thinking"] {
            let (all, _) = read(&[piece(json!({name: "hm"})), piece(json!({"content": "so"}))]);
            assert_eq!((all.reasoning.as_str(), all.text.as_str()), ("hm", "so"));
        }
        let parts = json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        assert_eq!(read(&[piece(parts)]).0.text, "ab");
    }

    #[test]
    fn pieces_of_tool_calls_come_together_by_their_index() {
        let call = |call: Value| piece(json!({"tool_calls": [call]}));
        let (all, end) = read(&[
            call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}})),
            call(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
            call(json!({"index": 0, "id": "", "function": {"name": null, "arguments": ":1}"}})),
            finish("tool_calls"),
        ]);
        let first = &all.tool_calls[0];
        assert_eq!((first.id.as_deref(), first.name.as_deref()), (Some("a"), Some("f")));
        assert_eq!((first.arguments.as_str(), all.tool_calls.len()), ("{\"x\":1}", 2));
        assert_eq!(end.unwrap().finish, FinishReason::ToolCalls);
        let cut = call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x"}}));
        assert_eq!(read(&[cut, finish("length")]).1, Err(Class::Broken), "never run with half of it");
    }

    #[test]
    fn an_answer_that_is_none_is_a_fault() {
        let text = piece(json!({"content": "par"}));
        assert_eq!(read(std::slice::from_ref(&text)).1, Err(Class::Broken));
        assert_eq!(read(&[text.clone(), json!({"error": "overloaded"})]).1, Err(Class::Down));
        let typed = json!({"error": {"message": "CUDA"}, "error_type": "generation"});
        assert_eq!(read(&[text.clone(), typed]).1, Err(Class::Down));
        assert_eq!(read(&[piece(json!({"reasoning": "hm"})), finish("length")]).1, Err(Class::Empty));
        assert!(read(&[text, finish("stop")]).1.is_ok(), "no [DONE] is needed after that");
        assert!(Reader::default().event(b"{oops").is_err());
        let mut closed = Reader::default();
        closed.event(piece(json!({"content": "hi"})).to_string().as_bytes()).unwrap();
        closed.event(b"[DONE]").unwrap();
        assert_eq!(closed.end().unwrap().finish, FinishReason::Stop);
        let absurd = json!({"choices": [], "usage": {"prompt_tokens": u64::MAX, "completion_tokens": 1}});
        assert_eq!(read(&[piece(json!({"content": "hi"})), finish("stop"), absurd]).1.unwrap().usage, None);
        let whole = json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
        assert_eq!(read(&[whole]).0.text, "hi");
    }

    proptest! {
        #[test]
        fn no_chunk_makes_it_panic(bytes in ".{0,200}", cut in 0usize..200) {
            let mut reader = Reader::default();
            let _ = reader.event(bytes.as_bytes());
            let chunk = piece(json!({"content": bytes, "tool_calls": [5, {"index": 1u64 << 60}, {"function": 5}]}));
            let text = chunk.to_string();
            let _ = reader.event(&text.as_bytes()[..cut.min(text.len())]);
            let _ = reader.event(text.as_bytes());
            let _ = (reader.end(), reader.tokens());
        }
    }
}
