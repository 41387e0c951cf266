//! What cannot work, though each value for itself is well formed.

use super::{Config, Layered, Problem, board, cloud, mqtt};
use crate::domain::{BUILT_IN_PROVIDERS, ClientId, limits};

impl Layered {
    /// Notes everything that cannot work.
    pub fn check(&mut self) {
        for (key, message) in cross_checks(&self.config) {
            let origin = self.origin(key);
            self.problem(origin, format!("`{key}` {message}"));
        }
        self.check_lists();
    }

    /// The configuration, or everything that is wrong with it.
    pub fn checked(mut self) -> Result<Config, Vec<Problem>> {
        self.check();
        self.sound()
    }

    /// The configuration, or what was noted.
    pub fn sound(self) -> Result<Config, Vec<Problem>> {
        if self.problems.is_empty() { Ok(self.config) } else { Err(self.problems) }
    }
}

/// Key and what is wrong with it.
fn cross_checks(c: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut range = |key, value: usize, min: usize, max: usize| {
        if !(min..=max).contains(&value) {
            wrong.push((key, format!("is {value}, expected {min} to {max}")));
        }
    };
    range("engine.slots", c.engine.slots, 1, limits::SLOTS_MAX);
    range("engine.context", c.engine.context, 16, 1 << 20);
    range("engine.threads", c.engine.threads, 0, 256);
    range("service.answer_tokens", c.service.answer_tokens, 1, 1 << 20);
    range("service.queued_max", c.service.queued_max, 1, limits::QUEUED_REQUESTS_MAX);
    let queued_max = c.service.queued_max.max(1);
    range("service.queued_per_client_max", c.service.queued_per_client_max, 1, queued_max);
    range("service.deadline_s", c.service.deadline_s, 1, limits::DEADLINE_MAX.as_secs() as usize);
    range("store.requests_max", c.store.requests_max, 16, 1_000_000);
    range("store.bytes_max_mb", c.store.bytes_max_mb, 8, 65_536);
    range("store.keep_hours", c.store.keep_hours, 1, 8_760);
    range("store.outbox_max", c.store.outbox_max, 16, 1_000_000);
    range("store.outbox_keep_hours", c.store.outbox_keep_hours, 1, 8_760);
    range("mqtt.keep_alive_s", c.mqtt.keep_alive_s, 5, 65_535);
    range("mqtt.session_expiry_s", c.mqtt.session_expiry_s, 0, u32::MAX as usize);
    range("board.poll_s", c.board.poll_s, 2, 60);
    range("board.calm_s", c.board.calm_s, 1, 3_600);
    range("service.stop_grace_s", c.service.stop_grace_s, 0, 600);

    wrong.extend(mqtt::problems(&c.mqtt));
    wrong.extend(cloud::problems(&c.cloud));
    wrong.extend(board::problems(&c.board));
    if !c.node.id.is_empty() && ClientId::new(&c.node.id).is_none() {
        wrong.push((
            "node.id",
            format!(
                "is `{}`, expected at most 64 letters, digits and `-_.:@`: it is a level of topics",
                c.node.id.escape_default()
            ),
        ));
    }
    if c.node.id == "pool" {
        wrong.push(("node.id", "is `pool`, which the topics of pools have in the same place".into()));
    }
    if !(0.0..=2.0).contains(&c.service.temperature) {
        wrong.push(("service.temperature", format!("is {}, expected 0 to 2", c.service.temperature)));
    }
    if c.model.providers.is_empty() {
        wrong.push(("model.providers", "is empty, expected at least one, such as `cpu`".into()));
    }
    for (n, name) in c.model.providers.iter().enumerate() {
        let plugin = c.provider.iter().any(|p| p.name == *name && p.library.is_some());
        if !plugin && !BUILT_IN_PROVIDERS.contains(&name.as_str()) {
            let words = format!(
                "names `{name}`, which is neither built in ({}) nor a [[provider]] with a `library`",
                BUILT_IN_PROVIDERS.join(", ")
            );
            wrong.push(("model.providers", words));
        }
        if c.model.providers[..n].contains(name) {
            wrong.push(("model.providers", format!("names `{name}` twice")));
        }
    }
    if c.http.socket.is_none() && c.http.tcp.is_none() {
        wrong.push(("http.socket", "and `http.tcp` are both empty: nobody could ask anything".into()));
    }
    if let Some(socket) = c.http.socket.as_ref().filter(|s| s.as_os_str().len() > 107) {
        let len = socket.as_os_str().len();
        wrong.push(("http.socket", format!("has {len} bytes, a Unix socket's path may have 107 (unix(7))")));
    }
    if let Some(tcp) = c.http.tcp {
        if c.http.token_file.is_none() {
            wrong.push(("http.tcp", "needs `http.token_file`: over TCP nobody is known by user id".into()));
        }
        if !tcp.ip().is_loopback() && c.http.tcp_beyond_loopback.as_deref() != Some("allow") {
            let message = format!(
                "{} is not loopback; set `http.tcp_beyond_loopback = \"allow\"` if that is meant",
                tcp.ip()
            );
            wrong.push(("http.tcp", message));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        let mut layered = Layered::default();
        layered.add_text(
            Path::new("o.toml"),
            "[engine]\nslots = 0\n[http]\nsocket = \"\"\ntcp = \"10.1.2.3:80\"\n[model]\nproviders = [\"npu\"]\n",
        );
        let problems: Vec<String> = layered.checked().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "o.toml:2: `engine.slots` is 0, expected 1 to 64",
                "o.toml:7: `model.providers` names `npu`, which is neither built in (cpu, xnnpack, qnn, nnapi, cuda, tensorrt, \
                 acl, openvino) nor a [[provider]] with a `library`",
                "o.toml:5: `http.tcp` needs `http.token_file`: over TCP nobody is known by user id",
                "o.toml:5: `http.tcp` 10.1.2.3 is not loopback; set `http.tcp_beyond_loopback = \"allow\"` if that is meant",
            ]
        );
    }
}
