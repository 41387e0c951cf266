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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::{
        Tokenizer,
        fixture::{VOCABULARY, pieces, tokenizer, with_tokenizer},
    };

    fn sentence_pieces() -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        Tokenizer::load(&with_tokenizer(dir.path(), &pieces())).unwrap()
    }

    fn text(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        let mut detokenizer = tokenizer.detokenizer();
        let mut text: String = ids.iter().map(|id| detokenizer.push(*id)).collect();
        text += &detokenizer.finish();
        text
    }

    #[test]
    fn an_emoji_split_across_tokens_leaves_whole() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text("a🤖b").unwrap();
        assert_eq!(ids.len(), 4, "the emoji is two tokens: {ids:?}");
        let mut detokenizer = tokenizer.detokenizer();
        let texts: Vec<_> = ids.iter().map(|id| detokenizer.push(*id)).collect();
        assert_eq!(texts, ["a", "", "🤖", "b"]);
        assert_eq!(detokenizer.finish(), "");
    }

    #[test]
    fn an_emoji_cut_off_becomes_one_mark_and_the_next_text_is_clean() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text("🤖").unwrap();
        let mut detokenizer = tokenizer.detokenizer();
        assert_eq!(detokenizer.push(ids[0]), "");
        assert_eq!(detokenizer.finish(), "\u{fffd}");
        assert_eq!(detokenizer.finish(), "");
        assert_eq!(detokenizer.push(ids[0]), "");
        let h = tokenizer.encode_text("h").unwrap()[0];
        assert_eq!(detokenizer.push(h), "\u{fffd}h");
    }

    #[test]
    fn control_tokens_give_no_text_and_do_not_part_a_character() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text("🤖").unwrap();
        assert_eq!(text(&tokenizer, &[1, ids[0], 2, ids[1], 0]), "🤖");
    }

    #[test]
    fn pieces_lose_their_first_space_and_join_their_bytes() {
        let tokenizer = sentence_pieces();
        let ids = tokenizer.encode_text("hi hi é🤖").unwrap();
        assert_eq!(text(&tokenizer, &ids), "hi hi é🤖");
        assert_eq!(text(&tokenizer, &[]), "");
    }

    proptest! {
        /// Whatever a model says: the pieces together are what the decoder makes of it at once.
        #[test]
        fn the_sum_is_the_whole(ids in prop::collection::vec(0..VOCABULARY as u32 + 3, 0..60)) {
            let tokenizer = tokenizer();
            prop_assert_eq!(text(&tokenizer, &ids), tokenizer.decode_at_once(&ids));
        }

        /// The same for runs of bytes, where characters are often whole.
        #[test]
        fn the_sum_is_the_whole_for_text(words in "\\PC{0,20}", cut in 0usize..20) {
            let tokenizer = tokenizer();
            let mut ids = tokenizer.encode_text(&words).unwrap();
            ids.drain(..cut.min(ids.len()));
            prop_assert_eq!(text(&tokenizer, &ids), tokenizer.decode_at_once(&ids));
        }

        /// Pieces: as long as byte tokens make whole characters.
        #[test]
        fn the_sum_is_the_whole_for_pieces(words in "[ hia🤖é]{0,20}", skip in 0usize..3) {
            let tokenizer = sentence_pieces();
            let ids = tokenizer.encode_text(&words).unwrap();
            let spaces = ids.iter().take(skip).take_while(|id| **id >= 259).count();
            prop_assert_eq!(text(&tokenizer, &ids[spaces..]), tokenizer.decode_at_once(&ids[spaces..]));
        }
    }
}
