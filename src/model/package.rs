//! Opening a package: the manifest, and whether its files are there in full.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{Convention, FileEntry, MANIFEST_FILE, Manifest, PackageError, Variant, published};
use crate::domain::limits;

/// A package whose manifest is sound and whose files have the sizes it gives. Their content
/// is vouched for only after [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub struct Package {
    /// Where it is.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Package {
    /// Reads the manifest, or what a published package has instead, and compares sizes. Does not hash: this takes
    /// microseconds per file.
    pub fn open(dir: &Path) -> Result<Self, PackageError> {
        let not_one = || PackageError::NotAPackage { dir: dir.to_owned() };
        let manifest = match read_text(&dir.join(MANIFEST_FILE), limits::MANIFEST_BYTES_MAX) {
            Err(PackageError::Missing { .. }) => published::describe(dir)?.ok_or_else(not_one)?,
            text => Manifest::parse(&text?).map_err(|error| match error {
                PackageError::Manifest { reason } => {
                    PackageError::Manifest { reason: format!("{reason} (in {})", dir.display()) }
                }
                other => other,
            })?,
        };
        let package = Self { dir: dir.to_owned(), manifest };
        for entry in &package.manifest.files {
            package.check_size(entry, &metadata(&package.path(entry))?)?;
        }
        Ok(package)
    }

    /// Bytes of a variant's graphs and of the data beside them.
    pub fn weights_bytes(&self, variant: &Variant) -> u64 {
        let mut graphs = vec![variant.graph.as_str()];
        if let Convention::Published { table: Some(table) } = &variant.convention {
            graphs.push(table);
        }
        let belongs = |path: &str| graphs.iter().any(|graph| path.starts_with(graph));
        let files = &self.manifest.files;
        if !files.is_empty() {
            return files.iter().filter(|file| belongs(&file.path)).map(|file| file.bytes).sum();
        }
        // Nobody has listed them.
        let size = |path: String| fs::metadata(self.dir.join(path)).map_or(0, |metadata| metadata.len());
        let folders = ["", "onnx/"].map(|folder| (folder, fs::read_dir(self.dir.join(folder))));
        let names = folders.into_iter().flat_map(|(folder, entries)| {
            let names =
                entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.map(move |name| format!("{folder}{name}")).collect::<Vec<_>>()
        });
        names.filter(|name| belongs(name)).map(size).sum()
    }

    /// Where a file of the package lies.
    pub(super) fn path(&self, entry: &FileEntry) -> PathBuf {
        self.dir.join(&entry.path)
    }

    /// That `found` has the size which the manifest gives.
    pub(super) fn check_size(&self, entry: &FileEntry, found: &Metadata) -> Result<(), PackageError> {
        (found.len() == entry.bytes).then_some(()).ok_or_else(|| PackageError::Size {
            path: self.path(entry),
            expected: entry.bytes,
            found: found.len(),
        })
    }
}

/// What the system knows of a regular file. A pipe or a device would block whoever opens it.
pub(super) fn metadata(path: &Path) -> Result<Metadata, PackageError> {
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    metadata.is_file().then_some(metadata).ok_or_else(|| PackageError::NotAFile { path: path.to_owned() })
}

/// Reads a file of at most `bytes_max` bytes, also when it grows meanwhile.
pub(super) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PackageError> {
    let too_large = |bytes| PackageError::TooLarge { path: path.to_owned(), bytes, bytes_max };
    let size = metadata(path)?.len();
    if size > bytes_max {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// [`read_bytes`] of a text.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, PackageError> {
    let invalid = |error| unreadable(path, io::Error::new(io::ErrorKind::InvalidData, error));
    String::from_utf8(read_bytes(path, bytes_max)?).map_err(invalid)
}

/// The error for a file that could not be read.
pub(super) fn unreadable(path: &Path, source: io::Error) -> PackageError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => PackageError::Missing { path },
        _ => PackageError::Read { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::write;

    #[test]
    fn a_whole_package_opens_and_a_cut_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", b"defg")]);
        assert_eq!(package.manifest.files.len(), 2);

        fs::write(dir.path().join("b.data"), b"def").unwrap();
        let error = Package::open(dir.path()).unwrap_err();
        assert!(matches!(error, PackageError::Size { expected: 4, found: 3, .. }), "{error}");

        fs::remove_file(dir.path().join("b.data")).unwrap();
        assert!(matches!(Package::open(dir.path()).unwrap_err(), PackageError::Missing { .. }));
        fs::create_dir(dir.path().join("b.data")).unwrap();
        assert!(matches!(Package::open(dir.path()).unwrap_err(), PackageError::NotAFile { .. }));
    }

    #[test]
    fn a_directory_without_manifest_is_called_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Package::open(dir.path()).unwrap_err();
        assert!(matches!(error, PackageError::NotAPackage { .. }), "{error}");
        assert!(error.to_string().contains(&*dir.path().to_string_lossy()));
    }

    #[test]
    fn a_manifest_beyond_its_bound_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(MANIFEST_FILE)).unwrap();
        file.set_len(limits::MANIFEST_BYTES_MAX + 1).unwrap();
        assert!(matches!(Package::open(dir.path()).unwrap_err(), PackageError::TooLarge { .. }));
    }
}
