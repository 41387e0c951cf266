//! Keys and values of every slot, in memory that is allocated once.

use std::ptr;

use super::{Binding, Tensor, kv_element};
use crate::{
    engine::border::CacheNames,
    model::{CacheShape, KvType},
};

/// What a graph does with the cache it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Keeping {
    /// It writes new tokens behind the old ones, in the same memory: attention with a shared buffer.
    InPlace,
    /// It writes old and new ones elsewhere, one behind the other: attention that concatenates. Then
    /// there is one region more than slots, and a slot changes places with it after each run.
    Growing,
}

/// Layers, each with keys and values of every slot.
pub(super) struct Cache {
    keeping: Keeping,
    shape: CacheShape,
    kv: KvType,
    slots: usize,
    /// Tokens of one slot.
    context: usize,
    /// One buffer per layer and kind: regions of `heads × context × head_width` elements; never
    /// resized. `u64` for its alignment.
    buffers: Vec<Box<[u64]>>,
    /// Which region is a slot's, then the spare one. In place they never move.
    regions: Vec<usize>,
    /// Tokens that a slot's region holds; growing only, where heads follow one another without a gap.
    held: Vec<usize>,
}

impl Cache {
    pub(super) fn new(keeping: Keeping, shape: CacheShape, kv: KvType, slots: usize, context: usize) -> Self {
        let regions = slots + usize::from(keeping == Keeping::Growing);
        let bytes = regions * shape.heads * context * shape.head_width * kv.bytes();
        // `vec![0; n]` asks the kernel for zero pages: memory is resident once it is written.
        let buffers = (0..shape.layers * 2).map(|_| vec![0u64; bytes.div_ceil(8)].into_boxed_slice());
        Self {
            buffers: buffers.collect(),
            regions: (0..regions).collect(),
            held: vec![0; slots],
            keeping,
            shape,
            kv,
            slots,
            context,
        }
    }

    pub(super) const fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// Bytes of one token of one head.
    fn row_bytes(&self) -> usize {
        self.shape.head_width * self.kv.bytes()
    }

    fn region_bytes(&self) -> usize {
        self.shape.heads * self.context * self.row_bytes()
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffers.len() * self.region_bytes() * self.regions.len()
    }

    /// Binds the slots `first..first + count` for reading and writing in place. The binding stays good
    /// for as long as the cache is there.
    pub(super) fn bind_in_place(
        &mut self,
        binding: &Binding,
        names: &[CacheNames],
        first: usize,
        count: usize,
    ) -> Result<(), String> {
        assert!(first + count <= self.slots, "slots {first}+{count} of {}", self.slots);
        assert!(self.keeping == Keeping::InPlace, "a growing cache is bound for one run");
        let dims = self.dims(count, self.context);
        let bytes = self.region_bytes();
        for (index, names) in names.iter().enumerate() {
            let tensor = self.tensor(index, first * bytes, count * bytes, &dims)?;
            binding.input(&names.past, &tensor)?;
            binding.output(&names.present, &tensor)?;
        }
        Ok(())
    }

    /// Binds `slot`, which then holds `past` tokens, and the spare region for `past + new` of them. Good for
    /// one run, after which [`moved`](Self::moved) makes the change.
    pub(super) fn bind_growing(
        &mut self,
        binding: &Binding,
        names: &[CacheNames],
        slot: usize,
        past: usize,
        new: usize,
    ) -> Result<(), String> {
        assert!(past + new <= self.context && past <= self.held[slot], "{past}+{new} tokens in a slot");
        self.shorten(slot, past);
        let (from, to) = (self.regions[slot], self.regions[self.slots]);
        let token = self.shape.heads * self.row_bytes();
        let region = self.region_bytes();
        for (index, names) in names.iter().enumerate() {
            let old = self.tensor(index, from * region, past * token, &self.dims(1, past))?;
            let new = self.tensor(index, to * region, (past + new) * token, &self.dims(1, past + new))?;
            binding.input(&names.past, &old)?;
            binding.output(&names.present, &new)?;
        }
        Ok(())
    }

    /// Binds the whole of `slot` for reading. Good for as long as the cache is there.
    pub(super) fn bind_past(
        &mut self,
        binding: &Binding,
        names: &[CacheNames],
        slot: usize,
    ) -> Result<(), String> {
        assert!(slot < self.slots && self.keeping == Keeping::InPlace, "slot {slot} of {}", self.slots);
        let (bytes, dims) = (self.region_bytes(), self.dims(1, self.context));
        for (index, names) in names.iter().enumerate() {
            binding.input(&names.past, &self.tensor(index, slot * bytes, bytes, &dims)?)?;
        }
        Ok(())
    }

    /// Writes the first `count` of the `stride` tokens of each head in `new`, a buffer per layer and kind, into
    /// `slot` behind its first `past`.
    pub(super) fn append(
        &mut self,
        slot: usize,
        past: usize,
        new: &[Box<[f32]>],
        stride: usize,
        count: usize,
    ) {
        assert!(
            slot < self.slots && past + count <= self.context && count <= stride,
            "{past}+{count} tokens"
        );
        assert!(self.kv == KvType::F32 && new.len() == self.buffers.len(), "a buffer per layer and kind");
        let width = self.shape.head_width;
        let region = self.shape.heads * self.context * width;
        for (buffer, new) in self.buffers.iter_mut().zip(new) {
            // SAFETY: `u64` may be seen as twice as many `f32`.
            let (_, numbers, _) = unsafe { buffer.align_to_mut::<f32>() };
            let slot = &mut numbers[slot * region..][..region];
            for (to, from) in
                slot.chunks_exact_mut(self.context * width).zip(new.chunks_exact(stride * width))
            {
                to[past * width..(past + count) * width].copy_from_slice(&from[..count * width]);
            }
        }
    }

