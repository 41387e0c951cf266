//! Outpost keeps a language model resident on a small Linux board and answers prompts over
//! a Unix socket. One binary, one configuration file, one model package.
//!
//! # The life of a request
//! ```text
//! transport → service (the one door) → scheduler's queue → engine → back through the service
//!                                              └→ policy's permit → cloud ─┘
//! ```
//! A [`transport`] turns bytes into a [`service::Request`] and answers with what comes back.
//! The [`service`] holds it against model, context and limits, and puts it into the
//! [`scheduler`]'s fair queue. The [`engine`] thread takes it into a slot of the KV cache,
//! reads the prompt in chunks, writes the answer token by token together with the other
//! slots, and hands out text that no stop string can take back any more. What the device cannot answer
//! in time the service's overflow takes out of the queue, if the [`policy`] gives a permit for somebody
//! elsewhere, and a carrier of [`cloud`] brings it there; its answer comes back the same way. Dropping the
//! [`service::Answer`], as a disconnect does, ends the request within one engine step.
//!
//! # The layers
//! | module | holds | may use |
//! |---|---|---|
//! | [`domain`] | requests' options, outcomes, errors, limits, ids, time | nothing |
//! | [`config`] | TOML in layers, every problem at once | domain |
//! | [`host`] | read-only probes of the board | domain |
//! | [`model`] | package, digests, tokenizer, chat template | domain |
//! | [`policy`] | what may leave the device, and in which form; the only maker of permits | config, domain |
//! | [`cloud`] | who is asked off the device, for how much, and the way there and back | domain, policy |
//! | [`hub`] | models from a Hub or a folder: which files, resumed, verified, installed | cloud, domain, model |
//! | [`engine`] | ONNX Runtime, KV slots, sampling; one thread | domain, model |
//! | [`scheduler`] | the fair queue | domain |
//! | [`observe`] | log and metrics | domain |
//! | [`store`] | requests, outbox and ledger on disk; one writer thread | domain |
//! | [`task`] | prompts, results and debounce of messages on topics | config, domain |
//! | [`service`] | the door and the life of a request | all above but config |
//! | [`transport`] | HTTP and MQTT: they translate and never decide | domain, engine, service, store, task |
//! | [`supervise`] | start order, signals, end | all above |
//! | [`cli`] | one file per sub-command | all above |
//!
//! `tests/architecture.rs` holds the `use crate::` edges against this table.
//!
//! # What holds everywhere
//! - Every queue, buffer, wait and retry has its bound in [`domain::limits`].
//! - What decides is a pure function of data; what does I/O decides nothing.
//! - Errors tell the caller what to do, and the log why.

pub mod cli;
pub mod cloud;
pub mod config;
pub mod domain;
pub mod engine;
pub mod host;
pub mod hub;
pub mod model;
pub mod observe;
pub mod policy;
pub mod scheduler;
pub mod service;
pub mod store;
pub mod supervise;
pub mod task;
pub mod transport;
