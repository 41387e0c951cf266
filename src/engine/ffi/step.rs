//! The small tensors of one run, in buffers that keep their capacity.

use super::{Binding, ElementType, Tensor, float_element};
use crate::engine::border::{Border, Float, Lengths, Rows, Tokens};

const INT64: ElementType = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
const INT32: ElementType = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;

/// What goes into one run besides the cache, and the logits that come out.
#[derive(Default)]
pub(super) struct Step {
    sequences: usize,
    /// Tokens of each sequence.
    each: usize,
    /// Tokens of the longest sequence after the run.
    longest: usize,
    ids: Vec<i64>,
    last_positions: Vec<i32>,
    total: [i32; 1],
    mask: Vec<i64>,
    positions: Vec<i64>,
    rows: Vec<i64>,
    keep: [i64; 1],
    /// Embeddings as bytes; `u64` for its alignment.
    embeddings: Vec<u64>,
    given: Given,
    logits: Vec<f32>,
    halves: Vec<u16>,
    picked: Vec<f32>,
}

/// What the rows of the logits are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Given {
    /// The rows that were wanted, in their order.
    #[default]
    Wanted,
    /// The last of each sequence.
    Last,
    /// Every token.
    Every,
}

impl Step {
    /// Takes in what one run is about: `tokens.len() / pasts.len()` tokens of each sequence, the logits
    /// of `rows` (indices into `tokens`).
    pub(super) fn fill(
        &mut self,
        border: &Border,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<(), String> {
        let each = tokens.len() / pasts.len();
        (self.sequences, self.each) = (pasts.len(), each);
        self.longest = pasts.iter().copied().max().unwrap_or(0) + each;
        self.ids.clear();
        self.ids.extend(tokens.iter().map(|t| i64::from(*t)));
        self.rows.clear();
        self.rows.extend(rows.iter().map(|r| *r as i64));
        self.total = [self.longest as i32];
        if border.lengths == Lengths::Numbers {
            self.last_positions.clear();
            self.last_positions.extend(pasts.iter().map(|p| (p + each - 1) as i32));
        } else {
            self.mask.clear();
            for past in pasts {
                self.mask.extend((0..self.longest).map(|at| i64::from(at < past + each)));
            }
        }
        if border.positions.is_some() {
            self.positions.clear();
            self.positions.extend(pasts.iter().flat_map(|p| (*p..p + each).map(|at| at as i64)));
        }
        self.expect(border)
    }

    /// How many rows of logits will come, and which.
    fn expect(&mut self, border: &Border) -> Result<(), String> {
        let lasts = (1..=self.sequences).map(|n| (n * self.each - 1) as i64);
        let only_lasts = lasts.eq(self.rows.iter().copied());
        self.given = match border.rows {
            Rows::Selected(_) => Given::Wanted,
            Rows::Kept { .. } | Rows::Last if only_lasts => Given::Last,
            Rows::Last => {
                return Err("this graph gives the logits of each sequence's last token only".into());
            }
            Rows::Kept { .. } | Rows::All | Rows::Unsaid => Given::Every,
        };
        self.keep = [i64::from(self.given == Given::Last)];
        let wanted = self.logits_rows() * border.vocabulary;
        let grow = |have: usize| wanted.saturating_sub(have);
        self.logits.extend(std::iter::repeat_n(0.0, grow(self.logits.len())));
        if border.number == Float::F16 {
            self.halves.extend(std::iter::repeat_n(0, grow(self.halves.len())));
        }
        Ok(())
    }

    fn logits_rows(&self) -> usize {
        match self.given {
            Given::Wanted => self.rows.len(),
            Given::Last => self.sequences,
            Given::Every => self.sequences * self.each,
        }
    }

    /// The ids as the input of a graph of embeddings.
    ///
    /// # Safety
    /// The tensor is not used after `self` has changed.
    pub(super) unsafe fn ids(&mut self) -> Result<Tensor, String> {
        // SAFETY: `ids` holds as many; the rest by this function's own contract.
        unsafe { Tensor::over(self.ids.as_mut_ptr(), &[self.sequences as i64, self.each as i64], INT64) }
    }

    /// Room for the embeddings of the ids.
    ///
    /// # Safety
    /// As [`ids`](Self::ids).
    pub(super) unsafe fn embeddings(&mut self, number: Float, width: usize) -> Result<Tensor, String> {
        let bytes = self.sequences * self.each * width * number.bytes();
        if self.embeddings.len() * 8 < bytes {
            self.embeddings.resize(bytes.div_ceil(8), 0);
        }
        let shape = [self.sequences, self.each, width].map(|n| n as i64);
        // SAFETY: the room was made; the rest by this function's own contract.
        unsafe {
            Tensor::over_bytes(self.embeddings.as_mut_ptr().cast(), bytes, &shape, float_element(number))
        }
    }

    /// Binds everything but the cache.
    ///
    /// # Safety
    /// The binding is run before `self` changes, or bound anew.
    pub(super) unsafe fn bind(&mut self, binding: &Binding, border: &Border) -> Result<(), String> {
        let (n, each) = (self.sequences as i64, self.each as i64);
        // SAFETY: each tensor is over a buffer that `fill` has filled for this very shape; the rest by this
        // function's own contract.
        unsafe {
            match &border.tokens {
                Tokens::Ids(name) => binding.input(name, &self.ids()?)?,
                Tokens::Embeddings { name, number, width } => {
                    binding.input(name, &self.embeddings(*number, *width)?)?;
                }
            }
            match &border.lengths {
                Lengths::Numbers => {
                    let last = Tensor::over(self.last_positions.as_mut_ptr(), &[n], INT32)?;
                    binding.input(c"seqlens_k", &last)?;
                    binding.input(c"total_len", &Tensor::over(self.total.as_mut_ptr(), &[], INT32)?)?;
                }
                Lengths::Mask(name) => {
                    let mask = Tensor::over(self.mask.as_mut_ptr(), &[n, self.longest as i64], INT64)?;
                    binding.input(name, &mask)?;
                }
            }
            if let Some(name) = &border.positions {
                binding.input(name, &Tensor::over(self.positions.as_mut_ptr(), &[n, each], INT64)?)?;
            }
            match &border.rows {
                Rows::Selected(name) => {
                    let rows = [self.rows.len() as i64];
                    binding.input(name, &Tensor::over(self.rows.as_mut_ptr(), &rows, INT64)?)?;
                }
                Rows::Kept { name, scalar } => {
                    let shape: &[i64] = if *scalar { &[] } else { &[1] };
                    binding.input(name, &Tensor::over(self.keep.as_mut_ptr(), shape, INT64)?)?;
                }
                Rows::All | Rows::Last | Rows::Unsaid => {}
            }
            binding.output(&border.logits, &self.logits_tensor(border)?)
        }
    }

    unsafe fn logits_tensor(&mut self, border: &Border) -> Result<Tensor, String> {
        let (rows, columns) = (self.logits_rows(), border.vocabulary as i64);
        let flat = [rows as i64, columns];
        let deep = [self.sequences as i64, (rows / self.sequences) as i64, columns];
        let shape: &[i64] = if self.given == Given::Wanted { &flat } else { &deep };
        let place: *mut u8 = match border.number {
            Float::F32 => self.logits.as_mut_ptr().cast(),
            Float::F16 => self.halves.as_mut_ptr().cast(),
        };
        let bytes = rows * border.vocabulary * border.number.bytes();
        // SAFETY: `expect` has made the room; the caller keeps `self` as it is.
        unsafe { Tensor::over_bytes(place, bytes, shape, float_element(border.number)) }
    }

    /// The logits of the wanted rows after a run, one after the other.
    pub(super) fn logits(&mut self, border: &Border) -> &[f32] {
        let columns = border.vocabulary;
        if border.number == Float::F16 {
            let halves = &self.halves[..self.logits_rows() * columns];
            for (to, from) in self.logits.iter_mut().zip(halves) {
                *to = half::f16::from_bits(*from).to_f32();
            }
        }
        match (self.given, &self.rows[..]) {
            (Given::Wanted | Given::Last, rows) => &self.logits[..rows.len() * columns],
            (Given::Every, [row]) => &self.logits[*row as usize * columns..][..columns],
            (Given::Every, rows) => {
                self.picked.clear();
                for row in rows {
                    self.picked.extend_from_slice(&self.logits[*row as usize * columns..][..columns]);
                }
                &self.picked
            }
        }
    }
}
