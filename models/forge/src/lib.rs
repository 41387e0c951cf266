//! Makes Outpost model packages from GGUF files.
//!
//! A GGUF file goes in; a directory with an ONNX graph, its weights, tokenizer, chat
//! template and manifest comes out, or nothing does.
//!
//! # Rooms
//! | room | idea |
//! |---|---|
//! | [`gguf`] | reads files that nobody vouches for |
//! | [`arch`] | what a model is, apart from its numbers; one file per architecture |
//! | [`tokenizer`] | `tokenizer.json` out of GGUF metadata |
//! | [`quant`], [`weights`] | numbers into blocks; matrices through bounded memory |
//! | [`onnx`], [`graph`] | protobuf and external data; a decoder as a graph |
//! | [`recipe`], [`calibrate`], [`mix`] | which format each matrix gets, by measurement |
//! | [`runtime`], [`selftest`], [`eval`] | running what was made |
//! | [`package`], [`import`] | all of it, atomically |
//! | [`cli`], [`inspect`] | the command line |
//!
//! # What holds
//! - A damaged or hostile file gets an error that names what is wrong; it decides neither
//!   paths nor how much memory is taken. Bounds are in [`limits`].
//! - Weights pass through in chunks; but a calibration (for `int4`, `mixed` and int8 caches)
//!   loads the model with 8-bit weights, and takes the memory of that.
//! - The same file and options give the same package on the same machine. On another one
//!   the last bits of a calibration may differ, and with them the choice of a mix.

pub mod arch;
pub mod calibrate;
pub mod cli;
pub mod cut;
mod error;
pub mod eval;
pub mod gguf;
pub mod graph;
pub mod hf;
pub mod import;
pub mod inspect;
pub mod limits;
pub mod mix;
pub mod onnx;
pub mod package;
pub mod probe;
pub mod progress;
pub mod quant;
pub mod recipe;
pub mod runtime;
pub mod selftest;
pub mod source;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
