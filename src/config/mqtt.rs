//! The broker's address, and what of `[mqtt]` does not go together.

use super::Mqtt;
use crate::domain::{BrokerUrl, TopicFilter, limits, topic_name_problem};

/// Key of `[mqtt]` and what is wrong with it.
pub(super) fn problems(mqtt: &Mqtt) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let broker = mqtt.url.as_deref().map(str::parse::<BrokerUrl>);
    match &broker {
        Some(Err(message)) => wrong.push(("mqtt.url", message.clone())),
        Some(Ok(broker)) if !broker.tls => {
            for (key, set) in [("mqtt.ca", &mqtt.ca), ("mqtt.cert", &mqtt.cert), ("mqtt.key", &mqtt.key)] {
                if set.is_some() {
                    wrong.push((key, "is for TLS, but `mqtt.url` is not mqtts://".into()));
                }
            }
        }
        Some(Ok(_)) if mqtt.ca.is_none() => {
            let words =
                "needs `mqtt.ca` for mqtts://: the certificate of the authority that signed the broker's";
            wrong.push(("mqtt.url", words.into()));
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
        && (id.is_empty() || id.len() > limits::MQTT_CLIENT_ID_BYTES_MAX || id.contains(char::is_control))
    {
        let max = limits::MQTT_CLIENT_ID_BYTES_MAX;
        wrong.push((
            "mqtt.client_id",
            format!("is not a client id: 1 to {max} bytes, none a control character"),
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
