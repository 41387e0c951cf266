//! How short of memory board and daemon are.
//!
//! `/proc/pressure/memory` (Documentation/accounting/psi.rst), `/proc/meminfo`, and the limits of
//! our control group and those above it (Documentation/admin-guide/cgroup-v2.rst).

use std::path::{Path, PathBuf};

use super::files;
use crate::domain::limits;

/// How short of memory it is; what the kernel does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Share of the last 10 s in which some task waited for memory, %.
    pub some_avg10: Option<f64>,
    /// The same for all tasks at once.
    pub full_avg10: Option<f64>,
    /// What could be had without swapping, bytes.
    pub available: Option<u64>,
    /// What there is, bytes.
    pub total: Option<u64>,
    /// The control group that is nearest to its limit; `None` without one.
    pub group: Option<Group>,
}

impl Memory {
    /// What this process may still take, by the board and by its control group, bytes.
    pub fn room(&self) -> Option<u64> {
        let group = self.group.as_ref().map(|group| group.limit.saturating_sub(group.used));
        [self.available, group].into_iter().flatten().min()
    }
}

/// A control group with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its path, as systemd shows it.
    pub name: String,
    /// What it uses and cannot give back at once, bytes.
    pub used: u64,
    /// Where it is slowed down (`memory.high`) or killed (`memory.max`), bytes.
    pub limit: u64,
}

/// Where all that is.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pressure: PathBuf,
    info: PathBuf,
    groups: Vec<(PathBuf, String)>,
}

/// Our control group and those above it.
pub(super) fn find(sys: &Path, proc: &Path) -> Sources {
    let ours = files::text(&proc.join("self/cgroup")).unwrap_or_default();
    // Version 2 has the hierarchy 0 and no controllers in its line.
    let path = ours.lines().find_map(|line| line.strip_prefix("0::/"));
    let above = path.map(|path| Path::new(path).ancestors().take(limits::BOARD_GROUPS_MAX));
    let root = sys.join("fs/cgroup");
    let groups = above.into_iter().flatten().map(|group| (root.join(group), format!("/{}", group.display())));
    Sources {
        pressure: proc.join("pressure/memory"),
        info: proc.join("meminfo"),
        groups: groups.filter(|(dir, _)| dir.join("memory.max").exists()).collect(),
    }
}

/// How it is now.
pub(super) fn read(sources: &Sources) -> Memory {
    let pressure = files::text(&sources.pressure).unwrap_or_default();
    let info = files::text(&sources.info).unwrap_or_default();
    let kilobytes = |name: &str| {
        let rest = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(rest.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
    };
    let share = |group: &Group| group.used as f64 / group.limit as f64;
    Memory {
        some_avg10: average(&pressure, "some"),
        full_avg10: average(&pressure, "full"),
        available: kilobytes("MemAvailable:"),
        total: kilobytes("MemTotal:"),
        group: sources
            .groups
            .iter()
            .filter_map(|(dir, name)| group(dir, name))
            .max_by(|a, b| share(a).total_cmp(&share(b))),
    }
}

/// `some avg10=0.12 avg60=…`
fn average(pressure: &str, of: &str) -> Option<f64> {
    let line = pressure.lines().find(|line| line.split(' ').next() == Some(of))?;
    let value = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    value.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

fn group(dir: &Path, name: &str) -> Option<Group> {
    // "max" is no limit and no number.
    let limit = |file: &str| files::number::<u64>(&dir.join(file));
    let limit = [limit("memory.max"), limit("memory.high")].into_iter().flatten().min()?.max(1);
    let current: u64 = files::number(&dir.join("memory.current"))?;
    // Pages of files that nobody has touched for long count as well and are given back for the
    // asking: a model that was read once would look like a group at its limit for ever. Their number
    // costs the kernel more than the rest together, so it is asked only near the limit.
    let near = current as f64 * 100.0 >= limit as f64 * (limits::BOARD_GROUP_PERCENT[0] - 10.0);
    let idle = if near { idle_file_bytes(dir) } else { 0 };
    Some(Group { name: name.to_owned(), used: current.saturating_sub(idle), limit })
}

fn idle_file_bytes(dir: &Path) -> u64 {
    let stat = files::text(&dir.join("memory.stat")).unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    line.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_read_and_nonsense_is_not() {
        let text =
            "some avg10=12.50 avg60=1.00 avg300=0.1 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0";
        assert_eq!((average(text, "some"), average(text, "full")), (Some(12.5), Some(0.0)));
        for nonsense in ["", "some", "some avg10=", "some avg10=nan", "some avg10=-1", "some avg10=1e9"] {
            assert_eq!(average(nonsense, "some"), None, "{nonsense}");
        }
    }
}
