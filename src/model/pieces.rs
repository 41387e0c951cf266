//! What each token id stands for, in bytes, and how they become a text.
//!
//! Two families are understood exactly: byte-level BPE (GPT-2's alphabet of 256 characters)
//! and pieces with a mark for the space and, maybe, byte tokens (`SentencePiece`'s). A
//! decoder of another kind is refused rather than guessed at.

use std::collections::HashMap;

use serde_json::Value;

/// The decoder of a tokenizer, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoding {
    spelling: Spelling,
    /// What happens to the text's beginning.
    pub(super) start: Start,
    /// Bytes that are no character become one U+FFFD each, or one per broken sequence.
    pub(super) one_mark_per_byte: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Spelling {
    ByteLevel,
    /// Replacements within a piece; and whether `<0x0A>` is a byte.
    Pieces(Vec<(String, String)>, bool),
}

/// What happens to the beginning of a decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing.
    Kept,
    /// The first piece loses its spaces.
    FirstPieceWithoutSpaces,
    /// This character is taken away, this many times at most.
    Stripped(char, usize),
}

impl Decoding {
    /// Reads the `decoder` of a `tokenizer.json`. Says what it cannot do.
    pub(super) fn parse(decoder: &Value) -> Result<Self, String> {
        let steps = match decoder["type"].as_str() {
            Some("Sequence") => decoder["decoders"].as_array().map(Vec::as_slice).unwrap_or_default(),
            Some(_) => std::slice::from_ref(decoder),
            None => {
                return Err("it has no decoder, so its tokens cannot be put together into a text".to_owned());
            }
        };
        let kind = |step: &Value| step["type"].as_str().unwrap_or("unnamed").to_owned();
        if steps.iter().any(|step| step["type"] == "ByteLevel") {
            return match steps.iter().find(|step| !["ByteLevel", "Fuse"].contains(&kind(step).as_str())) {
                None => {
                    Ok(Self { spelling: Spelling::ByteLevel, start: Start::Kept, one_mark_per_byte: false })
                }
                Some(other) => Err(format!("decoder `{}` beside `ByteLevel` is not supported", kind(other))),
            };
        }
        let mut replacements = Vec::new();
        let (mut byte_tokens, mut fused, mut start) = (false, false, Start::Kept);
        for step in steps {
            // After byte tokens are bytes, and after pieces are one, other rules would hold.
            let early = !byte_tokens && !fused && start == Start::Kept;
            match kind(step).as_str() {
                "Replace" if early => replacements.push(replacement(step)?),
                "Metaspace" if early => {
                    replacements.push((text(step, "replacement")?, " ".to_owned()));
                    if step["prepend_scheme"] != "never" {
                        start = Start::FirstPieceWithoutSpaces;
                    }
                }
                "ByteFallback" if early => byte_tokens = true,
                "Fuse" if !fused => fused = true,
                "Strip" if fused && start == Start::Kept => start = strip(step)?,
                other => return Err(format!("decoder `{other}` is not supported, or not at this place")),
            }
        }
        Ok(Self {
            spelling: Spelling::Pieces(replacements, byte_tokens),
            start,
            one_mark_per_byte: byte_tokens,
        })
    }
}

fn text(step: &Value, field: &str) -> Result<String, String> {
    step[field].as_str().map(str::to_owned).ok_or_else(|| format!("its decoder has no text `{field}`"))
}

fn replacement(step: &Value) -> Result<(String, String), String> {
    let pattern = step["pattern"]["String"].as_str();
    let pattern = pattern.filter(|pattern| !pattern.is_empty());
    let pattern = pattern.ok_or("decoder `Replace` with a regular expression is not supported")?;
    Ok((pattern.to_owned(), text(step, "content")?))
}

fn strip(step: &Value) -> Result<Start, String> {
    let content = text(step, "content")?;
    let mut chars = content.chars();
    match (chars.next(), chars.next(), step["start"].as_u64(), step["stop"].as_u64()) {
        (Some(c), None, Some(start), Some(0)) => Ok(Start::Stripped(c, start as usize)),
        _ => Err("decoder `Strip` at the end of a text is not supported".to_owned()),
    }
}

