//! A model package: its manifest and digests, its tokenizer, its chat template.
//!
//! The way of a prompt: [`ChatTemplate::render`] turns messages into a [`RenderedPrompt`],
//! text in which every control token is marked; [`Tokenizer::encode_prompt`] turns that
//! into token ids; what the model answers goes through a [`Detokenizer`] back into text.
//!
//! Promises:
//! - Nothing outside the package's directory is read, and no file beyond its bound in
//!   [`limits`](crate::domain::limits).
//! - A control token comes from the template alone: the same characters in a caller's text
//!   stay text.
//! - Text leaves only as whole characters, and its sum is what the tokenizer's own decoder
//!   makes of all ids at once.
//! - A template can neither loop for ever nor fill the memory.

mod calls;
mod control;
mod detokenizer;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod guard;
mod manifest;
mod memory;
mod message;
mod name;
mod package;
mod pieces;
mod published;
mod pulled;
mod python;
mod shelf;
mod source;
mod template;
mod tokenizer;
mod verify;

pub use calls::CallMarks;
pub use control::{RenderedPrompt, Segment};
pub use detokenizer::Detokenizer;
pub use error::PackageError;
pub use manifest::{
    CacheShape, Convention, FORMAT, FileEntry, FixedShapes, KvType, MANIFEST_FILE, Manifest, Requires,
    SelfTest, Source, Variant,
};
pub use message::{Message, ROLES};
pub use name::{PackageName, RelPath};
pub use package::Package;
pub use pieces::byte_alphabet;
pub use published::{
    GENAI_FILE, PRECISIONS, Parts, TABLE, TABLE_PRECISIONS, is_data, is_graph, language_model,
};
pub use pulled::{Layout, PULLED_FILE, Pulled, Vouched};
pub use shelf::{Installed, Load, Returned, Shelf, ShelfError, Trial, View};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
pub use verify::Verified;
