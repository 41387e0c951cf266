//! Replacing what is found by placeholders, and putting it back into the answer.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{
    detect::{Detectors, Span},
    subject::Texts,
};
use crate::domain::limits;

/// What stands for what. It never leaves the device.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Restore {
    of_placeholder: HashMap<String, String>,
    of_value: HashMap<String, String>,
    /// The highest number that any placeholder has, one that stood in the text before included.
    last: u64,
}

impl std::fmt::Debug for Restore {
    /// Not what was hidden.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.of_placeholder.keys()).finish()
    }
}

/// Something that is to be replaced stands where nothing can be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unredacted(pub(super) String);

/// Replaces in every text value of `body` what the detectors find. The name of the model is left
/// as it is. The error names the detector that still finds something afterwards.
pub(super) fn redact(
    body: &mut Value,
    names: &BTreeSet<String>,
    detectors: &Detectors,
) -> Result<Restore, Unredacted> {
    if names.is_empty() {
        return Ok(Restore::default());
    }
    let mut restore = Restore { last: highest_number(&body.to_string()), ..Restore::default() };
    if let Value::Object(fields) = body {
        for (_, value) in fields.iter_mut().filter(|(name, _)| *name != "model") {
            replace_in(value, names, detectors, &mut restore);
        }
    }
    // Names of fields, numbers, and what two replacements made together.
    let texts = Texts::of(body).map_err(|_| Unredacted("nesting".into()))?;
    if let Some(name) = names.first().filter(|_| texts.is_opaque()) {
        return Err(Unredacted(name.clone()));
    }
    match names.iter().find(|name| texts.all().any(|text| !detectors.find(name, text).is_empty())) {
        Some(name) => Err(Unredacted(name.clone())),
        None => Ok(restore),
    }
}

