//! The header of a safetensors file: eight bytes of length, then JSON that names each tensor's
//! number format, dimensions and place (<https://github.com/huggingface/safetensors>, "Format").

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use serde_json::{Map, Value};

use crate::{Error, Result, limits};

/// One entry of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    /// First byte, from the file's start.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A number format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    BF16,
    /// 8 bits, with a scale in another tensor.
    E4M3,
    /// Not read.
    Other(String),
}

impl Kind {
    fn parse(name: &str) -> Self {
        match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F8_E4M3" => Self::E4M3,
            other => Self::Other(other.chars().take(16).collect()),
        }
    }

    /// Bytes of one number; `None` where the format is not read.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::F32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::E4M3 => Some(1),
            Self::Other(_) => None,
        }
    }
}

/// Reads the header of `file`.
pub(super) fn read(file: &File, path: &Path) -> Result<Vec<Entry>> {
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let damaged = |reason: String| Error::Unsupported(format!("`{}`: {reason}", path.display()));
    if size < 8 {
        return Err(damaged(format!("{size} bytes are no safetensors file")));
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0).map_err(Error::io("read", path))?;
    let length = u64::from_le_bytes(length);
    if length > limits::SAFETENSORS_HEADER_BYTES_MAX || length > size - 8 {
        return Err(damaged(format!(
            "it claims a header of {length} bytes in a file of {size}: it is cut, or no safetensors file"
        )));
    }
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, 8).map_err(Error::io("read", path))?;
    let entries: Map<String, Value> =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("its header is not JSON: {e}")))?;
    if entries.len() as u64 > limits::TENSORS_MAX {
        let (count, limit) = (entries.len(), limits::TENSORS_MAX);
        return Err(damaged(format!("{count} tensors are more than the limit of {limit}")));
    }
    let tensors = entries.into_iter().filter(|(name, _)| name != "__metadata__");
    let entries: Vec<Entry> = tensors
        .map(|(name, value)| {
            let shown: String = name.escape_debug().take(limits::NAME_BYTES_MAX as usize).collect();
            entry(name, &value, 8 + length, size).map_err(|why| damaged(format!("tensor `{shown}`: {why}")))
        })
        .collect::<Result<_>>()?;
    // Tensors that share bytes would let a small file stand for a large model.
    let mut places: Vec<&Entry> = entries.iter().filter(|entry| entry.bytes > 0).collect();
    places.sort_by_key(|entry| entry.offset);
    match places.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
        Some(pair) => {
            let [one, other] = [pair[0], pair[1]].map(|entry| entry.name.escape_debug().to_string());
            Err(damaged(format!("tensors `{one}` and `{other}` overlap")))
        }
        None => Ok(entries),
    }
}

fn entry(name: String, value: &Value, data: u64, size: u64) -> Result<Entry, String> {
    if name.len() as u64 > limits::NAME_BYTES_MAX {
        return Err(format!("its name has {} bytes", name.len()));
    }
    let kind = Kind::parse(value["dtype"].as_str().ok_or("it has no `dtype`")?);
    let numbers =
        |key: &str| -> Option<Vec<u64>> { value[key].as_array()?.iter().map(Value::as_u64).collect() };
    let shape = numbers("shape").ok_or("its `shape` is no list of sizes")?;
    let Some([first, end]) = numbers("data_offsets").and_then(|o| <[u64; 2]>::try_from(o).ok()) else {
        return Err("its `data_offsets` are no two numbers".to_owned());
    };
    if first > end || end > size - data {
        return Err(format!("it lies at {first}..{end}, and the file has {} bytes of data", size - data));
    }
    if shape.contains(&0) {
        return Err("one of its dimensions is 0".to_owned());
    }
    let elements = shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
    let elements = elements.filter(|n| *n <= limits::TENSOR_ELEMENTS_MAX).ok_or("it is too large")?;
    if let Some(each) = kind.bytes()
        && elements * each != end - first
    {
        return Err(format!("{elements} numbers of {each} bytes do not fill {} bytes", end - first));
    }
    let shape = shape.into_iter().map(|n| n as usize).collect();
    Ok(Entry { name, kind, shape, offset: data + first, bytes: end - first })
}
