//! Text into token ids, and which id means what.
//!
//! The work is done by Hugging Face's `tokenizers`; this room sees to it that control tokens
//! are never read out of plain text, that nothing is cut or padded, and that every id is one
//! the graph has a row for.
//!
//! Added tokens which are not special (such as `<think>` of some models) are ordinary
//! vocabulary: they are recognised wherever they stand, in a caller's text too, as
//! transformers does it. What the package names as begin or end of a text is a control
//! token, however the tokenizer marks it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::AddedToken;

use super::{
    Detokenizer, Package, PackageError, RenderedPrompt, Segment,
    control::Controls,
    package::read_bytes,
    pieces::{Decoding, Pieces},
};
use crate::domain::{Error, Result, limits};

/// File name of the tokenizer within a package.
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";

/// Put before a text that continues a prompt where the tokenizer would otherwise treat it as
/// the beginning of one. A noncharacter: no text has a use for it.
const ANCHOR: char = '\u{10fffe}';

/// A package's tokenizer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: tokenizers::Tokenizer,
    controls: Controls,
    /// By id: whether it is a control token.
    special: Vec<bool>,
    decoding: Decoding,
    pieces: Pieces,
    /// Whether the first text of a prompt is treated differently from later ones.
    anchored: bool,
}

/// What is looked at in `tokenizer.json` besides what `tokenizers` makes of it.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

/// An added token as the file has it.
#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

impl Tokenizer {
    /// Reads the package's `tokenizer.json`.
    ///
    /// # Errors
    /// It cannot be read; it knows ids for which the graph has no row, or lacks ids that the
    /// manifest names; or its decoder or special tokens are of a kind that would not be
    /// treated exactly.
    pub fn load(package: &Package) -> Result<Self, PackageError> {
        let path = package.dir.join(TOKENIZER_FILE);
        let json = read_bytes(&path, limits::TOKENIZER_BYTES_MAX)?;
        let wrong = |reason: String| PackageError::Tokenizer { path: path.clone(), reason };
        let broken =
            |error: &dyn std::fmt::Display| wrong(format!("not a tokenizer that is understood: {error}"));

        let shape: Shape = serde_json::from_slice(&json).map_err(|error| broken(&error))?;
        let engine = tokenizers::Tokenizer::from_bytes(&json).map_err(|error| broken(&error))?;
        Self::new(engine, &shape, package).map_err(|reason| {
            wrong(format!(
                "{reason}. The package and this daemon do not fit together: import the model again"
            ))
        })
    }

    fn new(mut engine: tokenizers::Tokenizer, shape: &Shape, package: &Package) -> Result<Self, String> {
        let text = |error: tokenizers::Error| error.to_string();
        engine.with_truncation(None).map_err(text)?.with_padding(None);
        // `tokenizers` numbers added tokens itself and ignores the file's numbers.
        let moved = |added: &&Added| engine.token_to_id(&added.content) != Some(added.id);
        if let Some(Added { id, content }) = shape.added_tokens.iter().find(moved) {
            return Err(format!(
                "its added token `{content}` cannot have the id {id}: ids before it are missing"
            ));
        }
        let vocabulary = package.manifest.vocabulary;
        let last = engine.get_vocab(true).into_values().max().unwrap_or(0);
        if last as usize >= vocabulary {
            return Err(format!(
                "its token {last} is beyond the vocabulary of {vocabulary} that the manifest gives"
            ));
        }

        let ends = package.manifest.eos.iter().chain(&package.manifest.bos);
        let named = ends.map(|id| {
            let token = engine.get_added_tokens_decoder().get(id).cloned();
            let token = token.or_else(|| Some(AddedToken::from(engine.id_to_token(*id)?, true)));
            token
                .map(|token| (*id, token.special(true)))
                .ok_or(format!("it has no token {id}, which the manifest names"))
        });
        let named: Vec<_> = named.collect::<Result<_, _>>()?;
        engine.add_special_tokens(named.iter().map(|(_, token)| token.clone())).map_err(text)?;
        engine.set_encode_special_tokens(true);

        let mut tokens: Vec<_> =
            engine.get_added_tokens_decoder().into_iter().filter(|(_, t)| t.special).collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let controls = Controls::new(tokens)?;
        let mut special = vec![false; vocabulary];
        controls.iter().for_each(|(id, _)| special[id as usize] = true);

        let decoding = Decoding::parse(&shape.decoder)?;
        let pieces =
            Pieces::new(&decoding, vocabulary, |id| engine.id_to_token(id).filter(|_| !special[id as usize]));
        let anchored = shape.pre_tokenizer.to_string().contains(r#""prepend_scheme":"first""#);
        if anchored {
            let anchor = AddedToken::from(ANCHOR.to_string(), false).normalized(false);
            engine.add_tokens([anchor]).map_err(text)?;
        }
        Ok(Self(Arc::new(Inner { engine, controls, special, decoding, pieces, anchored })))
    }

    /// Token ids of plain text: control tokens in it are text. Nothing is added, no begin of
    /// text either.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_into(text, false, &mut ids)?;
        Ok(ids)
    }

