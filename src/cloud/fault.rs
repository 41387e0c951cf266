//! What a failed call means: whose fault it is, and what is to be done about it.
//!
//! The status decides; the body is only looked into where one status has several meanings. Its
//! wording has changed more than once, and every shape of it that was seen is read.

use std::time::Duration;

use serde_json::Value;

use crate::domain::limits;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nobody offers this model to this account.
    ModelUnavailable,
    /// The provider does not take this request, another may.
    Unsupported,
    /// The prompt is too long for it.
    ContextTooLong,
    /// The token is not accepted.
    Unauthenticated,
    /// The account has no money left.
    OutOfCredit,
    /// The account may not make this call: scope, or a limit that its owner set.
    Forbidden,
    /// The model wants a licence to be accepted, or something before the router refuses us.
    Refused,
    /// The provider no longer offers this model.
    Gone,
    /// The request itself is at fault, whoever gets it.
    BadRequest,
    /// Too many calls.
    RateLimited,
    /// The provider is down.
    Down,
    /// Nothing came in time.
    TimedOut,
    /// There is no way to the server.
    Unreachable,
    /// The answer broke off, or is none.
    Broken,
    /// The answer has no text.
    Empty,
    /// Somebody else answered than was asked.
    WrongProvider,
    /// The answer does not meet the schema that was asked for.
    SchemaMissed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Another provider may do better, at once.
    Another,
    /// Nobody there will do better.
    Final,
    /// Nothing goes there until somebody has changed something.
    Account,
    /// There is no network to that server; waiting may help.
    Wait,
}

impl Class {
    /// What is to be done.
    pub const fn cure(self) -> Cure {
        match self {
            Self::BadRequest => Cure::Final,
            Self::Unauthenticated | Self::OutOfCredit | Self::Forbidden => Cure::Account,
            Self::Unreachable => Cure::Wait,
            _ => Cure::Another,
        }
    }

    /// The name in the audit, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelUnavailable => "model_unavailable",
            Self::Unsupported => "unsupported",
            Self::ContextTooLong => "context_too_long",
            Self::Unauthenticated => "unauthenticated",
            Self::OutOfCredit => "out_of_credit",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::BadRequest => "bad_request",
            Self::RateLimited => "rate_limited",
            Self::Down => "down",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Empty => "empty",
            Self::WrongProvider => "wrong_provider",
            Self::SchemaMissed => "schema_missed",
        }
    }
}

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub class: Class,
    /// What the other side said of it, cut and without control characters.
    pub words: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault that was noticed here.
    pub fn new(class: Class, words: impl AsRef<str>) -> Self {
        Self { class, words: cut(words.as_ref()), retry_after: None }
    }

    /// What it is without the other side's words, which may repeat a prompt: class and status.
    pub fn brief(&self) -> String {
        let status = self.words.split(':').next().filter(|word| word.parse::<u16>().is_ok());
        match status {
            Some(status) => format!("{} ({status})", self.class.name()),
            None => self.class.name().to_owned(),
        }
    }

    /// Reads an answer that is no success. `retry_after`: the header of that name.
    pub fn of_answer(status: u16, body: &[u8], retry_after: Option<&str>) -> Self {
        let (said, code) = words(body);
        let class = classify(status, &said.to_lowercase(), &code);
        // Seconds; the form with a date is not used there.
        let wait = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Self {
            class,
            words: format!("{status}: {said}"),
            retry_after: wait.map(|wait| wait.min(limits::PROVIDER_REST_MAX)),
        }
    }
}

fn classify(status: u16, said: &str, code: &str) -> Class {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match status {
        400 if code == "model_not_supported" || says(&["not supported by any provider"]) => {
            Class::ModelUnavailable
        }
        // The second code is llama.cpp's.
        400 | 413 | 422
            if matches!(code, "context_length_exceeded" | "exceed_context_size_error")
                || says(&["too long", "context length"]) =>
        {
            Class::ContextTooLong
        }
        400 if matches!(code, "wrong_api_format" | "validation_error" | "tool_use_failed") => {
            Class::Unsupported
        }
        400 if says(&["unsupported", "not supported", "failed_generation"]) => Class::Unsupported,
        401 => Class::Unauthenticated,
        402 => Class::OutOfCredit,
        // A scope, or a limit on spending; anything else is not about the account.
        403 if says(&["sufficient permission", "spending", "authorization error", "billing"]) => {
            Class::Forbidden
        }
        403 => Class::Refused,
        404 | 410 => Class::Gone,
        408 | 504 => Class::TimedOut,
        409 | 425 | 500..=599 => Class::Down,
        429 => Class::RateLimited,
        _ => Class::BadRequest,
    }
}

