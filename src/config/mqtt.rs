//! The broker's address, and what of `[mqtt]` does not go together.

use super::Mqtt;
use crate::domain::{TopicFilter, limits, topic_name_problem};

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Broker {
    /// Reads `mqtt://host[:port]` or `mqtts://host[:port]`; the error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!("is `{}`, {why}; expected such as `mqtts://broker:8883`", without_password(url)))
        };
        let Some((scheme, rest)) = url.split_once("://") else { return wrong("which has no `://`") };
        let (tls, usual_port) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return wrong("which is neither mqtt:// nor mqtts://"),
        };
        if rest.contains('@') {
            return wrong("which names a user; that is for `mqtt.username` and `mqtt.password_file`");
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        if address.contains(['/', '?', '#']) || address.contains(char::is_whitespace) {
            return wrong("which has more than host and port");
        }
        let (host, port) = match address.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
            None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(['[', ']']) || !address.starts_with('[') && host.contains(':') {
            return wrong("which has no host");
        }
        match port.map_or(Ok(usual_port), str::parse) {
            Ok(port) if port > 0 => Ok(Self { tls, host: host.into(), port }),
            _ => wrong("which has no port from 1 to 65535 behind its colon"),
        }
    }
}

/// A password may have got into the address; it is not to get into a log.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(start), Some(end)) if start + 3 <= end => format!("{}…{}", &url[..start + 3], &url[end..]),
        _ => url.to_owned(),
    }
}

/// Key of `[mqtt]` and what is wrong with it.
pub(super) fn problems(mqtt: &Mqtt) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let broker = mqtt.url.as_deref().map(Broker::parse);
    match &broker {
        Some(Err(message)) => wrong.push(("mqtt.url", message.clone())),
        Some(Ok(broker)) if !broker.tls => {
            for (key, set) in [("mqtt.ca", &mqtt.ca), ("mqtt.cert", &mqtt.cert), ("mqtt.key", &mqtt.key)] {
                if set.is_some() {
                    wrong.push((key, "is for TLS, but `mqtt.url` is not mqtts://".into()));
                }
            }
        }
        _ => {}
    }
    if mqtt.cert.is_some() && mqtt.key.is_none() {
        wrong.push(("mqtt.cert", "needs `mqtt.key`, its private key".into()));
    }
    if mqtt.key.is_some() && mqtt.cert.is_none() {
        wrong.push(("mqtt.key", "needs `mqtt.cert`, the certificate that it belongs to".into()));
    }
    if mqtt.password_file.is_some() && mqtt.username.is_none() {
        wrong.push(("mqtt.password_file", "needs `mqtt.username`".into()));
    }
    if let Some(id) = mqtt.client_id.as_deref()
        && (id.len() > limits::MQTT_CLIENT_ID_BYTES_MAX || id.contains(char::is_control))
    {
        let max = limits::MQTT_CLIENT_ID_BYTES_MAX;
        wrong.push((
            "mqtt.client_id",
            format!("is not a client id: at most {max} bytes, none a control character"),
        ));
    }
    let odd_levels = || mqtt.root.split('/').any(str::is_empty) || mqtt.root.starts_with('$');
    if let Some(problem) = topic_name_problem(&mqtt.root) {
        wrong.push(("mqtt.root", problem.into()));
    } else if odd_levels() || mqtt.root.contains(char::is_control) {
        let words = format!("is `{}`, expected levels such as `outpost/v1`", mqtt.root.escape_default());
        wrong.push(("mqtt.root", words));
    }
    for filter in &mqtt.response_topic_allow {
        if let Err(problem) = TopicFilter::parse(filter) {
            wrong.push(("mqtt.response_topic_allow", format!("names `{filter}`, which {problem}")));
        }
    }
    for pool in &mqtt.pools {
        if pool.is_empty() || pool.contains(['/', '+', '#']) || pool.contains(char::is_control) {
            wrong.push(("mqtt.pools", format!("names `{pool}`, expected one level of a topic")));
        }
    }
    for (key, list, max) in [
        ("mqtt.response_topic_allow", &mqtt.response_topic_allow, limits::RESPONSE_TOPICS_MAX),
        ("mqtt.pools", &mqtt.pools, limits::POOLS_MAX),
    ] {
        if list.len() > max {
            wrong.push((key, format!("has {} entries, at most {max} are taken", list.len())));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_scheme_a_host_and_a_port() {
        for (url, tls, host, port) in [
            ("mqtt://broker", false, "broker", 1883),
            ("mqtts://broker/", true, "broker", 8883),
            ("mqtts://10.0.0.5:443", true, "10.0.0.5", 443),
            ("mqtt://[fe80::1]:1884", false, "fe80::1", 1884),
            ("mqtt://[::1]", false, "::1", 1883),
        ] {
            assert_eq!(Broker::parse(url), Ok(Broker { tls, host: host.into(), port }), "{url}");
        }
        for bad in [
            "broker",
            "broker:1883",
            "tcp://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://broker:",
            "mqtt://broker:0",
            "mqtt://broker:99999",
            "mqtt://broker/path",
            "mqtt://a b",
            "mqtt://fe80::1",
            "mqtt://[::1]x",
            "mqtt://[]",
        ] {
            let words = Broker::parse(bad).unwrap_err();
            assert!(words.ends_with("expected such as `mqtts://broker:8883`"), "{bad}: {words}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let words = Broker::parse("mqtts://ada:s3cret@broker").unwrap_err();
        assert!(words.contains("mqtt.password_file") && !words.contains("s3cret"), "{words}");
    }

    #[test]
    fn what_does_not_go_together_is_told_key_by_key() {
        let path = || Some("/x".into());
        let mqtt = Mqtt {
            url: Some("mqtt://broker".into()),
            cert: path(),
            password_file: path(),
            root: "a//b".into(),
            client_id: Some("x".repeat(129)),
            response_topic_allow: vec!["a/#/b".into(), "ok/+".into()],
            pools: vec!["a/b".into(), "fine".into()],
            ..Mqtt::default()
        };
        let keys: Vec<&str> = problems(&mqtt).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "mqtt.cert",
                "mqtt.cert",
                "mqtt.password_file",
                "mqtt.client_id",
                "mqtt.root",
                "mqtt.response_topic_allow",
                "mqtt.pools",
            ]
        );
        assert_eq!(problems(&Mqtt { key: path(), ..Mqtt::default() }).len(), 1);
        for root in ["", "a/+", "$SYS", "/a", "a/", "a\n"] {
            assert_eq!(problems(&Mqtt { root: root.into(), ..Mqtt::default() }).len(), 1, "{root:?}");
        }
    }
}
