//! Calls of tools, read out of an answer's tokens while it is written.
//!
//! Everything before the first mark is text. From then on a name runs up to the second mark,
//! and arguments up to the next call or the end of the answer. Arguments are passed on as they
//! come; that they are JSON is the model's doing, not checked here.

use crate::{
    domain::{Delta, ToolCallDelta, limits},
    model::{CallMarks, Detokenizer, Tokenizer},
};

/// How calls may be made in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calling {
    /// The model's marks.
    pub marks: CallMarks,
    /// What the prompt ends with already.
    pub begun: Begun,
    /// Whether there may be more than one.
    pub parallel: bool,
}

/// How much of a call the prompt ends with, so that the model has to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: it may call or not.
    Nothing,
    /// The mark of a call: it has to name one.
    Call,
    /// Mark, name and second mark: only the arguments are to come.
    Name(String),
}

/// What a token was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Not a call's: text.
    Text,
    /// A call begins, and text before it is over.
    Begins,
    /// A call's.
    Call,
    /// It would begin a call that is not allowed any more; the answer is over.
    OneTooMany,
}

/// Reads one answer.
pub(super) struct CallReader {
    calling: Calling,
    tokenizer: Tokenizer,
    place: Place,
    /// Calls so far, the current one included.
    calls: usize,
    /// Whether one of them has a name.
    told: bool,
    detokenizer: Detokenizer,
    /// Makes ids that no other answer has.
    entropy: u64,
}

enum Place {
    Text,
    Name(String),
    /// Whether any of it has come yet.
    Arguments {
        empty: bool,
    },
}

impl CallReader {
    pub(super) fn new(calling: Calling, tokenizer: &Tokenizer, entropy: u64, pending: &mut Delta) -> Self {
        let mut reader = Self {
            place: Place::Text,
            calls: 0,
            told: false,
            detokenizer: tokenizer.detokenizer(),
            tokenizer: tokenizer.clone(),
            entropy,
            calling,
        };
        match reader.calling.begun.clone() {
            Begun::Nothing => {}
            Begun::Call => reader.begin(),
            Begun::Name(name) => {
                reader.begin();
                reader.name(name, pending);
            }
        }
        reader
    }

    /// Whether a call was begun.
    pub(super) fn any(&self) -> bool {
        self.calls > 0
    }

    /// Whether the reader of the answer has heard of one.
    pub(super) fn told(&self) -> bool {
        self.told
    }

    /// Takes the next token; what it adds to a call goes into `pending`.
    pub(super) fn push(&mut self, token: u32, pending: &mut Delta) -> Taken {
        if token == self.calling.marks.call {
            let one_too_many = self.any() && !self.calling.parallel || self.calls >= limits::TOOL_CALLS_MAX;
            let first = !self.any();
            self.close(pending);
            if one_too_many {
                return Taken::OneTooMany;
            }
            self.begin();
            return if first { Taken::Begins } else { Taken::Call };
        }
        if let Place::Text = self.place {
            return Taken::Text;
        }
        if token == self.calling.marks.arguments
            && let Place::Name(name) = &mut self.place
        {
            let mut name = std::mem::take(name);
            name.push_str(&self.detokenizer.finish());
            self.name(name, pending);
            return Taken::Call;
        }
        let piece = self.detokenizer.push(token);
        self.add(&piece, pending);
        Taken::Call
    }

    /// The answer is over: what was held back of a call is part of it.
    pub(super) fn close(&mut self, pending: &mut Delta) {
        let piece = self.detokenizer.finish();
        self.add(&piece, pending);
        // A name without arguments calls a function that takes none.
        if let Place::Name(name) = &mut self.place
            && !name.trim().is_empty()
        {
            let name = std::mem::take(name);
            self.name(name, pending);
        }
        if let Place::Arguments { empty: true } = self.place {
            self.add("{}", pending);
        }
    }

    fn begin(&mut self) {
        self.calls += 1;
        self.place = Place::Name(String::new());
        self.detokenizer = self.tokenizer.detokenizer();
    }

    /// The name is known: the call is told of.
    fn name(&mut self, name: String, pending: &mut Delta) {
        self.told = true;
        let index = self.calls - 1;
        let (id, name) = (Some(self.id(index)), Some(name.trim().to_owned()));
        pending.tool_calls.push(ToolCallDelta { index, id, name, arguments: String::new() });
        self.place = Place::Arguments { empty: true };
        self.detokenizer = self.tokenizer.detokenizer();
    }

    fn add(&mut self, piece: &str, pending: &mut Delta) {
        match &mut self.place {
            Place::Text => {}
            Place::Name(name) => name.push_str(piece),
            Place::Arguments { .. } if piece.is_empty() => {}
            Place::Arguments { empty } => {
                *empty = false;
                let index = self.calls - 1;
                match pending.tool_calls.last_mut().filter(|call| call.index == index) {
                    Some(call) => call.arguments.push_str(piece),
                    None => pending.tool_calls.push(ToolCallDelta {
                        index,
                        arguments: piece.to_owned(),
                        ..ToolCallDelta::default()
                    }),
                }
            }
        }
    }

