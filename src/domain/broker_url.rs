//! The address of an MQTT broker.

use std::{fmt, str::FromStr};

use super::limits;

/// Address of a broker: `mqtt://host[:port]` or `mqtts://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// With TLS.
    pub tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// 1883 and 8883 unless given.
    pub port: u16,
}

impl FromStr for BrokerUrl {
    type Err = String;

    /// The error fits behind the name of the key.
    fn from_str(text: &str) -> Result<Self, String> {
        let say = |why: &str| Err(format!("{why}; expected mqtt://host:port, or mqtts://host:port for TLS"));
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

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<(bool, String, u16), String> {
        text.parse::<BrokerUrl>().map(|u| (u.tls, u.host, u.port))
    }

    #[test]
    fn an_address_has_its_usual_port_unless_it_names_one() {
        assert_eq!(url("mqtt://broker"), Ok((false, "broker".into(), 1883)));
        assert_eq!(url("mqtts://broker/"), Ok((true, "broker".into(), 8883)));
        assert_eq!(url("mqtts://10.0.0.1:1234"), Ok((true, "10.0.0.1".into(), 1234)));
        assert_eq!(url("mqtt://[fe80::1]:99"), Ok((false, "fe80::1".into(), 99)));
        assert_eq!(url("mqtt://[::1]"), Ok((false, "::1".into(), 1883)));
        assert_eq!("mqtts://[::1]".parse::<BrokerUrl>().unwrap().to_string(), "mqtts://[::1]:8883");
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong_and_what_is_expected() {
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
            assert!(said.contains(why) && said.contains("expected mqtt://host:port"), "{text}: {said}");
        }
    }
}
