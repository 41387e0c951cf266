//! Whether a model fits into the memory of the board, before it is loaded.
//!
//! Counted is what cannot be given back: the weights as ONNX Runtime packs them (about as
//! large as their files; the files' own pages can be dropped), the KV cache when every slot
//! is full, and room for one run. A board that begins to swap, or whose kernel kills the
//! daemon hours later, is worse than a refusal with figures.

use std::{fmt, sync::Arc};

use crate::{
    domain::limits,
    model::{Package, Variant},
};

/// Memory that a model takes, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights.
    pub weights: u64,
    /// KV cache of all slots.
    pub cache: u64,
    /// One run.
    pub scratch: u64,
}

impl Need {
    /// Of a variant with so many slots of so many tokens.
    pub fn of(package: &Package, variant: &Variant, slots: usize, context: usize) -> Self {
        let shape = package.manifest.cache;
        let token = 2 * shape.layers * shape.heads * shape.head_width * variant.kv.bytes();
        let tokens = (slots as u64).saturating_mul(context.min(package.manifest.context) as u64);
        // Of fixed sizes there are two sessions, and each packs the weights for itself.
        let sessions = if variant.shapes.is_some() { 2 } else { 1 };
        Self {
            weights: package.weights_bytes(variant).saturating_mul(sessions),
            cache: tokens.saturating_mul(token as u64),
            scratch: limits::ENGINE_SCRATCH_BYTES,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.scratch)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        write!(
            f,
            "{} MB: {} of weights, {} of KV cache, {} to work with",
            mb(self.total()),
            mb(self.weights),
            mb(self.cache),
            mb(self.scratch)
        )
    }
}

/// Who knows how much memory can be had at a moment, bytes; `None` where the board does not tell.
#[derive(Clone)]
pub struct Room(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl Room {
    /// Asked anew before each load.
    pub fn new(ask: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        (self.0)()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_adds_up_and_is_told_in_megabytes() {
        let need = Need { weights: 2_535_000_000, cache: 872_415_232, scratch: 64_000_000 };
        assert_eq!(need.to_string(), "3472 MB: 2535 of weights, 873 of KV cache, 64 to work with");
        assert_eq!(Need { weights: u64::MAX, ..need }.total(), u64::MAX);
    }
}
