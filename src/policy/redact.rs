//! Replacing what is found by placeholders, and putting it back into the answer.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    detect::{Detectors, Span},
    subject::Texts,
};

/// What stands for what. It never leaves the device.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// Placeholder, and what it stands for.
    pairs: Vec<(String, String)>,
}

impl std::fmt::Debug for Restore {
    /// Not what was hidden.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(placeholder, _)| placeholder)).finish()
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
    let mut restore = Restore::default();
    if names.is_empty() {
        return Ok(restore);
    }
    let taken = body.to_string();
    if let Value::Object(fields) = body {
        for (_, value) in fields.iter_mut().filter(|(name, _)| *name != "model") {
            replace_in(value, names, detectors, &taken, &mut restore);
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

fn replace_in(
    value: &mut Value,
    names: &BTreeSet<String>,
    detectors: &Detectors,
    taken: &str,
    restore: &mut Restore,
) {
    match value {
        Value::String(text) => {
            let found = findings(text, names, detectors);
            if !found.is_empty() {
                *text = replaced(text, &found, taken, restore);
            }
        }
        Value::Array(items) => {
            for item in items {
                replace_in(item, names, detectors, taken, restore);
            }
        }
        Value::Object(fields) => {
            for item in fields.values_mut() {
                replace_in(item, names, detectors, taken, restore);
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

fn replaced(text: &str, found: &[(Span, &str)], taken: &str, restore: &mut Restore) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (span, name) in found {
        out.push_str(&text[at..span.start]);
        out.push_str(restore.placeholder(name, &text[span.start..span.end], taken));
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

impl Restore {
    /// Whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The same for the same value; one that does not stand in `taken`.
    fn placeholder(&mut self, name: &str, value: &str, taken: &str) -> &str {
        let known = self.pairs.iter().position(|(_, known)| known == value);
        let at = known.unwrap_or_else(|| {
            let name = name.to_uppercase();
            let next = self.pairs.len() + 1;
            // Not all of them can stand in the text.
            let free = (next..=2 * next + taken.len())
                .map(|n| format!("[{name}_{n}]"))
                .find(|new| !taken.contains(new.as_str()) && self.pairs.iter().all(|(p, _)| p != new))
                .unwrap_or_default();
            self.pairs.push((free, value.to_owned()));
            self.pairs.len() - 1
        });
        &self.pairs[at].0
    }

    /// An answer with everything put back.
    pub fn restore(&self, text: &str) -> String {
        let mut whole = Restorer::new(self.clone());
        let mut out = whole.push(text);
        out.push_str(&whole.finish());
        out
    }
}

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
            let pairs = &self.restore.pairs;
            if let Some((placeholder, value)) = pairs.iter().find(|(p, _)| rest.starts_with(p.as_str())) {
                out.push_str(value);
                rest = &rest[placeholder.len()..];
            } else if pairs.iter().any(|(placeholder, _)| placeholder.starts_with(rest)) {
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
}
