//! What tasks promise, from the configuration's entry to the error topic.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    config::{self, OnChange, OneOrMore, PayloadForm},
    domain::{Error, ErrorKind, Lane, RequestId, limits},
};

fn entry() -> config::Task {
    config::Task {
        name: "vibration".into(),
        topic: OneOrMore(vec!["plant/{line}/vibration".into()]),
        prompt: "Is {{ payload.rms }} mm/s too much for line {{ line }}?".into(),
        result: "plant/{{ topic[1] }}/verdict".into(),
        ..config::Task::default()
    }
}

fn compile(change: impl FnOnce(&mut config::Task)) -> Result<std::sync::Arc<Task>, Vec<String>> {
    let mut entry = entry();
    change(&mut entry);
    match Tasks::compile(&[entry], "outpost/v1", "press-3") {
        Ok(tasks) => Ok(std::sync::Arc::clone(tasks.get("vibration").expect("the only one"))),
        Err(faults) => Err(faults.into_iter().map(|(_, key, words)| format!("{key} {words}")).collect()),
    }
}

fn task(change: impl FnOnce(&mut config::Task)) -> std::sync::Arc<Task> {
    compile(change).unwrap()
}

fn prompt(prompt: &str, payload: &[u8]) -> Result<String, TaskError> {
    let rendered = task(|t| t.prompt = prompt.into()).render("plant/a/vibration", payload)?;
    Ok(rendered.body["messages"][0]["content"].as_str().unwrap().to_owned())
}