/// What a body says, whatever its shape, and its code.
fn words(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return (cut(&without_tags(&text)), String::new());
    };
    let error = &value["error"];
    let places = [&error["message"], error, &value["message"], &value["detail"][0]["msg"], &value["detail"]];
    let said = places.iter().find_map(|place| place.as_str().filter(|text| !text.is_empty()));
    let code = [&error["code"], &error["type"], &value["code"], &value["error_type"]];
    let code = code.iter().find_map(|place| place.as_str()).unwrap_or_default();
    // Groq says with it what its parser made nothing of.
    let failed = error["failed_generation"].as_str().map(|_| " (failed_generation)").unwrap_or_default();
    (cut(&format!("{}{failed}", said.unwrap_or(&text))), code.into())
}

/// A page for people, as one line.
fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars().take(4 * limits::PROVIDER_WORDS_CHARS_MAX) {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

fn cut(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(limits::PROVIDER_WORDS_CHARS_MAX).collect();
    if cut.is_empty() { "it did not say why".into() } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> Class {
        Fault::of_answer(status, body.as_bytes(), None).class
    }

    #[test]
    fn every_row_of_the_providers_error_table_is_told_apart() {
        let rows: [(u16, &str, Class); 23] = [
            (
                400,
                r#"{"error":{"message":"The requested model 'X' is not supported by any provider you have enabled.","type":"invalid_request_error","param":"model","code":"model_not_supported"}}"#,
                Class::ModelUnavailable,
            ),
            (
                400,
                r#"{"message":"body.store: property 'body.store' is unsupported","type":"invalid_request_error","code":"wrong_api_format"}"#,
                Class::Unsupported,
            ),
            (
                400,
                r#"{"error":{"message":"property 'seed' is unsupported","code":"validation_error"}}"#,
                Class::Unsupported,
            ),
            (
                400,
                r#"{"error":"The prompt is too long: 365407, model maximum context length: 262143"}"#,
                Class::ContextTooLong,
            ),
            (
                400,
                r#"{"error":{"message":"Failed to call a function.","code":"tool_use_failed","failed_generation":"<x>"}}"#,
                Class::Unsupported,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"request (3031 tokens) exceeds the available context size (1024 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":3031,"n_ctx":1024}}"#,
                Class::ContextTooLong,
            ),
            (400, r#"{"error":"messages must not be empty"}"#, Class::BadRequest),
            (401, r#"{"error":"Invalid username or password."}"#, Class::Unauthenticated),
            (402, r#"{"error":"words that nobody has seen yet"}"#, Class::OutOfCredit),
            (
                403,
                r#"{"error":"This authentication method does not have sufficient permissions to call Inference Providers on behalf of user U"}"#,
                Class::Forbidden,
            ),
            (403, r#"{"error":"authorization error: spending limit reached"}"#, Class::Forbidden),
            (403, "error code: 1010", Class::Refused),
            (404, r#"{"detail":"Not Found"}"#, Class::Gone),
            (410, "", Class::Gone),
            (413, r#"{"error":"Payload too large"}"#, Class::BadRequest),
            (
                422,
                r#"{"error":"Failed to deserialize the JSON body into the target type","error_type":"validation"}"#,
                Class::BadRequest,
            ),
            (429, "", Class::RateLimited),
            (500, "", Class::Down),
            (502, "<html><body>Bad Gateway</body></html>", Class::Down),
            (503, r#"{"error":"Service Unavailable"}"#, Class::Down),
            (504, "", Class::TimedOut),
            (408, "", Class::TimedOut),
            (418, "", Class::BadRequest),
        ];
        for (status, body, expected) in rows {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_shape_of_a_body_is_read() {
        for body in [
            r#"{"error":"no luck"}"#,
            r#"{"error":{"message":"no luck","type":"t","param":null,"code":null}}"#,
            r#"{"message":"no luck"}"#,
            r#"{"detail":"no luck"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"no luck"}]}"#,
            r#"{"object":"error","message":"no luck"}"#,
            r#"{"error":"no luck","error_type":"overloaded"}"#,
            "no luck",
            "<html><h1>no</h1>\r\n luck\u{7}</html>",
        ] {
            assert_eq!(Fault::of_answer(500, body.as_bytes(), None).words, "500: no luck", "{body}");
        }
        let long = Fault::of_answer(500, "x".repeat(1 << 20).as_bytes(), None);
        assert!(long.words.len() < 2 * limits::PROVIDER_WORDS_CHARS_MAX);
        assert_eq!(Fault::of_answer(500, b"\xff\xfe", None).class, Class::Down);
    }

    #[test]
    fn a_wish_to_be_left_alone_is_heard_within_reason() {
        let wait = |header| Fault::of_answer(429, b"", Some(header)).retry_after;
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999"), Some(limits::PROVIDER_REST_MAX));
        assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn what_is_about_the_account_stops_everything_and_what_is_about_a_provider_does_not() {
        assert_eq!(Class::OutOfCredit.cure(), Cure::Account);
        assert_eq!(Class::Refused.cure(), Cure::Another, "a CDN is not the account");
        assert_eq!(Class::RateLimited.cure(), Cure::Another);
        assert_eq!(Class::BadRequest.cure(), Cure::Final);
        assert_eq!(Class::Unreachable.cure(), Cure::Wait);
    }
}
