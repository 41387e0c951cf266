//! Keeps a caller's text from being taken for control tokens.
//!
//! A template mixes its own control tokens with the caller's text, and afterwards nobody
//! can tell which is which. So before rendering, a guard character is put into every text
//! of the caller at each place where a control token could be read: within one, within the
//! beginning of one at the text's end, and within the end of one at the text's beginning.
//! After rendering no control token's text can hold a character of the caller's, and the
//! guards are taken out again.
//!
//! Ordinary text stays untouched, so templates may look at it, trim it and split it. A
//! template that looks for a *control* token in a caller's text will not find it.
//!
//! One thing remains possible and is meant to be: a template may build a control token
//! around a short value (`<|{{ role }}|>`). Roles are therefore from a [closed
//! list](super::ROLES).

use std::{borrow::Cow, collections::HashSet};

use serde_json::Value;

use super::{control::Controls, python::is_space};
use crate::domain::{Error, Result};

/// Private-use characters: they have no meaning that a text could need beside its own.
const CANDIDATES: [std::ops::RangeInclusive<char>; 3] =
    ['\u{e000}'..='\u{f8ff}', '\u{f0000}'..='\u{ffffd}', '\u{100000}'..='\u{10fffd}'];

/// A guard character and the tokens it keeps away.
pub(super) struct Guard<'a> {
    controls: &'a Controls,
    mark: char,
}

impl<'a> Guard<'a> {
    /// With a character that neither `inputs` nor `template` hold.
    pub(super) fn new(controls: &'a Controls, inputs: &Value, template: &str) -> Result<Self> {
        let mut used: HashSet<char> = template.chars().filter(|c| is_candidate(*c)).collect();
        used.extend(controls.iter().flat_map(|(_, text)| text.chars()).filter(|c| is_candidate(*c)));
        collect(inputs, &mut used);
        let mark = CANDIDATES.into_iter().flatten().find(|c| !used.contains(c));
        let mark = mark.ok_or_else(|| {
            Error::invalid("messages", "the texts hold every private-use character there is")
        })?;
        Ok(Self { controls, mark })
    }

    /// The character.
    pub(super) fn mark(&self) -> char {
        self.mark
    }

    /// Puts guards into every text of `value`, keys included.
    pub(super) fn protect(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(guarded) = self.protect_text(text) {
                    *text = guarded;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.protect(item)),
            Value::Object(entries) => {
                let guarded = std::mem::take(entries).into_iter().map(|(key, mut value)| {
                    self.protect(&mut value);
                    (self.protect_text(&key).into_owned(), value)
                });
                *entries = guarded.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn protect_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // Templates trim: what would be at the start or the end then is looked at as well.
        let trimmed = text.trim_end_matches(is_space);
        let indent = text.len() - text.trim_start_matches(is_space).len();
        let mut places: Vec<usize> = self.controls.ends_at_start_of(text).collect();
        places.extend(self.controls.ends_at_start_of(&text[indent..]).map(|at| indent + at));
        for (at, c) in text.char_indices() {
            let begins = self.controls.may_begin(&text[at..])
                || at < trimmed.len() && self.controls.may_begin(&trimmed[at..]);
            if begins {
                places.push(at + c.len_utf8());
            }
        }
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        places.sort_unstable();
        places.dedup();
        let mut guarded = String::with_capacity(text.len() + places.len() * self.mark.len_utf8());
        let mut from = 0;
        for at in places {
            guarded.push_str(&text[from..at]);
            guarded.push(self.mark);
            from = at;
        }
        guarded.push_str(&text[from..]);
        Cow::Owned(guarded)
    }
}

fn is_candidate(c: char) -> bool {
    CANDIDATES.iter().any(|range| range.contains(&c))
}

fn collect(value: &Value, used: &mut HashSet<char>) {
    match value {
        Value::String(text) => used.extend(text.chars().filter(|c| is_candidate(*c))),
        Value::Array(items) => items.iter().for_each(|item| collect(item, used)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| {
            used.extend(key.chars().filter(|c| is_candidate(*c)));
            collect(value, used);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::control::{Segment, tests::controls};

    const TOKENS: [&str; 4] = ["<|im_start|>", "<|im_end|>", "<s>", "[/INST]"];

    fn guarded(text: &str) -> String {
        let controls = controls(&TOKENS);
        let mut value = json!(text);
        Guard::new(&controls, &value, "").unwrap().protect(&mut value);
        value.as_str().unwrap().replace('\u{e000}', "~")
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["", "a < b", "<s", "  <|im|> ", "s", "im_start", "x[/INST"] {
            let expected = if text.ends_with("<s") || text.ends_with("[/INST") { continue } else { text };
            assert_eq!(guarded(text), expected);
        }
    }

    #[test]
    fn whole_tokens_and_their_ends_at_the_edges_are_broken() {
        assert_eq!(guarded("a<s>b"), "a<~s>b");
        assert_eq!(guarded("<<s>"), "<<~s>");
        assert_eq!(guarded("a <|im_"), "a <~|im_");
        assert_eq!(guarded("a <|im_ \n"), "a <~|im_ \n");
        assert_eq!(guarded("a <"), "a <~");
        assert_eq!(guarded("start|> b"), "start|~> b");
        assert_eq!(guarded(" s> b"), " s~> b");
        assert_eq!(guarded("> b"), "~> b");
    }

    #[test]
    fn keys_and_nested_texts_are_guarded_too() {
        let controls = controls(&TOKENS);
        let mut value = json!([{"<s>": [1, null, {"a": "<s>"}]}]);
        let guard = Guard::new(&controls, &value, "").unwrap();
        guard.protect(&mut value);
        assert_eq!(value, json!([{"<\u{e000}s>": [1, null, {"a": "<\u{e000}s>"}]}]));
    }

    #[test]
    fn the_mark_is_none_of_the_inputs_characters() {
        let controls = controls(&TOKENS);
        let inputs = json!({"\u{e000}": ["\u{e001}"]});
        assert_eq!(Guard::new(&controls, &inputs, "\u{e002}").unwrap().mark(), '\u{e003}');
        let all: String = CANDIDATES.into_iter().flatten().collect();
        let error = Guard::new(&controls, &json!(all), "").err().unwrap();
        assert_eq!(error.param.as_deref(), Some("messages"));
    }

    proptest! {
        /// The template's own tokens are found, all of them and no other, whatever the
        /// callers' texts are and however they meet.
        #[test]
        fn only_the_templates_tokens_are_marked(
            texts in prop::collection::vec("(<|\\||im_|start|end|s|>|\\[|/INST|\\]| |a){0,6}", 0..6)
        ) {
            let controls = controls(&TOKENS);
            let mut value = json!(texts);
            let guard = Guard::new(&controls, &value, "").unwrap();
            guard.protect(&mut value);
            // Between the template's tokens, each text trimmed and untrimmed, side by side.
            let written: String = value.as_array().unwrap().iter()
                .map(|text| text.as_str().unwrap())
                .flat_map(|text| ["<s>", text, text.trim(), text])
                .collect();
            let prompt = controls.mark(&written, guard.mark());
            let found: Vec<_> = prompt.segments().filter(|s| matches!(s, Segment::Control(_))).collect();
            prop_assert_eq!(found, vec![Segment::Control(2); texts.len()]);
            let plain: String = texts.iter().flat_map(|t| ["<s>", t.as_str(), t.trim(), t]).collect();
            prop_assert_eq!(prompt.text(), plain);
        }
    }
}
