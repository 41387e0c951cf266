//! Finds and loads ONNX Runtime.
//!
//! The library is never linked, so that a board can bring its own build with its own
//! execution providers. Who names a path means that path: a configured library that cannot
//! be used is an error, not a reason to take another one silently. Without a path, the
//! places are tried in order and the error lists every one with what was wrong there.

use std::{
    fmt, io,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::environment::Environment;

use super::ffi;

/// Lowest minor version of ONNX Runtime 1.x that offers what the engine calls.
const RUNTIME_MINOR_MIN: u32 = ort::MINOR_VERSION;
/// Where the packages of a distribution put the library that ships with Outpost.
const SHIPPED: &str = "/usr/lib/outpost/libonnxruntime.so";
const SYSTEM: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// The library that this process runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// File, or bare name where the system's loader found it.
    pub path: PathBuf,
    /// Its version, such as `1.31.1`.
    pub version: String,
}

pub(super) struct Runtime {
    pub(super) info: RuntimeInfo,
    pub(super) environment: Environment,
}

/// No usable library: every place that was tried, and why it would not do.
#[derive(Clone, Debug)]
pub struct RuntimeError {
    tried: Vec<(Source, PathBuf, String)>,
}

/// Who named a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Configuration,
    Environment,
    Package,
    Shipped,
    System,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration `runtime.onnxruntime`",
            Self::Environment => "environment ORT_DYLIB_PATH",
            Self::Package => "model package",
            Self::Shipped => "shipped with Outpost",
            Self::System => "system's library path",
        }
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ONNX Runtime cannot be loaded. Tried:")?;
        for (source, path, reason) in &self.tried {
            writeln!(f, "  {} ({}): {reason}", path.display(), source.name())?;
        }
        write!(
            f,
            "Needed: libonnxruntime.so 1.{RUNTIME_MINOR_MIN} or newer for {}. It is inside the PyPI package \
             `onnxruntime`, or in Debian's `libonnxruntime*`; then set ORT_DYLIB_PATH or `runtime.onnxruntime` to its path",
            std::env::consts::ARCH
        )
    }
}

impl std::error::Error for RuntimeError {}

/// Loads the library once per process; later calls return the one that is loaded.
///
/// `configured` is `runtime.onnxruntime`; `package_dir` the model package's directory.
pub fn load_runtime(
    configured: Option<&Path>,
    package_dir: Option<&Path>,
) -> Result<RuntimeInfo, RuntimeError> {
    load(configured, package_dir).map(|r| r.info.clone())
}

/// ONNX Runtime's environment, once [`load_runtime`] has succeeded. A process has one; the
/// forge runs sessions of its own in it.
pub fn environment() -> Option<Environment> {
    loaded().map(|runtime| runtime.environment.clone())
}

static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

/// The loaded runtime, if [`load_runtime`] succeeded before.
pub(super) fn loaded() -> Option<Arc<Runtime>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn load(configured: Option<&Path>, package_dir: Option<&Path>) -> Result<Arc<Runtime>, RuntimeError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*loaded {
        return Ok(Arc::clone(runtime));
    }
    let from_env = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()).map(PathBuf::from);
    let mut tried = Vec::new();
    for (source, path) in candidates(configured, from_env.as_deref(), package_dir) {
        match open(&path) {
            Ok(runtime) => {
                tracing::info!(library = %path.display(), version = runtime.info.version, "ONNX Runtime loaded");
                return Ok(Arc::clone(loaded.insert(Arc::new(runtime))));
            }
            Err(reason) => tried.push((source, path, reason)),
        }
    }
    Err(RuntimeError { tried })
}

/// Places in the order in which they are tried; a named one stands alone.
fn candidates(
    configured: Option<&Path>,
    from_env: Option<&Path>,
    package_dir: Option<&Path>,
) -> Vec<(Source, PathBuf)> {
    if let Some(path) = configured {
        return vec![(Source::Configuration, path.into())];
    }
    if let Some(path) = from_env {
        return vec![(Source::Environment, path.into())];
    }
    let package = package_dir.map(|dir| (Source::Package, dir.join("libonnxruntime.so")));
    package
        .into_iter()
        .chain([(Source::Shipped, SHIPPED.into())])
        .chain(SYSTEM.map(|name| (Source::System, name.into())))
        .collect()
}

