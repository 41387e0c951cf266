//! What the next step computes. Pure: the planner sees counts, never tensors.
//!
//! A step is one decode run over all running sequences, one token each, and at most one
//! chunk of one prompt. So a long prompt never silences the answers that are being
//! written, and they never keep it from getting on.

/// One step of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Slots `0..decode` each take one token.
    pub decode: usize,
    /// Then this part of a prompt.
    pub prefill: Option<Chunk>,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Slot it goes to.
    pub slot: usize,
    /// Tokens of the prompt that the slot holds already.
    pub start: usize,
    /// Tokens of this chunk, at least 1.
    pub len: usize,
    /// Whether the prompt ends with it.
    pub last: bool,
}

/// A prompt on its way into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefill {
    /// Tokens that are in already.
    pub done: usize,
    /// Tokens of the whole prompt.
    pub total: usize,
}

/// Plans the next step for `decoding` running sequences and the prompt behind them, of which
/// one run takes at most `chunk` tokens, 3 or more.
pub(super) fn plan(decoding: usize, prefill: Option<Prefill>, chunk: usize) -> Step {
    let prefill = prefill.filter(|p| p.done < p.total).map(|Prefill { done, total }| {
        let left = total - done;
        let mut len = left.min(chunk);
        // A lone last token would go through the decode kernel, whose rounding differs from
        // the many-token one: the same prompt should give the same logits at any length.
        if left - len == 1 && len > 1 {
            len -= 1;
        }
        Chunk { slot: decoding, start: done, len, last: len == left }
    });
    Step { decode: decoding, prefill }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prompt_is_fed_whole_in_order_and_never_ends_with_a_lone_token(total in 1usize..2_000, chunk in 3usize..200, decoding in 0usize..8) {
            let mut done = 0;
            loop {
                let step = plan(decoding, Some(Prefill { done, total }), chunk);
                prop_assert_eq!(step.decode, decoding);
                let next = step.prefill.expect("there is prompt left");
                prop_assert_eq!((next.slot, next.start), (decoding, done));
                prop_assert!(next.len <= chunk);
                prop_assert!(next.len > 1 || total == 1);
                done += next.len;
                prop_assert_eq!(next.last, done == total);
                if next.last { break; }
            }
            prop_assert_eq!(plan(decoding, Some(Prefill { done, total }), chunk).prefill, None);
        }
    }
}
