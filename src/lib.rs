//! Outpost keeps a language model resident on a small Linux board.
pub mod config;
pub mod domain;
// pub mod engine;
pub mod model;
