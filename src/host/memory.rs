//! How much memory this process takes.

use std::fs;

/// Resident memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Everything that is in memory, file pages included.
    pub total: u64,
    /// What only this process can give back.
    pub anonymous: u64,
}

/// Of this process; zeros where `/proc` does not tell.
pub fn resident() -> Resident {
    fs::read_to_string("/proc/self/status").map(|status| parse(&status)).unwrap_or_default()
}

/// `proc_pid_status(5)`: `VmRSS` and `RssAnon`, in kB.
fn parse(status: &str) -> Resident {
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Resident { total: field("VmRSS:"), anonymous: field("RssAnon:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_of_the_kernel_become_bytes() {
        let status = "Name:\toutpost\nVmRSS:\t   2048 kB\nRssAnon:\t    512 kB\n";
        assert_eq!(parse(status), Resident { total: 2 << 20, anonymous: 512 << 10 });
        assert_eq!(parse("nonsense"), Resident::default());
        assert!(resident().total > 0);
    }
}
