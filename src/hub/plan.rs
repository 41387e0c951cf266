//! What is to come and whether there is room for it. Pure.

use std::path::{Path, PathBuf};

use super::{error::PullError, partial::State};

/// Before a pull.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is to come.
    pub state: State,
    /// Where it goes.
    pub dir: PathBuf,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that are there from an earlier pull.
    pub there: u64,
    /// Bytes that are free on the disk.
    pub free: u64,
    /// Bytes that have to stay free.
    pub reserve: u64,
}

impl Plan {
    /// Bytes that are to come.
    pub fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.there)
    }

    /// Whether there is room.
    pub fn fits(&self) -> bool {
        self.left().saturating_add(self.reserve) <= self.free
    }

    /// The error when there is none.
    pub(super) fn check(&self, models: &Path) -> Result<(), PullError> {
        // What is whole already needs no room, however full the disk is.
        if self.left() == 0 || self.fits() {
            return Ok(());
        }
        let (needed, reserve, free) = (self.left(), self.reserve, self.free);
        Err(PullError::NoRoom { needed, reserve, free, dir: models.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::layout::Choice,
        model::{Layout, Vouched},
    };

    #[test]
    fn what_is_to_come_must_fit_beside_what_has_to_stay_free() {
        let choice = Choice { layout: Layout::Onnx, variant: None, files: Vec::new() };
        let state = State::new("b".parse().unwrap(), choice, String::new(), Vouched::Listing);
        let plan = |bytes, there, free, reserve| Plan {
            state: state.clone(),
            dir: "m/b".into(),
            bytes,
            there,
            free,
            reserve,
        };
        let fits = |plan: Plan| plan.check(Path::new("m")).is_ok();
        assert!(fits(plan(100, 0, 150, 50)) && !fits(plan(100, 0, 149, 50)));
        assert!(fits(plan(100, 60, 90, 50)) && !fits(plan(100, 60, 89, 50)));
        assert!(fits(plan(100, 100, 0, 50)), "nothing is to come");
        assert!(!fits(plan(u64::MAX, 0, u64::MAX - 1, 1)));
        let words =
            plan(5_000_000_000, 0, 1_000_000_000, 64_000_000).check(Path::new("/m")).unwrap_err().to_string();
        assert!(
            words.starts_with(
                "5000 MB are to come and 64 MB have to stay free, but only 1000 MB are free below /m"
            ),
            "{words}"
        );
    }
}