    /// Nine letters and digits, as Mistral's own tools ask for.
    fn id(&self, index: usize) -> String {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        // Multiplying by an odd number (2⁶⁴ ÷ golden ratio, Knuth 6.4) keeps ids of one answer apart.
        let mut rest = self.entropy.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut letter = || {
            let letter = LETTERS[(rest % 62) as usize];
            rest /= 62;
            char::from(letter)
        };
        (0..9).map(|_| letter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::Package;

    const CALL: u32 = 9;
    const ARGS: u32 = 32;

    /// A tiny tokenizer with Mistral's control tokens and bytes.
    fn tokenizer() -> Tokenizer {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts/optimum");
        Tokenizer::load(&Package::open(&dir).unwrap()).unwrap()
    }

    /// What comes of an answer: its parts are texts or marks.
    fn read(begun: Begun, parallel: bool, parts: &[&str]) -> (Delta, Vec<Taken>) {
        let tokenizer = tokenizer();
        let marks = CallMarks { call: CALL, arguments: ARGS };
        let mut delta = Delta::default();
        let mut reader = CallReader::new(Calling { marks, begun, parallel }, &tokenizer, 7, &mut delta);
        let mut taken = Vec::new();
        for part in parts {
            match *part {
                "CALL" => taken.push(reader.push(CALL, &mut delta)),
                "ARGS" => taken.push(reader.push(ARGS, &mut delta)),
                // Byte by byte, so that characters come in pieces.
                text => {
                    for id in text.chars().flat_map(|c| tokenizer.encode_text(&c.to_string()).unwrap()) {
                        taken.push(reader.push(id, &mut delta));
                    }
                }
            }
        }
        reader.close(&mut delta);
        (delta, taken)
    }

    fn calls(delta: &Delta) -> Vec<(usize, &str, &str)> {
        delta.tool_calls.iter().map(|c| (c.index, c.name.as_deref().unwrap(), c.arguments.as_str())).collect()
    }

    #[test]
    fn text_and_calls_are_told_apart_by_control_tokens_alone() {
        let parts = ["[TOOL_CALLS]f[ARGS]{}", "CALL", "get_wetter", "ARGS", r#"{"ort": "Zürich 💡"}"#];
        let (delta, taken) = read(Begun::Nothing, true, &parts);
        assert_eq!(calls(&delta), [(0, "get_wetter", r#"{"ort": "Zürich 💡"}"#)]);
        let texts = taken.iter().filter(|t| **t == Taken::Text).count();
        assert!(texts > 10 && taken[texts] == Taken::Begins, "{taken:?}");
        assert!(taken[texts + 1..].iter().all(|t| *t == Taken::Call));
    }

    #[test]
    fn calls_follow_one_another_each_with_an_id_of_its_own() {
        let parts = ["CALL", "a", "ARGS", "{\"x\": 1}", "CALL", " b ", "CALL", "c", "ARGS"];
        let (delta, _) = read(Begun::Nothing, true, &parts);
        assert_eq!(calls(&delta), [(0, "a", "{\"x\": 1}"), (1, "b", "{}"), (2, "c", "{}")]);
        let ids: std::collections::BTreeSet<_> =
            delta.tool_calls.iter().map(|c| c.id.clone().unwrap()).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    }

    #[test]
    fn one_call_is_enough_where_only_one_is_wanted() {
        let (delta, taken) = read(Begun::Nothing, false, &["CALL", "a", "ARGS", "{}", "CALL"]);
        assert_eq!(calls(&delta), [(0, "a", "{}")]);
        assert_eq!(taken.last(), Some(&Taken::OneTooMany));
    }

    #[test]
    fn what_the_prompt_has_begun_is_gone_on_with() {
        assert_eq!(calls(&read(Begun::Call, true, &["f", "ARGS", "{}"]).0), [(0, "f", "{}")]);
        let named = Begun::Name("f".into());
        assert_eq!(calls(&read(named.clone(), true, &["{\"a\":", "2}"]).0), [(0, "f", "{\"a\":2}")]);
        assert_eq!(calls(&read(named, true, &[]).0), [(0, "f", "{}")]);
        assert!(read(Begun::Call, true, &[]).0.is_empty(), "nothing was named");
    }

    #[test]
    fn a_mark_out_of_its_place_is_nothing() {
        let (delta, taken) =
            read(Begun::Nothing, true, &["ARGS", "x", "CALL", "f", "ARGS", "1", "ARGS", "2"]);
        assert_eq!(calls(&delta), [(0, "f", "12")]);
        assert_eq!(taken[0], Taken::Text);
    }
}
