//! A session with its cache: what runs.

use std::ffi::CString;

use ort::session::Session;

use super::{
    Binding,
    cache::{Cache, Keeping},
    step::Step,
};
use crate::engine::border::{Border, Float};

/// Room that is allocated once.
#[derive(Clone, Copy)]
pub(in crate::engine) struct CellShape {
    pub(in crate::engine) keeping: Keeping,
    pub(in crate::engine) slots: usize,
    /// Tokens of one slot.
    pub(in crate::engine) context: usize,
}

/// A graph of its own that holds the token table.
pub(in crate::engine) struct Table {
    pub(in crate::engine) session: Session,
    pub(in crate::engine) ids: CString,
    pub(in crate::engine) rows: CString,
    pub(in crate::engine) number: Float,
    /// Numbers of one row.
    pub(in crate::engine) width: usize,
}

/// A session with `slots` sequences of up to `context` tokens.
pub(in crate::engine) struct Cell {
    // Declared before what they point into, hence dropped before it.
    by_slot: Vec<Option<Binding>>,
    by_count: Vec<Option<Binding>>,
    session: Session,
    table: Option<Table>,
    border: Border,
    cache: Cache,
    shape: CellShape,
    step: Step,
    /// Logits of sequences that ran one after the other.
    gathered: Vec<f32>,
}

// SAFETY: ONNX Runtime's sessions and bindings may be used from any thread, one at a time;
// `&mut self` sees to the latter.
unsafe impl Send for Cell {}

/// Which slots a run is over.
#[derive(Clone, Copy)]
pub(in crate::engine) enum Span {
    /// One slot with any number of tokens.
    Slot(usize),
    /// Slots `0..n` with one token each.
    First(usize),
}

impl Cell {
    pub(in crate::engine) fn new(
        session: Session,
        table: Option<Table>,
        border: Border,
        shape: CellShape,
    ) -> Self {
        let cache = Cache::new(shape.keeping, border.shape, border.kv, shape.slots, shape.context);
        Self {
            by_slot: (0..shape.slots).map(|_| None).collect(),
            by_count: (0..=shape.slots).map(|_| None).collect(),
            session,
            table,
            border,
            cache,
            shape,
            step: Step::default(),
            gathered: Vec::new(),
        }
    }

    /// The same graph with another border or another kind of cache; what the slots held is gone.
    pub(in crate::engine) fn rebuilt(self, border: Border, shape: CellShape) -> Self {
        Self::new(self.session, self.table, border, shape)
    }

    pub(in crate::engine) const fn border(&self) -> &Border {
        &self.border
    }

    pub(in crate::engine) const fn shape(&self) -> CellShape {
        self.shape
    }

    /// Bytes of the whole cache.
    pub(in crate::engine) fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Runs the graph over `tokens`, `tokens.len() / pasts.len()` per sequence, each
    /// continuing after `past` committed tokens. Returns the logits of `rows` (indices into
    /// `tokens`), one after the other.
    pub(in crate::engine) fn run(
        &mut self,
        span: Span,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<&[f32], String> {
        let sequences = pasts.len();
        let each = tokens.len() / sequences.max(1);
        let longest = pasts.iter().copied().max().unwrap_or(0) + each;
        assert!(
            each > 0 && each * sequences == tokens.len(),
            "{} tokens for {sequences} sequences",
            tokens.len()
        );
        assert!(longest <= self.shape.context, "{longest} tokens in a slot of {}", self.shape.context);
        assert!(rows.iter().all(|r| *r < tokens.len()) && !rows.is_empty(), "rows beyond the chunk");
        assert!(tokens.iter().all(|t| (*t as usize) < self.border.vocabulary), "token beyond the vocabulary");
        let over = if let Span::First(n) = span { n } else { 1 };
        assert!(over == sequences && over <= self.shape.slots, "{sequences} sequences over {over} slots");

        match (self.cache.keeping(), span) {
            (Keeping::InPlace, _) => self.run_in_place(span, tokens, pasts, rows)?,
            (Keeping::Growing, Span::Slot(slot)) => self.run_growing(slot, tokens, pasts[0], rows)?,
            (Keeping::Growing, Span::First(_)) => return self.one_by_one(tokens, pasts, rows),
        }
        Ok(self.step.logits(&self.border))
    }

    fn run_in_place(
        &mut self,
        span: Span,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<(), String> {
        let (place, first, count) = match span {
            Span::Slot(slot) => (self.by_slot[slot].take(), slot, 1),
            Span::First(n) => (self.by_count[n].take(), 0, n),
        };
        let binding = if let Some(binding) = place {
            binding
        } else {
            let binding = Binding::new(&self.session)?;
            self.cache.bind_in_place(&binding, &self.border.caches, first, count)?;
            binding
        };
        let ran = self.run_bound(&binding, tokens, pasts, rows);
        match span {
            Span::Slot(slot) => self.by_slot[slot] = Some(binding),
            Span::First(n) => self.by_count[n] = Some(binding),
        }
        ran
    }

    fn run_growing(
        &mut self,
        slot: usize,
        tokens: &[u32],
        past: usize,
        rows: &[usize],
    ) -> Result<(), String> {
        let binding = Binding::new(&self.session)?;
        self.cache.bind_growing(&binding, &self.border.caches, slot, past, tokens.len())?;
        self.run_bound(&binding, tokens, &[past], rows)?;
        self.cache.moved(slot, past + tokens.len());
        Ok(())
    }

    /// Sequences of different lengths cannot share a run when each has a cache of its own length.
    fn one_by_one(&mut self, tokens: &[u32], pasts: &[usize], rows: &[usize]) -> Result<&[f32], String> {
        let each = tokens.len() / pasts.len();
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        for (slot, past) in pasts.iter().enumerate() {
            let own = slot * each..(slot + 1) * each;
            let rows: Vec<usize> = rows.iter().filter(|r| own.contains(r)).map(|r| r - own.start).collect();
            // A sequence whose logits nobody wants is computed all the same: its tokens go into the cache.
            let wanted = if rows.is_empty() { &[each - 1][..] } else { &rows[..] };
            self.run_growing(slot, &tokens[own], *past, wanted)?;
            if !rows.is_empty() {
                gathered.extend_from_slice(self.step.logits(&self.border));
            }
        }
        self.gathered = gathered;
        Ok(&self.gathered)
    }

    /// Runs with a cache that is bound already.
    fn run_bound(
        &mut self,
        binding: &Binding,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<(), String> {
        self.step.fill(&self.border, tokens, pasts, rows)?;
        // SAFETY: the step is filled and stays as it is until the runs below have ended; the cache is
        // bound to buffers that `self` keeps.
        unsafe {
            if let Some(table) = &self.table {
                let lookup = Binding::new(&table.session)?;
                lookup.input(&table.ids, &self.step.ids()?)?;
                lookup.output(&table.rows, &self.step.embeddings(table.number, table.width)?)?;
                lookup.run(&table.session)?;
            }
            self.step.bind(binding, &self.border)?;
            binding.run(&self.session)
        }
    }

    /// Copies the first `tokens` positions of one slot over those of another.
    pub(in crate::engine) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        self.cache.copy_slot(from, to, tokens);
    }
}
