//! Makes Outpost model packages from published models.
//!
//! A GGUF file or a directory of Hugging Face's layout goes in; a directory with an ONNX graph, its weights, tokenizer, chat
//! template and manifest comes out, or nothing does.
//!
//! # Rooms
//! | room | idea |
//! |---|---|
//! | [`source`] | a published model, whatever its form: weights by name, rows on demand |
//! | [`gguf`], [`hf`] | read files that nobody vouches for |
//! | [`synth`] | random weights of any shape |
//! | [`arch`] | what a model is, apart from its numbers; one file per architecture |
//! | [`tokenizer`] | `tokenizer.json`: as it is, of GGUF metadata, of `tekken.json` |
//! | [`quant`], [`weights`] | numbers into blocks; matrices through bounded memory |
//! | [`onnx`], [`graph`] | protobuf and external data; a decoder as a graph |
//! | [`recipe`], [`calibrate`], [`mix`], [`probe`] | which format each matrix gets, by measurement |
//! | [`cut`] | a model in parts that fit into memory |
//! | [`runtime`], [`selftest`], [`eval`] | running what was made |
//! | [`fixed`] | a second variant, of fixed sizes |
//! | [`package`], [`import`] | all of it, atomically |
//! | [`cli`], [`inspect`], [`text`] | the command line, and text files |
//!
//! # What holds
//! - A damaged or hostile file gets an error that names what is wrong; it decides neither
//!   paths nor how much memory is taken. Bounds are in [`limits`].
//! - Weights pass through in chunks, and what runs for a measurement is a part of the model at a
//!   time. `models/README.md` has the figures.
//! - The same file and options give the same package on the same machine. On another one
//!   the last bits of a calibration may differ, and with them the choice of a mix.

pub mod arch;
pub mod calibrate;
pub mod cli;
pub mod cut;
mod error;
pub mod eval;
pub mod fixed;
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
pub mod synth;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