    /// Token ids of a rendered prompt.
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(prompt.text().len() / 3);
        for (index, segment) in prompt.segments().enumerate() {
            match segment {
                Segment::Control(id) => ids.push(id),
                Segment::Text(text) => self.encode_into(text, index > 0, &mut ids)?,
            }
        }
        Ok(ids)
    }

    fn encode_into(&self, text: &str, continues: bool, ids: &mut Vec<u32>) -> Result<()> {
        let inner = &*self.0;
        if inner.anchored && text.contains(ANCHOR) {
            return Err(Error::invalid("messages", "the text holds U+10FFFE, which is not a character"));
        }
        let anchor = inner.anchored && continues;
        let anchored = if anchor { format!("{ANCHOR}{text}") } else { String::new() };
        let text = if anchor { anchored.as_str() } else { text };
        let encoding = inner.engine.encode_fast(text, false).map_err(Error::internal)?;
        let encoded = &encoding.get_ids()[usize::from(anchor)..];
        // No merge can spell a control token in any tokenizer known; if one could, text would
        // become control, so this is checked and not believed.
        if let Some(id) = encoded.iter().find(|id| self.is_special(**id)) {
            return Err(Error::invalid("messages", "a text spells one of the model's control tokens")
                .with_detail(format!("token {id}")));
        }
        ids.extend_from_slice(encoded);
        Ok(())
    }

    /// Bytes of one token; they need not be whole characters. A control token has none, see
    /// [`special_text`](Self::special_text).
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.piece(id).to_vec()
    }

    /// How a control token is written; `None` for every other id.
    pub fn special_text(&self, id: u32) -> Option<&str> {
        self.controls().iter().find(|(control, _)| *control == id).map(|(_, text)| text)
    }

    /// Ids are below this: rows of the model's token table.
    pub fn vocabulary(&self) -> usize {
        self.0.special.len()
    }

    /// Whether `id` is a control token.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.special.get(id as usize).copied().unwrap_or(false)
    }

    /// For the text of one answer.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer::new(self.clone())
    }

    /// What the tokenizer's own decoder makes of `ids`, for tests.
    #[cfg(test)]
    pub(super) fn decode_at_once(&self, ids: &[u32]) -> String {
        self.0.engine.decode(ids, true).expect("every decoder that was accepted decodes")
    }

    pub(super) fn piece(&self, id: u32) -> &[u8] {
        self.0.pieces.get(id)
    }

    pub(super) fn decoding(&self) -> &Decoding {
        &self.0.decoding
    }

    pub(super) fn controls(&self) -> &Controls {
        &self.0.controls
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{
        control::tests::controls,
        fixture::{VOCABULARY, byte_level, pieces, tokenizer, with_tokenizer},
    };

    fn load(tokenizer: &Value) -> Result<Tokenizer, PackageError> {
        let dir = tempfile::tempdir().unwrap();
        Tokenizer::load(&with_tokenizer(dir.path(), tokenizer))
    }

    #[test]
    fn control_tokens_in_plain_text_are_text() {
        let tokenizer = tokenizer();
        for text in ["<|im_start|>", "a<|im_end|>b", "<|endoftext|>"] {
            let ids = tokenizer.encode_text(text).unwrap();
            assert!(ids.iter().all(|id| !tokenizer.is_special(*id)), "{text}: {ids:?}");
            let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).collect();
            assert_eq!(bytes, text.as_bytes());
        }
    }

    #[test]
    fn what_ends_a_text_by_the_manifest_is_control_however_it_is_marked() {
        let tokenizer = tokenizer();
        assert!(tokenizer.is_special(2) && tokenizer.special_text(2) == Some("<|im_end|>"));
        assert!(tokenizer.token_bytes(2).is_empty());
    }

    #[test]
    fn added_tokens_that_are_not_special_are_vocabulary() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.encode_text("<think>").unwrap(), [265]);
        assert_eq!(tokenizer.token_bytes(265), b"<think>");
        assert!(!tokenizer.is_special(265) && tokenizer.special_text(265).is_none());
    }

    #[test]
    fn nothing_is_cut_to_the_length_that_the_file_asks_for() {
        assert_eq!(tokenizer().encode_text("abcdefghijkl").unwrap().len(), 12);
    }

    #[test]
    fn a_prompts_control_tokens_are_its_own() {
        let tokenizer = tokenizer();
        let prompt = tokenizer.controls().mark("<|im_start|>hell<\u{e000}|im_end|><|im_end|>", '\u{e000}');
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        assert_eq!((ids[0], ids[1], *ids.last().unwrap()), (1, 261, 2));
        assert_eq!(ids.iter().filter(|id| tokenizer.is_special(**id)).count(), 2);
        assert!(tokenizer.encode_prompt(&RenderedPrompt::plain("")).unwrap().is_empty());
    }

    #[test]
    fn only_the_first_text_of_a_prompt_begins_with_a_space_piece() {
        let tokenizer = load(&pieces()).unwrap();
        let [s, h, i] = ["<s>", "h", "i"].map(|token| tokenizer.0.engine.token_to_id(token).unwrap());
        let space_hi = tokenizer.0.engine.token_to_id("▁hi").unwrap();
        let prompt = |text| controls(&["<unk>", "<s>"]).mark(text, '\u{e000}');
        assert_eq!(tokenizer.encode_text("hi").unwrap(), [space_hi]);
        assert_eq!(tokenizer.encode_prompt(&prompt("hi<s>hi")).unwrap(), [space_hi, s, h, i]);
        assert_eq!(tokenizer.encode_prompt(&prompt("<s>hi")).unwrap(), [s, h, i]);
        let error = tokenizer.encode_text("a\u{10fffe}").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages"));
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused_with_its_path() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut tokenizer = byte_level();
            change(&mut tokenizer);
            let error = load(&tokenizer).unwrap_err();
            assert!(matches!(error, PackageError::Tokenizer { .. }), "{error}");
            error.to_string()
        };
        let beyond = changed(&|t| t["model"]["vocab"]["x"] = json!(VOCABULARY));
        assert!(beyond.contains("tokenizer.json") && beyond.contains("beyond the vocabulary"), "{beyond}");
        assert!(
            changed(&|t| t["added_tokens"][3]["id"] = json!(270))
                .contains("`<think>` cannot have the id 270")
        );
        assert!(
            changed(&|t| t["decoder"] =
                json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "|", "cleanup": true}))
            .contains("CTC")
        );
        assert!(changed(&|t| t["decoder"] = Value::Null).contains("decoder"));
        assert!(changed(&|t| t["added_tokens"][0]["single_word"] = json!(true)).contains("single_word"));
        assert!(changed(&|t| t["model"]["type"] = json!("?")).contains("not a tokenizer"));
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_nothing() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.vocabulary(), VOCABULARY);
        for id in [VOCABULARY as u32 - 1, VOCABULARY as u32, u32::MAX] {
            assert!(tokenizer.token_bytes(id).is_empty() && !tokenizer.is_special(id));
        }
    }
}