#[test]
fn a_message_becomes_a_request() {
    let task = task(|t| {
        t.system = Some("You know machines.".into());
        (t.temperature, t.max_tokens, t.seed) = (Some(0.7), Some(64), Some(7));
        (t.lane, t.deadline_ms) = (Lane::Batch, Some(1500));
    });
    let rendered = task.render("plant/line-4/vibration", br#"{"rms": 4.2}"#).unwrap();
    assert_eq!(
        rendered.body,
        json!({
            "messages": [
                {"role": "system", "content": "You know machines."},
                {"role": "user", "content": "Is 4.2 mm/s too much for line line-4?"},
            ],
            "temperature": 0.7, "max_tokens": 64, "seed": 7,
        })
    );
    assert_eq!(rendered.result_topic, "plant/line-4/verdict");
    assert_eq!(rendered.error_topic, "outpost/v1/press-3/task/vibration/error");
    assert_eq!((rendered.lane, rendered.deadline.unwrap().as_millis()), (Lane::Batch, 1500));
    assert_eq!(rendered.supersedes.as_deref(), Some("vibration/plant/line-4/vibration"));
    assert_eq!(task.client().as_str(), "task-vibration");
}

#[test]
fn what_is_no_text_is_written_as_json() {
    let payload =
        br#"{"a":null,"b":true,"c":[1,2.50,"x"],"d":{"z":1,"a":"\u00e9"},"big":18446744073709551615}"#;
    for (template, expected) in [
        ("{{ payload.a }} {{ payload.b }} {{ payload.c }}", r#"null true [1,2.5,"x"]"#),
        ("{{ payload.d }} {{ payload.big }}", r#"{"z":1,"a":"é"} 18446744073709551615"#),
        ("{{ payload.c[2] }} {{ payload.c[2] | tojson }}", r#"x "x""#),
        ("{% for x in payload.c %}{{ loop.index }}={{ x }};{% endfor %}", "1=1;2=2.5;3=x;"),
        (
            "{{ topic_text }} {{ topic[0] }} {{ topic }}",
            r#"plant/a/vibration plant ["plant","a","vibration"]"#,
        ),
        ("{{ payload.none | default('-') }}{% if payload.none is defined %}!{% endif %}", "-"),
    ] {
        assert_eq!(prompt(template, payload).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn text_and_bytes_are_taken_as_they_are() {
    let text = task(|t| (t.payload, t.prompt) = (PayloadForm::Text, "<{{ payload }}>".into()));
    let content = |task: &Task, payload: &[u8]| {
        let rendered = task.render("plant/a/vibration", payload)?;
        Ok::<_, TaskError>(rendered.body["messages"][0]["content"].clone())
    };
    assert_eq!(content(&text, "4,2 µm\n".as_bytes()).unwrap(), "<4,2 µm\n>");
    let error = content(&text, b"ab\xff").unwrap_err();
    assert_eq!(error.reason(), "the payload is not UTF-8 text: byte 3 is wrong");
    let bytes =
        task(|t| (t.payload, t.prompt) = (PayloadForm::Bytes, "{{ payload }} {{ payload[1] }}".into()));
    assert_eq!(content(&bytes, b"\x00\xff").unwrap(), "[0,255] 255");
}

#[test]
fn a_field_that_is_not_there_is_an_error_that_names_it() {
    for (template, words) in [
        ("{{ payload.rmss }}", "`prompt` asks for `payload.rmss`, which is not there"),
        ("{{ payload.axis.x }}", "`prompt` asks for `payload.axis`, which is not there"),
        (
            "{{ payload.rms | round }}{{ payload['peak'] | round }}",
            "`prompt` fails: cannot round value (undefined), at `{{ payload['peak'] | round }}`",
        ),
        ("{% if payload.hot %}{% endif %}", "`prompt` asks for `payload.hot`, which is not there"),
        ("{% for a in payload.axes %}{% endfor %}", "`prompt` asks for `payload.axes`, which is not there"),
        ("{{ topic[7] }}", "`prompt` asks for `topic[7]`, which is not there"),
    ] {
        let error = prompt(template, br#"{"rms": 4.2}"#).unwrap_err();
        assert_eq!(error, TaskError::Render { reason: words.into() }, "{template}");
    }
    assert_eq!(prompt("{{ payload.rms }}", b"4").unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[test]
fn what_is_no_json_is_an_error_with_its_place() {
    for (payload, words) in [
        (&b""[..], "the payload is empty, expected JSON"),
        (b" \n", "the payload is empty, expected JSON"),
        (br#"{"rms": NaN}"#, "the payload is not JSON: expected value at line 1 column 9"),
        (br#"{"rms": 1e999}"#, "the payload is not JSON: number out of range at line 1 column 13"),
        (b"{\"rms\": \"\xff\"}", "the payload is not JSON: invalid unicode code point at line 1 column 10"),
        (br#"{"rms": 1} x"#, "the payload is not JSON: trailing characters at line 1 column 12"),
    ] {
        assert_eq!(
            prompt("{{ payload.rms }}", payload).unwrap_err(),
            TaskError::Payload { reason: words.into() }
        );
    }
    let deep = "[".repeat(100_000);
    assert!(prompt("{{ payload }}", deep.as_bytes()).unwrap_err().reason().contains("recursion limit"));
    let large = vec![b' '; limits::REQUEST_BODY_BYTES_MAX + 1];
    assert!(prompt("x", &large).unwrap_err().reason().contains("has 131073 bytes"));
}

#[test]
fn a_payload_is_never_a_template() {
    let hostile = r#"{"rms": "{{ payload }}{% for x in range(9) %}{{ x }}{% endfor %}{# x #}"}"#;
    assert_eq!(
        prompt("<{{ payload.rms }}>", hostile.as_bytes()).unwrap(),
        "<{{ payload }}{% for x in range(9) %}{{ x }}{% endfor %}{# x #}>"
    );
}

#[test]
fn a_template_that_makes_too_much_of_a_payload_is_stopped() {
    for (template, words) in [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% for a in range(1000) %}{{ 'x' * 10000 }}{% endfor %}", "bytes"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ] {
        let error = prompt(template, b"1").unwrap_err();
        assert!(
            matches!(&error, TaskError::Render { reason } if reason.contains(words)),
            "{template}: {error}"
        );
    }
}

#[test]
fn a_template_that_nests_without_end_does_not_end_the_daemon() {
    let nest =
        "{% set ns = namespace(l=[]) %}{% for a in range(99999) %}{% set ns.l = [[[[ns.l]]]] %}{% endfor %}";
    for then in ["", "{{ ns.l }}", "{{ ns.l == [ns.l] }}"] {
        let _ = prompt(&format!("x{nest}{then}"), b"1");
    }
}

#[test]
fn a_sensor_does_not_choose_where_the_daemon_writes() {
    for value in ["a/b", "../x", "+", "#", "", "a\u{0}", "a\nb", "outpost/v1/other/request/x/1", "\u{85}"] {
        for result in [
            "plant/{{ payload.id }}/verdict",
            "plant/{% set x = payload.id %}{{ x }}/verdict",
            "plant/{% set x %}{{ payload.id }}{% endset %}{{ x }}/verdict",
            "plant/{% macro m(x) %}{{ x }}{% endmacro %}{{ m(payload.id) }}/verdict",
            "plant/{{ payload.id | replace('q', 'r') }}/verdict",
            "plant/{{ topic[0] ~ payload.id }}/verdict",
        ] {
            if result.contains('~') && value.is_empty() {
                continue; // an empty text behind another makes no empty level
            }
            let task = task(|t| t.result = result.into());
            let error =
                task.render("plant/a/vibration", json!({"id": value, "rms": 1}).to_string().as_bytes());
            assert!(matches!(error, Err(TaskError::Topic { .. })), "{result} {value:?}: {error:?}");
        }
    }
    // To call a value safe is not for templates of topics.
    for filter in ["safe", "escape", "e"] {
        let task = task(|t| t.result = format!("plant/{{{{ payload.id | {filter} }}}}"));
        assert!(task.render("plant/a/vibration", br#"{"id":"a/b","rms":1}"#).is_err(), "{filter}");
    }
    for (result, why) in [
        ("{{ payload.id }}/x", "begins with `$`"),
        ("{% if payload.id %}{% endif %}", "is empty"),
        ("a/{% if payload.id %}{% endif %}/b", "empty level"),
        ("plant/{{ payload.rms }}/vibration", "answer its own answers"),
        ("a/{{ payload }}", "map is no level"),
        ("a/{{ none }}{{ payload.id }}", "none is no level"),
    ] {
        let error =
            task(|t| t.result = result.into()).render("plant/a/vibration", br#"{"id":"$SYS","rms":1}"#);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResponseTopicDenied, "{result}: {error}");
        assert!(error.reason().contains(why), "{result}: {error}");
    }
}

#[test]
fn the_topic_of_the_message_may_be_part_of_the_results() {
    let task = task(|t| t.result = "verdict/{{ topic_text }}/{{ payload.rms }}".into());
    let rendered = task.render("plant/a b/vibration", br#"{"rms": 4}"#).unwrap();
    assert_eq!(rendered.result_topic, "verdict/plant/a b/vibration/4");
    assert!(
        task.render("elsewhere", b"{}").unwrap_err().reason().contains("none of the task's topic filters")
    );
}

#[test]
fn errors_always_have_somewhere_to_go() {
    let own = task(|t| t.error = Some("plant/{{ line }}/fault".into()));
    assert_eq!(own.error_topic("plant/a/vibration"), "plant/a/fault");
    let default = "outpost/v1/press-3/task/vibration/error";
    assert_eq!(own.error_topic("plant//vibration"), default);
    assert_eq!(task(|_| {}).error_topic("plant/a/vibration"), default);
}

#[test]
fn every_mistake_of_an_entry_is_told() {
    let wrong = compile(|t| {
        t.topic = OneOrMore(vec!["plant/#/x".into(), "plant/{line}".into()]);
        t.prompt = "{{ payload.rms }".into();
        t.system = Some("{{ lime }}".into());
        t.schema = Some("{".into());
        t.error = Some("e/{{ payload.x }}".into());
        t.result = "a/{{ topic[9] }".into();
        t.on_change = OnChange::Values(vec!["rms".into()]);
    });
    let keys: Vec<String> =
        wrong.unwrap_err().iter().map(|w| w.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(keys, ["topic", "schema", "on_change", "prompt", "system", "result", "error"]);
}

#[test]
fn a_topic_that_cannot_be_rendered_is_told_beside_other_mistakes() {
    let wrong =
        compile(|t| (t.prompt, t.result) = ("{{ lime }}".into(), "a/{{ topic[9] }}".into())).unwrap_err();
    assert!(
        wrong[0].starts_with("prompt ") && wrong[1].starts_with("result asks for `topic[9]`"),
        "{wrong:?}"
    );
}

#[test]
fn what_could_never_work_is_refused_before_it_runs() {
    for (change, words) in [
        (
            (|t| t.prompt = "{{ lime }}".into()) as fn(&mut config::Task),
            "prompt asks for `lime`, which `plant/+/vibration` does not name; there are line, payload",
        ),
        (|t| t.prompt = String::new(), "prompt is empty"),
        (|t| t.prompt = "{{ schema }}".into(), "prompt asks for `schema`, but the task has none"),
        (|t| t.result = "a/+/b".into(), "result makes `a/+/b`, which holds a wildcard"),
        (|t| t.result = "plant/{{ topic[9] }}".into(), "result asks for `topic[9]`, which is not there"),
        (|t| t.result = "plant/{{ line }}/vibration".into(), "it would answer its own answers"),
        (|t| t.topic = OneOrMore(vec!["#".into()]), "the task would read its own errors"),
        (|t| t.topic = OneOrMore(vec![]), "expected 1 to 16"),
        (|t| t.prompt = "x".repeat(70_000), "at most 65536 are taken"),
        (|t| t.prompt = "a\n{% for %}".into(), "prompt is no template in its line 2"),
        (
            |t| t.schema = Some(r#"{"type": "strin"}"#.into()),
            "schema is no JSON Schema that can be held: at its top, `type` is `strin`",
        ),
        (
            |t| (t.payload, t.on_change) = (PayloadForm::Text, OnChange::Values(vec!["/a".into()])),
            "on_change looks at values of JSON",
        ),
    ] {
        let wrong = compile(change).unwrap_err();
        assert!(wrong.iter().any(|w| w.contains(words)), "{words}: {wrong:?}");
    }
}

const SCHEMA: &str = r#"{"type":"object","required":["worn"],"properties":{"worn":{"type":"boolean"}}}"#;

#[test]
fn an_answer_is_held_against_the_schema() {
    let task = task(|t| t.schema = Some(SCHEMA.into()));
    for good in [
        r#"{"worn":true}"#,
        "\n {\"worn\": true}\n",
        "```json\n{\"worn\": true}\n```",
        "```\n{\"worn\": true}\n```\n",
    ] {
        assert_eq!(task.check(good).as_ref(), Ok(&json!({"worn": true})), "{good}");
    }
    for (bad, words) in [
        ("", "the answer is empty"),
        ("```json\n```", "the answer is empty"),
        ("It is worn.", "the answer is not JSON: expected value at line 1 column 1"),
        ("Here: {\"worn\": true}", "the answer is not JSON"),
        ("{\"worn\": true} Good luck!", "trailing characters"),
        ("{\"worn\": 1}", "/worn: is number, expected boolean"),
        ("[]", "the answer: is array, expected object"),
    ] {
        let error = task.check(bad).unwrap_err();
        assert!(error.reason().contains(words) && error.kind() == ErrorKind::ProviderError, "{bad}: {error}");
    }
    assert_eq!(task.result_payload(&json!({"worn": true})), br#"{"worn":true}"#);
}

#[test]
fn without_a_schema_the_answer_is_the_result() {
    let task = task(|_| {});
    let result = task.check(" It is worn.\n").unwrap();
    assert_eq!(
        (&result, task.result_payload(&result)),
        (&json!(" It is worn.\n"), b" It is worn.\n".to_vec())
    );
}

#[test]
fn the_second_attempt_says_what_was_wrong() {
    let task = task(|t| t.schema = Some(SCHEMA.into()));
    let body = task.render("plant/a/vibration", br#"{"rms": 1}"#).unwrap().body;
    let error = task.check("maybe").unwrap_err();
    let again = task.retry_body(&body, "maybe", &error);
    assert_eq!(again["messages"][0], body["messages"][0]);
    assert_eq!(again["messages"][1], json!({"role": "assistant", "content": "maybe"}));
    let words = again["messages"][2]["content"].as_str().unwrap();
    assert!(words.contains("not JSON: expected value") && words.contains(SCHEMA), "{words}");
    let long = task.retry_body(&body, &"é".repeat(100_000), &error);
    assert!(long.to_string().len() < 2 * limits::ANSWER_QUOTED_BYTES_MAX);
}

#[test]
fn an_error_is_published_in_the_shape_of_all_errors() {
    let task = task(|t| t.schema = Some(SCHEMA.into()));
    let error = Error::from(&task.check("no").unwrap_err());
    let id = RequestId::new("r1").unwrap();
    let payload = task.error_payload("plant/a/vibration", &error, Some(&id), Some("no"));
    assert_eq!((&payload["task"], &payload["topic"]), (&json!("vibration"), &json!("plant/a/vibration")));
    assert_eq!(payload["error"]["code"], "provider_error");
    assert_eq!((&payload["error"]["request_id"], &payload["answer"]), (&json!("r1"), &json!("no")));
    assert!(payload["error"]["message"].as_str().unwrap().contains("not JSON"));
    assert_eq!(task.error_payload("t", &error, None, None).get("answer"), None);
}

#[test]
fn a_topic_finds_every_task_that_it_is_for() {
    let named = |name: &str, topics: &[&str]| {
        let topic = OneOrMore(topics.iter().map(ToString::to_string).collect());
        config::Task {
            name: name.into(),
            topic,
            prompt: "x".into(),
            result: "r".into(),
            ..config::Task::default()
        }
    };
    let entries = [named("a", &["p/+/v", "p/#"]), named("b", &["p/{x}/v"]), named("c", &["q"])];
    let tasks = Tasks::compile(&entries, "o", "n").unwrap();
    let found = |topic: &str| tasks.matching(topic).map(|t| t.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (found("p/1/v"), found("p"), found("r")),
        (vec!["a".into(), "b".into()], vec!["a".into()], vec![])
    );
}

proptest! {
    #[test]
    fn nothing_that_comes_in_makes_a_task_panic_or_write_elsewhere(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\":,0-9a-z+#/$\\\\]{0,60}".prop_map(String::into_bytes),
            "\\PC{0,20}".prop_map(|id| json!({"id": id, "rms": 1}).to_string().into_bytes()),
        ],
        level in "\\PC{0,12}",
    ) {
        let task = task(|t| t.result = "safe/{{ payload.id }}/x".into());
        if let Ok(rendered) = task.render(&format!("plant/{level}/vibration"), &payload) {
            let levels: Vec<&str> = rendered.result_topic.split('/').collect();
            prop_assert_eq!((levels.len(), levels[0], levels[2]), (3, "safe", "x"));
            prop_assert!(!levels[1].is_empty() && !levels[1].contains(['+', '#', '\0']));
        }
    }

    #[test]
    fn a_text_comes_out_as_it_went_in(text in "\\PC*") {
        let payload = json!({"t": text}).to_string();
        prop_assert_eq!(prompt("{{ payload.t }}", payload.as_bytes()), Ok(text));
    }
}