    /// A run has written `slot`'s tokens, now `tokens`, into the spare region.
    pub(super) fn moved(&mut self, slot: usize, tokens: usize) {
        self.regions.swap(slot, self.slots);
        self.held[slot] = tokens;
    }

    fn dims(&self, count: usize, tokens: usize) -> [i64; 4] {
        [count, self.shape.heads, tokens, self.shape.head_width].map(|n| n as i64)
    }

    fn tensor(&mut self, index: usize, start: usize, bytes: usize, dims: &[i64]) -> Result<Tensor, String> {
        let buffer = &mut self.buffers[index];
        assert!(
            start + bytes <= buffer.len() * 8,
            "bytes {start}+{bytes} of a cache of {}",
            buffer.len() * 8
        );
        // SAFETY: the range was checked; the buffer is a box that `self` keeps and never resizes.
        unsafe {
            let place = buffer.as_mut_ptr().cast::<u8>().add(start);
            Tensor::over_bytes(place, bytes, dims, kv_element(self.kv))
        }
    }

    /// Makes slot `to` hold the first `tokens` tokens of slot `from`.
    pub(super) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        assert!(from < self.slots && to < self.slots && tokens <= self.context, "slot copy");
        let (from_stride, to_stride) = match self.keeping {
            Keeping::InPlace => (self.context, self.context),
            Keeping::Growing => {
                assert!(tokens <= self.held[from], "{tokens} tokens of {}", self.held[from]);
                (self.held[from], tokens)
            }
        };
        self.copy_rows([from, to], [from_stride, to_stride], tokens);
        self.held[to] = tokens;
    }

    /// Makes a growing slot hold no more than its first `tokens`.
    fn shorten(&mut self, slot: usize, tokens: usize) {
        let held = std::mem::replace(&mut self.held[slot], tokens);
        if tokens > 0 && tokens < held {
            self.copy_rows([slot, slot], [held, tokens], tokens);
        }
    }

    /// Copies `tokens` rows of each head between slots whose heads are `strides` tokens apart.
    fn copy_rows(&mut self, slots: [usize; 2], strides: [usize; 2], tokens: usize) {
        let row = self.row_bytes();
        let [from, to] = slots.map(|slot| self.regions[slot] * self.region_bytes());
        let [from_head, to_head] = strides.map(|stride| stride * row);
        let heads = self.shape.heads;
        assert!(tokens <= strides[0].min(strides[1]) && strides.iter().all(|s| *s <= self.context), "stride");
        for buffer in &mut self.buffers {
            let base = buffer.as_mut_ptr().cast::<u8>();
            for head in 0..heads {
                // SAFETY: both ranges lie within their regions by the assertion above. Within one
                // region heads move towards its beginning, lowest first, so none is overwritten
                // before it is read; `copy` allows a head to overlap itself.
                unsafe {
                    ptr::copy(base.add(from + head * from_head), base.add(to + head * to_head), tokens * row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 1, heads: 2, head_width: 4 };

    /// Writes `tokens` tokens into a slot as a graph would: each element says head and token.
    fn fill(cache: &mut Cache, slot: usize, tokens: usize) {
        let start = cache.regions[slot] * cache.region_bytes() / 4;
        for buffer in &mut cache.buffers {
            // SAFETY: `u64` may be seen as twice as many `u32`.
            let (_, words, _) = unsafe { buffer.align_to_mut::<u32>() };
            for (head, token, element) in places(tokens) {
                words[start + (head * tokens + token) * 4 + element] = (head * 1_000 + token) as u32;
            }
        }
        cache.held[slot] = tokens;
    }

    fn places(tokens: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..2).flat_map(move |h| (0..tokens).flat_map(move |t| (0..4).map(move |e| (h, t, e))))
    }

    fn holds(cache: &Cache, slot: usize, tokens: usize) -> bool {
        let start = cache.regions[slot] * cache.region_bytes() / 4;
        cache.held[slot] == tokens
            && cache.buffers.iter().all(|buffer| {
                // SAFETY: as above.
                let (_, words, _) = unsafe { buffer.align_to::<u32>() };
                places(tokens).all(|(head, token, element)| {
                    words[start + (head * tokens + token) * 4 + element] == (head * 1_000 + token) as u32
                })
            })
    }

    #[test]
    fn a_growing_slot_keeps_its_first_tokens_when_it_is_cut_copied_and_moved() {
        let mut cache = Cache::new(Keeping::Growing, SHAPE, KvType::F32, 3, 16);
        assert_eq!(cache.bytes(), 2 * 4 * 2 * 16 * 4 * 4);
        fill(&mut cache, 0, 9);
        cache.copy_slot(0, 2, 6);
        assert!(holds(&cache, 2, 6) && holds(&cache, 0, 9));
        cache.shorten(0, 5);
        assert!(holds(&cache, 0, 5));
        cache.copy_slot(0, 0, 3);
        assert!(holds(&cache, 0, 3));

        // A run writes into the spare region.
        let spare = cache.regions[3];
        cache.moved(1, 0);
        assert_eq!(cache.regions[1], spare);
        fill(&mut cache, 1, 7);
        assert!(holds(&cache, 1, 7) && holds(&cache, 2, 6) && holds(&cache, 0, 3));
    }
}
