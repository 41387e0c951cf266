//! Answers from elsewhere: the router's stand-in, real daemons, and everything that can go wrong between.

mod bill;
mod budget;
mod egress;
mod failures;
mod named;
mod network;
mod overflow;
mod site;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::Daemon,
    hf::{Router, TOKEN},
    http::Answer,
};

/// Lets everything go to the cloud and to every site.
pub(crate) const OPEN: &str = r#"
version = 1
[[rule]]
name = "everything"
effect = "allow"
to = { zone = "cloud" }
[[rule]]
name = "premises"
effect = "allow"
to = { zone = "site" }
"#;

/// Names whoever runs the tests `me`.
pub(crate) fn me(more: &str) -> String {
    format!("[[client]]\nname = \"me\"\nuid = {}\n{more}", rustix::process::getuid().as_raw())
}

/// A router, a daemon that knows it, and their files.
pub(crate) struct Plant {
    pub(crate) router: Router,
    pub(crate) daemon: Daemon,
    pub(crate) files: TempDir,
}

impl Plant {
    /// Without a model on the device: what is answered is answered elsewhere.
    pub(crate) fn without_model(policy: &str, toml: &str) -> Self {
        Self::without_model_and(policy, toml, &[])
    }

    /// With more settings.
    pub(crate) fn without_model_and(policy: &str, toml: &str, more: &[&str]) -> Self {
        Self::begin(policy, toml, more, Daemon::start_without_model)
    }

    /// With the model, one slot.
    pub(crate) fn with_model(policy: &str, toml: &str) -> Self {
        Self::with_model_and(policy, toml, &[])
    }

    /// With more settings.
    pub(crate) fn with_model_and(policy: &str, toml: &str, more: &[&str]) -> Self {
        Self::begin(policy, toml, &[more, &["engine.slots=1"]].concat(), Daemon::start_with)
    }

    fn begin(policy: &str, toml: &str, more: &[&str], start: fn(&str, &[&str]) -> Daemon) -> Self {
        let router = Router::start();
        let base_url = router.base_url();
        Self::at(router, &base_url, (policy, toml), more, start)
    }

    /// With a router that is reached by this address.
    pub(crate) fn at(
        router: Router,
        base_url: &str,
        (policy, toml): (&str, &str),
        more: &[&str],
        start: fn(&str, &[&str]) -> Daemon,
    ) -> Self {
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let settings = [
            format!("cloud.base_url={base_url}"),
            format!("cloud.token_file={}", write("token", TOKEN)),
            format!("policy.file={}", write("policy.toml", policy)),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let daemon = start(toml, &settings);
        Self { router, daemon, files }
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.files.path().join("policy.toml")
    }

    pub(crate) fn ask(&self, model: &str, text: &str) -> Answer {
        self.daemon.chat(&chat(model, text))
    }

    /// The lines of the audit.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let rows = self.daemon.get("/v1/audit").json();
        let lines = rows["data"].as_array().unwrap_or_else(|| panic!("{rows}"));
        lines.iter().map(|row| serde_json::from_str(row["line"].as_str().unwrap()).unwrap()).collect()
    }

    /// The ledger's rows of the cloud.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        let usage = self.daemon.get("/v1/usage").json();
        let rows = usage["data"].as_array().unwrap().clone();
        rows.into_iter().filter(|row| row["zone"] == "cloud").collect()
    }
}

/// One message to a model.
pub(crate) fn chat(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 40})
}
