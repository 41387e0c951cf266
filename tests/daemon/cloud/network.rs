//! The way there: names, TLS, proxies, tokens.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{OPEN, Plant, chat};
use crate::{
    authority::Authority,
    harness::{Daemon, binary, with},
    hf::{Router, TOKEN, front, script, script::Step},
};

#[test]
fn a_name_that_nobody_knows_and_a_port_where_nobody_listens_are_told_as_what_they_are() {
    for (url, words) in [
        ("https://router.invalid/v1", "catalogue of cloud models cannot be had"),
        ("http://127.0.0.1:9/v1", "Connection refused"),
    ] {
        let plant = Plant::without_model_and(OPEN, "", &[&format!("cloud.base_url={url}")]);
        let error = plant.ask("org/small", "hi").json();
        assert_eq!(error["error"]["code"], "provider_error", "{url}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{url}: {error}");
        assert!(plant.audit().is_empty(), "nothing was sent");
    }
}

#[test]
fn the_network_that_is_cut_in_the_middle_ends_a_stream_and_is_booked() {
    let plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        vec![script::stream_head(&seen.provider), script::text("half of "), Step::Pause, Step::Reset]
    });
    let body = with(chat("org/small:scaleway", "hi"), serde_json::json!({"stream": true}));
    let mut caller = plant.daemon.connect();
    caller.stream("/v1/chat/completions", &body);
    caller.read_until("half of ");
    plant.router.go_on();
    caller.read_until("provider_error");
    let settled = plant.audit().into_iter().find(|row| row["event"] == "settled").unwrap();
    assert!(settled["reason"].as_str().unwrap().starts_with("broken"), "{settled}");
    assert!(settled["cost_micro_usd"].as_u64().unwrap() > 0, "what came is likely to be on the bill");
    // And before the first byte: who has got the prompt may write a bill for it all the same.
    plant.daemon.reload();
    plant.router.play(None, 1, |_| vec![Step::Reset]);
    let answer = plant.ask("org/small", "hi");
    assert_eq!(answer.status, 200, "another provider answers: {}", answer.json());
    let settled = plant.audit().into_iter().rfind(|row| row["reason"].as_str().unwrap().starts_with("down"));
    assert!(settled.unwrap()["cost_micro_usd"].as_u64().unwrap() > 0);
}

#[test]
fn a_name_that_is_lost_while_the_catalogue_is_known_costs_nothing_and_rests() {
    // The proxy looks names up: here it is the name service that goes away.
    let proxy = front::Proxy::start("bWU6c2VjcmV0");
    let files = tempfile::tempdir().unwrap();
    let credentials = files.path().join("proxy");
    fs::write(&credentials, "me:secret").unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
    let authority = Authority::new("ours");
    let ca = files.path().join("ca.pem");
    authority.write(&ca);
    let router = Router::start();
    let port = front::tls(server_config(&authority, files.path()), router.port());
    let settings = [
        format!("cloud.proxy=http://127.0.0.1:{}", proxy.port),
        format!("cloud.proxy_credentials_file={}", credentials.display()),
        format!("cloud.ca={}", ca.display()),
    ];
    let settings = settings.each_ref().map(String::as_str);
    let base_url = format!("https://localhost:{port}/v1");
    let plant = Plant::at(router, &base_url, (OPEN, ""), &settings, Daemon::start_without_model);
    assert_eq!(plant.ask("org/small", "hi").status, 200);
    proxy.forget_names();
    let error = plant.ask("org/small", "hi").json();
    assert!(error["error"]["message"].as_str().unwrap().contains("unreachable"), "{error}");
    assert_eq!(plant.router.prompts().len(), 1, "nobody heard of the second");
    let settled: Vec<_> = plant.audit().into_iter().filter(|row| row["event"] == "settled").collect();
    assert_eq!(settled[1]["cost_micro_usd"], 0, "{settled:?}");
    assert!(settled[1]["reason"].as_str().unwrap().starts_with("unreachable"), "{settled:?}");
    assert_eq!(plant.daemon.status()["zones"]["cloud"], "breaker open");
}

