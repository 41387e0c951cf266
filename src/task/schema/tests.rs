//! What is held, what is refused, and that it ends.

use serde_json::json;

use super::*;

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    Schema::compile(&schema.to_string()).unwrap().check(value)
}

#[test]
fn each_keyword_holds_what_it_says() {
    for (schema, good, bad) in [
        (json!({"type": "integer"}), json!([1, 1.0, -3]), json!([1.5, "1", null, true])),
        (json!({"type": ["null", "string"]}), json!([null, ""]), json!([0, [], {}, false])),
        (json!({"enum": [1, "a", [1]]}), json!([1, 1.0, "a", [1.0]]), json!(["b", [2], null])),
        (json!({"const": {"a": 1, "b": 2}}), json!([{"b": 2, "a": 1}]), json!([{"a": 1}])),
        (json!({"minimum": 1, "maximum": 2.5}), json!([1, 2.5, 2, "x"]), json!([0.99, 2.6, 3])),
        (json!({"exclusiveMinimum": 1, "exclusiveMaximum": 2}), json!([1.5]), json!([1, 2, 1.0])),
        (
            json!({"maximum": 9_007_199_254_740_993_u64}),
            json!([9_007_199_254_740_993_u64]),
            json!([9_007_199_254_740_994_u64]),
        ),
        (json!({"multipleOf": 0.1}), json!([0.3, 4.2, 7]), json!([0.35])),
        (json!({"multipleOf": 3}), json!([0, 9, -3, 6.0]), json!([4])),
        (json!({"minLength": 1, "maxLength": 2}), json!(["é", "éé", 5]), json!(["", "ééé"])),
        (json!({"pattern": "^a+$"}), json!(["aa", 1]), json!(["b", "ab", ""])),
        (
            json!({"format": "date-time"}),
            json!(["2026-11-22T08:05:09Z", "2026-11-22T08:05:09.5+01:00"]),
            json!(["2026-11-22", "2026-11-22 08:05:09Z", "2026-11-22T08:05:09", "tomorrow"]),
        ),
        (json!({"format": "date"}), json!(["2026-02-28"]), json!(["2026-02-29", "2026-2-8", "20260228"])),
        (json!({"format": "ipv4"}), json!(["10.0.0.1"]), json!(["10.0.0", "::1"])),
        (json!({"format": "ipv6"}), json!(["::1"]), json!(["10.0.0.1"])),
        (
            json!({"format": "uuid"}),
            json!(["01890a5d-ac96-774b-bcce-b302099a8057"]),
            json!(["01890a5dac96774bbcceb302099a8057"]),
        ),
        (json!({"required": ["a"]}), json!([{"a": null}, []]), json!([{}, {"b": 1}])),
        (
            json!({"properties": {"a/b": {"type": "null"}}}),
            json!([{"a/b": null}, {"x": 1}]),
            json!([{"a/b": 1}]),
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!([{"a": 1}, {}]),
            json!([{"b": 1}]),
        ),
        (
            json!({"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": {"type": "string"}}),
            json!([{"xa": null, "b": ""}]),
            json!([{"xa": ""}, {"b": null}]),
        ),
        (
            json!({"minProperties": 1, "maxProperties": 2}),
            json!([{"a": 1}]),
            json!([{}, {"a": 1, "b": 1, "c": 1}]),
        ),
        (
            json!({"items": {"type": "null"}, "minItems": 1, "maxItems": 2}),
            json!([[null]]),
            json!([[], [1], [null, null, null]]),
        ),
        (
            json!({"prefixItems": [{"type": "null"}], "items": false}),
            json!([[], [null]]),
            json!([[1], [null, null]]),
        ),
        (
            json!({"uniqueItems": true}),
            json!([[1, 2, "1", [1], {"a": 1}]]),
            json!([[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]),
        ),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!([1, 2]), json!([0, 3])),
        (json!({"anyOf": [{"type": "null"}, {"minimum": 5}]}), json!([null, 5]), json!([4])),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}), json!([0, 3]), json!([1, 2])),
        (json!({"not": {"type": "null"}}), json!([1]), json!([null])),
        (
            json!({"$ref": "#/$defs/a~1b", "minimum": 2, "$defs": {"a/b": {"type": "integer"}}}),
            json!([2]),
            json!([1, 2.5]),
        ),
        (json!(true), json!([null, 1]), json!([])),
        (json!(false), json!([]), json!([null, 1])),
    ] {
        for value in good.as_array().unwrap() {
            assert_eq!(check(&schema, value), Ok(()), "{schema} {value}");
        }
        for value in bad.as_array().unwrap() {
            assert!(check(&schema, value).is_err(), "{schema} {value}");
        }
    }
}

#[test]
fn each_fault_is_told_with_its_place_and_what_was_expected() {
    let schema = json!({
        "type": "object", "required": ["verdict", "axes"], "additionalProperties": false,
        "properties": {
            "verdict": {"enum": ["ok", "worn"]},
            "axes": {"items": {"type": "number", "maximum": 3}},
            "why": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]},
        },
    });
    let told = |value: Value| check(&schema, &value).unwrap_err();
    assert_eq!(told(json!([])), "the answer: is array, expected object");
    assert_eq!(told(json!({"verdict": "ok"})), "the answer: `axes` is missing");
    assert_eq!(
        told(json!({"verdict": "fine", "axes": [1, 4, "5"], "x": 1})),
        "/verdict: is \"fine\", expected \"ok\" or \"worn\"; /axes/1: is 4, expected at most 3; \
         /axes/2: is string, expected number; /x: must not be there"
    );
    assert_eq!(
        told(json!({"verdict": "ok", "axes": [], "why": "because"})),
        "/why: fits none of the 2 alternatives (/why: is string, expected null; \
         /why: has 7 characters, expected at most 5)"
    );
}

