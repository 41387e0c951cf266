//! Writing ONNX: the protobuf messages, the graph under construction, the external data.

mod builder;
mod data;
mod proto;

pub use builder::{Attribute, Dimension, Element, GraphBuilder};
pub use data::{DataFile, Region};