/// A server's side of TLS for `localhost`.
fn server_config(authority: &Authority, dir: &Path) -> ServerConfig {
    authority.issue(dir, "server", &["localhost"], 2099);
    ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(dir.join("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap(),
        )
        .unwrap()
}

#[test]
fn tls_wants_an_authority_and_a_proxy_wants_a_name() {
    let files = tempfile::tempdir().unwrap();
    let dir = files.path();
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    ours.write(&dir.join("ca.pem"));
    other.write(&dir.join("other.pem"));
    let config = server_config(&ours, dir);
    for (name, secret) in [("good", "me:secret"), ("bad", "me:guess")] {
        fs::write(dir.join(name), secret).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    // `me:secret`
    let proxy = front::Proxy::start("bWU6c2VjcmV0");
    for (ca, credentials, works) in
        [("ca.pem", "good", true), ("other.pem", "good", false), ("ca.pem", "bad", false)]
    {
        let router = Router::start();
        let port = front::tls(config.clone(), router.port());
        let settings = [
            format!("cloud.proxy=http://127.0.0.1:{}", proxy.port),
            format!("cloud.proxy_credentials_file={}", dir.join(credentials).display()),
            format!("cloud.ca={}", dir.join(ca).display()),
        ];
        let base_url = format!("https://localhost:{port}/v1");
        let settings = settings.each_ref().map(String::as_str);
        let plant = Plant::at(router, &base_url, (OPEN, ""), &settings, Daemon::start_without_model);
        let answer = plant.ask("org/small", "hi");
        assert_eq!(answer.status == 200, works, "{}", answer.json());
        assert_eq!(plant.router.prompts().is_empty(), !works);
        let head = proxy.heads().pop().unwrap();
        assert!(head.starts_with(&format!("CONNECT localhost:{port} ")), "{head}");
        let log = plant.daemon.log();
        assert!(!log.contains("secret") && !log.contains("guess"), "{log}");
    }
}

#[test]
fn a_token_that_others_can_read_is_refused_and_one_that_is_wrong_is_told() {
    let plant = Plant::without_model(OPEN, "");
    let token = plant.files.path().join("token");
    let ask = || plant.ask("org/small", "hi");
    assert_eq!(ask().status, 200);
    fs::write(&token, "hf_wrong").unwrap();
    plant.daemon.reload();
    let error = ask().json();
    assert!(error["error"]["message"].as_str().unwrap().contains("unauthenticated"), "{error}");
    assert_eq!(plant.daemon.status()["zones"]["cloud"], "breaker open");
    fs::write(&token, TOKEN).unwrap();
    plant.daemon.reload();
    assert_eq!(ask().status, 200, "a renewed token is taken without a restart");
    fs::remove_file(&token).unwrap();
    plant.daemon.reload();
    assert_eq!(ask().status, 200, "one that is gone stays as it was");
    let alert = plant.daemon.status()["egress"].as_str().unwrap().to_owned();
    assert!(alert.contains("`cloud.token_file`"), "{alert}");
    assert_secret(&plant, &[TOKEN, "hf_wrong"]);
    fs::write(&token, "hf_wrong").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let out = binary()
        .args(["serve", "--socket", &plant.files.path().join("x.sock").display().to_string()])
        .args(["--set", &format!("cloud.token_file={}", token.display())])
        .args(["--set", &format!("store.path={}", plant.files.path().display())])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{words}");
    assert!(words.contains("anybody can read") && !words.contains("hf_wrong"), "{words}");
}

/// Nothing that anybody can read holds a token.
fn assert_secret(plant: &Plant, tokens: &[&str]) {
    let daemon = &plant.daemon;
    let mut said = vec![daemon.log()];
    for path in ["/v1/status", "/v1/audit", "/v1/usage", "/v1/models?zone=cloud", "/metrics"] {
        said.push(String::from_utf8_lossy(&daemon.get(path).body).into_owned());
    }
    for token in tokens {
        assert!(said.iter().all(|text| !text.contains(token)), "{token} is in one of them: {said:?}");
    }
}
