//! A broker of one's own, for a first try: mosquitto on loopback, as long as the daemon runs.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::StartError;
use crate::{domain::limits, transport::mqtt::Url};

/// A mosquitto that ends with this value.
pub(super) struct Broker {
    /// Ends it when the daemon is killed: the pipe to it closes then. Not the signal that a parent's
    /// death can send (prctl(2)): mosquitto becomes another user when root starts it, and loses it.
    _keeper: Child,
    _child: Child,
}

/// Waits for the end of its input, then ends the process that it is told of.
const KEEPER: &str = "read -r _; kill -TERM \"$0\"";

impl Broker {
    /// Starts it at `url`, a port of loopback; `dir` takes its configuration file.
    pub(super) async fn start(dir: &Path, url: &str) -> Result<Self, StartError> {
        let program = find("mosquitto").ok_or_else(|| {
            StartError::Unavailable(
                "mosquitto is not installed; install it (Debian: `sudo apt install mosquitto mosquitto-clients`) \
                 or set `mqtt.url` to a broker that runs"
                    .into(),
            )
        })?;
        let port = url.parse::<Url>().map_err(StartError::Configuration)?.port;
        let file = dir.join("first-try-mosquitto.conf");
        std::fs::write(&file, configuration(port))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, &child.id().unwrap_or_default().to_string()]);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let listening = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            up = timeout(limits::BROKER_START, listening) => up.map_err(|_| {
                StartError::Unavailable("mosquitto was started and does not listen".into())
            })?,
            ended = child.wait() => {
                return Err(StartError::Unavailable(format!(
                    "mosquitto ended at once ({}); `mosquitto -c {}` says why",
                    ended?,
                    file.display()
                )));
            }
        }
        tracing::info!(
            url,
            "a broker for a first try is running; it is open to every process of this machine"
        );
        Ok(Self { _keeper: keeper, _child: child })
    }
}

/// A port of loopback that is free now. Mosquitto has no way to choose one itself and tell which.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn configuration(port: u16) -> String {
    let bytes = limits::MQTT_PACKET_BYTES_MAX;
    format!(
        "# Written at each start of `outpost serve --with-broker`.\n\
         listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_packet_size {bytes}\n"
    )
}

/// Debian has daemons in a directory that a user's PATH lacks.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|dir| dir.join(program)).find(|file| file.is_file())
}
