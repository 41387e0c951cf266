//! Names of what is kept: they differ where it would have to be made anew.

use std::{fmt::Write as _, fs, path::Path, time::SystemTime};

use sha2::{Digest, Sha256};

use crate::{
    domain::hex,
    engine::{GraphOptions, Provider},
    model::{Package, Variant},
};

/// Part of every name: another number when making or loading change.
const FORMAT: u32 = 1;

/// Of packed weights.
pub(super) fn packed(package: &Package, variant: &Variant, runtime: &str, processors: &str) -> String {
    name("packed", package, &[&variant.graph, runtime, processors])
}

/// Of what `provider` compiles.
pub(super) fn compiled(
    package: &Package,
    variant: &Variant,
    (runtime, kernel): (&str, &str),
    sizes: &GraphOptions,
    provider: &Provider,
) -> String {
    let mut about = format!("{} {:?} {:?} {}", provider.name, provider.device, variant.shapes, sizes.context);
    if let Some(library) = &provider.library {
        about.push_str(&file(library));
    }
    for (option, value) in &provider.options {
        // An option may name a library of the accelerator's maker.
        let _ = write!(about, " {option}={value}{}", file(Path::new(value)));
    }
    name("compiled", package, &[&variant.graph, runtime, kernel, &about])
}

fn name(kind: &str, package: &Package, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(text);
        hash.update([0]);
    };
    part(&FORMAT.to_string());
    for text in parts {
        part(text);
    }
    for file in &package.manifest.files {
        part(&format!("{} {} {}", file.path, file.bytes, file.sha256));
    }
    let model: String = package.manifest.name.chars().map(plain).collect();
    format!("{kind}-{model}-{}", &hex(&hash.finalize())[..16])
}

/// Whatever a model is called, it names no other folder.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }
}

/// Size and time of a file, which a new version of a library changes; nothing where there is none.
fn file(path: &Path) -> String {
    let Ok(about) = fs::metadata(path) else { return String::new() };
    let since = about.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!(" {} {} {}", path.display(), about.len(), since.unwrap_or_default().as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn whatever_changes_what_would_be_made_changes_the_name() {
        let home = tempfile::tempdir().unwrap();
        let library = home.path().join("libnpu.so");
        fs::write(&library, "1").unwrap();
        let package = fixture::write(home.path(), 10, &[("a.onnx", b"abc")]);
        let variant = package.manifest.variants[0].clone();
        let sizes = GraphOptions { slots: 1, context: 64, threads: 1 };
        let npu = Provider { library: Some(library.clone()), ..Provider::built_in("npu") };

        let mut names = vec![
            packed(&package, &variant, "1.31.1", "arm"),
            packed(&package, &variant, "1.31.2", "arm"),
            packed(&package, &variant, "1.31.1", "arm with dot products"),
        ];
        let made = |variant: &Variant, sizes: &GraphOptions, provider: &Provider| {
            compiled(&package, variant, ("1.31.1", "6.12.1"), sizes, provider)
        };
        names.push(made(&variant, &sizes, &npu));
        names.push(made(&variant, &GraphOptions { context: 128, ..sizes.clone() }, &npu));
        let shapes = Some(crate::model::FixedShapes { prefill: 8, decode: 1 });
        names.push(made(&Variant { shapes, ..variant.clone() }, &sizes, &npu));
        let mut option = npu.clone();
        option.options.insert("htp_performance_mode".into(), "burst".into());
        names.push(made(&variant, &sizes, &option));
        // The number of slots is the engine's affair alone.
        assert_eq!(made(&variant, &GraphOptions { slots: 4, ..sizes.clone() }, &npu), names[3]);
        fs::write(&library, "a newer version").unwrap();
        names.push(made(&variant, &sizes, &npu));
        let other = tempfile::tempdir().unwrap();
        let other = fixture::write(other.path(), 10, &[("a.onnx", b"abcd")]);
        names.push(packed(&other, &variant, "1.31.1", "arm"));

        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{at}: {name}");
            assert!(name.starts_with("packed-test-") || name.starts_with("compiled-test-"), "{name}");
        }
    }
}
