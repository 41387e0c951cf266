//! What one sequence carries from step to step and from graph to graph. All of it is memory of
//! its own: a tensor of ONNX Runtime's could keep a session, and so a model, alive.

use half::f16;
use ort::{
    session::SessionInputValue,
    value::{DynValue, TensorElementType, TensorRef},
};
use outpost::model::{CacheShape, KvType};

/// Numbers of a tensor.
#[derive(Clone, Debug)]
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8(Vec<i8>),
}

/// A tensor in memory of our own.
#[derive(Clone, Debug)]
pub(super) struct Held {
    shape: Vec<i64>,
    numbers: Numbers,
}

impl Held {
    fn zeros(kv: KvType, shape: Vec<i64>) -> Self {
        let count = shape.iter().product::<i64>() as usize;
        let numbers = match kv {
            KvType::F32 => Numbers::F32(vec![0.0; count]),
            KvType::F16 => Numbers::F16(vec![f16::ZERO; count]),
            KvType::Int8 => Numbers::I8(vec![0; count]),
        };
        Self { shape, numbers }
    }

    /// A copy of `value`.
    pub(super) fn copy(value: &DynValue) -> ort::Result<Self> {
        let numbers = match value.dtype().tensor_type() {
            Some(TensorElementType::Float16) => Numbers::F16(value.try_extract_tensor::<f16>()?.1.to_vec()),
            Some(TensorElementType::Int8) => Numbers::I8(value.try_extract_tensor::<i8>()?.1.to_vec()),
            _ => Numbers::F32(value.try_extract_tensor::<f32>()?.1.to_vec()),
        };
        Ok(Self { shape: value.shape().to_vec(), numbers })
    }

    /// The tensor as an input.
    pub(super) fn input(&self) -> ort::Result<SessionInputValue<'_>> {
        let shape = self.shape.clone();
        Ok(match &self.numbers {
            Numbers::F32(x) => TensorRef::from_array_view((shape, x.as_slice()))?.into(),
            Numbers::F16(x) => TensorRef::from_array_view((shape, x.as_slice()))?.into(),
            Numbers::I8(x) => TensorRef::from_array_view((shape, x.as_slice()))?.into(),
        })
    }

    fn f32(&self) -> &[f32] {
        match &self.numbers {
            Numbers::F32(numbers) => numbers,
            Numbers::F16(_) | Numbers::I8(_) => &[],
        }
    }
}

/// One sequence: its KV cache, and the hidden states on their way through a step.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Keys and values of each layer.
    pub(super) past: Vec<[Held; 2]>,
    pub(super) past_len: usize,
    /// Residual and update, between two graphs of one step.
    pub(super) stream: Vec<Held>,
    /// Whether there will be a second step, which reads what the first has left in the cache.
    pub(super) goes_on: bool,
}

impl Sequence {
    /// An empty one that will hold at most `tokens`.
    pub fn new(shape: CacheShape, kv: KvType, tokens: usize) -> Self {
        // ONNX Runtime runs float16 caches through casts, and gives the present the memory of
        // the past's cast: both must have one size. The others grow as they are fed.
        let room = if kv == KvType::F16 { tokens } else { 0 };
        let empty = [1, shape.heads, room, shape.head_width].map(|n| n as i64).to_vec();
        let layer = |_| [Held::zeros(kv, empty.clone()), Held::zeros(kv, empty.clone())];
        let past = (0..shape.layers).map(layer).collect();
        Self { past, past_len: 0, stream: Vec::new(), goes_on: true }
    }

    /// An empty one of a single step: its cache stays empty.
    pub fn of_one_step(shape: CacheShape, kv: KvType, tokens: usize) -> Self {
        Self { goes_on: false, ..Self::new(shape, kv, tokens) }
    }

    /// Tokens that it holds.
    pub fn len(&self) -> usize {
        self.past_len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.past_len == 0
    }

    /// Keys and values of `layer`, `heads * tokens * head_width` each; empty unless they are float32.
    pub fn cache(&self, layer: usize) -> [&[f32]; 2] {
        let [keys, values] = &self.past[layer];
        [keys.f32(), values.f32()]
    }

    /// Gives the memory of what `layer` holds back.
    pub fn forget(&mut self, layer: usize) {
        for held in &mut self.past[layer] {
            *held = Held { shape: vec![0], numbers: Numbers::F32(Vec::new()) };
        }
    }
}