fn replace_in(value: &mut Value, names: &BTreeSet<String>, detectors: &Detectors, restore: &mut Restore) {
    match value {
        Value::String(text) => {
            let found = findings(text, names, detectors);
            if !found.is_empty() {
                *text = replaced(text, &found, restore);
            }
        }
        Value::Array(items) => {
            for item in items {
                replace_in(item, names, detectors, restore);
            }
        }
        Value::Object(fields) => {
            for item in fields.values_mut() {
                replace_in(item, names, detectors, restore);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What all detectors find, from left to right; findings that overlap are one.
fn findings<'n>(text: &str, names: &'n BTreeSet<String>, detectors: &Detectors) -> Vec<(Span, &'n str)> {
    let mut all: Vec<(Span, &str)> = names
        .iter()
        .flat_map(|name| detectors.find(name, text).into_iter().map(move |span| (span, name.as_str())))
        .collect();
    all.sort();
    let mut merged: Vec<(Span, &str)> = Vec::new();
    for (span, name) in all {
        match merged.last_mut() {
            Some((last, known)) if span.start < last.end => {
                if span.end - span.start > last.end - last.start {
                    *known = name;
                }
                last.end = last.end.max(span.end);
            }
            _ => merged.push((span, name)),
        }
    }
    merged
}

fn replaced(text: &str, found: &[(Span, &str)], restore: &mut Restore) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (span, name) in found {
        out.push_str(&text[at..span.start]);
        out.push_str(restore.placeholder(name, &text[span.start..span.end]));
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// The highest number of what looks like a placeholder in a text; ours begin behind it.
fn highest_number(text: &str) -> u64 {
    let number = |part: &str| {
        let inside = part.split(']').next()?;
        let digits = inside.rsplit('_').next()?;
        // More digits than ours ever have.
        (digits.len() < 10).then(|| digits.parse().ok())?
    };
    text.split('[').skip(1).filter_map(number).max().unwrap_or(0)
}

impl Restore {
    /// Whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.of_value.is_empty()
    }

    /// The same for the same value; one that the text did not hold before.
    fn placeholder(&mut self, name: &str, value: &str) -> &str {
        if !self.of_value.contains_key(value) {
            self.last += 1;
            let placeholder = format!("[{}_{}]", name.to_uppercase(), self.last);
            self.of_placeholder.insert(placeholder.clone(), value.to_owned());
            self.of_value.insert(value.to_owned(), placeholder);
        }
        &self.of_value[value]
    }

    /// An answer with everything put back.
    pub fn restore(&self, text: &str) -> String {
        let mut whole = Restorer::new(self.clone());
        let mut out = whole.push(text);
        out.push_str(&whole.finish());
        out
    }
}

/// A detector's name and a number in brackets, bytes.
const PLACEHOLDER_BYTES_MAX: usize = limits::DETECTOR_NAME_BYTES_MAX + 24;

/// Puts back what was replaced in an answer that comes in pieces.
#[derive(Debug)]
pub struct Restorer {
    restore: Restore,
    /// May become a placeholder with the next piece.
    held: String,
}

impl Restorer {
    /// For one answer.
    pub fn new(restore: Restore) -> Self {
        Self { restore, held: String::new() }
    }

    /// The next piece, as far as it is certain.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let held = std::mem::take(&mut self.held);
        let (mut out, mut rest) = (String::new(), held.as_str());
        while let Some(at) = rest.find('[') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            // As far as a placeholder can reach; it holds no bracket and no space.
            let inside = rest[1..].bytes().take(PLACEHOLDER_BYTES_MAX);
            let reach =
                inside.take_while(|b| !matches!(b, b'[' | b']' | b' ' | b'\n') && b.is_ascii()).count() + 1;
            let closed = rest.as_bytes().get(reach) == Some(&b']');
            let value = if closed { self.restore.of_placeholder.get(&rest[..=reach]) } else { None };
            if let Some(value) = value {
                out.push_str(value);
                rest = &rest[reach + 1..];
            } else if reach == rest.len() && !self.restore.is_empty() {
                rest.clone_into(&mut self.held);
                return out;
            } else {
                out.push('[');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }

    /// What was held back, when nothing comes any more.
    pub fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn body(text: &str) -> Value {
        json!({"model": "a@b.example/x", "messages": [{"role": "user", "content": text}]})
    }

    #[test]
    fn two_values_never_share_a_placeholder_whatever_the_text_holds_already() {
        let text = "[EMAIL_1] is a@b.example, c@d.example and e@f.example";
        let mut request = json!({"messages": [{"role": "user", "content": text}]});
        let restore = redact(&mut request, &names(&["email"]), &Detectors::default()).unwrap();
        assert_eq!(restore.restore(request["messages"][0]["content"].as_str().unwrap()), text);
    }

    #[test]
    fn the_same_value_gets_the_same_placeholder_everywhere() {
        let mut request = json!({"messages": [
            {"role": "user", "content": "a@b.example writes to 10.0.0.5"},
            {"role": "user", "content": [{"type": "text", "text": "a@b.example again, c@d.example"}]},
        ]});
        let restore = redact(&mut request, &names(&["email", "ipv4"]), &Detectors::default()).unwrap();
        assert_eq!(
            request,
            json!({"messages": [
                {"role": "user", "content": "[EMAIL_1] writes to [IPV4_2]"},
                {"role": "user", "content": [{"type": "text", "text": "[EMAIL_1] again, [EMAIL_3]"}]},
            ]})
        );
        assert_eq!(
            restore.restore("Tell [EMAIL_3] of [IPV4_2] [EMAIL_9]"),
            "Tell c@d.example of 10.0.0.5 [EMAIL_9]"
        );
        assert!(!format!("{restore:?}").contains("b.example"));
    }

    #[test]
    fn the_model_keeps_its_name_and_a_placeholder_never_meets_its_like() {
        let mut request = body("[EMAIL_1] is a@b.example");
        let restore = redact(&mut request, &names(&["email"]), &Detectors::default());
        // The model's name is what still holds an address: it would leave, so nothing does.
        assert_eq!(restore, Err(Unredacted("email".into())));
        let mut request = json!({"messages": [{"content": "[EMAIL_1] is a@b.example"}]});
        let restore = redact(&mut request, &names(&["email"]), &Detectors::default()).unwrap();
        assert_eq!(request["messages"][0]["content"], "[EMAIL_1] is [EMAIL_2]");
        assert_eq!(restore.restore("[EMAIL_1], [EMAIL_2]"), "[EMAIL_1], a@b.example");
    }

    #[test]
    fn what_cannot_be_replaced_keeps_everything_here() {
        for request in [json!({"x": {"a@b.example": 1}}), json!({"x": 4_111_111_111_111_111_u64})] {
            let left = redact(&mut request.clone(), &names(&["card", "email"]), &Detectors::default());
            assert!(left.is_err(), "{request}");
        }
    }

    #[test]
    fn findings_that_overlap_are_replaced_as_one() {
        let mut request = json!({"x": "mail 10.0.0.5@b.example now"});
        redact(&mut request, &names(&["email", "ipv4"]), &Detectors::default()).unwrap();
        assert_eq!(request["x"], "mail [EMAIL_1] now");
    }

    #[test]
    fn an_answer_in_pieces_is_restored_as_if_it_were_whole() {
        let mut request = json!({"x": "a@b.example 10.0.0.5"});
        let restore = redact(&mut request, &names(&["email", "ipv4"]), &Detectors::default()).unwrap();
        let answer = "[[EMAIL_1] at [IPV4_2]][EMAIL_1";
        let expected = "[a@b.example at 10.0.0.5][EMAIL_1";
        for size in 1..answer.len() {
            let mut restorer = Restorer::new(restore.clone());
            let pieces = answer.as_bytes().chunks(size).map(|c| std::str::from_utf8(c).unwrap());
            let mut out: String = pieces.map(|piece| restorer.push(piece)).collect();
            out.push_str(&restorer.finish());
            assert_eq!(out, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn many_values_and_many_brackets_cost_no_more_than_their_length() {
        // Either took minutes when each was held against all others.
        let text: String = (0..20_000)
            .fold(String::new(), |text, n| text + &format!("10.{}.{}.{} ", n / 2_500, n / 50 % 50, n % 50));
        let mut request = json!({"x": text});
        let restore = redact(&mut request, &names(&["ipv4"]), &Detectors::default()).unwrap();
        assert_eq!(restore.restore(request["x"].as_str().unwrap()), text);
        let brackets = "[".repeat(1 << 20);
        assert_eq!(restore.restore(&brackets), brackets);
        let colons = json!({"x": ":".repeat(128 << 10)});
        assert!(redact(&mut colons.clone(), &names(&["ipv6"]), &Detectors::default()).is_ok());
    }
}
