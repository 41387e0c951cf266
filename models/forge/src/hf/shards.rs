//! The tensors of a repository, in one safetensors file or in several.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    e4m3::Scales,
    header::{self, Entry, Kind},
};
use crate::{
    Error, Result, limits,
    source::{Format, Tensor, Tensors},
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What an 8-bit float tensor's scale is called, beside its own name.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];
/// Ends of the names of what such checkpoints keep for 8-bit activations, which are not used here.
const ACTIVATIONS: [&str; 3] = [".activation_scale", ".input_scale", "_activation_scale"];
/// Rotary frequencies that old checkpoints keep; they follow from the configuration.
const FREQUENCIES: &str = ".rotary_emb.inv_freq";

/// Tensors by name.
pub struct Shards {
    files: Vec<(PathBuf, File)>,
    tensors: Vec<Tensor>,
    /// By name: place in `tensors`, and what is beside it.
    places: HashMap<String, Place>,
    /// Bytes of each number format as it is stored.
    formats: BTreeMap<&'static str, u64>,
    /// Tensors of formats that are not read, with the formats.
    unread: Vec<(String, String)>,
    /// Scales so far.
    scales: usize,
}

struct Place {
    index: usize,
    file: usize,
    /// 8-bit floats.
    scales: Option<Scales>,
}

impl Shards {
    /// Reads the headers of all weights in `dir`; `block` is the configuration's block of 8-bit floats.
    pub fn open(dir: &Path, block: Option<[usize; 2]>) -> Result<Self> {
        let mut files = Vec::new();
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for name in names(dir)? {
            let path = dir.join(name);
            let file = File::open(&path).map_err(Error::io("read", &path))?;
            entries.extend(header::read(&file, &path)?.into_iter().map(|entry| (files.len(), entry)));
            files.push((path, file));
        }
        let by_name: HashMap<&str, &(usize, Entry)> =
            entries.iter().map(|entry| (entry.1.name.as_str(), entry)).collect();
        if by_name.len() < entries.len() {
            return Err(Error::Unsupported(format!("`{}`: a tensor occurs in two files", dir.display())));
        }
        let mut shards = Self {
            files,
            tensors: Vec::new(),
            places: HashMap::new(),
            formats: BTreeMap::new(),
            unread: Vec::new(),
            scales: 0,
        };
        let mut hidden = HashSet::new();
        for (file, entry) in &entries {
            let scales = match entry.kind {
                Kind::E4M3 => {
                    let (name, scales) = shards.scales(entry, &by_name, block)?;
                    hidden.insert(name);
                    Some(scales)
                }
                _ => None,
            };
            shards.add(*file, entry, scales);
        }
        let known = |name: &str| {
            hidden.contains(name)
                || ACTIVATIONS.iter().any(|a| name.ends_with(a))
                || name.ends_with(FREQUENCIES)
        };
        shards.tensors.retain(|t| !known(&t.name));
        shards.unread.retain(|(name, _)| !known(name));
        let kept: HashMap<_, _> =
            shards.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        shards.places.retain(|name, place| kept.get(name.as_str()).map(|i| place.index = *i).is_some());
        Ok(shards)
    }

    /// Number formats as they are stored, the one with the most bytes first.
    pub fn formats(&self) -> String {
        let mut formats: Vec<_> = self.formats.iter().collect();
        formats.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        formats.into_iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// That every tensor but those that are `beside` the model is of a format that is read.
    pub fn check_read(&self, beside: impl Fn(&str) -> bool) -> Result<()> {
        match self.unread.iter().find(|(name, _)| !beside(name)) {
            Some((name, format)) => Err(Error::Unsupported(format!(
                "tensor `{}` is of the format {}, which is not read; F32, F16, BF16 and F8_E4M3 are. Weights that \
                 another program has quantised are not taken",
                name.escape_debug(),
                format.escape_debug()
            ))),
            None => Ok(()),
        }
    }

    /// The files, for their digests.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    fn add(&mut self, file: usize, entry: &Entry, scales: Option<Scales>) {
        let format = match &entry.kind {
            Kind::F32 | Kind::E4M3 => Format::F32,
            Kind::F16 => Format::F16,
            Kind::BF16 => Format::BF16,
            Kind::Other(format) => return self.unread.push((entry.name.clone(), format.clone())),
        };
        let stored = if scales.is_some() { "F8_E4M3" } else { format.name() };
        *self.formats.entry(stored).or_default() += entry.bytes;
        let (rows, columns) = matrix(&entry.shape);
        let row_bytes = columns * format.block().1;
        self.places.insert(entry.name.clone(), Place { index: self.tensors.len(), file, scales });
        self.tensors.push(Tensor {
            name: entry.name.clone(),
            format,
            columns,
            rows,
            offset: entry.offset,
            row_bytes,
        });
    }

    /// The scales of `entry`, and the name of the tensor that they are.
    fn scales(
        &mut self,
        entry: &Entry,
        by_name: &HashMap<&str, &(usize, Entry)>,
        block: Option<[usize; 2]>,
    ) -> Result<(String, Scales)> {
        let name = &entry.name;
        let shown = name.escape_debug();
        let wrong = |reason: &str| Error::Unsupported(format!("tensor `{shown}` (8-bit floats): {reason}"));
        let found = SCALES.iter().find_map(|end| by_name.get(format!("{name}{end}").as_str()));
        let (file, scale) = found.ok_or_else(|| wrong("its scale is missing"))?;
        if scale.bytes > limits::CHUNK_BYTES as u64 {
            return Err(wrong("its scales are too many"));
        }
        self.scales += scale.shape.iter().product::<usize>();
        if self.scales > limits::SCALES_MAX {
            return Err(wrong("with its scales there are too many in all"));
        }
        let mut bytes = vec![0; scale.bytes as usize];
        self.read(*file, &mut bytes, scale.offset)?;
        let format = match scale.kind {
            Kind::F32 => Format::F32,
            Kind::F16 => Format::F16,
            Kind::BF16 => Format::BF16,
            Kind::E4M3 | Kind::Other(_) => return Err(wrong("its scale is of a format that is not read")),
        };
        let mut factors = vec![0.0; bytes.len() / format.block().1];
        crate::gguf::dequantise(format, &bytes, &mut factors);
        let scales = Scales::new(factors, &scale.shape, matrix(&entry.shape), block);
        Ok((scale.name.clone(), scales.ok_or_else(|| wrong("its scales have another shape than it"))?))
    }

    fn read(&self, file: usize, buffer: &mut [u8], offset: u64) -> Result<()> {
        let (path, file) = &self.files[file];
        file.read_exact_at(buffer, offset).map_err(Error::io("read", path))
    }
}

/// Rows and columns: dimensions beyond the last are rows.
fn matrix(shape: &[usize]) -> (usize, usize) {
    let columns = shape.last().copied().unwrap_or(1);
    (shape.iter().rev().skip(1).product(), columns)
}

/// Names of the files with weights.
fn names(dir: &Path) -> Result<Vec<String>> {
    let index = dir.join(INDEX);
    if index.exists() && dir.join(SINGLE).is_file() {
        return Err(Error::Usage(format!(
            "`{}` holds both `{SINGLE}` and `{INDEX}`: two sets of weights, of which one may be old. Remove one",
            dir.display()
        )));
    }
    if !index.exists() {
        let single = dir.join(SINGLE).is_file().then(|| vec![SINGLE.to_owned()]);
        return single.ok_or_else(|| {
            Error::Usage(format!("`{}` holds neither `{SINGLE}` nor `{INDEX}`", dir.display()))
        });
    }
    let text = crate::text::read_text(&index, limits::SAFETENSORS_HEADER_BYTES_MAX)?;
    let wrong = |reason: String| Error::Unsupported(format!("`{}`: {reason}", index.display()));
    let value: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let map = value["weight_map"].as_object().ok_or_else(|| wrong("it has no `weight_map`".to_owned()))?;
    let mut names: Vec<String> = map.values().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    let plain = |name: &String| !name.contains(['/', '\\', '\0']) && name.ends_with(".safetensors");
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(wrong(format!("`{}` is no name of a file beside it", name.escape_debug()))),
        None if names.is_empty() => Err(wrong("its `weight_map` is empty".to_owned())),
        None => Ok(names),
    }
}

impl Tensors for Shards {
    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|place| &self.tensors[place.index])
    }

    fn read_rows(&self, tensor: &Tensor, first: usize, count: usize, buffer: &mut Vec<u8>) -> Result<()> {
        assert!(first + count <= tensor.rows, "rows asked for are rows of the tensor");
        let gone = || Error::Bug(format!("tensor `{}` was there before", tensor.name));
        let place = self.places.get(&tensor.name).ok_or_else(gone)?;
        let Some(scales) = &place.scales else {
            buffer.resize(count * tensor.row_bytes, 0);
            let offset = tensor.offset + first as u64 * tensor.row_bytes as u64;
            return self.read(place.file, buffer, offset);
        };
        let mut codes = vec![0; count * tensor.columns];
        self.read(place.file, &mut codes, tensor.offset + first as u64 * tensor.columns as u64)?;
        let mut numbers = vec![0.0; tensor.columns];
        buffer.clear();
        for (row, codes) in codes.chunks_exact(tensor.columns).enumerate() {
            scales.decode(first + row, codes, &mut numbers);
            buffer.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        }
        Ok(())
    }
}
