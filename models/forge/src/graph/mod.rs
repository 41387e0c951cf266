//! A decoder as an ONNX graph, in the form that Outpost's engine binds.
//!
//! Inputs: `input_ids` int64 `[B, S]`; `seqlens_k` int32 `[B]`, past + S - 1 of each row;
//! `total_len` int32, the largest past + S; `logits_rows` int64 `[R]`, rows of the flattened
//! `[B * S]` hidden states to project; `past.{i}.key` and `.value`
//! `[B, kv_heads, P, head_width]` in the cache's type. Outputs: `logits` float `[R, V]`;
//! `present.{i}.key` and `.value`, which may be the very memory of the past.
//!
//! A [`Part`] of the layers can be a graph of its own: hidden states come in as `stream.residual`
//! and `stream.update`, the summands of the next norm, and leave as `next.*`.
//!
//! Queries, keys and values are one product, gate and up another. The residual sum is the
//! fourth output of `SkipSimplifiedLayerNormalization`. A tied table is stored once.

mod attention;
mod fixed;
mod matrix;

use std::{collections::HashMap, ops::Range, path::Path};

pub use fixed::write_fixed;
use matrix::Shape;

use crate::{
    Result,
    arch::{Decoder, Layer, Site},
    onnx::{
        Attribute::{Float, Int},
        DataFile,
        Dimension::{Fixed, Named},
        Element, GraphBuilder, Region,
    },
    progress::Progress,
    quant::Encoding,
    recipe::{Cache, Recipe},
    runtime::{STREAM_IN, STREAM_OUT},
    source::Tensors,
    weights::Stored,
};

/// File name of the graph.
pub const GRAPH_FILE: &str = "model.onnx";
/// File name of its external data.
pub const DATA_FILE: &str = "model.onnx.data";

/// File name of the graph of fixed sizes.
pub const FIXED_GRAPH_FILE: &str = "fixed.onnx";

/// Mean square of each column's input, for every matrix that was seen.
pub type Importance = HashMap<Site, Vec<f32>>;

/// What to write.
pub struct Plan<'a> {
    /// The source.
    pub tensors: &'a dyn Tensors,
    /// Its description.
    pub decoder: &'a Decoder,
    /// Number formats of the weights.
    pub recipe: &'a Recipe,
    /// Number format of the cache.
    pub cache: &'a Cache,
    /// Positions that the graph can serve.
    pub context: usize,
    /// Weighs errors of 4-bit codes, when there is a calibration.
    pub importance: Option<&'a Importance>,
    /// Adds outputs `tap.{site}` `[columns]`: sums of squares of each matrix's input.
    pub taps: bool,
}

/// A stretch of the model that is a graph of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Layers in it.
    pub layers: Range<usize>,
    /// Whether it begins with tokens instead of hidden states.
    pub embeds: bool,
    /// Which columns of the logits it ends with, rows of the output matrix; empty: none.
    pub projects: Range<usize>,
}

impl Part {
    /// All of `decoder`.
    pub fn whole(decoder: &Decoder) -> Self {
        Self { layers: 0..decoder.layers.len(), embeds: true, projects: 0..decoder.vocabulary }
    }

    /// Whether it ends with logits.
    pub fn projects(&self) -> bool {
        !self.projects.is_empty()
    }

    /// Whether it is the first of those that do: what comes into the output matrix is looked at once.
    fn begins_projection(&self) -> bool {
        self.projects() && self.projects.start == 0
    }

    /// Sites of its matrices, output included.
    pub fn sites(&self, decoder: &Decoder) -> Vec<Site> {
        let layers = decoder.matrices().map(|(site, _)| site);
        let mut sites: Vec<Site> =
            layers.filter(|site| site.layer().is_some_and(|layer| self.layers.contains(&layer))).collect();
        sites.extend(self.begins_projection().then_some(Site::Output));
        sites
    }
}

