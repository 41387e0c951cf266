//! What lies beyond the board: the daemon's own word, the broker, the policy, the cloud.

use std::{
    net::{TcpStream, ToSocketAddrs},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::Value;

use super::Finding;
use crate::{
    cli::Failure,
    config::Config,
    domain::{BrokerUrl, Zone, limits},
    policy::Policy,
};

pub(super) fn daemon(config: &Config, status: Result<&Value, &Failure>) -> Finding {
    match status {
        Ok(status) => {
            let state = status["state"].as_str().unwrap_or("unknown");
            match (state, status["reason"].as_str()) {
                ("ready", None) => Finding::good("daemon", "it runs and answers"),
                ("ready", Some(why)) => {
                    Finding::attention("daemon", format!("it answers; {why}"), "see below")
                }
                (_, why) => Finding::attention(
                    "daemon",
                    format!("it runs and is {state}: {}", why.unwrap_or("without a reason")),
                    "see below; once that is mended, `systemctl reload outpost` makes it try again",
                ),
            }
        }
        Err(error) => {
            let fix = if config.http.socket.is_some() {
                "`systemctl start outpost`; if it does not stay, `journalctl -u outpost` says why"
            } else {
                "set `http.socket`, so that this command can ask it"
            };
            Finding::attention("daemon", error.words().unwrap_or("it cannot be asked"), fix)
        }
    }
}

pub(super) fn look(config: &Config, status: Option<&Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(broker(config, status));
    let (policy, leaves) = policy(config);
    findings.push(policy);
    findings.extend(cloud(config, status, leaves));
    findings
}

fn broker(config: &Config, status: Option<&Value>) -> Option<Finding> {
    let url: BrokerUrl = config.mqtt.url.as_deref()?.parse().ok()?;
    let at = format!("{}:{}", url.host, url.port);
    if let Some(mqtt) = status.map(|status| &status["mqtt"]).filter(|mqtt| mqtt.is_object()) {
        return Some(match mqtt["reason"].as_str() {
            None => Finding::good("broker", format!("connected to {at}")),
            Some(why) => Finding::bad(
                "broker",
                format!("{at}: {why}"),
                "mend what it says; Outpost tries again by itself",
            ),
        });
    }
    let addresses = match (url.host.as_str(), url.port).to_socket_addrs() {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => {
            let says = format!("{} has no address: {error}", url.host);
            return Some(Finding::bad("broker", says, "check `mqtt.url`, and the board's DNS"));
        }
    };
    let reached = addresses.iter().any(|a| TcpStream::connect_timeout(a, limits::DOCTOR_CONNECT).is_ok());
    Some(if reached {
        Finding::good(
            "broker",
            format!("{at} takes connections; whether it lets Outpost in, a running daemon knows"),
        )
    } else {
        let fix = "check `mqtt.url`, the broker's listener, and firewalls in between";
        Finding::bad("broker", format!("{at} takes no connection"), fix)
    })
}

/// And whether the policy lets anything go to the cloud.
fn policy(config: &Config) -> (Finding, bool) {
    let Some(path) = &config.policy.file else {
        return (Finding::good("policy", "there is none: nothing leaves the device"), false);
    };
    match Policy::load(path) {
        Ok(policy) => {
            let leaves = policy.opens(Zone::Cloud);
            let far = if leaves {
                "the cloud"
            } else if policy.opens(Zone::Site) {
                "a site"
            } else {
                "no one"
            };
            (Finding::good("policy", format!("{} lets data go to {far}", path.display())), leaves)
        }
        Err(problems) => {
            let says: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let fix =
                "`outpost policy check` shows each with its place; until then nothing leaves the device";
            (Finding::bad("policy", says.join("; "), fix), false)
        }
    }
}

fn cloud(config: &Config, status: Option<&Value>, leaves: bool) -> Option<Finding> {
    let wanted = config.cloud.token_file.is_some() || config.cloud.model.is_some();
    if !wanted {
        return None;
    }
    if let Some(path) = &config.cloud.token_file
        && let Some(finding) = token(path)
    {
        return Some(finding);
    }
    if !leaves {
        let fix = "let a rule of `policy.file` allow it, or leave out `[cloud]`";
        return Some(Finding::attention(
            "cloud",
            "it is configured, and the policy lets nothing go there",
            fix,
        ));
    }
    let Some(status) = status else {
        return Some(Finding::good(
            "cloud",
            "its token can be read; whether it answers, a running daemon knows",
        ));
    };
    Some(match status["zone_reasons"]["cloud"].as_str() {
        None => {
            Finding::good("cloud", format!("it is {}", status["zones"]["cloud"].as_str().unwrap_or("there")))
        }
        Some(why) => {
            Finding::attention("cloud", why, "mend what it says; until then answers come from the device")
        }
    })
}

fn token(path: &Path) -> Option<Finding> {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let fix = "put the token there, readable by the daemon alone, or set `cloud.token_file`";
            return Some(Finding::bad("cloud", format!("the token in {shown} cannot be read: {error}"), fix));
        }
    };
    let mode = metadata.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        Finding::bad("cloud", format!("anybody can read the token in {shown}"), format!("chmod 0640 {shown}"))
    })
}
