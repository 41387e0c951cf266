//! `outpost policy`: what an officer reads and signs. Needs no daemon.

use std::{fs, path::PathBuf, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::binary,
    readme::{block, readme},
};

const POLICY: &str = r#"
version = 1

[classes]
order = ["public", "internal", "restricted"]

[[rule]]
name = "telemetry"
effect = "allow"
when = { class = ["public"], client = ["press-*"] }
to = { zone = "cloud", providers = ["scaleway", "ovhcloud"], retention_days_max = 0, training = false }
redact = ["email", "serial"]

[[rule]]
name = "recipes never leave"
effect = "deny"
when = { contains = ["recipe_id"], detector = ["secret"] }

[detector.serial]
pattern = "SN-[0-9]{8}"

[provider.scaleway]
retention_days = 0
training = false
"#;

const REQUEST: &str = r#"{"messages": [{"role": "user", "content": "SN-12345678 vibrates, tell a@b.example"}],
    "max_tokens": 9, "user": "me", "outpost": {"lane": "batch"}}"#;

struct Files(TempDir);

impl Files {
    fn new(policy: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("policy.toml", policy);
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let policy = format!("policy.file={}", self.0.path().join("policy.toml").display());
        binary()
            .current_dir(self.0.path())
            .args(["--set", &policy, "policy"])
            .args(arguments)
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

#[test]
fn a_sound_policy_is_said_to_be_and_a_wrong_one_line_by_line() {
    let files = Files::new(POLICY);
    let good = files.run(&["check"]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(
        text(&good.stdout).contains("2 rules") && text(&good.stdout).contains("ovhcloud"),
        "{}",
        text(&good.stdout)
    );

    files.write(
        "policy.toml",
        &POLICY.replace("\"secret\"", "\"secrets\"").replace("press-*\"]", "press-*\"], clas = []"),
    );
    let bad = files.run(&["check"]);
    assert_eq!(bad.status.code(), Some(78));
    let said = text(&bad.stdout);
    assert!(
        said.contains("policy.toml:10: `when` of rule `telemetry` has no `clas`; did you mean `class`?"),
        "{said}"
    );
    assert!(
        said.contains("policy.toml:17: there is no detector `secrets`; did you mean `secret`?"),
        "{said}"
    );
    assert_eq!(json(&files.run(&["check", "--json"]))["problems"].as_array().unwrap().len(), 2);
    // Whoever asks what such a policy lets go is told the same.
    let request = files.write("request.json", REQUEST);
    assert_eq!(files.run(&["explain", request.to_str().unwrap()]).status.code(), Some(78));
}

#[test]
fn without_a_policy_it_is_said_that_nothing_leaves() {
    let said = binary().args(["policy", "check"]).output().unwrap();
    assert!(said.status.success() && text(&said.stdout).contains("nothing leaves"));
}

#[test]
fn explain_shows_every_rule_and_the_exact_bytes() {
    let files = Files::new(POLICY);
    let request = files.write("request.json", REQUEST);
    let path = request.to_str().unwrap();
    let arguments = ["explain", path, "--client", "press-3", "--class", "public", "--model", "org/name"];
    let shown = json(&files.run(&[&["--json"], &arguments[..]].concat()));
    assert_eq!(shown["class"], "public");
    assert_eq!((&shown["rules"][0]["holds"], &shown["rules"][1]["holds"]), (&true.into(), &false.into()));
    let providers = shown["providers"].as_array().unwrap();
    assert_eq!((&providers[0]["provider"], &providers[0]["allowed"]), (&"ovhcloud".into(), &false.into()));
    let body = providers[1]["body"].as_str().unwrap();
    assert_eq!(
        body,
        "{\"model\":\"org/name:scaleway\",\"messages\":[{\"role\":\"user\",\"content\":\"[SERIAL_1] vibrates, tell \
         [EMAIL_2]\"}],\"max_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
    );
    // The same in words.
    let words = text(&files.run(&arguments).stdout);
    assert!(words.contains(body) && words.contains(providers[1]["sha256"].as_str().unwrap()), "{words}");
    assert!(words.contains("not to ovhcloud") && words.contains("is not known to keep nothing"), "{words}");
    assert!(!words.contains("a@b.example"), "{words}");
}

#[test]
fn a_label_that_would_loosen_is_no_use_and_one_that_tightens_is() {
    let files = Files::new(POLICY);
    let denied = |request: &str, class: &str| {
        let request = files.write("request.json", request);
        let arguments =
            ["--json", "explain", request.to_str().unwrap(), "--client", "press-3", "--class", class];
        json(&files.run(&arguments))["denied"]["reason"].as_str().map(ToOwned::to_owned)
    };
    let with = |own: &str| REQUEST.replace("\"lane\": \"batch\"", own);
    assert_eq!(denied(REQUEST, "public"), None);
    for (own, class) in [
        (r#""data_class": "public""#, "internal"),
        (r#""data_class": "internal""#, "public"),
        (r#""zone_max": "device""#, "public"),
        (r#""data_class": "nobody knows""#, "public"),
    ] {
        assert!(denied(&with(own), class).is_some(), "{own} {class}");
    }
    assert!(
        denied(&REQUEST.replace("vibrates", "Recipe_ID 5"), "public")
            .unwrap()
            .contains("recipes never leave")
    );
}

#[test]
fn a_table_of_cases_says_which_are_not_as_they_should_be() {
    let files = Files::new(POLICY);
    let good = "[[case]]\nname = \"goes\"\nclient = \"press-3\"\nclass = \"public\"\ntext = \"SN-12345678\"\n\
                allows = [\"scaleway\"]\nsends = \"[SERIAL_1]\"\n";
    let cases = files.write("cases.toml", good);
    let passed = files.run(&["test", cases.to_str().unwrap()]);
    assert!(passed.status.success(), "{}", text(&passed.stderr));
    assert_eq!(text(&passed.stdout), "ok    goes\n");

    let bad = "[[case]]\nname = \"stays\"\nclient = \"press-3\"\nclass = \"public\"\ntext = \"hi\"\ndenied_by = \"\"\n";
    let cases = files.write("cases.toml", &format!("{good}{bad}"));
    let failed = files.run(&["test", cases.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(65));
    let said = text(&failed.stdout);
    assert!(said.contains("FAIL  stays") && said.contains("may go to scaleway (line 8)"), "{said}");
}

#[test]
fn the_policy_of_the_readme_does_what_its_case_says() {
    let readme = readme();
    let files = Files::new(&block(&readme, "toml", "version = 1"));
    let cases = files.write("cases.toml", &block(&readme, "toml", "[[case]]"));
    let passed = files.run(&["test", cases.to_str().unwrap()]);
    assert!(passed.status.success(), "{}{}", text(&passed.stdout), text(&passed.stderr));
}
