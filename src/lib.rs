//! Outpost keeps a language model resident on a small Linux board.
pub mod config;
pub mod domain;
pub mod engine;
pub mod host;
pub mod model;
pub mod observe;
pub mod scheduler;
pub mod service;
pub mod transport;
