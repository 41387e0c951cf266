//! `tekken.json`, Mistral's own vocabulary file, as `tokenizer.json`.
//!
//! It lists byte sequences by rank. A text is cut by a pattern, and within a piece the two
//! neighbours whose union has the lowest rank are joined, over and over. As a list of merges:
//! each way to cut a sequence into two that are in the list is one merge, ordered by the rank
//! of the whole, as transformers' `MistralConverter` does it. Ids below the number of special
//! tokens are theirs; the others are ranks above that number.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::TEKKEN_PATTERN;
use crate::{Error, Result, limits};

#[derive(Deserialize)]
struct File {
    config: Config,
    vocab: Vec<Word>,
    special_tokens: Option<Vec<Special>>,
}

#[derive(Deserialize)]
struct Config {
    pattern: Option<String>,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct Word {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct Special {
    rank: usize,
    token_str: String,
}

/// Special tokens of files from before these named their own (`mistral_common`, `Tekkenizer.DEPRECATED_SPECIAL_TOKENS`).
const OLD_SPECIALS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// The contents of `tokenizer.json`.
pub(super) fn convert(text: &str) -> Result<String> {
    let wrong = |reason: String| Error::Unsupported(format!("`tekken.json`: {reason}"));
    let file: File = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let (size, specials) = (file.config.default_vocab_size, file.config.default_num_special_tokens);
    if specials > size || size > limits::VOCABULARY_MAX {
        return Err(wrong(format!("{size} tokens of which {specials} are special")));
    }
    let words = words(&file.vocab, size - specials).map_err(wrong)?;
    let special = special_tokens(file.special_tokens.unwrap_or_default(), specials).map_err(wrong)?;
    let alphabet = outpost::model::byte_alphabet();
    let spelled = |bytes: &[u8]| bytes.iter().map(|b| alphabet[usize::from(*b)]).collect::<String>();
    let mut vocabulary: Map<String, Value> =
        special.iter().enumerate().map(|(id, text)| (text.clone(), id.into())).collect();
    vocabulary.extend(words.iter().enumerate().map(|(rank, word)| (spelled(word), (rank + specials).into())));
    if vocabulary.len() != size {
        return Err(wrong("two tokens have the same text".to_owned()));
    }
    let merges = merges(&words).map_err(wrong)?;
    let merges: Vec<_> = merges.into_iter().map(|(l, r)| json!([spelled(l), spelled(r)])).collect();
    let added = |(id, text): (usize, &String)| {
        json!({
            "id": id, "content": text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let first = json!({"SpecialToken": {"id": special.get(1), "type_id": 0}});
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let pattern = file.config.pattern.as_deref().unwrap_or(TEKKEN_PATTERN);
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            bytes,
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {&special[1]: {"id": special[1], "ids": [1], "tokens": [special[1]]}},
        },
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
            "vocab": vocabulary, "merges": merges,
        },
    });
    Ok(json.to_string())
}

/// The byte sequences by rank. The file lists more than the model uses.
fn words(vocab: &[Word], count: usize) -> Result<Vec<Vec<u8>>, String> {
    if vocab.len() < count {
        return Err(format!("it lists {} byte sequences, and {count} are wanted", vocab.len()));
    }
    let word = |(rank, word): (usize, &Word)| {
        if word.rank != rank {
            return Err(format!("the byte sequence of rank {rank} has rank {}", word.rank));
        }
        let bytes = BASE64_STANDARD.decode(&word.token_bytes);
        bytes.ok().filter(|bytes| (1..=limits::TEKKEN_WORD_BYTES_MAX).contains(&bytes.len())).ok_or_else(
            || {
                let most = limits::TEKKEN_WORD_BYTES_MAX;
                format!("the byte sequence of rank {rank} is no base64 of 1 to {most} bytes")
            },
        )
    };
    vocab[..count].iter().enumerate().map(word).collect()
}

/// Texts of the special tokens; those without one are called after their number, as Mistral does.
fn special_tokens(named: Vec<Special>, count: usize) -> Result<Vec<String>, String> {
    if count < 3 {
        return Err(format!("{count} special tokens: there is none to begin and end with"));
    }
    let mut texts: Vec<String> = (0..count).map(|id| format!("<SPECIAL_{id}>")).collect();
    if named.is_empty() {
        texts.iter_mut().zip(OLD_SPECIALS).for_each(|(text, name)| name.clone_into(text));
    }
    for Special { rank, token_str } in named {
        let text = texts.get_mut(rank).ok_or_else(|| format!("special token {rank} of {count}"))?;
        *text = token_str;
    }
    Ok(texts)
}

/// Two byte sequences that become one.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Every pair of sequences whose union is one, by the union's rank, then by their own.
fn merges(words: &[Vec<u8>]) -> Result<Vec<Pair<'_>>, String> {
    let ranks: HashMap<&[u8], usize> =
        words.iter().enumerate().map(|(rank, w)| (w.as_slice(), rank)).collect();
    let (mut merges, mut bytes) = (Vec::new(), 0);
    for word in words {
        let mut ways: Vec<_> = (1..word.len())
            .map(|at| word.split_at(at))
            .filter_map(|(left, right)| Some(((*ranks.get(left)?, *ranks.get(right)?), (left, right))))
            .collect();
        ways.sort_unstable();
        bytes += ways.len() * word.len();
        if bytes > limits::TEKKEN_MERGES_BYTES_MAX {
            return Err("its words are made of one another in too many ways".to_owned());
        }
        merges.extend(ways.into_iter().map(|(_, pair)| pair));
    }
    Ok(merges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(words: &[&[u8]], specials: &Value) -> Value {
        let vocab: Vec<Value> = (words.iter().enumerate())
            .map(|(rank, w)| json!({"rank": rank, "token_bytes": BASE64_STANDARD.encode(w), "token_str": null}))
            .collect();
        json!({"config": {"default_vocab_size": words.len() + 4, "default_num_special_tokens": 4},
            "vocab": vocab, "special_tokens": specials})
    }

    fn bytes() -> Vec<Vec<u8>> {
        (0..=255).map(|b| vec![b]).collect()
    }

    #[test]
    fn pieces_are_joined_by_the_rank_of_what_they_become() {
        let bytes = bytes();
        let mut words: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        words.extend([b"bc".as_slice(), b"ab", b"abc", b" \xc3", "é".as_bytes()]);
        let named = json!([{"rank": 0, "token_str": "<unk>"}, {"rank": 1, "token_str": "<s>"}, {"rank": 2, "token_str": "</s>"}]);
        let json = convert(&file(&words, &named).to_string()).unwrap();
        let tokenizer = tokenizers::Tokenizer::from_bytes(json).unwrap();
        let ids = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids("abc"), [4 + 258], "a whole piece is taken as it is");
        assert_eq!(ids("abcb"), [4 + 258, 4 + u32::from(b'b')], "bc first, then abc");
        assert_eq!(ids("é"), [4 + 260]);
        assert_eq!(ids("<s>a"), [1, 4 + u32::from(b'a')]);
        let with_first = tokenizer.encode("a", true).unwrap().get_ids().to_vec();
        assert_eq!(with_first, [1, 4 + u32::from(b'a')]);
        assert_eq!(tokenizer.decode(&[4 + 258, 4 + 260], true).unwrap(), "abcé");
    }