/// The bytes of every token id.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each id's bytes end.
    ends: Vec<usize>,
}

impl Pieces {
    /// `spelled` gives the token of each id below `vocabulary`; ids without one have no bytes.
    pub(super) fn new(
        decoding: &Decoding,
        vocabulary: usize,
        mut spelled: impl FnMut(u32) -> Option<String>,
    ) -> Self {
        let alphabet = alphabet();
        let mut pieces =
            Self { bytes: Vec::with_capacity(vocabulary * 6), ends: Vec::with_capacity(vocabulary) };
        for id in 0..vocabulary as u32 {
            if let Some(token) = spelled(id) {
                match &decoding.spelling {
                    Spelling::ByteLevel => pieces.push_byte_level(&token, &alphabet),
                    Spelling::Pieces(replacements, byte_tokens) => {
                        pieces.push_piece(token, replacements, *byte_tokens);
                    }
                }
            }
            pieces.ends.push(pieces.bytes.len());
        }
        pieces.bytes.shrink_to_fit();
        pieces
    }

    /// Bytes of `id`; none where there is no such token.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    fn push_byte_level(&mut self, token: &str, alphabet: &HashMap<char, u8>) {
        let from = self.bytes.len();
        for c in token.chars() {
            if let Some(byte) = alphabet.get(&c) {
                self.bytes.push(*byte);
            } else {
                // Not spelled in the alphabet: an added token, written as it is.
                self.bytes.truncate(from);
                self.bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }

    fn push_piece(&mut self, token: String, replacements: &[(String, String)], byte_tokens: bool) {
        let token = replacements.iter().fold(token, |token, (from, to)| token.replace(from, to));
        match byte_token(&token).filter(|_| byte_tokens) {
            Some(byte) => self.bytes.push(byte),
            None => self.bytes.extend_from_slice(token.as_bytes()),
        }
    }
}

/// The byte that `<0x0A>` stands for.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// GPT-2's alphabet, by byte: printable Latin-1 stands for itself, the other bytes are spelled
/// with the characters from U+0100 on.
pub fn byte_alphabet() -> [char; 256] {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte if printable(byte) => char::from(byte),
        _ => others.next().unwrap_or_default(),
    })
}

fn alphabet() -> HashMap<char, u8> {
    byte_alphabet().into_iter().zip(0..=u8::MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(decoder: &Value, token: &str) -> Vec<u8> {
        let decoding = Decoding::parse(decoder).unwrap();
        let pieces = Pieces::new(&decoding, 3, |id| (id == 1).then(|| token.to_owned()));
        assert!(pieces.get(0).is_empty() && pieces.get(2).is_empty() && pieces.get(3).is_empty());
        pieces.get(1).to_vec()
    }

    #[test]
    fn the_alphabet_spells_every_byte_once() {
        let alphabet = alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
        assert_eq!(alphabet[&'ł'], 0xa0);
        assert_eq!(alphabet[&'Ń'], 0xad);
    }

    #[test]
    fn byte_level_tokens_are_spelled_and_added_ones_written_out() {
        let decoder = json!({"type": "ByteLevel"});
        assert_eq!(bytes(&decoder, "Ġhi"), b" hi");
        assert_eq!(bytes(&decoder, "ðŁĺ"), [0xf0, 0x9f, 0x98]);
        assert_eq!(bytes(&decoder, "ð 日"), "ð 日".as_bytes());
    }

    #[test]
    fn pieces_have_their_spaces_and_bytes() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(bytes(&decoder, "▁hi"), b" hi");
        assert_eq!(bytes(&decoder, "<0xE5>"), [0xe5]);
        assert_eq!(bytes(&decoder, "<0xXY>"), b"<0xXY>");
        assert_eq!(Decoding::parse(&decoder).unwrap().start, Start::Stripped(' ', 1));
    }

    #[test]
    fn decoders_that_are_not_understood_are_refused() {
        for decoder in [
            json!(null),
            json!({"type": "WordPiece", "prefix": "##"}),
            json!({"type": "CTC"}),
            json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "ByteFallback"}]}),
            json!({"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
            json!({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}),
        ] {
            assert!(Decoding::parse(&decoder).is_err(), "{decoder}");
        }
    }
}
