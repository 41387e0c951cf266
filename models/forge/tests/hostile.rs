//! Files that nobody vouches for: each gets an error that names what is wrong, none gets a
//! panic or more memory than it brings bytes for.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "common/tiny.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "used in part")]
mod tiny;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use outpost_forge::{arch, gguf::Gguf, tokenizer};
use proptest::prelude::*;
use tiny::{File, T, V};

/// Largest single allocation of this thread since it was last set to 0, bytes.
struct Largest;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator that only watches; every call goes to the system's")]
// SAFETY: passes every call on unchanged.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|l| l.set(l.get().max(layout.size())));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// Everything that reads a header: parser, architecture, tokenizer.
fn read(bytes: Vec<u8>) -> Result<(), String> {
    let len = bytes.len() as u64;
    let gguf = Gguf::parse(Box::new(bytes), len).map_err(|e| e.to_string())?;
    let decoder = arch::describe(&gguf).map_err(|e| e.to_string())?;
    tokenizer::build(&gguf, decoder.vocabulary, decoder.context).map_err(|e| e.to_string())?;
    Ok(())
}

#[track_caller]
fn refused(file: &File, words: &[&str]) {
    refused_bytes(file.bytes(), words);
}

#[track_caller]
fn refused_bytes(bytes: Vec<u8>, words: &[&str]) {
    let error = read(bytes).unwrap_err();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn the_tiny_model_itself_is_accepted() {
    assert_eq!(read(tiny::model().bytes()), Ok(()));
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let bytes = tiny::model().bytes();
    for len in (0..bytes.len()).step_by(7) {
        assert!(read(bytes[..len].to_vec()).is_err(), "{len} of {} bytes", bytes.len());
    }
    let cut = bytes[..bytes.len() - 1].to_vec();
    refused_bytes(cut, &["output_norm.weight", "ends at byte", "truncated, download it again"]);
}

#[test]
fn other_files_are_named_as_such() {
    refused_bytes(b"PK\x03\x04 and so on and so on and on".to_vec(), &["not a GGUF file"]);
    refused_bytes(Vec::new(), &["truncated"]);
    refused(&File { version: 1, ..tiny::model() }, &["version 1", "2 and 3"]);
    refused(&File { version: 3 << 24, ..tiny::model() }, &["big-endian"]);
    refused(&File { version: 77, ..tiny::model() }, &["version 77"]);
}

#[test]
fn huge_counts_are_refused_before_anything_is_allocated() {
    refused(&File { tensor_count: Some(u64::MAX), ..tiny::model() }, &["number of tensors", "limit"]);
    refused(&File { entry_count: Some(1 << 40), ..tiny::model() }, &["metadata entries", "limit"]);
    refused(&File { tensor_count: Some(60_000), ..tiny::model() }, &[]);
    let array = |kind: u32, count: u64| {
        let bytes = [kind.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat();
        tiny::model().set("x", V::Raw(9, bytes))
    };
    LARGEST.set(0);
    let bytes = array(8, 4_000_000).bytes();
    let len = bytes.len();
    refused_bytes(bytes, &["`x`", "truncated"].map(|w| w.trim_matches('`')));
    refused(&array(8, u64::MAX), &["elements of metadata arrays", "limit"]);
    refused(&array(9, 3), &["array of arrays"]);
    refused(&array(77, 3), &["value type 77"]);
    assert!(LARGEST.get() < 40 * len, "{} bytes for a file of {len}", LARGEST.get());
    refused(&tiny::model().set("x", V::Raw(8, u64::MAX.to_le_bytes().to_vec())), &["length of x", "limit"]);
    refused(&tiny::model().set("x", V::Raw(7, vec![2])), &["not a boolean"]);
}

#[test]
fn tensors_that_cannot_be_are_refused_by_name() {
    let spoiled = |spoil: &dyn Fn(&mut T)| {
        let mut file = tiny::model();
        spoil(file.tensor("blk.0.attn_q.weight"));
        file
    };
    let name = "blk.0.attn_q.weight";
    refused(&spoiled(&|t| t.dimensions = vec![u64::MAX, u64::MAX]), &[name, "no sensible size"]);
    refused(&spoiled(&|t| t.dimensions = vec![32, 0]), &[name, "no sensible size"]);
    refused(&spoiled(&|t| t.dimensions = vec![1 << 20, 1 << 14]), &[name, "truncated"]);
    refused(&spoiled(&|t| t.dimensions = vec![]), &[name, "0 dimensions"]);
    refused(&spoiled(&|t| t.dimensions = vec![1; 9]), &[name, "9 dimensions"]);
    refused(&spoiled(&|t| t.dimensions = vec![32, 31]), &[name, "31 rows", "32"]);
    refused(&spoiled(&|t| t.offset = Some(13)), &[name, "offset 13", "alignment"]);
    refused(&spoiled(&|t| t.offset = Some(u64::MAX - 31)), &[name, "truncated"]);
    refused(&spoiled(&|t| t.offset = Some(0)), &["overlap", "token_embd.weight", name]);
    refused(&spoiled(&|t| t.code = 16), &[name, "IQ2_XXS", "convert it"]);
    refused(&spoiled(&|t| t.code = 4711), &[name, "type code 4711"]);
    refused(&spoiled(&|t| (t.code, t.dimensions) = (12, vec![32, 32])), &[name, "whole blocks of 256"]);
    refused(&spoiled(&|t| t.name = "blk.0.attn_k.weight".into()), &["attn_k", "occurs twice"]);
    refused(&spoiled(&|t| t.name = "blk.0.attn_q.bias".into()), &[name, "missing"]);
    refused(&spoiled(&|t| t.name = "x".repeat(300)), &["name of tensor", "limit"]);
}

#[test]
fn names_with_tricks_are_shown_escaped_and_never_used_as_paths() {
    let mut file = tiny::model();
    let extra = T { name: "../../etc/\u{1b}[2Jpasswd".into(), ..file.tensors[1].clone() };
    file.tensors.push(extra);
    let error = read(file.bytes()).unwrap_err();
    assert!(error.contains("has no place") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn what_is_not_supported_is_said() {
    let model = tiny::model;
    refused(&model().set("general.architecture", V::Text("mamba")), &["architecture `mamba`", "`llama`"]);
    refused(&model().without("general.architecture"), &["general.architecture", "missing"]);
    refused(&model().set("llama.block_count", V::U32(100_000)), &["llama.block_count", "limit"]);
    refused(&model().set("llama.block_count", V::U32(2)), &["blk.1.attn_norm.weight", "missing"]);
    refused(&model().set("llama.block_count", V::Text("one")), &["llama.block_count", "whole number"]);
    refused(&model().set("llama.attention.head_count", V::U32(0)), &["head_count", "0"]);
    refused(&model().set("llama.attention.head_count_kv", V::U32(0)), &["0 key/value heads"]);
    refused(&model().set("llama.rope.freq_base", V::F32(f32::NAN)), &["llama.rope.freq_base", "finite"]);
    refused(&model().set("llama.rope.dimension_count", V::U32(8)), &["part of each head"]);
    refused(&model().set("llama.rope.scaling.type", V::Text("longrope")), &["longrope"]);
    let yarn = || model().set("llama.rope.scaling.type", V::Text("yarn"));
    refused(&yarn(), &["original_context_length", "missing"]);
    let yarn = |n| yarn().set("llama.rope.scaling.original_context_length", V::U32(n));
    refused(&yarn(0), &["original_context_length", "0"]);
    refused(&yarn(64).set("llama.rope.scaling.factor", V::F32(0.0)), &["not positive"]);
    refused(&model().set("llama.expert_count", V::U32(8)), &["mixture-of-experts"]);
    refused(&model().set("split.count", V::U32(3)), &["split", "--merge"]);
    refused(&model().set("general.alignment", V::U32(24)), &["general.alignment", "power of two"]);
    refused(&model().set("tokenizer.ggml.pre", V::Text("viking")), &["pre-tokenizer `viking`", "`smollm`"]);
    refused(&model().set("tokenizer.ggml.model", V::Text("llama")), &["tokenizer model `llama`", "gpt2"]);
    refused(&model().set("tokenizer.ggml.eos_token_id", V::U32(999)), &["eos_token_id", "no token 999"]);
    refused(
        &model().without("tokenizer.ggml.eos_token_id").without("tokenizer.ggml.token_type"),
        &["ends an answer"],
    );
    refused(&model().set("tokenizer.ggml.merges", V::Texts(vec!["th x".into()])), &["merges", "`th x`"]);
    refused(&model().set("tokenizer.ggml.tokens", V::Texts(vec!["a".into(), "a".into()])), &["token_type"]);
}

fn check_bound(bytes: Vec<u8>) {
    let len = bytes.len();
    LARGEST.set(0);
    let _ = read(bytes);
    // One copy of the window, and at most 40 bytes of memory for one of the file.
    assert!(LARGEST.get() <= 64 * 1024 + 40 * len, "{} bytes for a file of {len}", LARGEST.get());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), version in 2u32..4) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(&tail);
        check_bound(tail);
        check_bound(bytes);
    }

    /// Small counts, so that the parser gets past them and into the values.
    #[test]
    fn random_headers_never_panic(counts in (0u64..4, 0u64..6), tail in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..16, any::<u8>()], 0..600)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(counts.0.to_le_bytes());
        bytes.extend(counts.1.to_le_bytes());
        bytes.extend(tail);
        check_bound(bytes);
    }

    #[test]
    fn mutated_files_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = tiny::model().bytes();
        // Weights may be anything: change what comes before them.
        let header = bytes.len() - 260 * 32 * 4;
        for (at, value) in &changes {
            let at = at.index(header.min(9000));
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_bound(bytes);
    }
}
