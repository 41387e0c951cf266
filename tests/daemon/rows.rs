//! The table of bad inputs: what is sent, and the answer that is promised.

use crate::http::request;

/// One bad input and its answer.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The sender says that nothing more will come.
    pub(crate) half_close: bool,
    /// Status, `error.code`, `error.param`; `None`: the connection ends without an answer.
    pub(crate) expected: Option<(u16, &'static str, &'static str)>,
}

const INVALID: &str = "invalid_request";
const HI: &str = r#"{"role":"user","content":"hi"}"#;

fn raw(name: &'static str, bytes: impl Into<Vec<u8>>, expected: (u16, &'static str, &'static str)) -> Row {
    Row { name, bytes: bytes.into(), half_close: false, expected: Some(expected) }
}

fn cut(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    expected: Option<(u16, &'static str, &'static str)>,
) -> Row {
    Row { name, bytes: bytes.into(), half_close: true, expected }
}

/// A chat whose body is refused with 400.
fn chat(name: &'static str, body: impl AsRef<[u8]>, param: &'static str) -> Row {
    raw(name, request("POST", "/v1/chat/completions", "", body.as_ref()), (400, INVALID, param))
}

/// A sound chat but for these fields, refused with 400.
fn field(name: &'static str, fields: &str, param: &'static str) -> Row {
    chat(name, format!(r#"{{"messages":[{HI}],"max_tokens":1,{fields}}}"#), param)
}

/// A chat whose head has more lines; the body is sound.
fn head(name: &'static str, lines: &str, expected: (u16, &'static str, &'static str)) -> Row {
    let body = format!(r#"{{"messages":[{HI}],"max_tokens":1}}"#);
    raw(name, request("POST", "/v1/chat/completions", lines, body.as_bytes()), expected)
}

fn post(length: impl std::fmt::Display) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\n{length}\r\n")
}

/// Every row.
pub(crate) fn all() -> Vec<Row> {
    [not_json(), wrong_types(), numbers(), conversations(), sizes(), not_http(), other_paths(), cut_off()]
        .into_iter()
        .flatten()
        .collect()
}

fn not_json() -> Vec<Row> {
    let deep = |n: usize| format!(r#"{{"messages":[{HI}],"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    vec![
        chat("no body", "", ""),
        chat("half an object", r#"{"messages":"#, ""),
        chat("single quotes", "{'messages':[]}", ""),
        chat("something after the object", format!(r#"{{"messages":[{HI}]}} x"#), ""),
        chat("two objects", "{}{}", ""),
        chat("null", "null", ""),
        chat("a list", format!("[{HI}]"), ""),
        chat("NaN", r#"{"temperature":NaN}"#, ""),
        chat("not UTF-8", b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", ""),
        chat("a lone surrogate", r#"{"messages":[{"role":"user","content":"\ud800"}]}"#, ""),
        chat("a raw NUL in a text", b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\0b\"}]}", ""),
        chat("200 lists in each other", deep(200), ""),
        chat("100,000 lists in each other", "[".repeat(100_000), ""),
        chat("100,000 closed lists", format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)), ""),
    ]
}

fn wrong_types() -> Vec<Row> {
    vec![
        chat("no messages", r#"{"model":"auto"}"#, "messages"),
        chat("messages: text", r#"{"messages":"hi"}"#, "messages"),
        chat("messages: null", r#"{"messages":null}"#, "messages"),
        chat("messages: empty", r#"{"messages":[]}"#, "messages"),
        chat("a message: number", r#"{"messages":[1]}"#, "messages[0]"),
        chat("a message: without role", r#"{"messages":[{"content":"hi"}]}"#, "messages[0].role"),
        chat("role: number", r#"{"messages":[{"role":1}]}"#, "messages[0].role"),
        chat("role: unknown", r#"{"messages":[{"role":"boss","content":"hi"}]}"#, "messages[0].role"),
        chat("content: number", r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
        chat("content: null", r#"{"messages":[{"role":"user","content":null}]}"#, "messages[0].content"),
        chat("content: none", r#"{"messages":[{"role":"user"}]}"#, "messages[0].content"),
        chat(
            "content: an image",
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
            "messages[0].content[0]",
        ),
        field("model: number", r#""model":7"#, "model"),
        field("stream: text", r#""stream":"yes""#, "stream"),
        field("stream_options: text", r#""stream_options":"usage""#, "stream_options"),
        field("temperature: text", r#""temperature":"hot""#, "temperature"),
        field("stop: number", r#""stop":5"#, "stop"),
        field("stop: a number in the list", r#""stop":["a",5]"#, "stop[1]"),
        field("logit_bias: a word for a token", r#""logit_bias":{"cat":1}"#, "logit_bias.cat"),
        field("logprobs: number", r#""logprobs":3"#, "logprobs"),
        field("response_format: text", r#""response_format":"json""#, "response_format"),
        field("outpost.lane: unknown", r#""outpost":{"lane":"fast"}"#, "outpost.lane"),
        field("outpost.id: a path", r#""outpost":{"id":"../x"}"#, "outpost.id"),
    ]
}

fn numbers() -> Vec<Row> {
    vec![
        field("max_tokens: 0", r#""max_completion_tokens":0"#, "max_completion_tokens"),
        field("max_tokens: -1", r#""max_completion_tokens":-1"#, "max_completion_tokens"),
        field("max_tokens: 1.5", r#""max_completion_tokens":1.5"#, "max_completion_tokens"),
        field("max_tokens: 1e30", r#""max_completion_tokens":1e30"#, "max_completion_tokens"),
        field("max_tokens: 2^64", r#""max_completion_tokens":18446744073709551616"#, "max_completion_tokens"),
        field("temperature: -0.1", r#""temperature":-0.1"#, "temperature"),
        field("temperature: beyond f32", r#""temperature":1e39"#, "temperature"),
        field("temperature: beyond f64", r#""temperature":1e400"#, ""),
        field("top_p: 0", r#""top_p":0"#, "top_p"),
        field("top_k: -1", r#""top_k":-1"#, "top_k"),
        field("seed: 2^63", r#""seed":9223372036854775808"#, "seed"),
        field("n: 2", r#""n":2"#, "n"),
        field("n: -1", r#""n":-1"#, "n"),
        field("top_logprobs: 21", r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
        field("logit_bias: 101", r#""logit_bias":{"5":101}"#, "logit_bias.5"),
        field("logit_bias: no such token", r#""logit_bias":{"4000000000":1}"#, "logit_bias.4000000000"),
        field("deadline_ms: 0", r#""outpost":{"deadline_ms":0}"#, "outpost.deadline_ms"),
        field("deadline_ms: 2^63", r#""outpost":{"deadline_ms":9223372036854775808}"#, "outpost.deadline_ms"),
    ]
}

fn conversations() -> Vec<Row> {
    let many = vec![HI; 513].join(",");
    let long = "word ".repeat(20_000);
    let at = |path: &str, body: String| request("POST", path, "", body.as_bytes());
    vec![
        chat("513 messages", format!(r#"{{"messages":[{many}]}}"#), "messages"),
        raw(
            "a prompt longer than the context",
            at("/v1/chat/completions", format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}]}}"#)),
            (422, "context_length_exceeded", "messages"),
        ),
        raw(
            "a text longer than the context",
            at("/v1/completions", format!(r#"{{"prompt":"{long}"}}"#)),
            (422, "context_length_exceeded", "prompt"),
        ),
        raw(
            "an unknown model",
            at("/v1/chat/completions", format!(r#"{{"messages":[{HI}],"model":"gpt-9"}}"#)),
            (404, "model_not_found", "model"),
        ),
        raw(
            "a JSON schema",
            at(
                "/v1/chat/completions",
                format!(r#"{{"messages":[{HI}],"response_format":{{"type":"json_schema"}}}}"#),
            ),
            (422, "schema_unsupported", "response_format"),
        ),
        raw("prompt: an object", at("/v1/completions", r#"{"prompt":{}}"#.into()), (400, INVALID, "prompt")),
        raw(
            "prompt: no such token",
            at("/v1/completions", r#"{"prompt":[4000000000]}"#.into()),
            (400, INVALID, "prompt"),
        ),
        raw(
            "prompt: token 2^32",
            at("/v1/completions", r#"{"prompt":[4294967296]}"#.into()),
            (400, INVALID, "prompt"),
        ),
    ]
}

fn sizes() -> Vec<Row> {
    let large = (413, "too_large", "");
    let ten_mb = vec![b' '; 10_000_000];
    let chunks: Vec<u8> = ten_mb.chunks(100_000).flat_map(|c| [b"186a0\r\n", c, b"\r\n"].concat()).collect();
    let expect = "expect: 100-continue\r\ncontent-length: 10000000\r\n";
    vec![
        raw("10 MB with a length", request("POST", "/v1/chat/completions", "", &ten_mb), large),
        raw(
            "10 MB in chunks",
            [post("transfer-encoding: chunked\r\n").as_bytes(), &chunks, b"0\r\n\r\n"].concat(),
            large,
        ),
        raw("10 MB announced with Expect, none sent", post(expect), large),
        raw("40 MB with a length", request("POST", "/v1/chat/completions", "", &ten_mb.repeat(4)), large),
        raw("2^64 - 1 bytes announced", post("content-length: 18446744073709551615\r\n"), (431, "", "")),
        head("a header of 32 KiB", &format!("x: {}\r\n", "y".repeat(32 * 1024)), (431, "", "")),
        head("200 headers", &"x: y\r\n".repeat(200), (431, "", "")),
        raw(
            "a path of 32 KiB",
            request("GET", &format!("/{}", "x".repeat(32 * 1024)), "", b""),
            (431, "", ""),
        ),
        head(
            "an id of 1 KiB",
            &format!("idempotency-key: {}\r\n", "x".repeat(1024)),
            (400, INVALID, "Idempotency-Key"),
        ),
    ]
}

fn not_http() -> Vec<Row> {
    let bad = (400, "", "");
    vec![
        raw("no HTTP", "hello\r\n\r\n", bad),
        // The server library knows it and hangs up; an answer in HTTP/1 would help nobody.
        Row { expected: None, ..raw("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad) },
        raw("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bad),
        raw("a NUL in the path", "GET /\0 HTTP/1.1\r\nhost: o\r\n\r\n", bad),
        raw("a space before the colon", "GET / HTTP/1.1\r\nhost : o\r\n\r\n", bad),
        raw("length: negative", post("content-length: -1\r\n"), bad),
        raw("length: two of them", post("content-length: 2\r\ncontent-length: 3\r\n"), bad),
        raw("length: beyond 64 bits", post("content-length: 99999999999999999999999\r\n"), bad),
        raw("an unknown transfer coding", post("transfer-encoding: gzip\r\n"), bad),
        raw("a chunk of no size", post("transfer-encoding: chunked\r\n") + "zz\r\n", (400, INVALID, "")),
        raw(
            "a chunk of 2^64",
            post("transfer-encoding: chunked\r\n") + "fffffffffffffffff\r\n",
            (400, INVALID, ""),
        ),
    ]
}

fn other_paths() -> Vec<Row> {
    let ask = |method: &str, path: &str| request(method, path, "", b"");
    vec![
        raw("a path that is not there", ask("GET", "/v1/nothing"), (404, INVALID, "")),
        raw("a path with dots", ask("GET", "/v1/../../etc/passwd"), (404, INVALID, "")),
        raw("GET of a POST", ask("GET", "/v1/chat/completions"), (405, INVALID, "")),
        raw("DELETE of a GET", ask("DELETE", "/v1/models"), (405, INVALID, "")),
        raw("OPTIONS", ask("OPTIONS", "/v1/models"), (405, INVALID, "")),
        raw("CONNECT", "CONNECT example.org:443 HTTP/1.1\r\nhost: o\r\n\r\n", (404, INVALID, "")),
        raw("a model that is not there", ask("GET", "/v1/models/gpt-9"), (404, "model_not_found", "model")),
    ]
}

fn cut_off() -> Vec<Row> {
    vec![
        cut("half-closed at once", "", None),
        cut("half-closed in the head", "POST /v1/chat/comp", None),
        cut(
            "half-closed in the body",
            post("content-length: 100\r\n") + "{\"messages\"",
            Some((400, INVALID, "")),
        ),
        cut(
            "half-closed in a chunk",
            post("transfer-encoding: chunked\r\n") + "64\r\nabc",
            Some((400, INVALID, "")),
        ),
    ]
}
