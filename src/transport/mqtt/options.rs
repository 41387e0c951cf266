//! Which broker, as whom, within which bounds.

use std::{path::PathBuf, time::Duration};

pub use crate::domain::BrokerUrl as Url;
use crate::domain::{Secret, limits};

/// PEM files, read again at every connect, so that renewed certificates need no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust. Required for `mqtts://`: the roots of a system trust half the world.
    pub ca: Option<PathBuf>,
    /// Our certificate and the chain behind it, if the broker asks for one.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
}

/// Everything about a connection that is configured.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Where.
    pub url: Url,
    /// As whom. The same for ever: the session at the broker hangs on it.
    pub client_id: String,
    /// User, if the broker wants one.
    pub username: Option<String>,
    /// Password, if the broker wants one.
    pub password: Option<Secret>,
    /// File with the password, read again at every connect; goes before `password`.
    pub password_file: Option<PathBuf>,
    /// Certificates.
    pub tls: TlsFiles,
    /// Silence after which either side asks whether the other still lives; a dead broker is
    /// noticed within one and a half of it. Whole seconds, at least 2. Must be longer than the
    /// largest packet takes on the slowest line.
    pub keep_alive: Duration,
    /// Messages that the broker may send before we acknowledge one, 1 to
    /// [`limits::MQTT_RECEIVE_MAXIMUM`].
    pub receive_maximum: u16,
    /// Largest packet that the broker may send, bytes. It drops a message that is larger.
    pub packet_bytes_max: u32,
    /// How long the broker keeps the session when we are gone, seconds.
    pub session_expiry_s: u32,
    /// From the first address lookup to CONNACK.
    pub connect_timeout: Duration,
}

impl LinkOptions {
    /// With the bounds of [`limits`].
    pub fn new(url: Url, client_id: impl Into<String>) -> Self {
        Self {
            url,
            client_id: client_id.into(),
            username: None,
            password: None,
            password_file: None,
            tls: TlsFiles::default(),
            keep_alive: limits::MQTT_KEEP_ALIVE,
            receive_maximum: limits::MQTT_RECEIVE_MAXIMUM,
            packet_bytes_max: limits::MQTT_PACKET_BYTES_MAX,
            session_expiry_s: limits::MQTT_SESSION_EXPIRY.as_secs() as u32,
            connect_timeout: limits::MQTT_CONNECT_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        let said = "mqtt://anna:geheim@broker".parse::<Url>().unwrap_err();
        assert!(!said.contains("geheim"), "{said}");
        let mut options = LinkOptions::new("mqtt://b".parse().unwrap(), "c");
        options.password = Some(Secret::new("geheim"));
        assert!(!format!("{options:?}").contains("geheim"));
    }
}
