//! Which cores are worth giving to the engine.

use std::{fs, path::Path};

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
