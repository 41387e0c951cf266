//! Who may connect: the socket's permissions, and the token over TCP.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use tempfile::TempDir;

use crate::{
    harness::{Daemon, prompt, shared},
    http::{Connection, Stream},
};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A daemon that also listens on a free port of the loopback.
pub(crate) struct TcpDaemon {
    pub(crate) daemon: Daemon,
    address: SocketAddr,
    _token: TempDir,
}

fn token_file(mode: u32) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let setting = format!("http.token_file={}", path.display());
    (dir, setting)
}

impl TcpDaemon {
    pub(crate) fn start(settings: &[&str]) -> Self {
        let (token, setting) = token_file(0o600);
        let daemon = Daemon::start(&[&["http.tcp=127.0.0.1:0", &setting], settings].concat());
        // The kernel chose the port; the table of this process's sockets tells which.
        let address = listening(daemon.pid()).pop().expect("it listens on TCP");
        Self { daemon, address, _token: token }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::new(Stream::Tcp(TcpStream::connect(self.address).unwrap()))
    }
}

/// The header that lets a TCP client in.
pub(crate) fn authorization() -> String {
    format!("authorization: Bearer {TOKEN}\r\n")
}

/// Addresses on which a process listens over TCP, from proc(5): /proc/PID/net/tcp and its open files.
fn listening(pid: u32) -> Vec<SocketAddr> {
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // 0A is LISTEN; the address is hexadecimal, in the byte order of the machine.
    rows.filter(|row| row[3] == "0A" && own.iter().any(|inode| inode == row[9]))
        .map(|row| {
            let (ip, port) = row[1].split_once(':').unwrap();
            let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
            (ip, u16::from_str_radix(port, 16).unwrap()).into()
        })
        .collect()
}

/// Exit code and log of a daemon that must not start.
fn refused(settings: &[&str]) -> (Option<i32>, String) {
    let mut daemon = Daemon::spawn(settings);
    let status = daemon.ended();
    (status.code(), daemon.log())
}

#[test]
fn there_is_no_tcp_unless_it_is_asked_for() {
    assert_eq!(listening(shared().pid()), []);
}

#[test]
fn tcp_is_loopback_and_takes_the_token_only() {
    let tcp = TcpDaemon::start(&[]);
    assert!(tcp.address.ip().is_loopback());
    let wrong =
        ["authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n", "authorization: Basic x\r\n", ""];
    for headers in wrong {
        for (method, path) in
            [("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/chat/completions"), ("GET", "/x")]
        {
            let answer = tcp.connect().ask_with(method, path, headers, None);
            assert_eq!(answer.error(), (401, "unauthenticated".into(), String::new()), "{headers} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let headers = authorization();
    let answer = tcp.connect().ask_with("POST", "/v1/chat/completions", &headers, Some(&prompt("Hi", 1)));
    answer.good();
    // Over the socket nobody needs it.
    tcp.daemon.chat(&prompt("Hi", 1)).good();
    assert!(!tcp.daemon.log().contains(TOKEN));
}

#[test]
fn tcp_without_a_token_beyond_loopback_or_with_a_public_token_does_not_start() {
    let (_dir, token) = token_file(0o600);
    let (_public_dir, public) = token_file(0o644);
    let cases: [(&[&str], &str); 4] = [
        (&["http.tcp=127.0.0.1:0"], "token_file"),
        (&["http.tcp=0.0.0.0:0", &token], "not loopback"),
        (&["http.tcp=127.0.0.1:0", &public], "chmod"),
        (&["http.tcp=127.0.0.1:0", "http.token_file=/nowhere/token"], "/nowhere/token"),
    ];
    for (settings, words) in cases {
        let (code, log) = refused(settings);
        assert_eq!(code, Some(78), "{settings:?}: {log}");
        assert!(log.contains(words), "{settings:?}: {log}");
    }
}

fn mode_and_group(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.mode() & 0o777, meta.gid())
}

#[test]
fn the_socket_has_the_mode_and_the_group_that_are_configured() {
    assert_eq!(mode_and_group(&shared().socket()).0, 0o660);
    // Another group of this user; root may give the socket to any.
    let own = rustix::process::getgid();
    let other = rustix::process::getgroups().unwrap().into_iter().find(|g| *g != own);
    let group = match other {
        Some(group) => group.as_raw(),
        None if rustix::process::getuid().is_root() => 1,
        None => own.as_raw(),
    };
    let setting = format!("http.socket_group={group}");
    let daemon = Daemon::start(&["http.socket_mode=0600", &setting]);
    assert_eq!(mode_and_group(&daemon.socket()), (0o600, group));
}

#[test]
fn a_socket_that_is_in_use_or_a_group_that_is_not_there_is_refused() {
    let taken = format!("http.socket={}", shared().socket().display());
    let (code, log) = refused(&["http.socket_group=no-such-group-here"]);
    assert!(code == Some(78) && log.contains("no-such-group-here"), "{code:?} {log}");
    // `--socket` of the harness would win over `--set`, so this one is started by hand.
    let output = crate::harness::binary().args(["serve", "--set", &taken]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && log.contains("another daemon"), "{log}");
    shared().chat(&prompt("Still there?", 1)).good();
}
