//! A network of its own for the test: loopback and nothing else, and every address is on it, so that whatever
//! is sent to anybody is counted and reaches nobody.

use std::{
    io,
    process::{Command, ExitStatus},
};

/// Set in the process that runs inside.
const INSIDE: &str = "OUTPOST_EGRESS_INSIDE";
/// Set by who cannot have one and knows what the test is worth without.
const WITHOUT: &str = "OUTPOST_EGRESS_NO_NAMESPACE";
/// `ip` lies where only root looks. For IPv6 it fails where the kernel has none, and then there is nothing to
/// be caught.
const SETUP: &str = "PATH=$PATH:/usr/sbin:/sbin && ip link set lo up && ip route add local default dev lo && \
                     { ip -6 route add local default dev lo 2>/dev/null || true; } && exec \"$0\" \"$@\"";

/// Where the test finds itself.
pub(crate) enum Network {
    /// In a network of its own: it plays here.
    Own,
    /// In the one of the machine, on request.
    Shared,
    /// It was played in a network of its own, by another process.
    Played,
}

impl Network {
    /// Plays this test in a network of its own, or says what is missing.
    pub(crate) fn enter(test: &str) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| value == "1");
        if is_set(INSIDE) {
            return Self::Own;
        }
        if is_set(WITHOUT) {
            println!("{WITHOUT}=1: played without the kernel's word");
            return Self::Shared;
        }
        // Who is root may make a network where new users are not allowed.
        let ways: [&[&str]; 2] = [&["--net", "--map-root-user"], &["--net"]];
        let tried: Vec<Result<(), String>> = ways.iter().map(|way| try_out(way)).collect();
        let Some(at) = tried.iter().position(Result::is_ok) else {
            let why = tried.into_iter().find_map(Result::err).unwrap_or_default();
            panic!(
                "no network of its own, and without the kernel's word this is no proof: {why}\n\
                 Whoever cannot have one sets {WITHOUT}=1 and knows that connections to others are not counted."
            );
        };
        let me = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(ways[at]).args(["sh", "-c", SETUP]).arg(me).args(["--exact", test, "--nocapture"]);
        let status = command.env(INSIDE, "1").status().unwrap();
        assert!(status.success(), "it failed in its own network: {status}");
        Self::Played
    }
}

/// Makes such a network and leaves it; what is missing.
fn try_out(way: &[&str]) -> Result<(), String> {
    match Command::new("unshare").args(way).args(["sh", "-c", SETUP, "true"]).output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(missing(out.status, String::from_utf8_lossy(&out.stderr).trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("the command `unshare` is missing: install util-linux".into())
        }
        Err(error) => Err(format!("`unshare` cannot be run: {error}")),
    }
}

fn missing(status: ExitStatus, said: &str) -> String {
    if status.code() == Some(127) {
        return format!("the command `ip` is missing ({said}): install iproute2");
    }
    format!(
        "`unshare --net --map-root-user` may not ({said}): allow user namespaces \
         (sysctl user.max_net_namespaces, kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0), or give a container CAP_SYS_ADMIN"
    )
}
