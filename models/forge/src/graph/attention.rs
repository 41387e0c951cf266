//! Grouped-query attention, and queries that grow with their position.

use super::Writer;
use crate::{
    Result,
    arch::QueryScale,
    onnx::{
        Attribute::{Float, Int, Text},
        Element,
    },
    recipe::Cache,
    runtime::STREAM_IN,
};

impl Writer<'_> {
    /// Attention of the layer over `qkv`.
    pub(super) fn attention(&mut self, index: usize) {
        let decoder = self.plan.decoder;
        let name = |part: &str| format!("layers.{index}.{part}");
        let [qkv, key_scale, value_scale] = ["qkv", "key_scale", "value_scale"].map(name);
        let [past_key, past_value] = ["key", "value"].map(|part| format!("past.{index}.{part}"));
        let [key, value] = ["key", "value"].map(|part| format!("present.{index}.{part}"));
        let [q, k, v] = if self.grows().is_some() {
            let [q, k, v, grown] = ["q", "k", "v", "grown_q"].map(name);
            self.graph.onnx("Split", &[&qkv, "qkv_widths"], &[&q, &k, &v], &[("axis", Int(-1))]);
            self.graph.onnx("Mul", &[&q, "query_factors"], &[&grown], &[]);
            [grown, k, v]
        } else {
            [qkv, String::new(), String::new()]
        };
        let mut inputs = vec![q.as_str(), &k, &v, &past_key, &past_value];
        inputs.extend(["seqlens_k", "total_len", "cos", "sin"]);
        let mut attributes = vec![
            ("num_heads", Int(decoder.heads as i64)),
            ("kv_num_heads", Int(decoder.kv_heads as i64)),
            ("do_rotary", Int(1)),
            ("scale", Float(decoder.attention_scale)),
        ];
        if matches!(self.plan.cache, Cache::Int8(_)) {
            // Between them: position ids, attention bias, head sink.
            inputs.extend(["", "", "", &key_scale, &value_scale]);
            attributes.extend([
                ("kv_cache_bit_width", Int(8)),
                ("k_quant_type", Text("PER_CHANNEL")),
                ("v_quant_type", Text("PER_CHANNEL")),
            ]);
        }
        let outputs = [&name("attention"), key.as_str(), &value];
        self.graph.contrib("GroupQueryAttention", &inputs, &outputs, &attributes);
    }

    /// The growth of queries, where positions reach beyond those without it.
    pub(super) fn grows(&self) -> Option<QueryScale> {
        self.plan.decoder.query_scale.filter(|scale| self.plan.context > scale.original)
    }

    /// `query_factors` `[B, S, 1]`: by how much each token's queries grow. Positions are those
    /// that `GroupQueryAttention` counts for itself: the last is `seqlens_k`.
    pub(super) fn query_factors(&mut self) -> Result<()> {
        let Some(scale) = self.grows() else { return Ok(()) };
        let decoder = self.plan.decoder;
        let (q, kv) = (decoder.heads * decoder.head_width, decoder.kv_heads * decoder.head_width);
        self.graph.inline_i64("qkv_widths", &[q as i64, kv as i64, kv as i64]);
        let context = self.plan.context;
        let table = || (0..context).flat_map(|position| scale.at(position).to_le_bytes()).collect();
        self.own_vector("query_scale", context, table)?;

        for (name, number) in [("zero", 0i64), ("one", 1)] {
            self.graph.inline(name, Element::I64, &[], number.to_le_bytes().to_vec());
        }
        self.graph.inline_i64("second_axis", &[1]);
        self.graph.inline_i64("third_axis", &[2]);
        let of = if self.part.embeds { "input_ids" } else { STREAM_IN[0] };
        let graph = &mut self.graph;
        graph.onnx("Shape", &[of], &["lengths"], &[("start", Int(1)), ("end", Int(2))]);
        graph.onnx("Squeeze", &["lengths"], &["length"], &[]);
        graph.onnx("Range", &["zero", "length", "one"], &["steps"], &[]);
        graph.onnx("Sub", &["one", "length"], &["to_first"], &[]);
        graph.onnx("Cast", &["seqlens_k"], &["last"], &[("to", Int(Element::I64 as i64))]);
        graph.onnx("Add", &["last", "to_first"], &["first"], &[]);
        graph.onnx("Unsqueeze", &["first", "second_axis"], &["first_column"], &[]);
        graph.onnx("Add", &["first_column", "steps"], &["positions"], &[]);
        graph.onnx("Gather", &["query_scale", "positions"], &["factors"], &[("axis", Int(0))]);
        graph.onnx("Unsqueeze", &["factors", "third_axis"], &["query_factors"], &[]);
        Ok(())
    }
}
