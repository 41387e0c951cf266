//! Token ids into text, as they come.

use std::mem;

use super::{
    Tokenizer,
    pieces::{Decoding, Start},
};

/// The text of one answer, token by token. Only whole characters leave it; control tokens
/// give no text.
///
/// All that [`push`](Self::push) and [`finish`](Self::finish) return, put together, is what
/// the tokenizer's own decoder makes of the same ids without special tokens. One exception:
/// with byte *tokens* (`SentencePiece`'s `<0xE5>`) that decoder takes a run of them that holds
/// one wrong byte as wrong altogether, where here its whole characters have already left.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// Bytes of a character that is not yet whole: 3 at most between calls.
    pending: Vec<u8>,
    /// What is still to happen to the text's beginning.
    start: Start,
}

impl Detokenizer {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        let start = tokenizer.decoding().start;
        Self { tokenizer, pending: Vec::new(), start }
    }

    /// Takes the next token and returns the characters that are whole now, often none.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokenizer.is_special(id) {
            return String::new();
        }
        let piece = self.tokenizer.piece(id);
        match self.start {
            Start::FirstPieceWithoutSpaces if !piece.is_empty() => {
                self.pending.extend(piece.iter().filter(|byte| **byte != b' '));
                self.start = Start::Kept;
            }
            _ => self.pending.extend_from_slice(piece),
        }
        let text = whole_characters(&mut self.pending, self.tokenizer.decoding());
        self.without_start(text)
    }

    /// Ends the text: what is left of a character becomes U+FFFD. The next token begins a
    /// new text.
    pub fn finish(&mut self) -> String {
        let mut text = whole_characters(&mut self.pending, self.tokenizer.decoding());
        let marks = match mem::take(&mut self.pending).len() {
            broken if self.tokenizer.decoding().one_mark_per_byte => broken,
            broken => broken.min(1),
        };
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, marks));
        let text = self.without_start(text);
        self.start = self.tokenizer.decoding().start;
        text
    }

    fn without_start(&mut self, mut text: String) -> String {
        if let Start::Stripped(c, left) = self.start
            && !text.is_empty()
        {
            let rest = text.trim_start_matches(c);
            let found = (text.len() - rest.len()) / c.len_utf8();
            let taken = found.min(left);
            text.drain(..taken * c.len_utf8());
            self.start = if text.is_empty() { Start::Stripped(c, left - taken) } else { Start::Kept };
        }
        text
    }
}

/// Takes everything out of `pending` but the beginning of a character that may yet become
/// whole.
fn whole_characters(pending: &mut Vec<u8>, decoding: &Decoding) -> String {
    let mut text = String::new();
    let mut rest = pending.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(whole) => {
                text.push_str(whole);
                rest = &[];
            }
            Err(error) => {
                let (whole, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(whole));
                rest = after;
                if let Some(broken) = error.error_len() {
                    let marks = if decoding.one_mark_per_byte { broken } else { 1 };
                    text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, marks));
                    rest = &rest[broken..];
                    continue;
                }
            }
        }
        let done = pending.len() - rest.len();
        pending.drain(..done);
        return text;
    }
}
