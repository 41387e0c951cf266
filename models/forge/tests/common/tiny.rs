//! GGUF files made by hand: a whole tiny model, and every way to spoil it.

/// A metadata value.
#[derive(Clone, Debug)]
pub enum V {
    U32(u32),
    U64(u64),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    /// Type code and bytes, as they are.
    Raw(u32, Vec<u8>),
}

/// A tensor: name, dimensions (the row's length first), type code, offset (`None`: the next free one), bytes.
#[derive(Clone, Debug)]
pub struct T {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub code: u32,
    pub offset: Option<u64>,
    pub bytes: Vec<u8>,
}

/// A file under construction.
#[derive(Clone, Debug)]
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub entry_count: Option<u64>,
    pub metadata: Vec<(String, V)>,
    pub tensors: Vec<T>,
}

impl File {
    pub fn set(mut self, key: &str, value: V) -> Self {
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.into(), value)),
        }
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        self
    }

    pub fn tensor(&mut self, name: &str) -> &mut T {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.entry_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut out, key);
            put(&mut out, value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(tensor.code.to_le_bytes());
            data.resize(data.len().next_multiple_of(32), 0);
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &V) {
    let mut code = |code: u32| out.extend(code.to_le_bytes());
    match value {
        V::U32(n) => {
            code(4);
            out.extend(n.to_le_bytes());
        }
        V::U64(n) => {
            code(10);
            out.extend(n.to_le_bytes());
        }
        V::F32(x) => {
            code(6);
            out.extend(x.to_le_bytes());
        }
        V::Bool(b) => {
            code(7);
            out.push(u8::from(*b));
        }
        V::Text(t) => {
            code(8);
            text(out, t);
        }
        V::Texts(all) => {
            code(9);
            code_and_count(out, 8, all.len());
            for t in all {
                text(out, t);
            }
        }
        V::I32s(all) => {
            code(9);
            code_and_count(out, 5, all.len());
            for n in all {
                out.extend(n.to_le_bytes());
            }
        }
        V::Raw(raw, bytes) => {
            code(*raw);
            out.extend(bytes);
        }
    }
}

fn code_and_count(out: &mut Vec<u8>, code: u32, count: usize) {
    out.extend(code.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}

/// Sizes of the tiny model.
pub const WIDTH: usize = 32;
pub const VOCABULARY: usize = 260;

/// A `llama` of one layer with random float32 weights and a byte tokenizer of 256 bytes,
/// two merges and two control tokens.
pub fn model() -> File {
    let mut file = File {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        entry_count: None,
        metadata: Vec::new(),
        tensors: Vec::new(),
    };
    let numbers = [
        ("llama.block_count", 1),
        ("llama.context_length", 128),
        ("llama.embedding_length", WIDTH as u32),
        ("llama.feed_forward_length", 64),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
        ("llama.rope.dimension_count", 16),
        ("tokenizer.ggml.bos_token_id", 256),
        ("tokenizer.ggml.eos_token_id", 257),
    ];
    file = file.set("general.architecture", V::Text("llama"));
    for (key, n) in numbers {
        file = file.set(key, V::U32(n));
    }
    let (tokens, kinds) = vocabulary();
    file = file
        .set("llama.rope.freq_base", V::F32(10_000.0))
        .set("llama.attention.layer_norm_rms_epsilon", V::F32(1e-5))
        .set("tokenizer.ggml.model", V::Text("gpt2"))
        .set("tokenizer.ggml.pre", V::Text("gpt-2"))
        .set("tokenizer.ggml.tokens", V::Texts(tokens))
        .set("tokenizer.ggml.token_type", V::I32s(kinds))
        .set("tokenizer.ggml.merges", V::Texts(vec!["t h".into(), "th e".into()]));
    let mut seed = 1u64;
    for (name, rows, columns) in [
        ("token_embd.weight", VOCABULARY, WIDTH),
        ("blk.0.attn_norm.weight", 1, WIDTH),
        ("blk.0.attn_q.weight", 32, WIDTH),
        ("blk.0.attn_k.weight", 16, WIDTH),
        ("blk.0.attn_v.weight", 16, WIDTH),
        ("blk.0.attn_output.weight", WIDTH, 32),
        ("blk.0.ffn_norm.weight", 1, WIDTH),
        ("blk.0.ffn_gate.weight", 64, WIDTH),
        ("blk.0.ffn_up.weight", 64, WIDTH),
        ("blk.0.ffn_down.weight", WIDTH, 64),
        ("output_norm.weight", 1, WIDTH),
    ] {
        let bytes = (0..rows * columns).flat_map(|_| random(&mut seed).to_le_bytes()).collect();
        let dimensions = if rows == 1 { vec![columns as u64] } else { vec![columns as u64, rows as u64] };
        file.tensors.push(T { name: name.into(), dimensions, code: 0, offset: None, bytes });
    }
    file
}

/// From -1 to 1, always the same.
fn random(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / f32::from(1u16 << 12) / 2048.0 - 1.0
}

/// The 256 bytes as GPT-2 writes them, then control tokens, then merged ones.
fn vocabulary() -> (Vec<String>, Vec<i32>) {
    let plain = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut next = 256;
    let mut tokens: Vec<String> = (0..256u32)
        .map(|b| {
            let code = if plain(b) { b } else { next };
            next += u32::from(!plain(b));
            char::from_u32(code).unwrap().into()
        })
        .collect();
    tokens.extend(["<s>", "</s>", "th", "the"].map(String::from));
    let kinds = (0..260).map(|id| if id == 256 || id == 257 { 3 } else { 1 }).collect();
    (tokens, kinds)
}
