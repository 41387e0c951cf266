//! Every failure of the router and of the providers behind it that the documentation or its users tell of.

use serde_json::json;

use super::{
    Seen, openai_error,
    script::{self, Script, Step, chunk, done, event, finish, status, status_with, stream_head, text, usage},
};

pub(crate) fn model_not_supported() -> Script {
    let words = "The requested model 'X' is not supported by any provider you have enabled.";
    status(400, &openai_error(words, "model_not_supported"))
}

pub(crate) fn bad_token() -> Script {
    status(401, r#"{"error":"Invalid username or password."}"#)
}

/// A row of the table of errors: what it is called, what it means, what is written.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The class of faults that it belongs to; empty: it is none.
    pub(crate) class: &'static str,
    pub(crate) script: fn(&Seen) -> Script,
}

macro_rules! rows {
    ($($name:literal, $class:ident: $script:expr,)*) => {
        /// The rows of the table of errors.
        pub(crate) const ROWS: &[Row] = &[$(Row { name: $name, class: stringify!($class), script: $script }),*];
    };
}

rows! {
    "400 model_not_supported", model_unavailable: |_| model_not_supported(),
    "400 wrong_api_format", unsupported: |_| status(400, r#"{"message":"body.store: property 'body.store' is unsupported","type":"invalid_request_error","param":"validation_error","code":"wrong_api_format"}"#),
    "400 context", context_too_long: |_| status(400, r#"{"error":"The prompt is too long: 365407, model maximum context length: 262143"}"#),
    "400 tool_use_failed", unsupported: |_| status(400, r#"{"error":{"message":"Failed to call a function. Please adjust your prompt.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<function"}}"#),
    "400 validation_error", unsupported: |_| status(400, r#"{"error":{"message":"top_logprobs: Input should be less than 6","type":"invalid_request_error","code":"validation_error"}}"#),
    "400 of the caller", bad_request: |_| status(400, r#"{"error":{"message":"messages: at least one is needed","type":"invalid_request_error","code":null}}"#),
    "401", unauthenticated: |_| bad_token(),
    "402 of 2026", out_of_credit: |_| status(402, r#"{"error":"You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference Providers. Alternatively, subscribe to PRO to get 20x more included usage."}"#),
    "402 of 2025", out_of_credit: |_| status(402, r#"{"error":"You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x more monthly included credits."}"#),
    "402 of one provider's free limit", out_of_credit: |_| status(402, r#"{"error":"You have reached the free monthly usage limit for groq."}"#),
    "402 in words that nobody knows", out_of_credit: |_| status(402, r#"{"error":"no"}"#),
    "403 scope", forbidden: |_| status(403, r#"{"error":"This authentication method does not have sufficient permissions to call Inference Providers on behalf of user U"}"#),
    "403 spending limit", forbidden: |_| status(403, r#"{"error":"authorization error: the spending limit of this resource group is reached"}"#),
    "403 of a licence", refused: |_| status(403, r#"{"error":"Access to model org/small is restricted and you are not in the list of those who accepted its licence"}"#),
    "403 of the CDN", refused: |_| status_with(403, "text/html", "", "<html><title>Access denied</title>error code: 1010</html>"),
    "404", gone: |_| status(404, r#"{"detail":"Not Found"}"#),
    "410", gone: |_| status(410, r#"{"error":"The model is deprecated and no longer supported by provider x."}"#),
    "413", bad_request: |_| status(413, r#"{"error":"Payload too large"}"#),
    "422", bad_request: |_| status(422, r#"{"error":"Failed to deserialize the JSON body into the target type: missing field `value`","error_type":"validation"}"#),
    "422 of a template", bad_request: |_| status(422, r#"{"error":"Template error: template not found","error_type":"template_error"}"#),
    "429", rate_limited: |_| status(429, r#"{"error":"Too many requests"}"#),
    "429 with Retry-After", rate_limited: |_| status_with(429, "application/json", "retry-after: 7\r\n", r#"{"error":{"message":"slow down"}}"#),
    "500", down: |_| status(500, r#"{"object":"error","message":"Internal Server Error"}"#),
    "502 in HTML", down: |_| status_with(502, "text/html", "", "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "503", down: |_| status(503, r#"{"detail":[{"loc":["body"],"msg":"Service Unavailable","type":"x"}]}"#),
    "503 without a body", down: |_| status_with(503, "text/plain", "", ""),
    "504", timed_out: |_| status_with(504, "text/plain", "", "upstream request timeout"),
    "200 without text", empty: |seen| vec![
        stream_head(&seen.provider), event(&chunk(json!({"reasoning_content": "hm, hm"}), None)), finish("length"),
        usage(5, 64), done(),
    ],
    "200 and JSON that holds an error", down: |seen| {
        let body = r#"{"error":{"message":"upstream gave up","type":"server_error"}}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-inference-provider: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            seen.provider, body.len(),
        );
        vec![Step::Bytes(head.into()), Step::Bytes(body.into())]
    },
    "tool_use_failed in the middle", unsupported: |seen| vec![
        stream_head(&seen.provider),
        event(&json!({"error": {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<f"}})),
    ],
    "an end that says error", down: |seen| vec![stream_head(&seen.provider), text("par"), finish("error"), done()],
    "an error in the middle, as text", down: |seen| vec![
        stream_head(&seen.provider), text("par"), event(&json!({"error": "CUDA out of memory", "error_type": "generation"})),
    ],
    "an error in the middle, as an object", down: |seen| vec![
        stream_head(&seen.provider), event(&json!({"error": {"message": "overloaded", "type": "server_error"}})), done(),
    ],
    "closed in the middle", broken: |seen| vec![stream_head(&seen.provider), text("par")],
    "closed in the middle of a chunk", broken: |seen| vec![
        script::chunked_head(&seen.provider), script::framed(text("par")), Step::Bytes(b"40\r\ndata: {".into()),
    ],
    "reset in the middle", broken: |seen| vec![stream_head(&seen.provider), text("par"), Step::Reset],
    "reset before any byte", down: |_| vec![Step::Reset],
    "closed before any byte", down: |_| Vec::new(),
    "somebody else answers", wrong_provider: |seen| {
        let mut script = script::echo(seen);
        script[0] = stream_head(if seen.provider == "novita" { "groq" } else { "novita" });
        script
    },
    "nobody says who answers", wrong_provider: |seen| {
        let mut script = script::echo(seen);
        script[0] = Step::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".into());
        script
    },
    "a page for people instead of a stream", broken: |seen| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nx-inference-provider: {}\r\nconnection: close\r\n\r\n", seen.provider);
        vec![Step::Bytes(head.into()), Step::Bytes(b"<html>hello</html>".into())]
    },
    "a redirect", refused: |_| status_with(307, "text/plain", "location: http://127.0.0.1:9/v1/chat/completions\r\n", ""),
    "a piece that is not JSON", broken: |seen| vec![stream_head(&seen.provider), Step::Bytes(b"data: {oops\n\n".into()), done()],
    "a line without an end", broken: |seen| vec![stream_head(&seen.provider), Step::Bytes(b"data: {\"x\":\"".into()), Step::Bytes(vec![b'y'; 400_000])],
    "silence before the head", timed_out: |_| vec![Step::Silence],
    "silence behind the head", timed_out: |seen| vec![stream_head(&seen.provider), Step::Silence],
    "silence between two pieces", timed_out: |seen| vec![stream_head(&seen.provider), text("par"), Step::Silence],
}

/// Streams that are odd and good: each says `well done`.
pub(crate) const ODD: &[Row] = &[
    Row {
        name: "no [DONE] behind the finish_reason",
        class: "",
        script: |seen| vec![stream_head(&seen.provider), text("well "), text("done"), finish("stop")],
    },
    Row {
        name: "comments, other events, no space, CRLF",
        class: "",
        script: |seen| {
            vec![
                stream_head(&seen.provider),
                Step::Bytes(b": keep-alive\r\n\r\nevent: ping\r\ndata:\r\n\r\n".into()),
                Step::Bytes(
                    format!("data:{}\r\n\r\n", chunk(json!({"content": "well done"}), None)).into_bytes(),
                ),
                finish("stop"),
                done(),
            ]
        },
    },
    Row {
        name: "cut in the middle of lines",
        class: "",
        script: |seen| {
            let whole = format!("data: {}\n\n", chunk(json!({"content": "well done"}), Some("stop")));
            let mut script = vec![stream_head(&seen.provider)];
            script.extend(whole.as_bytes().chunks(7).map(|part| Step::Bytes(part.to_vec())));
            script.push(done());
            script
        },
    },
    Row {
        name: "content in parts",
        class: "",
        script: |seen| {
            vec![
                stream_head(&seen.provider),
                event(&chunk(
                    json!({"content": [{"type": "text", "text": "well "}, {"type": "text", "text": "done"}]}),
                    None,
                )),
                finish("stop"),
                done(),
            ]
        },
    },
    Row {
        name: "an unknown reason to finish",
        class: "",
        script: |seen| vec![stream_head(&seen.provider), text("well done"), finish("eos"), done()],
    },
    Row {
        name: "no stream at all",
        class: "",
        script: |seen| {
            let body =
                json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "well done"},
            "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
                .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-inference-provider: {}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
                seen.provider,
                body.len(),
            );
            vec![Step::Bytes(head.into()), Step::Bytes(body.into())]
        },
    },
    Row {
        name: "reset behind the end",
        class: "",
        script: |seen| vec![stream_head(&seen.provider), text("well done"), finish("stop"), Step::Reset],
    },
    Row {
        name: "usage in every piece, and then none",
        class: "",
        script: |seen| {
            let with = |mut chunk: serde_json::Value, tokens: u64| {
                chunk["usage"] = json!({"prompt_tokens": 3, "completion_tokens": tokens});
                event(&chunk)
            };
            vec![
                stream_head(&seen.provider),
                with(chunk(json!({"content": "well "}), None), 1),
                with(chunk(json!({"content": "done"}), None), 2),
                finish("stop"),
                done(),
            ]
        },
    },
    Row {
        name: "framed in chunks",
        class: "",
        script: |seen| {
            let mut script = vec![script::chunked_head(&seen.provider)];
            script.extend([text("well "), text("done"), finish("stop"), done()].map(script::framed));
            script.push(Step::Bytes(b"0\r\n\r\n".into()));
            script
        },
    },
];