/// Tensors in the data file. Several graphs can share it: what one has written in a format,
/// the next one finds.
pub struct Store {
    data: DataFile,
    matrices: HashMap<(String, Encoding), Stored>,
    vectors: HashMap<String, Region>,
}

impl Store {
    /// Creates the data file in `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        Self::named(dir, DATA_FILE)
    }

    fn named(dir: &Path, name: &str) -> Result<Self> {
        let data = DataFile::create(dir, name)?;
        Ok(Self { data, matrices: HashMap::new(), vectors: HashMap::new() })
    }

    /// Writes the last bytes out to the disk.
    pub fn finish(self) -> Result<()> {
        self.data.finish().map(drop)
    }
}

/// Writes graph and data into `dir`. The store is still to be finished.
pub fn write(plan: &Plan<'_>, dir: &Path, progress: &dyn Progress) -> Result<Store> {
    let mut store = Store::create(dir)?;
    progress.begin("weights", plan.tensors.bytes());
    write_part(plan, &Part::whole(plan.decoder), &mut store, &dir.join(GRAPH_FILE), progress)?;
    Ok(store)
}

/// Writes `part` as the graph `path`, whose directory is that of `store`.
pub fn write_part(
    plan: &Plan<'_>,
    part: &Part,
    store: &mut Store,
    path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let mut writer = Writer { plan, part, progress, store, graph: GraphBuilder::default() };
    writer.declare();
    writer.constants()?;
    let mut stream = if part.embeds { writer.embedding()? } else { Stream::incoming(part) };
    for index in part.layers.clone() {
        stream = writer.layer(index, &plan.decoder.layers[index], stream)?;
    }
    if part.projects() {
        writer.head(stream)?;
    } else {
        writer.outgoing(stream);
    }
    writer.graph.write(path, plan.decoder.architecture)
}

/// The hidden state between layers: what was summed so far, and what is still to be added.
struct Stream {
    residual: String,
    update: Option<String>,
}

impl Stream {
    fn incoming(part: &Part) -> Self {
        let [residual, update] = STREAM_IN.map(str::to_owned);
        Self { residual, update: Some(update).filter(|_| part.layers.start > 0) }
    }
}

struct Writer<'a> {
    plan: &'a Plan<'a>,
    part: &'a Part,
    progress: &'a dyn Progress,
    store: &'a mut Store,
    graph: GraphBuilder,
}

