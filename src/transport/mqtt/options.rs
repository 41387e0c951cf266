//! Which broker, as whom, within which bounds.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;

use crate::domain::limits;

/// Address of a broker: `mqtt://host[:port]` or `mqtts://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// With TLS.
    pub tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// 1883 and 8883 unless given.
    pub port: u16,
}

impl FromStr for Url {
    type Err = String;

    /// The error names the key and fits behind nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let say = |why: &str| {
            Err(format!("`mqtt.url` {why}; expected mqtt://host:port, or mqtts://host:port for TLS"))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return say("has no scheme");
        };
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            "tcp" => return say("starts with tcp://, which is called mqtt:// here"),
            "ssl" | "tls" => return say("asks for TLS, which is called mqtts:// here"),
            "ws" | "wss" => return say("asks for WebSocket, which is not supported"),
            other => return say(&format!("starts with {other}://, which is not MQTT")),
        };
        // Not shown in the message: it may hold a password.
        if rest.contains('@') {
            return say("holds a user; put it into `mqtt.username` and `mqtt.password_file`");
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return say("has something behind host and port");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => match v6.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None => return say("has something other than a port behind `]`"),
                },
                None => return say("lacks the `]` behind its IPv6 address"),
            },
            None => match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return say("holds an IPv6 address without brackets; write [::1]");
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return say("names no host");
        }
        let port = match port.map(str::parse::<u16>) {
            None => limits::mqtt_port(tls),
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return say("has a port that is not a number from 1 to 65535"),
        };
        Ok(Self { tls, host: host.into(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Says nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Bytes);

impl Password {
    /// As the broker gets it.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(Bytes::from(secret.into()))
    }

    /// Reads it from a file that only its owner and group can read. White space around it is cut.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt;
        let say = |why: String| format!("`mqtt.password_file` {}: {why}", path.display());
        let meta = std::fs::metadata(path).map_err(|e| say(e.to_string()))?;
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(say("anybody can read or change it; chmod 0640 it".into()));
        }
        if meta.len() > limits::TOKEN_FILE_BYTES_MAX {
            return Err(say(format!("has more than {} bytes", limits::TOKEN_FILE_BYTES_MAX)));
        }
        let text = std::fs::read(path).map_err(|e| say(e.to_string()))?;
        Ok(Self::new(text.trim_ascii()))
    }

    pub(super) fn reveal(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

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
    pub password: Option<Password>,
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

    fn url(text: &str) -> Result<(bool, String, u16), String> {
        text.parse::<Url>().map(|u| (u.tls, u.host, u.port))
    }

    #[test]
    fn an_address_has_its_usual_port_unless_it_names_one() {
        assert_eq!(url("mqtt://broker"), Ok((false, "broker".into(), 1883)));
        assert_eq!(url("mqtts://broker/"), Ok((true, "broker".into(), 8883)));
        assert_eq!(url("mqtts://10.0.0.1:1234"), Ok((true, "10.0.0.1".into(), 1234)));
        assert_eq!(url("mqtt://[fe80::1]:99"), Ok((false, "fe80::1".into(), 99)));
        assert_eq!(url("mqtt://[::1]"), Ok((false, "::1".into(), 1883)));
        assert_eq!("mqtts://[::1]".parse::<Url>().unwrap().to_string(), "mqtts://[::1]:8883");
    }

    #[test]
    fn a_wrong_address_names_the_key_and_what_is_wrong() {
        for (text, why) in [
            ("", "has no scheme"),
            ("broker:1883", "has no scheme"),
            ("tcp://broker", "called mqtt:// here"),
            ("ssl://broker", "called mqtts:// here"),
            ("wss://broker", "WebSocket"),
            ("http://broker", "not MQTT"),
            ("mqtt://", "names no host"),
            ("mqtt://:1883", "names no host"),
            ("mqtt://a b", "names no host"),
            ("mqtt://broker:0", "port"),
            ("mqtt://broker:65536", "port"),
            ("mqtt://broker:", "port"),
            ("mqtt://broker/path", "behind host and port"),
            ("mqtt://::1", "without brackets"),
            ("mqtt://[::1", "lacks the `]`"),
            ("mqtt://[::1]x", "behind `]`"),
        ] {
            let said = url(text).unwrap_err();
            assert!(said.starts_with("`mqtt.url` ") && said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let said = url("mqtt://anna:geheim@broker").unwrap_err();
        assert!(!said.contains("geheim"), "{said}");
        let mut options = LinkOptions::new("mqtt://b".parse().unwrap(), "c");
        options.password = Some(Password::new("geheim"));
        assert!(!format!("{options:?}").contains("geheim"));
    }
}