    #[test]
    fn old_files_have_the_special_tokens_of_their_time() {
        assert_eq!(special_tokens(Vec::new(), 21).unwrap()[19..], ["[TOOL_CONTENT]", "<SPECIAL_20>"]);
    }

    #[test]
    fn a_file_that_contradicts_itself_is_refused() {
        let bytes = bytes();
        let words: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let good = file(&words, &json!([]));
        assert!(convert(&good.to_string()).is_ok());
        for (pointer, value) in [
            ("/config/default_vocab_size", json!(300)),
            ("/config/default_vocab_size", json!(3)),
            ("/config/default_num_special_tokens", json!(2)),
            ("/config/default_vocab_size", json!(u64::MAX)),
            ("/vocab/7/rank", json!(8)),
            ("/vocab/7/token_bytes", json!("?")),
            ("/vocab/7/token_bytes", json!("")),
            ("/vocab/7/token_bytes", json!("AA==")),
            ("/special_tokens", json!([{"rank": 4, "token_str": "x"}])),
            (
                "/special_tokens",
                json!([{"rank": 3, "token_str": "<unk>"}, {"rank": 2, "token_str": "<unk>"}]),
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let error = convert(&bad.to_string()).unwrap_err().to_string();
            assert!(error.contains("tekken.json"), "{pointer}: {error}");
        }
        assert!(convert("[]").is_err());
    }
}
