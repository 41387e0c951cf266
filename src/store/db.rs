//! The database.
use std::sync::Arc;

use super::{
    error::OpenError,
    op::{Backend, Op, Reply},
    options::{Opened, StoreOptions},
    stats::{Counters, Health},
};
use crate::domain::{Clock, Error, Result};

/// The database.
pub struct Db {
    counters: Arc<Counters>,
}

impl Db {
    /// Opens.
    pub fn open(options: StoreOptions, _clock: Arc<dyn Clock>) -> Result<(Self, Opened), OpenError> {
        Err(OpenError::InUse { path: options.dir })
    }
}

impl Backend for Db {
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Result<Reply>> {
        ops.iter().map(|_| Err(Error::internal("not yet"))).collect()
    }
    fn health(&self) -> Health {
        Health::Sound
    }
    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
