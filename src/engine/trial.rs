//! Which package is loaded, and what happens when it is on trial and fails.

use std::sync::Arc;

use super::{
    Graph, PassedOver,
    load::{EngineOptions, LoadError, load},
    state::{LoadStage, Model},
};
use crate::{
    domain::Clock,
    model::{Load, Shelf},
};

/// Why nothing is loaded.
pub(super) enum NotLoaded {
    /// There is nothing to load.
    Absent,
    /// It cannot be loaded.
    Failed(Failure),
}

/// Why a model cannot be loaded.
pub(super) struct Failure {
    /// In words that say what to do.
    pub(super) why: String,
    /// It only lacks memory: so many bytes would do.
    pub(super) needs: Option<u64>,
}

impl Failure {
    fn of(error: &LoadError, why: String) -> Self {
        let needs = if let LoadError::TooLarge { need, .. } = error { Some(need.total()) } else { None };
        Self { why, needs }
    }
}

/// Loads the package that is pinned or activated. One on trial that fails gives its place back to the one before
/// it, and that is loaded instead.
pub(super) fn load_chosen(
    options: &mut EngineOptions,
    unsound: &[PassedOver],
    clock: &dyn Clock,
    report: &mut dyn FnMut(LoadStage),
) -> Result<(Graph, Arc<Model>), NotLoaded> {
    let Some(shelf) = options.shelf.clone() else {
        return load(options, unsound, clock, report)
            .map_err(|error| NotLoaded::Failed(Failure::of(&error, error.to_string())));
    };
    loop {
        let Some(Load { name, dir }) = begin(&shelf) else { return Err(NotLoaded::Absent) };
        options.package = dir;
        let (graph, mut model) = match load(options, unsound, clock, report) {
            Ok(loaded) => loaded,
            Err(error) => {
                let why = error.to_string();
                match shelf.failed(&name, &why) {
                    Ok(true) => {
                        tracing::error!(package = %name, "it did not pass its trial, the former package comes back: {why}");
                        continue;
                    }
                    Ok(false) => {
                        return Err(NotLoaded::Failed(Failure::of(&error, with_return(&shelf, &why))));
                    }
                    Err(trouble) => {
                        let why = format!("{why}; and the former package cannot be brought back: {trouble}");
                        return Err(NotLoaded::Failed(Failure::of(&error, why)));
                    }
                }
            }
        };
        if let Err(error) = shelf.passed(&name) {
            tracing::warn!(package = %name, %error, "it has passed its trial, which cannot be noted");
        }
        if let Some(model) = Arc::get_mut(&mut model) {
            model.returned = shelf
                .view()
                .returned
                .map(|r| format!("`{}` was activated and did not pass: {}", r.from, r.why));
        }
        return Ok((graph, model));
    }
}

/// What to load. Without a place to write, a package on trial is loaded all the same: nothing would be better by
/// answering nobody.
fn begin(shelf: &Shelf) -> Option<Load> {
    shelf.begin().unwrap_or_else(|error| {
        tracing::warn!(%error, "attempts at a new package cannot be counted: if it fails, the former one will not come back");
        shelf.chosen()
    })
}

/// A reason that does not hide that another package was wanted.
fn with_return(shelf: &Shelf, why: &str) -> String {
    match shelf.view().returned {
        Some(returned) => {
            format!("{why}. Before it `{}` was activated and did not pass: {}", returned.from, returned.why)
        }
        None => why.to_owned(),
    }
}
