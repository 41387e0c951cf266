//! `outpost serve --with-broker`: a broker of one's own, for the first quarter of an hour.

use std::{
    fs,
    net::TcpStream,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    broker::installed,
    harness::{Daemon, binary, until},
};

/// Host and port of the broker that a daemon names.
fn address(daemon: &Daemon) -> String {
    until("it listens", || std::os::unix::net::UnixStream::connect(daemon.socket()).ok());
    let status = daemon.status_when("it is connected", |s| s["mqtt"]["state"] == "connected");
    status["mqtt"]["broker"].as_str().unwrap().strip_prefix("mqtt://").unwrap().to_owned()
}

#[test]
fn a_broker_comes_with_the_daemon_and_goes_with_it() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut daemon = Daemon::spawn(&["--with-broker", "node.id=n"]);
        let address = address(&daemon);
        let (host, port) = address.split_once(':').unwrap();
        assert_eq!(host, "127.0.0.1");
        let mut heard = Command::new(installed("mosquitto_sub"));
        heard.args(["-h", host, "-p", port, "-W", "60", "-C", "1", "-t", "outpost/v1/n/availability"]);
        assert_eq!(heard.output().unwrap().stdout, b"online\n");
        daemon.signal(signal);
        daemon.ended();
        until("the broker is gone", || TcpStream::connect(&*address).is_err().then_some(()));
    }
}

#[test]
fn two_brokers_are_one_too_many() {
    let mut daemon = Daemon::spawn(&["--with-broker", "mqtt.url=mqtt://127.0.0.1:1883"]);
    assert_eq!(daemon.ended().code(), Some(78));
    assert!(daemon.log().contains("--with-broker") && daemon.log().contains("mqtt.url"), "{}", daemon.log());
}

#[test]
fn where_there_is_no_mosquitto_it_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("nothing");
    fs::create_dir(&hidden).unwrap();
    // Its own view of the files, in which the broker is a folder: only where the kernel lets us.
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    };
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let there: Vec<_> = places.iter().filter(|file| fs::exists(file).unwrap()).collect();
    let hide =
        there.iter().map(|file| format!("mount --bind /dev/null {file} && ")).collect::<Vec<_>>().concat();
    let allowed = unshare(&format!("{hide} true")).output().is_ok_and(|output| output.status.success());
    if !allowed {
        println!("left out: the kernel gives this user no namespace to hide mosquitto in");
        return;
    }
    let program = binary();
    let mut command = unshare(&format!("{hide} PATH=/nowhere exec \"$0\" \"$@\""));
    command.arg(program.get_program());
    command.args(["serve", "--with-broker", "--socket"]).arg(dir.path().join("o.sock"));
    command.arg("--set").arg(format!("store.path={}", dir.path().join("state").display()));
    let output = command.env("OUTPOST_CONFIG", "/dev/null").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{words}");
    assert!(
        words.contains("mosquitto is not installed") && words.contains("apt install mosquitto"),
        "{words}"
    );
}
