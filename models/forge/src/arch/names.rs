//! Looking tensors up by GGUF's names, and checking that they have the wanted shape.

use super::{Error, Gguf, Matrix, Part, Result, RowOrder, Tensor, limits};

/// A required count from metadata, from 1 to `max`.
pub(super) fn count(gguf: &Gguf, key: &str, max: usize) -> Result<usize> {
    match optional_count(gguf, key, max)? {
        Some(0) => Err(Error::Unsupported(format!("metadata `{key}` is 0"))),
        Some(n) => Ok(n),
        None => Err(Error::Unsupported(format!("metadata `{key}` is missing"))),
    }
}

/// A count from metadata, up to `max`.
pub(super) fn optional_count(gguf: &Gguf, key: &str, max: usize) -> Result<Option<usize>> {
    gguf.metadata().count(key, max).map_err(|e| Error::Unsupported(e.to_string()))
}

/// A number from metadata.
pub(super) fn number(gguf: &Gguf, key: &str) -> Result<Option<f64>> {
    gguf.metadata().number(key).map_err(|e| Error::Unsupported(e.to_string()))
}

/// The matrix of one tensor.
pub(super) fn matrix(gguf: &Gguf, name: String, rows: usize, columns: usize) -> Result<Matrix> {
    stacked(gguf, &[(name, rows, RowOrder::Same)], columns)
}

/// The matrix of several tensors, given as name, rows and order, one below the other.
pub(super) fn stacked(gguf: &Gguf, parts: &[(String, usize, RowOrder)], columns: usize) -> Result<Matrix> {
    for (name, rows, _) in parts {
        let tensor = find(gguf, name)?;
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
pub(super) fn norm(gguf: &Gguf, name: String, width: usize) -> Result<String> {
    matrix(gguf, name.clone(), 1, width).map(|_| name)
}

/// The tensor `name`, which must be there.
pub(super) fn find<'a>(gguf: &'a Gguf, name: &str) -> Result<&'a Tensor> {
    let missing = || Error::Unsupported(format!("tensor `{name}` is missing"));
    gguf.tensor(name).ok_or_else(missing)
}

/// That no tensor is left over that would change what the model says.
pub(super) fn nothing_beside(gguf: &Gguf, known: &dyn Fn(&str) -> bool) -> Result<()> {
    match gguf.tensors().iter().find(|t| !known(&t.name)) {
        None => Ok(()),
        Some(tensor) => {
            let name: String = tensor.name.escape_debug().take(limits::NAME_BYTES_MAX as usize).collect();
            Err(Error::Unsupported(format!(
                "tensor `{name}` has no place in this architecture as it is known here"
            )))
        }
    }
}
