//! Holds the `use crate::` edges of `src` against the table in `src/lib.rs`.
//!
//! A new edge is a decision: change the table there and here in the same commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Module, and whom it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("host", &["domain"]),
    ("model", &["domain"]),
    ("policy", &["config", "domain"]),
    ("cloud", &["domain", "policy"]),
    ("hub", &["cloud", "domain", "model"]),
    ("engine", &["domain", "model"]),
    ("scheduler", &["domain"]),
    ("observe", &["domain"]),
    ("store", &["domain"]),
    ("task", &["config", "domain"]),
    (
        "service",
        &["cloud", "domain", "engine", "host", "model", "observe", "policy", "scheduler", "store", "task"],
    ),
    ("transport", &["domain", "engine", "service", "store", "task"]),
    (
        "supervise",
        &[
            "cloud",
            "config",
            "domain",
            "engine",
            "host",
            "model",
            "observe",
            "policy",
            "scheduler",
            "service",
            "store",
            "task",
            "transport",
        ],
    ),
    (
        "cli",
        &[
            "cloud",
            "config",
            "domain",
            "engine",
            "host",
            "hub",
            "model",
            "observe",
            "policy",
            "store",
            "supervise",
            "task",
        ],
    ),
];

/// Lines of a file; beyond, it is no longer one room.
const FILE_LINES_MAX: usize = 400;

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder of the sources").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|e| e == "rs") {
            files.push(entry);
        }
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Names right behind `crate::`, in single paths and in the first level of braces.
fn used_modules(source: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in source.match_indices("crate::") {
        let preceded_by_name = source[..at].ends_with(|c: char| is_name(c) || c == '$');
        let rest = &source[at + "crate::".len()..];
        if preceded_by_name {
            continue;
        }
        let Some(list) = rest.strip_prefix('{') else {
            used.insert(rest.chars().take_while(|c| is_name(*c)).collect());
            continue;
        };
        let (mut depth, mut name) = (1, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && is_name(c) {
                name.push(c);
            } else {
                if depth == 1 && c == ':' && !name.is_empty() {
                    used.insert(std::mem::take(&mut name));
                }
                if matches!(c, ',' | '{' | '}') {
                    name.clear();
                }
            }
            if depth == 0 {
                break;
            }
        }
    }
    used
}

#[test]
fn modules_use_only_whom_the_table_allows() {
    let src = root().join("src");
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let inner = file.strip_prefix(&src).expect("below src");
        let module = inner.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        if inner.components().count() == 1 {
            continue; // lib.rs and main.rs stand above all modules
        }
        let allowed =
            table.get(module.as_str()).unwrap_or_else(|| panic!("module `{module}` is not in the table"));
        // Comments may name anybody.
        let source = fs::read_to_string(&file)
            .expect("readable")
            .lines()
            .map(|l| l.split("//").next().unwrap_or(""))
            .collect::<Vec<_>>()
            .join("\n");
        for used in used_modules(&source) {
            if used != module && table.contains_key(used.as_str()) && !allowed.contains(&used.as_str()) {
                wrong.push(format!(
                    "{} uses crate::{used}, but {module} may use only {allowed:?}",
                    inner.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_in_the_documentation_names_every_module() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    for (module, _) in MAY_USE {
        assert!(lib.contains(&format!("//! | [`{module}`]")), "src/lib.rs does not describe `{module}`");
        assert!(lib.contains(&format!("pub mod {module};")), "src/lib.rs has no `{module}`");
    }
}

#[test]
fn every_file_is_one_room() {
    let mut large = Vec::new();
    for dir in ["src", "models/forge/src", "tests"] {
        for file in rust_files(&root().join(dir)) {
            let lines = fs::read_to_string(&file).expect("readable").lines().count();
            if lines > FILE_LINES_MAX {
                large.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(large.is_empty(), "more than {FILE_LINES_MAX} lines:\n{}", large.join("\n"));
}

#[test]
fn only_one_module_is_unsafe() {
    for file in rust_files(&root().join("src")) {
        let source = fs::read_to_string(&file).expect("readable");
        let ffi = file.ends_with("engine/ffi/mod.rs");
        assert!(ffi || !source.contains("allow(unsafe_code"), "{} allows unsafe code", file.display());
    }
}

#[test]
fn only_one_folder_names_the_mqtt_library() {
    for file in rust_files(&root().join("src")) {
        let source = fs::read_to_string(&file).expect("readable");
        let wall = file.parent().is_some_and(|dir| dir.ends_with("transport/mqtt/link"));
        assert!(wall || !source.contains("rumqttc"), "{} names the MQTT library", file.display());
    }
}

#[test]
fn edges_are_found_in_every_spelling() {
    let source = "use crate::domain::Error;\nuse crate::{\n    engine::{self, Graph},\n    model::X,\n};\nfn f() -> crate::host::Y {}\n$crate::z";
    let found: Vec<String> = used_modules(source).into_iter().collect();
    assert_eq!(found, ["domain", "engine", "host", "model"]);
}