impl Writer<'_> {
    fn declare(&mut self) {
        let decoder = self.plan.decoder;
        let cache = match self.plan.cache {
            Cache::F32 => Element::F32,
            Cache::F16 => Element::F16,
            Cache::Int8(_) => Element::I8,
        };
        let (heads, width) = (Fixed(decoder.kv_heads), Fixed(decoder.head_width));
        let hidden = [Named("batch"), Named("sequence"), Fixed(decoder.width)];
        let graph = &mut self.graph;
        if self.part.embeds {
            graph.input("input_ids", Element::I64, &[Named("batch"), Named("sequence")]);
        } else {
            let streams = if self.part.layers.start > 0 { 2 } else { 1 };
            STREAM_IN[..streams].iter().for_each(|name| graph.input(name, Element::F32, &hidden));
        }
        if !self.part.layers.is_empty() {
            graph.input("seqlens_k", Element::I32, &[Named("batch")]);
            graph.input("total_len", Element::I32, &[]);
        }
        if self.part.projects() {
            graph.input("logits_rows", Element::I64, &[Named("rows")]);
            graph.output("logits", Element::F32, &[Named("rows"), Fixed(self.part.projects.len())]);
        } else {
            let streams = if self.part.layers.end > 0 { 2 } else { 1 };
            STREAM_OUT[..streams].iter().for_each(|name| graph.output(name, Element::F32, &hidden));
        }
        for layer in self.part.layers.clone() {
            for part in ["key", "value"] {
                let past = [Named("batch"), heads, Named("past"), width];
                let present = [Named("batch"), heads, Named("present"), width];
                graph.input(&format!("past.{layer}.{part}"), cache, &past);
                graph.output(&format!("present.{layer}.{part}"), cache, &present);
            }
        }
    }

    /// Hidden states for the next part.
    fn outgoing(&mut self, stream: Stream) {
        let streams = std::iter::once(stream.residual).chain(stream.update);
        for (stream, out) in streams.zip(STREAM_OUT) {
            self.graph.onnx("Identity", &[&stream], &[out], &[]);
        }
    }

    /// Rotary tables, and the small constants that all layers share.
    fn constants(&mut self) -> Result<()> {
        if self.plan.taps {
            self.graph.inline_i64("tap_axes", &[0, 1]);
        }
        if self.part.layers.is_empty() {
            return Ok(());
        }
        self.rotary_tables()?;
        self.query_factors()?;
        if let Cache::Int8(scales) = self.plan.cache {
            let shape = [1, self.plan.decoder.kv_heads, 1, self.plan.decoder.head_width];
            for layer in self.part.layers.clone() {
                let [keys, values] = &scales[layer];
                for (name, scales) in [("key_scale", keys), ("value_scale", values)] {
                    let bytes = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
                    self.graph.inline(&format!("layers.{layer}.{name}"), Element::F32, &shape, bytes);
                }
            }
        }
        Ok(())
    }

    /// `cos` and `sin` of all positions.
    fn rotary_tables(&mut self) -> Result<()> {
        let dims = [self.plan.context, self.plan.decoder.rope.frequencies.len()];
        for (name, function) in [("cos", f64::cos as fn(f64) -> f64), ("sin", f64::sin)] {
            let region = match self.store.vectors.get(name) {
                Some(region) => *region,
                None => self.rotary_table(function)?,
            };
            self.store.vectors.insert(name.to_owned(), region);
            self.graph.external(name, Element::F32, &dims, &self.store.data, region);
        }
        Ok(())
    }

    /// Writes `function` of all angles, position by position.
    fn rotary_table(&mut self, function: fn(f64) -> f64) -> Result<Region> {
        let rope = &self.plan.decoder.rope;
        let row_bytes = rope.frequencies.len() * size_of::<f32>();
        let region = self.store.data.reserve((self.plan.context * row_bytes) as u64);
        for position in 0..self.plan.context {
            let value = |f: &f64| (function(position as f64 * f) * f64::from(rope.magnitude)) as f32;
            let row: Vec<u8> = rope.frequencies.iter().flat_map(|f| value(f).to_le_bytes()).collect();
            self.store.data.write(region, (position * row_bytes) as u64, &row)?;
        }
        Ok(region)
    }

    /// The token table.
    fn table(&mut self) -> Result<Stored> {
        let decoder = self.plan.decoder;
        let importance = self.importance(Site::Output).filter(|_| decoder.output.is_none());
        self.store("table", &decoder.table, self.plan.recipe.table, importance)
    }

    /// Rows of the token table.
    fn embedding(&mut self) -> Result<Stream> {
        let table = self.table()?;
        match table.encoding {
            Encoding::F32 => {
                self.external_f32("table", &[table.rows, table.columns], &table);
                self.graph.onnx("Gather", &["table", "input_ids"], &["hidden"], &[("axis", Int(0))]);
            }
            Encoding::Blocks { code, block } => {
                let mut inputs = vec!["table.codes", "input_ids", "table.scales"];
                inputs.extend(self.external_blocks("table", &table, Shape::Gather).then_some("table.zeros"));
                let attributes = [
                    ("bits", Int(code.bits() as i64)),
                    ("block_size", Int(block as i64)),
                    ("gather_axis", Int(0)),
                    ("quantize_axis", Int(1)),
                ];
                self.graph.contrib("GatherBlockQuantized", &inputs, &["hidden"], &attributes);
            }
        }
        Ok(Stream { residual: "hidden".to_owned(), update: None })
    }

    fn layer(&mut self, index: usize, layer: &Layer, stream: Stream) -> Result<Stream> {
        let name = |part: &str| format!("layers.{index}.{part}");
        let residual = self.norm(stream, &layer.attention_norm, &name("attention_norm"))?;
        self.multiply(Site::Qkv(index), &layer.qkv, &name("attention_norm"), &name("qkv"))?;
        self.attention(index);
        let (input, output) = (name("attention"), name("attention_output"));
        self.multiply(Site::AttentionOutput(index), &layer.attention_output, &input, &output)?;

        let stream = Stream { residual, update: Some(output) };
        let residual = self.norm(stream, &layer.feed_forward_norm, &name("feed_forward_norm"))?;
        self.multiply(Site::GateUp(index), &layer.gate_up, &name("feed_forward_norm"), &name("gate_up"))?;
        let (gate, up) = (name("gate"), name("up"));
        let split = [("axis", Int(-1)), ("num_outputs", Int(2))];
        self.graph.onnx("Split", &[&name("gate_up")], &[&gate, &up], &split);
        self.graph.contrib("QuickGelu", &[&gate], &[&name("silu")], &[("alpha", Float(1.0))]);
        self.graph.onnx("Mul", &[&name("silu"), &up], &[&name("gated")], &[]);
        self.multiply(Site::Down(index), &layer.down, &name("gated"), &name("down"))?;
        Ok(Stream { residual, update: Some(name("down")) })
    }

    /// Logits of the chosen rows.
    fn head(&mut self, stream: Stream) -> Result<()> {
        let decoder = self.plan.decoder;
        self.norm(stream, &decoder.final_norm, "final_norm")?;
        self.graph.inline_i64("flat", &[-1, decoder.width as i64]);
        self.graph.onnx("Reshape", &["final_norm", "flat"], &["flat_norm"], &[]);
        self.graph.onnx("Gather", &["flat_norm", "logits_rows"], &["chosen"], &[("axis", Int(0))]);
        if self.part.begins_projection() {
            self.tap(Site::Output, "final_norm");
        }
        let output = match &decoder.output {
            Some(matrix) => {
                let importance = self.importance(Site::Output);
                self.store("output", matrix, self.plan.recipe.encoding(Site::Output), importance)?
            }
            None => self.table()?,
        };
        let tied = decoder.output.is_none();
        let output = output.rows(&self.part.projects);
        match output.encoding {
            Encoding::F32 => {
                let weight = if tied { "table" } else { "output.weight" };
                if !(tied && self.part.embeds) {
                    self.external_f32(weight, &[output.rows, output.columns], &output);
                }
                self.graph.onnx("Gemm", &["chosen", weight], &["logits"], &[("transB", Int(1))]);
            }
            Encoding::Blocks { code, block } => {
                let has_zeros = self.external_blocks("output", &output, Shape::Product);
                self.product("chosen", "output", &output, (code, block, has_zeros), "logits");
            }
        }
        Ok(())
    }

    /// RMS norm of residual plus update, into `out`. Gives the name of their sum.
    fn norm(&mut self, stream: Stream, tensor: &str, out: &str) -> Result<String> {
        let weight = format!("{out}.weight");
        self.vector(tensor, &weight)?;
        let epsilon = ("epsilon", Float(self.plan.decoder.norm_epsilon));
        let Some(update) = stream.update else {
            let inputs = [stream.residual.as_str(), &weight];
            self.graph.onnx("SimplifiedLayerNormalization", &inputs, &[out], &[epsilon, ("axis", Int(-1))]);
            return Ok(stream.residual);
        };
        let sum = format!("{out}.sum");
        let inputs = [stream.residual.as_str(), &update, &weight];
        self.graph.contrib("SkipSimplifiedLayerNormalization", &inputs, &[out, "", "", &sum], &[epsilon]);
        Ok(sum)
    }
}

/// Name of the output that taps the input of the matrix at `site`.
pub fn tap_name(site: Site) -> String {
    format!("tap.{site}")
}
