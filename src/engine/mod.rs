//! ONNX Runtime under one thread.
mod ffi;
mod graph;
mod runtime;

pub use graph::{Graph, GraphError, GraphOptions};
pub use runtime::{RUNTIME_MINOR_MIN, RuntimeError, RuntimeInfo, load_runtime};