fn open(path: &Path) -> Result<Runtime, String> {
    // A bare name is for the system's loader to find; a path is ours to check.
    if path.components().count() > 1 {
        check_elf(path)?;
    }
    let builder = ort::init_from(path).map_err(|e| match e {
        ort::LoadDynamicError::Dlopen { error, .. } => flatten(&error),
        ort::LoadDynamicError::MissingApi { .. } => "is not ONNX Runtime (no symbol OrtGetApiBase)".into(),
        ort::LoadDynamicError::BadVersion { version_str, .. } => {
            format!("is version {version_str}, too old: 1.{RUNTIME_MINOR_MIN} or newer is needed")
        }
        other @ ort::LoadDynamicError::InvalidVersionString => other.to_string(),
    })?;
    let environment =
        builder.with_name("outpost").with_telemetry(false).build().map_err(|e| e.to_string())?;
    let version = ffi::runtime_version(path).unwrap_or_else(|| "unknown".into());
    Ok(Runtime { info: RuntimeInfo { path: path.into(), version }, environment })
}

/// `dlopen`'s reason sits in the source of the error.
fn flatten(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The loader's own words for a foreign architecture ("wrong ELF class") help nobody.
fn check_elf(path: &Path) -> Result<(), String> {
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head));
    match read {
        Ok(()) => check_elf_head(&head, std::env::consts::ARCH),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err("no such file".into()),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err("is not a shared library (too short)".into())
        }
        Err(e) => Err(e.to_string()),
    }
}

/// `head`: the first bytes of an ELF file (System V gABI, chapter 4: `e_ident`, `e_machine`).
fn check_elf_head(head: &[u8; 20], own: &str) -> Result<(), String> {
    if head[..4] != *b"\x7fELF" {
        return Err("is not a shared library (no ELF header)".into());
    }
    let machine = match u16::from_le_bytes([head[18], head[19]]) {
        3 => "x86",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => "another architecture",
    };
    if machine == own { Ok(()) } else { Err(format!("is for {machine}, this machine is {own}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_path_is_never_replaced_by_another() {
        let all = candidates(Some(Path::new("/a")), Some(Path::new("/b")), Some(Path::new("/c")));
        assert_eq!(all, [(Source::Configuration, "/a".into())]);
        let all = candidates(None, Some(Path::new("/b")), Some(Path::new("/c")));
        assert_eq!(all, [(Source::Environment, "/b".into())]);
        let all = candidates(None, None, Some(Path::new("/c")));
        assert_eq!(all[0], (Source::Package, "/c/libonnxruntime.so".into()));
        assert!(all.len() > 2);
    }

    #[test]
    fn a_library_for_another_architecture_is_named_as_such() {
        let mut head = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
        assert_eq!(check_elf_head(&head, "x86_64").unwrap_err(), "is for aarch64, this machine is x86_64");
        head[18] = 62;
        assert!(check_elf_head(&head, "x86_64").is_ok());
        head[0] = b'#';
        assert!(check_elf_head(&head, "x86_64").unwrap_err().contains("not a shared library"));
    }

    #[test]
    fn the_error_names_every_place_and_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("libonnxruntime.so");
        std::fs::write(&text, "not a library, but long enough").unwrap();
        let tried = [(Source::Package, text), (Source::System, PathBuf::from("libnowhere-onnx.so"))]
            .map(|(source, path)| (source, path.clone(), open(&path).err().unwrap()));
        let message = RuntimeError { tried: tried.into() }.to_string();
        for word in ["no ELF header", "libnowhere-onnx.so", "cannot open shared object", "PyPI", "1.22"] {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }

    /// A shared library made here and now by the C compiler that building Outpost needs anyway.
    fn compile(dir: &Path, source: &str) -> PathBuf {
        let (text, library) = (dir.join("stub.c"), dir.join("libonnxruntime.so"));
        std::fs::write(&text, source).unwrap();
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&text)
            .status();
        assert!(built.unwrap().success(), "cc");
        library
    }

    #[test]
    fn a_library_that_is_too_old_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        // The first two members of OrtApiBase: GetApi, GetVersionString.
        let old = compile(
            dir.path(),
            "static const void *api(unsigned v) { return 0; }
             static const char *version(void) { return \"1.19.2\"; }
             static struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
             const void *OrtGetApiBase(void) { return &base; }",
        );
        assert_eq!(open(&old).err().unwrap(), "is version 1.19.2, too old: 1.22 or newer is needed");
    }

    #[test]
    fn a_shared_library_that_is_not_onnx_runtime_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = compile(dir.path(), "int nothing;");
        assert_eq!(open(&other).err().unwrap(), "is not ONNX Runtime (no symbol OrtGetApiBase)");
    }
}
