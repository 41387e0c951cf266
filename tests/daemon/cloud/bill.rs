//! The books and the provider's bill.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{OPEN, Plant};
use crate::{
    harness::{Daemon, until},
    hf::{Router, hub::BILLING_TOKEN},
};

/// A plant that reads the bill with this token.
fn plant(token: &str, more: &[&str]) -> (Plant, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("billing");
    fs::write(&file, token).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let router = Router::start();
    let (base_url, hub) = (router.base_url(), format!("cloud.hub_url={}", router.hub_url()));
    let token = format!("cloud.billing_token_file={}", file.display());
    let settings = [&[hub.as_str(), token.as_str()], more].concat();
    (Plant::at(router, &base_url, (OPEN, ""), &settings, Daemon::start_without_model), files)
}

fn cost(plant: &Plant) -> u64 {
    plant.ledger().iter().map(|row| row["cost_micro_usd"].as_u64().unwrap()).sum()
}

#[test]
fn the_books_follow_the_bill_once_and_the_audit_says_so() {
    let (mut plant, _files) = plant(BILLING_TOKEN, &[]);
    for model in ["org/small:scaleway", "org/small:groq", "org/small:together"] {
        assert_eq!(plant.ask(model, "hi").status, 200);
    }
    let booked = cost(&plant);
    // One is not priced yet, one has another price, one is as booked.
    let third =
        plant.audit().iter().rfind(|row| row["event"] == "settled").unwrap()["cost_micro_usd"].as_f64();
    plant.router.bill(|seen| match seen.provider.as_str() {
        "scaleway" => None,
        "groq" => Some(0.1234),
        _ => third.map(|micro| micro / 1e4),
    });
    let before = plant.audit();
    plant.daemon.reload();
    until("the books follow", || (plant.audit().len() > before.len()).then_some(()));
    let audit = plant.audit();
    let billed = audit.last().unwrap();
    assert_eq!((billed["event"].as_str(), billed["cost_micro_usd"].as_u64()), (Some("billed"), Some(1_234)));
    assert_eq!(billed["provider"], "groq");
    let settled = before.iter().find(|row| row["event"] == "settled" && row["provider"] == "groq").unwrap();
    assert_eq!(billed["settles"], settled["settles"], "it names the call");
    let corrected = booked - settled["cost_micro_usd"].as_u64().unwrap() + 1_234;
    assert_eq!(cost(&plant), corrected);
    let spent = |plant: &Plant| plant.daemon.status()["spent_usd"]["day"]["spent"].as_f64().unwrap();
    assert!((spent(&plant) - corrected as f64 / 1e6).abs() < 1e-9, "the budget knows it as well");
    // The same bill again changes nothing, and the next start knows what this one has learnt.
    plant.router.forget();
    plant.daemon.reload();
    until("the bill is read again", || {
        plant.router.seen().iter().any(|seen| seen.path.contains("billing")).then_some(())
    });
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!((cost(&plant), plant.audit().len()), (corrected, audit.len()));
    assert!((spent(&plant) - corrected as f64 / 1e6).abs() < 1e-9);
}

#[test]
fn a_token_that_may_not_read_the_bill_is_told_and_who_asked_nobody_asks_for_no_bill() {
    let (plant, _files) = plant("hf_nobodynobodynobody", &["cloud.bill_to=acme"]);
    plant.daemon.reload();
    assert_eq!(plant.ask("org/small:scaleway", "hi").status, 200);
    let heads: Vec<_> = plant.router.seen().into_iter().map(|seen| seen.path).collect();
    assert!(!heads.iter().any(|path| path.contains("billing")), "{heads:?}");
    let prompt = plant.router.prompts().pop().unwrap();
    assert_eq!(prompt.header("x-hf-bill-to"), Some("acme"));
    plant.daemon.reload();
    until("the log says it", || plant.daemon.log().contains("Billing read").then_some(()));
    let asked = plant.router.seen().pop().unwrap().path;
    assert!(
        asked.starts_with("/api/organizations/acme/billing/usage-by-inference-session?startDate=2"),
        "{asked}"
    );
    assert!(!plant.daemon.log().contains("hf_nobody"), "and not the token");
}