#[test]
fn many_and_long_faults_are_cut() {
    let words = check(&json!({"items": {"type": "string"}}), &Value::from(vec![1; 10_000])).unwrap_err();
    assert!(words.ends_with("and 9995 more") && words.len() < 500, "{words}");
    let words = check(&json!({"const": 1}), &json!("x".repeat(100_000))).unwrap_err();
    assert!(words.len() < 2 * limits::TASK_REASON_CHARS_MAX, "{}", words.len());
}

#[test]
fn a_schema_may_refer_to_itself_within_the_value() {
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {
        "type": "object", "required": ["v"],
        "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
    }}});
    assert_eq!(check(&tree, &json!({"v": 1, "next": {"v": 2}})), Ok(()));
    assert_eq!(
        check(&tree, &json!({"v": 1, "next": {"v": "2"}})).unwrap_err(),
        "/next/v: is string, expected integer"
    );
}

#[test]
fn what_cannot_be_held_is_refused_with_its_place() {
    let big = format!("[{}]", " ".repeat(70_000));
    let deep = "[".repeat(60_000);
    let patterns =
        json!({"allOf": vec![json!({"pattern": "a"}); limits::SCHEMA_PATTERNS_MAX + 1]}).to_string();
    for (bad, why) in [
        ("{", "is not JSON"),
        ("[]", "at its top, there is neither an object nor true or false"),
        (r#"{"type": "strin"}"#, "`type` is `strin`, expected one of null, boolean"),
        (
            r#"{"properties": {"a": {"requird": []}}}"#,
            "at /properties/a, `requird` is no keyword that answers can be held against; did you mean `required`?",
        ),
        (r#"{"if": {}}"#, "`if` is no keyword"),
        (r#"{"$anchor": "x"}"#, "`$anchor` is no keyword"),
        (r#"{"nullable": true}"#, "`nullable` is no keyword"),
        (r#"{"format": "email"}"#, "`format` is `email`; those that can be held are date-time"),
        (r#"{"minLength": -1}"#, "`minLength` is not a whole number"),
        (r#"{"multipleOf": 0}"#, "must be above 0"),
        (r#"{"anyOf": []}"#, "`anyOf` is empty"),
        (r#"{"required": "a"}"#, "`required` is not a list"),
        (r#"{"$ref": "http://127.0.0.1/x"}"#, "nothing is fetched"),
        (r#"{"$ref": "file:///etc/passwd"}"#, "nothing is fetched"),
        (r##"{"$ref": "#/$defs/none"}"##, "leads to #/$defs/none, which is not there"),
        (r##"{"$ref": "#"}"##, "leads back to itself"),
        (
            r##"{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}"##,
            "leads back to itself",
        ),
        (r#"{"pattern": "(?=x)"}"#, "look-around"),
        (r#"{"pattern": "((a{1000}){1000}){1000}"}"#, "size limit"),
        (&big, "at most"),
        (&deep, "is not JSON"),
        (&patterns, "one pattern too many"),
    ] {
        let words = Schema::compile(bad).unwrap_err();
        assert!(words.contains(why), "{words}");
    }
}

/// `{"allOf": [{"allOf": […]}]}`, this deep.
fn chain(depth: usize) -> Value {
    (0..depth).fold(json!({"type": "integer"}), |inner, _| json!({"allOf": [inner]}))
}

#[test]
fn neither_schema_nor_answer_makes_a_check_hang() {
    let slow = json!({"pattern": "^(a|a)*(a*)*$"});
    assert!(check(&slow, &json!("a".repeat(100_000) + "b")).is_err());
    // Each definition looks twice at the one before: two to the power of sixteen, for each item.
    let defs: serde_json::Map<_, _> = (1..limits::SCHEMA_CHAIN_MAX / 2)
        .map(|n| {
            let before = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            (format!("d{n}"), json!({"allOf": vec![before; 9]}))
        })
        .chain([("d0".to_owned(), json!({"type": "integer"}))])
        .collect();
    let last = limits::SCHEMA_CHAIN_MAX / 2 - 1;
    let schema = json!({"$defs": defs, "items": {"$ref": format!("#/$defs/d{last}")}});
    assert!(check(&schema, &Value::from(vec![1; 10_000])).unwrap_err().contains("cannot be checked"));
    assert!(
        Schema::compile(&chain(limits::SCHEMA_CHAIN_MAX + 1).to_string()).unwrap_err().contains("more than")
    );
}

#[test]
fn the_deepest_answer_fits_on_an_ordinary_stack() {
    // As many schemas for each value, and as many values within each other, as there may be.
    let mut schema = chain(limits::SCHEMA_CHAIN_MAX - 1);
    schema["$defs"]["all"] = (1..limits::SCHEMA_CHAIN_MAX - 1)
        .fold(json!({"items": {"$ref": "#/$defs/all"}}), |inner, _| json!({"allOf": [inner]}));
    let schema = json!({"$ref": "#/$defs/all", "$defs": schema["$defs"]});
    let answer = format!("{}{}", "[".repeat(127), "]".repeat(127));
    assert_eq!(check(&schema, &serde_json::from_str(&answer).unwrap()), Ok(()));
}
