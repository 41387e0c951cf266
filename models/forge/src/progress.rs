//! What a long command tells of itself while it runs.

/// Receives the steps of an import or evaluation.
pub trait Progress: Sync {
    /// A step begins; `total` is in bytes, tokens or files, as `what` says.
    fn begin(&self, what: &str, total: u64);
    /// `count` more of the step are done.
    fn advance(&self, count: u64);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: u64) {}
    fn advance(&self, _count: u64) {}
}
