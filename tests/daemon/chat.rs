//! What one answer promises.

use serde_json::{Value, json};

use crate::harness::{alone, prompt, shared, with};

#[test]
fn an_answer_has_openais_shape_and_its_counts_add_up() {
    let answer = shared().chat(&prompt("Name three colours.", 12));
    let body = answer.good();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(answer.header("x-request-id"), body["id"].as_str());
    assert_eq!(answer.header("x-outpost-zone"), Some("device"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &body["choices"][0];
    assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(0), &json!("assistant")));
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty());
    let usage = |key: &str| body["usage"][key].as_u64().unwrap();
    assert!(usage("prompt_tokens") > 4);
    assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));
}

#[test]
fn an_answer_ends_at_max_tokens_and_says_so() {
    for field in ["max_tokens", "max_completion_tokens"] {
        let mut body = json!({"messages": [{"role": "user", "content": "Count."}], "ignore_eos": true});
        body[field] = 5.into();
        let answer = shared().chat(&body).good();
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 5);
    }
}

#[test]
fn greedy_answers_repeat_and_seeds_decide_the_others() {
    let daemon = alone();
    let greedy = prompt("Tell me of the sea.", 24);
    assert_eq!(daemon.chat(&greedy).text(), daemon.chat(&greedy).text());
    let seeded = |seed: i64| {
        daemon.chat(&with(greedy.clone(), json!({"temperature": 1, "seed": seed, "ignore_eos": true}))).text()
    };
    let first = seeded(7);
    assert_eq!(first, seeded(7));
    assert!((8..12).any(|seed| seeded(seed) != first), "the seed has no effect");
}

/// The bytes of every token of an answer.
fn tokens(answer: &Value) -> Vec<Vec<u8>> {
    let entries = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes = |entry: &Value| {
        entry["bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8).collect()
    };
    entries.iter().map(bytes).collect()
}

#[test]
fn a_stop_string_across_token_borders_ends_the_answer_before_it() {
    let daemon = alone();
    let body = with(prompt("Tell me of the sea.", 40), json!({"ignore_eos": true, "logprobs": true}));
    let answer = daemon.chat(&body).good();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    // The end of one token and the beginning of the next, which no token holds in itself.
    let tokens = tokens(&answer);
    let stop = tokens.windows(2).skip(4).find_map(|pair| {
        let border = [*pair[0].last()?, *pair[1].first()?];
        let within = tokens.iter().any(|t| t.windows(2).any(|w| w == border));
        let stop = String::from_utf8(border.into()).ok()?;
        (!within && text.contains(&stop)).then_some(stop)
    });
    let stop = stop.expect("an answer of forty tokens has such a border");
    let stopped = daemon.chat(&with(body.clone(), json!({"stop": [stop.clone(), "never comes"]}))).good();
    let choice = &stopped["choices"][0];
    assert_eq!(choice["message"]["content"], text[..text.find(&stop).unwrap()], "{stop:?} in {text:?}");
    assert_eq!(choice["finish_reason"], "stop");
    assert!(stopped["usage"]["completion_tokens"].as_u64() < answer["usage"]["completion_tokens"].as_u64());
}

#[test]
fn logprobs_are_ordered_and_their_bytes_are_the_text() {
    let body = with(prompt("Write: naïve café ☕", 16), json!({"logprobs": true, "top_logprobs": 4}));
    let answer = shared().chat(&body).good();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8_lossy(&tokens(&answer).concat()), text);
    for entry in answer["choices"][0]["logprobs"]["content"].as_array().unwrap() {
        let top: Vec<f64> = entry["top_logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["logprob"].as_f64().unwrap())
            .collect();
        assert_eq!(top.len(), 4);
        assert!(top.is_sorted_by(|a, b| a >= b), "{entry}");
        // Greedy: the chosen token is the most likely one.
        assert_eq!(entry["logprob"].as_f64(), Some(top[0]), "{entry}");
        let sum: f64 = top.iter().map(|l| l.exp()).sum();
        assert!(sum > 0.0 && sum < 1.001, "{sum}");
    }
}

#[test]
fn text_and_token_ids_are_completed() {
    let complete = |prompt: Value| {
        shared().post("/v1/completions", &json!({"prompt": prompt, "max_tokens": 6, "temperature": 0})).good()
    };
    let answer = complete(json!("The sea is"));
    assert_eq!(answer["object"], "text_completion");
    assert!(!answer["choices"][0]["text"].as_str().unwrap().is_empty());
    assert_eq!(complete(json!([5, 6, 7]))["usage"]["prompt_tokens"], 3);
    assert_eq!(complete(json!([[5, 6, 7]]))["usage"]["prompt_tokens"], 3);
    // Nothing at all is continued from the token that begins a text.
    assert_eq!(complete(json!(""))["usage"]["prompt_tokens"], 1);
}

#[test]
fn the_loaded_model_answers_to_its_name_and_to_auto() {
    let daemon = shared();
    let list = daemon.get("/v1/models").good();
    let name = list["data"][0]["id"].as_str().unwrap();
    for model in [name, "auto", "local", ""] {
        let answer = daemon.chat(&with(prompt("Hi", 1), json!({"model": model}))).good();
        assert_eq!(answer["model"], name, "asked for {model:?}");
    }
    assert_eq!(daemon.get(&format!("/v1/models/{name}")).good()["id"], name);
    let unknown = daemon.chat(&with(prompt("Hi", 1), json!({"model": "gpt-9"})));
    assert_eq!(unknown.error(), (404, "model_not_found".into(), "model".into()));
}

#[test]
fn a_callers_id_comes_back() {
    let daemon = shared();
    let inside = daemon.chat(&with(prompt("Hi", 1), json!({"outpost": {"id": "job-1"}})));
    assert_eq!((inside.header("x-request-id"), &inside.good()["id"]), (Some("job-1"), &json!("job-1")));
    let body = prompt("Hi", 1);
    let outside =
        daemon.connect().ask_with("POST", "/v1/chat/completions", "idempotency-key: job-2\r\n", Some(&body));
    assert_eq!(outside.header("x-request-id"), Some("job-2"));
    // Errors say whose they are, too.
    let refused = daemon.chat(&with(prompt("Hi", 1), json!({"model": "x", "outpost": {"id": "job-3"}})));
    assert_eq!(refused.header("x-request-id"), Some("job-3"));
    assert_eq!(refused.json()["error"]["request_id"], "job-3");
}

#[test]
fn an_answer_that_is_late_is_not_sent() {
    let body = with(
        prompt("Count to a thousand.", 900),
        json!({"ignore_eos": true, "outpost": {"deadline_ms": 50}}),
    );
    let answer = shared().chat(&body);
    assert_eq!(answer.error(), (408, "deadline_exceeded".into(), String::new()));
}

#[test]
fn an_error_tells_programs_what_to_do() {
    let error = shared().chat(&json!({"messages": []})).json()["error"].clone();
    assert_eq!(error["type"], "invalid_request");
    assert_eq!((&error["status"], &error["retryable"]), (&json!(400), &json!(false)));
    assert_eq!(error["retry_after_ms"], Value::Null);
}
