//! From the JSON of a schema to its rules.
//!
//! Nothing here recurses: each schema within a schema is put on a list by its JSON pointer and
//! taken from there, once, which is also how a `$ref` may lead back to where it came from.

use std::collections::{BTreeMap, VecDeque};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use super::rules::{Count, Format, Id, Rules, Type};
use crate::domain::limits;

/// Keywords that say nothing about a value.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Keywords that are held.
const KEYWORDS: [&str; 28] = [
    "$ref",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "prefixItems",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

/// The rules of a schema and of all that it leads to; the first are the whole's.
pub(super) fn compile(schema: &Value) -> Result<Vec<Rules>, String> {
    let mut compiler = Compiler { schema, ids: BTreeMap::new(), waiting: VecDeque::new(), patterns: 0 };
    compiler.id(String::new());
    let mut rules = Vec::new();
    while let Some(pointer) = compiler.waiting.pop_front() {
        let of =
            schema.pointer(&pointer).ok_or_else(|| format!("refers to #{pointer}, which is not there"))?;
        rules.push(compiler.rules(of, &pointer).map_err(|words| {
            let at = if pointer.is_empty() { "its top" } else { &pointer };
            format!("is no JSON Schema that can be held: at {at}, {words}")
        })?);
    }
    no_circles(&rules)?;
    Ok(rules)
}

/// A value must get smaller from a schema to itself, and the way must not be long.
fn no_circles(rules: &[Rules]) -> Result<(), String> {
    let mut before = vec![0_usize; rules.len()];
    rules.iter().flat_map(Rules::beside).for_each(|id| before[id] += 1);
    let mut ready: Vec<(Id, usize)> =
        (0..rules.len()).filter(|id| before[*id] == 0).map(|id| (id, 0)).collect();
    let mut depths = vec![0; rules.len()];
    let mut seen = 0;
    while let Some((id, depth)) = ready.pop() {
        seen += 1;
        if depth > limits::SCHEMA_CHAIN_MAX {
            let max = limits::SCHEMA_CHAIN_MAX;
            return Err(format!("combines schemas within schemas more than {max} times for one value"));
        }
        for next in rules[id].beside() {
            depths[next] = depths[next].max(depth + 1);
            before[next] -= 1;
            if before[next] == 0 {
                ready.push((next, depths[next]));
            }
        }
    }
    if seen < rules.len() {
        Err("has a `$ref` that leads back to itself for the same value".into())
    } else {
        Ok(())
    }
}

struct Compiler<'a> {
    schema: &'a Value,
    ids: BTreeMap<String, Id>,
    waiting: VecDeque<String>,
    patterns: usize,
}

