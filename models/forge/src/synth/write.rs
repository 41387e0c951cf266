//! A model as a GGUF file (version 3; <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use half::{bf16, f16};
use serde_json::Value;

use super::{Synthetic, vocabulary};
use crate::{
    Error, Result, gguf, limits,
    progress::Progress,
    source::{Tensor, Tensors},
};

/// Number format of the matrices; norms are float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "ggml's names")]
pub enum Format {
    F32,
    F16,
    #[value(name = "bf16")]
    BF16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

impl Format {
    /// ggml's code, numbers of a block, bytes of a block.
    const fn layout(self) -> (u32, usize, usize) {
        match self {
            Self::F32 => (0, 1, 4),
            Self::F16 => (1, 1, 2),
            Self::BF16 => (30, 1, 2),
            Self::Q8_0 => (8, 32, 34),
            Self::Q4_0 => (2, 32, 18),
        }
    }

    fn row_bytes(self, columns: usize) -> u64 {
        let (_, numbers, bytes) = self.layout();
        (columns / numbers * bytes) as u64
    }

    /// Appends `numbers`, whole blocks of them.
    fn encode(self, numbers: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
            Self::F16 => out.extend(numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
            Self::BF16 => out.extend(numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
            Self::Q8_0 => numbers.chunks(32).for_each(|block| q8_0(block, out)),
            Self::Q4_0 => numbers.chunks(32).for_each(|block| q4_0(block, out)),
        }
    }
}

/// `quantize_row_q8_0_ref` of ggml.
fn q8_0(block: &[f32], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

/// `quantize_row_q4_0_ref` of ggml.
fn q4_0(block: &[f32], out: &mut Vec<u8>) {
    let extreme = block.iter().fold(0f32, |m, x| if x.abs() > m.abs() { *x } else { m });
    let scale = extreme / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let code = |x: f32| (x * inverse + 8.5).clamp(0.0, 15.0) as u8;
    out.extend(f16::from_f32(scale).to_le_bytes());
    let (low, high) = block.split_at(16);
    out.extend(low.iter().zip(high).map(|(low, high)| code(*low) | code(*high) << 4));
}

/// Every matrix begins at a multiple of this, bytes: GGUF's default.
const ALIGNMENT: u64 = 32;

/// Writes `model` as `path`, which must not exist.
pub fn write(model: &Synthetic, format: Format, path: &Path, progress: &dyn Progress) -> Result<()> {
    let (_, block, _) = format.layout();
    let ragged = |t: &&Tensor| t.rows > 1 && !t.columns.is_multiple_of(block);
    if let Some(tensor) = model.tensors().iter().find(ragged) {
        let (name, columns) = (&tensor.name, tensor.columns);
        return Err(Error::Usage(format!(
            "rows of {columns} numbers (`{name}`) are no whole blocks of {block}; choose f16 or bf16"
        )));
    }
    let mut header = header(model)?;
    let file = File::create_new(path).map_err(Error::io("create", path))?;
    let written = write_to(file, model, format, &mut header, path, progress);
    if written.is_err() {
        // Half a file is none, and takes room.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn write_to(
    file: File,
    model: &Synthetic,
    format: Format,
    header: &mut Vec<u8>,
    path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let failed = || Error::io("write", path);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut offset = 0u64;
    for tensor in model.tensors() {
        let own = if tensor.rows == 1 { Format::F32 } else { format };
        text(header, &tensor.name);
        let dimensions =
            if tensor.rows == 1 { vec![tensor.columns] } else { vec![tensor.columns, tensor.rows] };
        header.extend((dimensions.len() as u32).to_le_bytes());
        header.extend(dimensions.iter().flat_map(|d| (*d as u64).to_le_bytes()));
        header.extend(own.layout().0.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset = (offset + own.row_bytes(tensor.columns) * tensor.rows as u64).next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(header).map_err(failed())?;
    progress.begin("writing", offset);
    for tensor in model.tensors() {
        let own = if tensor.rows == 1 { Format::F32 } else { format };
        let bytes = tensor_bytes(model, tensor, own, &mut out, progress).map_err(|e| match e {
            Failure::Read(error) => error,
            Failure::Write(error) => failed()(error),
        })?;
        let padding = bytes.next_multiple_of(ALIGNMENT) - bytes;
        out.write_all(&vec![0; padding as usize]).map_err(failed())?;
    }
    let file = out.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_all().map_err(failed())
}

enum Failure {
    Read(Error),
    Write(std::io::Error),
}

fn tensor_bytes(
    model: &Synthetic,
    tensor: &Tensor,
    format: Format,
    out: &mut impl Write,
    progress: &dyn Progress,
) -> Result<u64, Failure> {
    let step = (limits::CHUNK_BYTES / tensor.row_bytes).max(1);
    let (mut bytes, mut encoded, mut written) = (Vec::new(), Vec::new(), 0);
    let mut numbers = Vec::new();
    for first in (0..tensor.rows).step_by(step) {
        let count = step.min(tensor.rows - first);
        model.read_rows(tensor, first, count, &mut bytes).map_err(Failure::Read)?;
        numbers.resize(count * tensor.columns, 0.0);
        gguf::dequantise(tensor.format, &bytes, &mut numbers);
        encoded.clear();
        format.encode(&numbers, &mut encoded);
        out.write_all(&encoded).map_err(Failure::Write)?;
        written += encoded.len() as u64;
        progress.advance(encoded.len() as u64);
    }
    Ok(written)
}

/// Everything before the table of tensors.
fn header(model: &Synthetic) -> Result<Vec<u8>> {
    let mut entries = Entries::default();
    let shape = &model.shape;
    let architecture = shape.architecture;
    let key = |name: &str| format!("{architecture}.{name}");
    entries.text("general.architecture", architecture);
    entries.text("general.name", "random weights");
    for (name, count) in [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.feed_forward),
        ("vocab_size", model.vocabulary),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_width),
        ("attention.value_length", shape.head_width),
        ("rope.dimension_count", shape.head_width),
    ] {
        entries.u32(&key(name), count as u32);
    }
    entries.f32(&key("attention.layer_norm_rms_epsilon"), shape.norm_epsilon);
    if let Some(scale) = shape.query_scale {
        entries.f32(&key("attention.temperature_scale"), scale.beta as f32);
    }
    rope(model, &mut entries, &key)?;
    let texts = vocabulary::texts(model.vocabulary);
    let kind = |id: usize| if id < vocabulary::SPECIALS.len() { 3 } else { 1 };
    entries.text("tokenizer.ggml.model", "gpt2");
    entries.text("tokenizer.ggml.pre", "gpt-2");
    entries.i32s("tokenizer.ggml.token_type", &(0..texts.len()).map(kind).collect::<Vec<_>>());
    entries.texts("tokenizer.ggml.tokens", &texts);
    entries
        .texts("tokenizer.ggml.merges", &vocabulary::MERGES.map(|[left, right]| format!("{left} {right}")));
    entries.u32("tokenizer.ggml.bos_token_id", 1);
    entries.u32("tokenizer.ggml.eos_token_id", 2);
    entries.text("tokenizer.chat_template", vocabulary::TEMPLATE);

    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((model.tensors().len() as u64).to_le_bytes());
    out.extend(entries.count.to_le_bytes());
    out.extend(entries.bytes);
    Ok(out)
}

/// Rotary keys, as `convert_hf_to_gguf.py` writes them.
fn rope(model: &Synthetic, entries: &mut Entries, key: &dyn Fn(&str) -> String) -> Result<()> {
    let config: Value = serde_json::from_str(model.config()).unwrap_or_default();
    let config = config.get("text_config").unwrap_or(&config);
    let rope =
        ["rope_parameters", "rope_scaling"].into_iter().map(|key| &config[key]).find(|rope| rope.is_object());
    let rope = rope.unwrap_or(&Value::Null);
    let number = |name: &str, default: f64| rope[name].as_f64().unwrap_or(default) as f32;
    let theta = rope["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap_or(10_000.0);
    entries.f32(&key("rope.freq_base"), theta as f32);
    match rope["rope_type"].as_str().or(rope["type"].as_str()) {
        None | Some("default") => {}
        Some("yarn") => {
            let original = number("original_max_position_embeddings", 0.0);
            entries.text(&key("rope.scaling.type"), "yarn");
            entries.f32(&key("rope.scaling.factor"), number("factor", 1.0));
            entries.u32(&key("rope.scaling.original_context_length"), original as u32);
            entries.f32(&key("rope.scaling.yarn_beta_fast"), number("beta_fast", 32.0));
            entries.f32(&key("rope.scaling.yarn_beta_slow"), number("beta_slow", 1.0));
            entries.f32(&key("rope.scaling.yarn_log_multiplier"), number("mscale_all_dim", 0.0));
        }
        Some(other) => {
            let other = other.escape_debug();
            return Err(Error::Usage(format!(
                "rotary scaling `{other}` is not written as GGUF; `default` and `yarn` are"
            )));
        }
    }
    Ok(())
}

/// Metadata under construction.
#[derive(Default)]
struct Entries {
    count: u64,
    bytes: Vec<u8>,
}

impl Entries {
    fn entry(&mut self, key: &str, code: u32) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(code.to_le_bytes());
    }

    fn u32(&mut self, key: &str, number: u32) {
        self.entry(key, 4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn f32(&mut self, key: &str, number: f32) {
        self.entry(key, 6);
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.entry(key, 8);
        text(&mut self.bytes, value);
    }

    fn list(&mut self, key: &str, code: u32, count: usize) {
        self.entry(key, 9);
        self.bytes.extend(code.to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn i32s(&mut self, key: &str, numbers: &[i32]) {
        self.list(key, 5, numbers.len());
        self.bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.list(key, 8, texts.len());
        for value in texts {
            text(&mut self.bytes, value);
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
