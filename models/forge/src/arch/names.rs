//! Looking tensors up by their names, and checking that they have the wanted shape.

use super::{Matrix, Part, RowOrder};
use crate::{
    Error, Result,
    gguf::Gguf,
    limits,
    source::{Tensor, Tensors},
};

/// A required count, from 1 on.
pub(super) fn positive(key: &str, count: Option<usize>) -> Result<usize> {
    match count {
        Some(0) => Err(Error::Unsupported(format!("metadata `{key}` is 0"))),
        Some(n) => Ok(n),
        None => Err(Error::Unsupported(format!("metadata `{key}` is missing"))),
    }
}

/// A count from metadata, up to `max`.
pub(super) fn optional_count(gguf: &Gguf, key: &str, max: usize) -> Result<Option<usize>> {
    gguf.metadata().count(key, max).map_err(|e| Error::Unsupported(e.to_string()))
}

/// The matrix of one tensor.
pub(super) fn matrix(tensors: &dyn Tensors, name: String, rows: usize, columns: usize) -> Result<Matrix> {
    stacked(tensors, &[(name, rows, RowOrder::Same)], columns)
}

/// The matrix of several tensors, given as name, rows and order, one below the other.
pub(super) fn stacked(
    tensors: &dyn Tensors,
    parts: &[(String, usize, RowOrder)],
    columns: usize,
) -> Result<Matrix> {
    for (name, rows, _) in parts {
        let tensor = find(tensors, name)?;
        if (tensor.rows, tensor.columns) != (*rows, columns) {
            let found = format!("{} rows of {}", tensor.rows, tensor.columns);
            let reason =
                format!("tensor `{name}` has {found} numbers; the metadata asks for {rows} of {columns}");
            return Err(Error::Unsupported(reason));
        }
        if !tensor.format.is_read() {
            let advice = "convert it to Q8_0 or F16 first";
            let reason =
                format!("tensor `{name}` is stored as {}, which is not read; {advice}", tensor.format.name());
            return Err(Error::Unsupported(reason));
        }
    }
    let rows = parts.iter().map(|(_, rows, _)| rows).sum();
    let parts =
        parts.iter().map(|(tensor, _, order)| Part { tensor: tensor.clone(), order: *order }).collect();
    Ok(Matrix { parts, rows, columns })
}

/// Checks a norm's weight of `width` numbers and gives its name.
pub(super) fn norm(tensors: &dyn Tensors, name: String, width: usize) -> Result<String> {
    matrix(tensors, name.clone(), 1, width).map(|_| name)
}

/// The tensor `name`, which must be there.
pub(super) fn find<'a>(tensors: &'a dyn Tensors, name: &str) -> Result<&'a Tensor> {
    let missing = || Error::Unsupported(format!("tensor `{name}` is missing"));
    tensors.tensor(name).ok_or_else(missing)
}

/// That no tensor is left over that would change what the model says.
pub(super) fn nothing_beside(tensors: &dyn Tensors, known: &dyn Fn(&str) -> bool) -> Result<()> {
    match tensors.tensors().iter().find(|t| !known(&t.name)) {
        None => Ok(()),
        Some(tensor) => {
            let name: String = tensor.name.escape_debug().take(limits::NAME_BYTES_MAX as usize).collect();
            Err(Error::Unsupported(format!(
                "tensor `{name}` has no place in this architecture as it is known here"
            )))
        }
    }
}
