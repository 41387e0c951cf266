//! The store's promises, on real files.
