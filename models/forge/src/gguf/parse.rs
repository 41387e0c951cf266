//! The header: magic, version, metadata, tensor table; and what must hold between them.

use std::collections::HashSet;

use super::{Format, GgufError, Metadata, ReadAt, Value, cursor::Cursor, error::shown, metadata};
use crate::limits;

/// One tensor of the file: a matrix of `rows` by `columns`, row after row. A vector has one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Its number format.
    pub format: Format,
    /// Numbers of one row; whole blocks of the format.
    pub columns: usize,
    /// Rows; dimensions beyond the first, multiplied.
    pub rows: usize,
    /// First byte, from the file's start.
    pub offset: u64,
    /// Bytes of one row.
    pub row_bytes: usize,
}

impl Tensor {
    /// Its size, bytes.
    pub fn bytes(&self) -> u64 {
        self.row_bytes as u64 * self.rows as u64
    }
}

/// The header of a file of `len` bytes.
pub(super) fn header(source: &dyn ReadAt, len: u64) -> Result<(Metadata, Vec<Tensor>), GgufError> {
    let mut cursor = Cursor::new(source, len);
    let magic = cursor.array::<4>("the magic number")?;
    if &magic != b"GGUF" {
        return Err(GgufError::Magic { found: magic });
    }
    match cursor.u32("the version")? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => return Err(GgufError::BigEndian),
        version => return Err(GgufError::Version { version }),
    }
    let tensor_count =
        bounded(cursor.u64("the number of tensors")?, limits::TENSORS_MAX, "the number of tensors")?;
    let what = "the number of metadata entries";
    let entry_count = bounded(cursor.u64(what)?, limits::METADATA_ENTRIES_MAX, what)?;
    let metadata = metadata::read(&mut cursor, entry_count)?;
    let alignment = alignment(&metadata)?;

    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for index in 0..tensor_count {
        let tensor = read_tensor(&mut cursor, index, alignment)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::tensor(&tensor.name, "occurs twice: the file is damaged"));
        }
        tensors.push(tensor);
    }
    let data_start = cursor.position().next_multiple_of(alignment);
    for tensor in &mut tensors {
        place(tensor, data_start, len)?;
    }
    check_overlap(&tensors)?;
    Ok((metadata, tensors))
}

fn bounded(found: u64, limit: u64, what: &str) -> Result<u64, GgufError> {
    if found > limit { Err(GgufError::TooMuch { what: what.to_owned(), found, limit }) } else { Ok(found) }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    match metadata.get(KEY) {
        None => Ok(32),
        Some(Value::Integer(n))
            if *n >= 8 && *n as u64 <= limits::ALIGNMENT_MAX && (*n as u64).is_power_of_two() =>
        {
            Ok(*n as u64)
        }
        Some(other) => {
            let reason = format!("{other:?} is not a power of two from 8 to {}", limits::ALIGNMENT_MAX);
            Err(GgufError::metadata(KEY, reason))
        }
    }
}

/// One row of the tensor table; `offset` is still relative to the data.
fn read_tensor(cursor: &mut Cursor<'_>, index: u64, alignment: u64) -> Result<Tensor, GgufError> {
    let name = cursor.string(&format!("the name of tensor {index}"), limits::NAME_BYTES_MAX)?;
    let wrong = |reason: String| GgufError::tensor(&name, reason);
    let count = cursor.u32(&name)?;
    if count == 0 || count > limits::DIMENSIONS_MAX {
        return Err(wrong(format!("{count} dimensions; 1 to {} are possible", limits::DIMENSIONS_MAX)));
    }
    let mut dimensions = [1u64; limits::DIMENSIONS_MAX as usize];
    for dimension in &mut dimensions[..count as usize] {
        *dimension = cursor.u64(&name)?;
    }
    let elements = dimensions.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    if elements.is_none_or(|n| n == 0 || n > limits::TENSOR_ELEMENTS_MAX) {
        let limit = limits::TENSOR_ELEMENTS_MAX;
        return Err(wrong(format!(
            "dimensions {:?} give no sensible size (1 to {limit} numbers)",
            &dimensions[..count as usize]
        )));
    }
    let unread = |name| format!("is stored as {name}, which is not read; convert it to Q8_0 or F16 first");
    let format = Format::from_code(cursor.u32(&name)?).map_err(|name| wrong(unread(name)))?;
    let (block, block_bytes) = format.block();
    let columns = dimensions[0] as usize;
    if !columns.is_multiple_of(block) {
        return Err(wrong(format!(
            "a row of {columns} numbers is not whole blocks of {block} ({})",
            format.name()
        )));
    }
    let offset = cursor.u64(&name)?;
    if offset % alignment != 0 {
        return Err(wrong(format!(
            "offset {offset} is not a multiple of the alignment {alignment}: the file is damaged"
        )));
    }
    let rows = dimensions[1..].iter().product::<u64>() as usize;
    Ok(Tensor { format, columns, rows, offset, row_bytes: columns / block * block_bytes, name })
}

/// Makes the offset absolute and checks that the tensor is inside the file.
fn place(tensor: &mut Tensor, data_start: u64, len: u64) -> Result<(), GgufError> {
    let offset = data_start.saturating_add(tensor.offset);
    let end = offset.saturating_add(tensor.bytes());
    if end > len {
        return Err(GgufError::Truncated { what: format!("tensor `{}`", shown(&tensor.name)), end, len });
    }
    tensor.offset = offset;
    Ok(())
}

fn check_overlap(tensors: &[Tensor]) -> Result<(), GgufError> {
    let mut by_offset: Vec<&Tensor> = tensors.iter().collect();
    by_offset.sort_by_key(|t| t.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].bytes() > pair[1].offset {
            return Err(GgufError::Overlap { first: shown(&pair[0].name), second: shown(&pair[1].name) });
        }
    }
    Ok(())
}
