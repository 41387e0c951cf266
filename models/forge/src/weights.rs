//! Matrices from the file into the data file, a few megabytes at a time.
//!
//! A chunk is whole rows (whole heads, where rows change places). Within it, rows are
//! shared out among [`THREADS`](limits::THREADS); each row is encoded alone, so the result
//! does not depend on how.

use std::ops::Range;

use crate::{
    Error, Result,
    arch::{Matrix, RowOrder},
    gguf, limits,
    onnx::{DataFile, Region},
    progress::Progress,
    quant::{self, Code, Encoding, RowLayout, RowMut},
    source::{Format, Tensor, Tensors},
};

/// A matrix in the data file.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Its numbers' format.
    pub encoding: Encoding,
    /// Output width.
    pub rows: usize,
    /// Input width.
    pub columns: usize,
    /// Codes, or the numbers themselves.
    pub codes: Region,
    /// Scales, where there are codes.
    pub scales: Option<Region>,
    /// Stored zero points.
    pub zeros: Option<Region>,
}

impl Stored {
    /// Some of its rows, where they lie.
    #[must_use]
    pub fn rows(&self, rows: &Range<usize>) -> Self {
        let all = self.rows as u64;
        let part = |region: Region| {
            let row = region.bytes / all;
            Region { offset: region.offset + rows.start as u64 * row, bytes: rows.len() as u64 * row }
        };
        Self {
            rows: rows.len(),
            codes: part(self.codes),
            scales: self.scales.map(part),
            zeros: self.zeros.map(part),
            ..*self
        }
    }
}

/// Rows of one tensor, as bytes of its format, in the graph's order.
pub struct Chunk<'a> {
    /// Index of the first row within the matrix.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// Bytes, row after row.
    pub bytes: &'a [u8],
    /// Their format.
    pub format: Format,
}