impl Compiler<'_> {
    /// The number of the schema at a pointer; it is compiled when its turn comes.
    fn id(&mut self, pointer: String) -> Id {
        let next = self.ids.len();
        let waiting = &mut self.waiting;
        *self.ids.entry(pointer).or_insert_with_key(|pointer| {
            waiting.push_back(pointer.clone());
            next
        })
    }

    fn rules(&mut self, schema: &Value, pointer: &str) -> Result<Rules, String> {
        let schema = match schema {
            Value::Bool(any) => return Ok(Rules { never: !any, ..Rules::default() }),
            Value::Object(schema) => schema,
            _ => return Err("there is neither an object nor true or false".into()),
        };
        let mut rules = Rules::default();
        for (key, value) in schema {
            if !ANNOTATIONS.contains(&key.as_str()) {
                self.keyword(&mut rules, key, value, pointer).map_err(|words| format!("`{key}` {words}"))?;
            }
        }
        Ok(rules)
    }

    fn keyword(&mut self, rules: &mut Rules, key: &str, value: &Value, pointer: &str) -> Result<(), String> {
        let here = format!("{pointer}/{}", escape(key));
        match key {
            "$ref" => rules.reference = Some(self.reference(value)?),
            "type" => rules.types = types(value)?,
            "enum" => rules.one_of_these = Some(array(value)?.clone()),
            "const" => rules.one_of_these = Some(vec![value.clone()]),
            "minimum" => rules.minimum = Some(number(value)?),
            "maximum" => rules.maximum = Some(number(value)?),
            "exclusiveMinimum" => rules.above = Some(number(value)?),
            "exclusiveMaximum" => rules.below = Some(number(value)?),
            "multipleOf" => {
                let of = number(value)?;
                if of.as_f64().is_none_or(|x| x <= 0.0) {
                    return Err("must be above 0".into());
                }
                rules.multiple_of = Some(of);
            }
            "minLength" | "maxLength" => count(&mut rules.length, key, value)?,
            "minItems" | "maxItems" => count(&mut rules.item_count, key, value)?,
            "minProperties" | "maxProperties" => count(&mut rules.property_count, key, value)?,
            "pattern" => rules.pattern = Some(self.regex(text(value)?)?),
            "format" => rules.format = Some(format_of(text(value)?)?),
            "uniqueItems" => rules.unique_items = value.as_bool().ok_or("is not true or false")?,
            "required" => {
                rules.required =
                    array(value)?.iter().map(|v| text(v).map(Into::into)).collect::<Result<_, _>>()?;
            }
            "properties" => {
                let keys = object(value)?.keys();
                rules.properties =
                    keys.map(|k| (k.clone(), self.id(format!("{here}/{}", escape(k))))).collect();
            }
            "patternProperties" => {
                for k in object(value)?.keys() {
                    let id = self.id(format!("{here}/{}", escape(k)));
                    rules.pattern_properties.push((self.regex(k)?, id));
                }
            }
            "additionalProperties" => rules.additional_properties = Some(self.id(here)),
            "prefixItems" => rules.prefix_items = self.list(value, &here)?,
            "items" => rules.items = Some(self.id(here)),
            "allOf" => rules.all_of = self.list(value, &here)?,
            "anyOf" => rules.any_of = self.list(value, &here)?,
            "oneOf" => rules.one_of = self.list(value, &here)?,
            "not" => rules.not = Some(self.id(here)),
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn reference(&mut self, value: &Value) -> Result<Id, String> {
        let to = text(value)?;
        match to.strip_prefix('#') {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                if self.schema.pointer(pointer).is_none() {
                    return Err(format!("leads to {to}, which is not there"));
                }
                Ok(self.id(pointer.to_owned()))
            }
            _ => Err(format!(
                "leads to {to}; it must lead into the same schema, such as #/$defs/x: nothing is fetched"
            )),
        }
    }

    fn list(&mut self, value: &Value, here: &str) -> Result<Vec<Id>, String> {
        match array(value)?.len() {
            0 => Err("is empty".into()),
            len => Ok((0..len).map(|n| self.id(format!("{here}/{n}"))).collect()),
        }
    }

    fn regex(&mut self, pattern: &str) -> Result<Regex, String> {
        self.patterns += 1;
        if self.patterns > limits::SCHEMA_PATTERNS_MAX {
            return Err(format!(
                "is one pattern too many, at most {} are taken",
                limits::SCHEMA_PATTERNS_MAX
            ));
        }
        RegexBuilder::new(pattern).size_limit(limits::SCHEMA_PATTERN_BYTES_MAX).build().map_err(|e| {
            let words = e.to_string();
            let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{pattern}` is no pattern that can be held: {last}")
        })
    }
}

/// A key as a part of a JSON pointer (RFC 6901, §3).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unknown(key: &str) -> String {
    let near = KEYWORDS.iter().map(|known| (strsim::damerau_levenshtein(key, known), known));
    let near = near.min().filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    let hint = near.map(|(_, known)| format!("; did you mean `{known}`?")).unwrap_or_default();
    format!("is no keyword that answers can be held against{hint}")
}

fn types(value: &Value) -> Result<Vec<Type>, String> {
    let one = |value: &Value| {
        let name = text(value)?;
        Type::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let names = Type::ALL.map(Type::name).join(", ");
            format!("is `{name}`, expected one of {names}")
        })
    };
    match value {
        Value::Array(list) if list.is_empty() => Err("is empty".into()),
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn format_of(name: &str) -> Result<Format, String> {
    let known = Format::ALL.into_iter().find(|(known, _)| *known == name);
    known.map(|(_, format)| format).ok_or_else(|| {
        let names = Format::ALL.map(|(known, _)| known).join(", ");
        format!("is `{name}`; those that can be held are {names}. For others there is `pattern`")
    })
}

fn count(count: &mut Count, key: &str, value: &Value) -> Result<(), String> {
    let number = value.as_u64().ok_or("is not a whole number, 0 or more")?;
    *if key.starts_with("min") { &mut count.min } else { &mut count.max } = Some(number);
    Ok(())
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "is not a text".to_owned())
}

fn number(value: &Value) -> Result<Number, String> {
    value.as_number().cloned().ok_or_else(|| "is not a number".to_owned())
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| "is not a list".to_owned())
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "is not an object".to_owned())
}
