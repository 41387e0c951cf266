//! A graph under construction.

use std::{fs, path::Path};

use prost::Message;

use super::{
    data::{DataFile, Region},
    proto::{
        AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    },
};
use crate::{Error, Result};

/// ONNX's own operators; 18 is the lowest set that has all we use.
const OPSET: i64 = 18;
/// Operators of ONNX Runtime.
const CONTRIB: &str = "com.microsoft";
/// ONNX 1.15's file format, read by ONNX Runtime from 1.18 on.
const IR_VERSION: i64 = 10;

/// Element type of a tensor, with ONNX's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    I32 = 6,
    I64 = 7,
    F16 = 10,
}

/// One dimension of an input or output: a number, or a name for what varies.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dimension<'a> {
    Fixed(usize),
    Named(&'a str),
}

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Text(&'a str),
    Ints(&'a [i64]),
}

/// Nodes, initializers, inputs and outputs, in the order in which they were added.
#[derive(Default)]
pub struct GraphBuilder {
    graph: GraphProto,
}

impl GraphBuilder {
    /// Adds a node of ONNX's own operators.
    pub fn onnx(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        self.node("", op, inputs, outputs, attributes);
    }

    /// Adds a node of ONNX Runtime's operators.
    pub fn contrib(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        self.node(CONTRIB, op, inputs, outputs, attributes);
    }

    fn node(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        self.graph.node.push(NodeProto {
            input: owned(inputs),
            output: owned(outputs),
            // Profiles and error messages show it; the first output is unique.
            name: outputs.iter().find(|o| !o.is_empty()).map_or_else(String::new, |o| format!("{o}/{op}")),
            op_type: op.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, *value)).collect(),
            domain: domain.to_owned(),
        });
    }

    /// Adds a constant that is held in the graph file itself. Everything that shape inference
    /// looks at must be: ONNX Runtime refuses external data there.
    pub fn inline(&mut self, name: &str, element: Element, dims: &[usize], bytes: Vec<u8>) {
        let tensor = TensorProto { raw_data: Some(bytes), ..tensor(name, element, dims) };
        self.graph.initializer.push(tensor);
    }

    /// An inline vector of whole numbers.
    pub fn inline_i64(&mut self, name: &str, numbers: &[i64]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.inline(name, Element::I64, &[numbers.len()], bytes);
    }

    /// Adds a constant that lies in `region` of `data`. Several names may share a region.
    pub fn external(
        &mut self,
        name: &str,
        element: Element,
        dims: &[usize],
        data: &DataFile,
        region: Region,
    ) {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        self.graph.initializer.push(TensorProto {
            external_data: vec![
                entry("location", data.name().to_owned()),
                entry("offset", region.offset.to_string()),
                entry("length", region.bytes.to_string()),
            ],
            data_location: Some(1),
            ..tensor(name, element, dims)
        });
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, element: Element, shape: &[Dimension<'_>]) {
        self.graph.input.push(value(name, element, shape));
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, element: Element, shape: &[Dimension<'_>]) {
        self.graph.output.push(value(name, element, shape));
    }

    /// Writes the model file.
    pub fn write(mut self, path: &Path, name: &str) -> Result<()> {
        name.clone_into(&mut self.graph.name);
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "outpost-forge".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![opset("", OPSET), opset(CONTRIB, 1)],
        };
        fs::write(path, model.encode_to_vec()).map_err(Error::io("write", path))
    }
}

fn tensor(name: &str, element: Element, dims: &[usize]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: element as i32,
        name: name.to_owned(),
        ..TensorProto::default()
    }
}

fn attribute(name: &str, value: Attribute<'_>) -> AttributeProto {
    let empty = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Float(f) => AttributeProto { f: Some(f), r#type: 1, ..empty },
        Attribute::Int(i) => AttributeProto { i: Some(i), r#type: 2, ..empty },
        Attribute::Ints(all) => AttributeProto { ints: all.to_vec(), r#type: 7, ..empty },
        Attribute::Text(s) => AttributeProto { s: Some(s.as_bytes().to_vec()), r#type: 3, ..empty },
    }
}

fn value(name: &str, element: Element, shape: &[Dimension<'_>]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|d| match d {
            Dimension::Fixed(n) => DimensionProto { dim_value: Some(*n as i64), dim_param: None },
            Dimension::Named(n) => DimensionProto { dim_value: None, dim_param: Some((*n).to_owned()) },
        })
        .collect();
    let tensor = TensorTypeProto { elem_type: element as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