/// Calls `each` with all rows of `matrix`, first to last.
pub fn for_each_chunk(
    tensors: &dyn Tensors,
    matrix: &Matrix,
    progress: &dyn Progress,
    mut each: impl FnMut(&Chunk<'_>) -> Result<()>,
) -> Result<()> {
    let (mut bytes, mut ordered) = (Vec::new(), Vec::new());
    let mut first_row = 0;
    for part in &matrix.parts {
        let gone = || Error::Bug(format!("tensor `{}` was there before", part.tensor));
        let tensor = tensors.tensor(&part.tensor).ok_or_else(gone)?;
        let step = rows_per_chunk(tensor, part.order);
        for first in (0..tensor.rows).step_by(step) {
            let rows = step.min(tensor.rows - first);
            tensors.read_rows(tensor, first, rows, &mut bytes)?;
            let bytes = match part.order {
                RowOrder::Same => &bytes,
                RowOrder::Neighbours { head_width } => {
                    part_neighbours(&bytes, tensor.row_bytes, head_width, &mut ordered);
                    &ordered
                }
            };
            each(&Chunk { first_row: first_row + first, rows, bytes, format: tensor.format })?;
            progress.advance((rows * tensor.row_bytes) as u64);
        }
        first_row += tensor.rows;
    }
    Ok(())
}

/// Bytes that [`for_each_chunk`] will report.
pub fn source_bytes(tensors: &dyn Tensors, matrix: &Matrix) -> u64 {
    matrix.parts.iter().filter_map(|p| tensors.tensor(&p.tensor)).map(Tensor::bytes).sum()
}

fn rows_per_chunk(tensor: &Tensor, order: RowOrder) -> usize {
    let unit = match order {
        RowOrder::Same => 1,
        RowOrder::Neighbours { head_width } => head_width,
    };
    let rows = limits::CHUNK_BYTES / (tensor.columns * size_of::<f32>());
    (rows / unit * unit).max(unit)
}

/// Row `2j + s` of each head goes to row `s * head_width / 2 + j`.
fn part_neighbours(bytes: &[u8], row_bytes: usize, head_width: usize, out: &mut Vec<u8>) {
    out.clear();
    for head in bytes.chunks_exact(row_bytes * head_width) {
        for side in 0..2 {
            for row in head.chunks_exact(row_bytes).skip(side).step_by(2) {
                out.extend_from_slice(row);
            }
        }
    }
}

/// Writes `matrix` in `encoding`.
pub fn write(
    tensors: &dyn Tensors,
    matrix: &Matrix,
    encoding: Encoding,
    importance: Option<&[f32]>,
    data: &mut DataFile,
    progress: &dyn Progress,
) -> Result<Stored> {
    match encoding {
        Encoding::F32 => write_f32(tensors, matrix, data, progress),
        Encoding::Blocks { code, block } => {
            write_blocks(tensors, matrix, (code, block), importance, data, progress)
        }
    }
}

fn write_f32(
    tensors: &dyn Tensors,
    matrix: &Matrix,
    data: &mut DataFile,
    progress: &dyn Progress,
) -> Result<Stored> {
    let row_bytes = matrix.columns * size_of::<f32>();
    let codes = data.reserve((matrix.rows * row_bytes) as u64);
    let mut numbers = Vec::new();
    let mut bytes = Vec::new();
    for_each_chunk(tensors, matrix, progress, |chunk| {
        numbers.resize(chunk.rows * matrix.columns, 0.0);
        gguf::dequantise(chunk.format, chunk.bytes, &mut numbers);
        bytes.clear();
        bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        data.write(codes, (chunk.first_row * row_bytes) as u64, &bytes)
    })?;
    let (rows, columns) = (matrix.rows, matrix.columns);
    Ok(Stored { encoding: Encoding::F32, rows, columns, codes, scales: None, zeros: None })
}

/// Writes the numbers of `matrix` column after column, as a factor on the right: `[columns, rows]`.
pub fn write_transposed(
    tensors: &dyn Tensors,
    matrix: &Matrix,
    data: &mut DataFile,
    progress: &dyn Progress,
) -> Result<Region> {
    const NUMBER: usize = size_of::<f32>();
    let region = data.reserve((matrix.rows * matrix.columns * NUMBER) as u64);
    let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
    for_each_chunk(tensors, matrix, progress, |chunk| {
        numbers.resize(chunk.rows * matrix.columns, 0.0);
        gguf::dequantise(chunk.format, chunk.bytes, &mut numbers);
        (0..matrix.columns).try_for_each(|column| {
            let down = numbers.iter().skip(column).step_by(matrix.columns);
            bytes.clear();
            bytes.extend(down.flat_map(|x| x.to_le_bytes()));
            let at = (column * matrix.rows + chunk.first_row) * NUMBER;
            data.write(region, at as u64, &bytes)
        })
    })?;
    Ok(region)
}

fn write_blocks(
    tensors: &dyn Tensors,
    matrix: &Matrix,
    (code, block): (Code, usize),
    importance: Option<&[f32]>,
    data: &mut DataFile,
    progress: &dyn Progress,
) -> Result<Stored> {
    let layout = RowLayout::new(code, block, matrix.columns);
    let scale_bytes = layout.blocks * size_of::<f32>();
    let codes_at = data.reserve((matrix.rows * layout.code_bytes) as u64);
    let scales_at = data.reserve((matrix.rows * scale_bytes) as u64);
    let zeros_at = (layout.zero_bytes > 0).then(|| data.reserve((matrix.rows * layout.zero_bytes) as u64));
    let (mut codes, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    for_each_chunk(tensors, matrix, progress, |chunk| {
        codes.resize(chunk.rows * layout.code_bytes, 0);
        scales.resize(chunk.rows * layout.blocks, 0.0);
        zeros.resize(chunk.rows * layout.zero_bytes, 0);
        encode_chunk(chunk, matrix.columns, (code, block), importance, [&mut codes, &mut zeros], &mut scales);
        data.write(codes_at, (chunk.first_row * layout.code_bytes) as u64, &codes)?;
        bytes.clear();
        bytes.extend(scales.iter().flat_map(|x| x.to_le_bytes()));
        data.write(scales_at, (chunk.first_row * scale_bytes) as u64, &bytes)?;
        zeros_at.map_or(Ok(()), |at| data.write(at, (chunk.first_row * layout.zero_bytes) as u64, &zeros))
    })?;
    Ok(Stored {
        encoding: Encoding::Blocks { code, block },
        rows: matrix.rows,
        columns: matrix.columns,
        codes: codes_at,
        scales: Some(scales_at),
        zeros: zeros_at,
    })
}

fn encode_chunk(
    chunk: &Chunk<'_>,
    columns: usize,
    (code, block): (Code, usize),
    importance: Option<&[f32]>,
    [codes, zeros]: [&mut Vec<u8>; 2],
    scales: &mut [f32],
) {
    let layout = RowLayout::new(code, block, columns);
    let row_bytes = chunk.bytes.len() / chunk.rows;
    let lossless = quant::is_lossless(chunk.format, code, block);
    let share = chunk.rows.div_ceil(limits::THREADS);
    std::thread::scope(|scope| {
        let bytes = chunk.bytes.chunks(share * row_bytes);
        let codes = codes.chunks_mut(share * layout.code_bytes);
        let scales = scales.chunks_mut(share * layout.blocks);
        // Without zero points there is nothing to share out: every thread gets an empty slice.
        let mut zeros = zeros.chunks_mut((share * layout.zero_bytes).max(1));
        for ((bytes, codes), scales) in bytes.zip(codes).zip(scales) {
            let zeros = zeros.next().unwrap_or_default();
            scope.spawn(move || {
                let mut numbers = vec![0.0; columns];
                for (i, row) in bytes.chunks_exact(row_bytes).enumerate() {
                    let mut out = RowMut {
                        codes: &mut codes[i * layout.code_bytes..][..layout.code_bytes],
                        scales: &mut scales[i * layout.blocks..][..layout.blocks],
                        zeros: &mut zeros[i * layout.zero_bytes..][..layout.zero_bytes],
                    };
                    if lossless {
                        quant::repack(chunk.format, code, row, &mut out);
                    } else {
                        gguf::dequantise(chunk.format, row, &mut numbers);
                        quant::encode(code, block, &numbers, importance, &mut out);
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_part_into_halves_head_by_head() {
        let rows: Vec<u8> = (0..8).flat_map(|row| [row, row]).collect();
        let mut out = Vec::new();
        part_neighbours(&rows, 2, 4, &mut out);
        assert_eq!(out, [0, 0, 2, 2, 1, 1, 3, 3, 4, 4, 6, 6, 5, 5, 7, 7]);
    }
}
