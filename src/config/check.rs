//! What cannot work, though each value for itself is well formed.

use super::{Config, Layered, Problem};
use crate::domain::limits;

impl Layered {
    /// The configuration, or everything that is wrong with it.
    pub fn checked(mut self) -> Result<Config, Vec<Problem>> {
        for (key, message) in cross_checks(&self.config) {
            let origin = self.origin(key);
            self.problem(origin, format!("`{key}` {message}"));
        }
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
    range("service.stop_grace_s", c.service.stop_grace_s, 0, 600);

    if !(0.0..=2.0).contains(&c.service.temperature) {
        wrong.push(("service.temperature", format!("is {}, expected 0 to 2", c.service.temperature)));
    }
    if c.model.providers.is_empty() {
        wrong.push(("model.providers", "is empty, expected at least one, such as `cpu`".into()));
    }
    for provider in c.model.providers.iter().filter(|p| p.as_str() != "cpu") {
        wrong.push(("model.providers", format!("names `{provider}`; this build knows only `cpu`")));
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
            "[engine]\nslots = 0\n[http]\nsocket = \"\"\ntcp = \"10.1.2.3:80\"\n[model]\nproviders = [\"qnn\"]\n",
        );
        let problems: Vec<String> = layered.checked().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "o.toml:2: `engine.slots` is 0, expected 1 to 64",
                "o.toml:7: `model.providers` names `qnn`; this build knows only `cpu`",
                "o.toml:5: `http.tcp` needs `http.token_file`: over TCP nobody is known by user id",
                "o.toml:5: `http.tcp` 10.1.2.3 is not loopback; set `http.tcp_beyond_loopback = \"allow\"` if that is meant",
            ]
        );
    }
}
