//! The same decoder for runs of a fixed size, of ONNX's own operators alone: what compilers for
//! NPUs, and providers without ONNX Runtime's special operators, can take.
//!
//! Inputs: `input_ids` and `position_ids` int64 `[1, tokens]`; `attention_bias` float
//! `[1, 1, tokens, total]`, added to the scores; `logits_row` int64 `[1]`; the whole cache of one
//! sequence, `past.{i}.key` and `.value` float `[1, kv_heads, past, head_width]`. Outputs: `logits`
//! `[1, V]` and the rows of the new tokens, `new.{i}.key` and `.value`
//! `[1, kv_heads, tokens, head_width]`. `tokens`, `past` and `total`, their sum, are names that
//! become numbers when the graph is loaded: one file serves prompts and answers.
//!
//! Weights are 32-bit floating point, transposed: providers want the right factor constant.

use std::path::Path;

use super::{FIXED_GRAPH_FILE, Part, Plan, Store, Writer};
use crate::{
    Error, Result,
    arch::{Layer, Matrix},
    onnx::{
        Attribute::{Int, Ints},
        Dimension::{self, Fixed, Named},
        Element, GraphBuilder,
    },
    progress::Progress,
    weights,
};

/// Name of the data file.
const DATA_FILE: &str = "fixed.onnx.data";
const TOKENS: [Dimension<'static>; 2] = [Fixed(1), Named("tokens")];

/// Writes the graph and its data into `dir`. Number formats of `plan` are not looked at.
pub fn write_fixed(plan: &Plan<'_>, dir: &Path, progress: &dyn Progress) -> Result<()> {
    let mut store = Store::named(dir, DATA_FILE)?;
    // A tied table is written twice: as rows, and as the factor on the right.
    let tied =
        plan.decoder.output.is_none().then(|| weights::source_bytes(plan.tensors, &plan.decoder.table));
    progress.begin("weights, fixed sizes", plan.tensors.bytes() + tied.unwrap_or(0));
    let part = Part::whole(plan.decoder);
    let mut writer =
        Writer { plan, part: &part, progress, store: &mut store, graph: GraphBuilder::default() };
    writer.fixed()?;
    writer.graph.write(&dir.join(FIXED_GRAPH_FILE), plan.decoder.architecture)?;
    store.finish()
}

impl Writer<'_> {
    fn fixed(&mut self) -> Result<()> {
        let decoder = self.plan.decoder;
        self.declare_fixed();
        self.fixed_constants()?;
        let mut hidden = self.fixed_embedding()?;
        for (index, layer) in decoder.layers.iter().enumerate() {
            hidden = self.fixed_layer(index, layer, &hidden)?;
        }
        self.graph.onnx("Gather", &[&hidden, "logits_row"], &["chosen"], &[("axis", Int(0))]);
        self.plain_norm("chosen", &decoder.final_norm, "final_norm")?;
        let output = decoder.output.as_ref().unwrap_or(&decoder.table);
        self.plain_product("output", output, "final_norm", "logits")
    }

    fn declare_fixed(&mut self) {
        let decoder = self.plan.decoder;
        let (heads, width) = (Fixed(decoder.kv_heads), Fixed(decoder.head_width));
        let graph = &mut self.graph;
        graph.input("input_ids", Element::I64, &TOKENS);
        graph.input("position_ids", Element::I64, &TOKENS);
        let scores = [Fixed(1), Fixed(1), Named("tokens"), Named("total")];
        graph.input("attention_bias", Element::F32, &scores);
        graph.input("logits_row", Element::I64, &[Fixed(1)]);
        graph.output("logits", Element::F32, &[Fixed(1), Fixed(decoder.vocabulary)]);
        for layer in 0..decoder.layers.len() {
            for part in ["key", "value"] {
                let whole = [Fixed(1), heads, Named("past"), width];
                let new = [Fixed(1), heads, Named("tokens"), width];
                graph.input(&format!("past.{layer}.{part}"), Element::F32, &whole);
                graph.output(&format!("new.{layer}.{part}"), Element::F32, &new);
            }
        }
    }

    /// Shapes, sizes of parts, and what each position brings: rotary angles, growth of queries.
    fn fixed_constants(&mut self) -> Result<()> {
        let decoder = self.plan.decoder;
        let number = |n: usize| n as i64;
        let (heads, kv_heads) = (number(decoder.heads), number(decoder.kv_heads));
        let width = number(decoder.head_width);
        self.graph.inline_i64("qkv_widths", &[heads * width, kv_heads * width, kv_heads * width]);
        for (name, shape) in [
            ("rows_shape", [-1, number(decoder.width)].as_slice()),
            ("queries_shape", &[1, -1, heads, width]),
            ("keys_shape", &[1, -1, kv_heads, width]),
            // Heads of one group follow one another: all their tokens against the group's keys at once.
            ("groups_shape", &[1, kv_heads, -1, 0]),
            ("heads_shape", &[1, heads, -1, 0]),
            ("joined_shape", &[-1, heads * width]),
            ("last_axis", &[-1]),
            ("second_axis", &[1]),
        ] {
            self.graph.inline_i64(name, shape);
        }
        for (name, value) in [("epsilon", decoder.norm_epsilon), ("scale", decoder.attention_scale)] {
            self.graph.inline(name, Element::F32, &[], value.to_le_bytes().to_vec());
        }
        self.rotary_tables()?;
        for table in ["cos", "sin"] {
            let [found, now] = ["found", "now"].map(|word| format!("{table}_{word}"));
            self.graph.onnx("Gather", &[table, "position_ids"], &[&found], &[("axis", Int(0))]);
            self.graph.onnx("Unsqueeze", &[&found, "second_axis"], &[&now], &[]);
        }
        let Some(growth) = self.grows() else { return Ok(()) };
        let context = self.plan.context;
        let table = || (0..context).flat_map(|position| growth.at(position).to_le_bytes()).collect();
        self.own_vector("query_scale", context, table)?;
        self.graph.inline_i64("growth_axes", &[1, 3]);
        self.graph.onnx("Gather", &["query_scale", "position_ids"], &["growth"], &[("axis", Int(0))]);
        self.graph.onnx("Unsqueeze", &["growth", "growth_axes"], &["query_factors"], &[]);
        Ok(())
    }

    /// Hidden states `[tokens, width]`.
    fn fixed_embedding(&mut self) -> Result<String> {
        let table = &self.plan.decoder.table;
        let data = &mut self.store.data;
        let stored =
            weights::write(self.plan.tensors, table, crate::quant::Encoding::F32, None, data, self.progress)?;
        self.external_f32("table", &[stored.rows, stored.columns], &stored);
        self.graph.onnx("Gather", &["table", "input_ids"], &["embedded"], &[("axis", Int(0))]);
        self.graph.onnx("Reshape", &["embedded", "rows_shape"], &["hidden"], &[]);
        Ok("hidden".to_owned())
    }

    fn fixed_layer(&mut self, index: usize, layer: &Layer, hidden: &str) -> Result<String> {
        let name = |part: &str| format!("layers.{index}.{part}");
        let [norm, qkv, attention, projected, middle] =
            ["attention_norm", "qkv", "attention", "attention_output", "middle"].map(name);
        self.plain_norm(hidden, &layer.attention_norm, &norm)?;
        self.plain_product(&qkv, &layer.qkv, &norm, &qkv)?;
        self.plain_attention(index, &qkv, &attention)?;
        self.plain_product(&projected, &layer.attention_output, &attention, &projected)?;
        self.graph.onnx("Add", &[hidden, &projected], &[&middle], &[]);

        let [norm, both, gate, up] = ["feed_forward_norm", "gate_up", "gate", "up"].map(name);
        let [sigmoid, silu, gated, down, out] = ["sigmoid", "silu", "gated", "down", "out"].map(name);
        self.plain_norm(&middle, &layer.feed_forward_norm, &norm)?;
        self.plain_product(&both, &layer.gate_up, &norm, &both)?;
        let split = [("axis", Int(-1)), ("num_outputs", Int(2))];
        self.graph.onnx("Split", &[&both], &[&gate, &up], &split);
        self.graph.onnx("Sigmoid", &[&gate], &[&sigmoid], &[]);
        self.graph.onnx("Mul", &[&gate, &sigmoid], &[&silu], &[]);
        self.graph.onnx("Mul", &[&silu, &up], &[&gated], &[]);
        self.plain_product(&down, &layer.down, &gated, &down)?;
        self.graph.onnx("Add", &[&middle, &down], &[&out], &[]);
        Ok(out)
    }

    /// Grouped-query attention over the whole cache and the new tokens.
    fn plain_attention(&mut self, index: usize, qkv: &str, out: &str) -> Result<()> {
        let decoder = self.plan.decoder;
        if decoder.rope.frequencies.len() * 2 != decoder.head_width {
            return Err(Error::Unsupported("rotary embedding of a part of each head, in fixed sizes".into()));
        }
        let name = |part: &str| format!("layers.{index}.{part}");
        let swap = [("perm", Ints(&[0, 2, 1, 3]))];
        let [q, k, v] = ["q", "k", "v"].map(name);
        self.graph.onnx("Split", &[qkv, "qkv_widths"], &[&q, &k, &v], &[("axis", Int(-1))]);
        let value = format!("new.{index}.value");
        let key = format!("new.{index}.key");
        let [queries, unturned] = ["queries", "unturned_keys"].map(name);
        for (flat, shape, headed) in
            [(&q, "queries_shape", &queries), (&k, "keys_shape", &unturned), (&v, "keys_shape", &value)]
        {
            let deep = format!("{flat}.deep");
            self.graph.onnx("Reshape", &[flat, shape], &[&deep], &[]);
            self.graph.onnx("Transpose", &[&deep], &[headed], &swap);
        }
        self.rotate(&unturned, &key);
        let [turned, scaled, grown] = ["turned_queries", "scaled_queries", "grown_queries"].map(name);
        self.rotate(&queries, &turned);
        self.graph.onnx("Mul", &[&turned, "scale"], &[&scaled], &[]);
        let queries = if self.grows().is_some() {
            self.graph.onnx("Mul", &[&scaled, "query_factors"], &[&grown], &[]);
            grown
        } else {
            scaled
        };

        let [past_key, past_value] = ["key", "value"].map(|part| format!("past.{index}.{part}"));
        let [keys, columns, values] = ["keys", "key_columns", "values"].map(name);
        let [grouped, scores, by_head, biased] = ["grouped", "scores", "head_scores", "biased"].map(name);
        let [shares, grouped_shares, sums, joined, rows] =
            ["shares", "grouped_shares", "sums", "head_sums", "rows"].map(name);
        let graph = &mut self.graph;
        graph.onnx("Concat", &[&past_key, &key], &[&keys], &[("axis", Int(2))]);
        graph.onnx("Concat", &[&past_value, &value], &[&values], &[("axis", Int(2))]);
        graph.onnx("Transpose", &[&keys], &[&columns], &[("perm", Ints(&[0, 1, 3, 2]))]);
        graph.onnx("Reshape", &[&queries, "groups_shape"], &[&grouped], &[]);
        graph.onnx("MatMul", &[&grouped, &columns], &[&scores], &[]);
        graph.onnx("Reshape", &[&scores, "heads_shape"], &[&by_head], &[]);
        graph.onnx("Add", &[&by_head, "attention_bias"], &[&biased], &[]);
        graph.onnx("Softmax", &[&biased], &[&shares], &[("axis", Int(-1))]);
        graph.onnx("Reshape", &[&shares, "groups_shape"], &[&grouped_shares], &[]);
        graph.onnx("MatMul", &[&grouped_shares, &values], &[&sums], &[]);
        graph.onnx("Reshape", &[&sums, "heads_shape"], &[&joined], &[]);
        graph.onnx("Transpose", &[&joined], &[&rows], &swap);
        graph.onnx("Reshape", &[&rows, "joined_shape"], &[out], &[]);
        Ok(())
    }

    /// Turns the halves of each head against each other by the angles of their positions.
    fn rotate(&mut self, heads: &str, out: &str) {
        let part = |word: &str| format!("{out}.{word}");
        let [left, right, a, b, c, d, first, second] =
            ["left", "right", "left_cos", "right_sin", "right_cos", "left_sin", "first", "second"].map(part);
        let graph = &mut self.graph;
        graph.onnx("Split", &[heads], &[&left, &right], &[("axis", Int(-1)), ("num_outputs", Int(2))]);
        for (half, table, product) in
            [(&left, "cos_now", &a), (&right, "sin_now", &b), (&right, "cos_now", &c), (&left, "sin_now", &d)]
        {
            graph.onnx("Mul", &[half, table], &[product], &[]);
        }
        graph.onnx("Sub", &[&a, &b], &[&first], &[]);
        graph.onnx("Add", &[&c, &d], &[&second], &[]);
        graph.onnx("Concat", &[&first, &second], &[out], &[("axis", Int(-1))]);
    }

    /// `rows` times the transposed matrix.
    fn plain_product(&mut self, name: &str, matrix: &Matrix, rows: &str, out: &str) -> Result<()> {
        let weight = format!("{name}.weight");
        let data = &mut self.store.data;
        let region = weights::write_transposed(self.plan.tensors, matrix, data, self.progress)?;
        let dims = [matrix.columns, matrix.rows];
        self.graph.external(&weight, Element::F32, &dims, &self.store.data, region);
        self.graph.onnx("MatMul", &[rows, &weight], &[out], &[]);
        Ok(())
    }

    /// RMS norm of each row.
    fn plain_norm(&mut self, rows: &str, tensor: &str, out: &str) -> Result<()> {
        let part = |word: &str| format!("{out}.{word}");
        let [weight, squares, mean, more, root, even] =
            ["weight", "squares", "mean", "more", "root", "even"].map(part);
        self.vector(tensor, &weight)?;
        let graph = &mut self.graph;
        graph.onnx("Mul", &[rows, rows], &[&squares], &[]);
        graph.onnx("ReduceMean", &[&squares, "last_axis"], &[&mean], &[("keepdims", Int(1))]);
        graph.onnx("Add", &[&mean, "epsilon"], &[&more], &[]);
        graph.onnx("Sqrt", &[&more], &[&root], &[]);
        graph.onnx("Div", &[rows, &root], &[&even], &[]);
        graph.onnx("Mul", &[&even, &weight], &[out], &[]);
        Ok(())
    }
}
