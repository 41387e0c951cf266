//! Which cores are worth giving to the engine.

use std::{collections::BTreeSet, fs, path::Path};

/// Threads of one run when the configuration says 0: one per big core that this process
/// may use. A little core would only make the big ones wait for it at each barrier.
pub fn engine_threads(configured: usize) -> usize {
    if configured > 0 {
        return configured;
    }
    // Respects affinity masks and cgroup quotas.
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    big_cores(&capacities(Path::new("/sys/devices/system/cpu"))).map_or(usable, |big| big.min(usable))
}

/// What this machine's processors are and can do, in words that differ where their abilities do.
pub fn processors() -> String {
    abilities(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// Release of the kernel that runs.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The lines of `/proc/cpuinfo` that tell of abilities, each once: cores may differ.
fn abilities(cpuinfo: &str) -> String {
    const TELLING: [&str; 6] =
        ["model name", "flags", "Features", "CPU implementer", "CPU part", "CPU variant"];
    let telling = |line: &&str| TELLING.iter().any(|key| line.starts_with(key));
    let lines: BTreeSet<&str> = cpuinfo.lines().filter(telling).collect();
    let architecture = std::iter::once(std::env::consts::ARCH);
    architecture.chain(lines).collect::<Vec<_>>().join("\n")
}

/// The kernel's relative capacity of each core (1024 is the strongest); empty where it tells none.
fn capacities(root: &Path) -> Vec<u32> {
    fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            fs::read_to_string(entry.ok()?.path().join("cpu_capacity")).ok()?.trim().parse().ok()
        })
        .collect()
}

/// Cores with at least four fifths of the strongest core's capacity; `None` when nothing is known.
fn big_cores(capacities: &[u32]) -> Option<usize> {
    let strongest = *capacities.iter().max()?;
    Some(capacities.iter().filter(|c| u64::from(**c) * 5 >= u64::from(strongest) * 4).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_apart_by_what_they_can_do() {
        let board = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0b\n\n\
                     processor\t: 1\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\nCPU part\t: 0xd05\n";
        let lines = ["CPU part\t: 0xd05", "CPU part\t: 0xd0b", "Features\t: fp asimd"];
        assert_eq!(abilities(board), [&[std::env::consts::ARCH], &lines[..]].concat().join("\n"));
        assert_ne!(abilities(board), abilities(&board.replace("asimd", "asimd asimddp")));
        assert_eq!(abilities(board), abilities(&board.replace("108.00", "107.52")));
        assert_eq!(processors(), processors());
    }

    #[test]
    fn little_cores_are_left_alone() {
        assert_eq!(big_cores(&[]), None);
        assert_eq!(big_cores(&[1024; 4]), Some(4), "Raspberry Pi 5: four alike");
        assert_eq!(
            big_cores(&[530, 530, 530, 530, 1024, 1024, 1024, 1024]),
            Some(4),
            "RK3588: four of eight"
        );
        assert_eq!(engine_threads(3), 3);
        assert!(engine_threads(0) >= 1);
    }
}
