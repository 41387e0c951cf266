//! How far it is: a bar on a terminal, a line now and then elsewhere, counts for JSON.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::out;
use crate::hub::News;

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Bytes that were there and were hashed.
    pub(super) kept: u64,
    /// Bytes that came.
    pub(super) fetched: u64,
    /// Bytes that were not to be trusted.
    pub(super) thrown_away: u64,
    /// Tries that failed.
    pub(super) retries: u32,
}

pub(super) struct Meter {
    bar: ProgressBar,
    speaks: bool,
    pub(super) counts: Counts,
}

impl Meter {
    pub(super) fn new(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !json;
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{wide_msg} {bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, speaks: !json, counts: Counts::default() }
    }

    pub(super) fn hear(&mut self, news: &News<'_>) {
        match news {
            News::Plan(plan) => {
                self.bar.set_length(plan.bytes);
                let there = if plan.there > 0 {
                    format!(", {} of them are there", plan.there)
                } else {
                    String::new()
                };
                let at = plan.state.commit.as_ref().map(|c| format!(" at {}", c.short())).unwrap_or_default();
                self.say(&format!("{}{at}: {} bytes{there}", plan.state.name, plan.bytes));
            }
            News::File(file, there) => {
                self.bar.set_message(file.to.to_string());
                if *there > 0 && *there < file.bytes {
                    self.say(&format!("{}: goes on behind {there} of {} bytes", file.to, file.bytes));
                }
            }
            News::Checked(bytes) => {
                self.counts.kept += bytes;
                self.bar.inc(*bytes);
            }
            News::Got(bytes) => {
                self.counts.fetched += bytes;
                self.bar.inc(*bytes);
            }
            News::Again(fault, wait) => {
                self.counts.retries += 1;
                self.say(&format!("{fault}; trying again in {:.1} s", wait.as_secs_f64()));
            }
            News::Anew(file, bytes) => {
                self.counts.thrown_away += bytes;
                self.bar.dec(*bytes);
                self.say(&format!(
                    "{}: its {bytes} bytes are not what they should be and are thrown away",
                    file.to
                ));
            }
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, words: &str) {
        if self.speaks {
            self.bar.suspend(|| out::note(words));
        }
    }
}
