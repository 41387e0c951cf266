//! Which matrix gets which number format.

use std::collections::HashMap;

use outpost::model::KvType;

use crate::{
    arch::{Decoder, Site},
    quant::{Code, Encoding},
};

/// Number format of the weights, as asked for on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Weights {
    /// 4 bits everywhere, tables included.
    Int4,
    /// 8 bits everywhere.
    Int8,
    /// 8 bits for tables and the most sensitive matrices, 4 for the others.
    Mixed,
    /// 32-bit floating point: the reference.
    F32,
}

impl Weights {
    /// The name in manifests and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Mixed => "mixed",
            Self::F32 => "f32",
        }
    }
}

/// Number formats of all matrices of one decoder.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Token table; the output matrix too, where they are tied.
    pub table: Encoding,
    default: Encoding,
    /// Matrices that differ from the default.
    special: HashMap<Site, Encoding>,
}

impl Recipe {
    /// One code for all matrices, blocks of at most `block`.
    pub fn uniform(decoder: &Decoder, code: Code, block: usize) -> Self {
        let default = Encoding::Blocks { code, block };
        let mut special: HashMap<Site, Encoding> =
            decoder.matrices().map(|(site, matrix)| (site, fitted(code, block, matrix.columns))).collect();
        special.insert(Site::Output, fitted(code, block, decoder.width));
        Self { table: fitted(code, block, decoder.width), default, special }
    }

    /// Numbers as they are.
    pub fn f32() -> Self {
        Self { table: Encoding::F32, default: Encoding::F32, special: HashMap::new() }
    }

    /// Changes the format of the tables.
    pub fn set_table(&mut self, code: Code, block: usize, columns: usize) {
        self.table = fitted(code, block, columns);
        self.set(Site::Output, code, block, columns);
    }

    /// Changes the format of one matrix.
    pub fn set(&mut self, site: Site, code: Code, block: usize, columns: usize) {
        self.special.insert(site, fitted(code, block, columns));
    }

    /// The format of the matrix at `site`.
    pub fn encoding(&self, site: Site) -> Encoding {
        self.special.get(&site).copied().unwrap_or(self.default)
    }
}

/// The largest block up to `block` that cuts a row of `columns` evenly; a padded last block
/// would cost more bytes than its scales save.
fn fitted(code: Code, block: usize, columns: usize) -> Encoding {
    let even = [128, 64, 32].into_iter().filter(|b| *b <= block).find(|b| columns.is_multiple_of(*b));
    Encoding::Blocks { code, block: even.unwrap_or(32) }
}

/// Number format of the KV cache, with what it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Cache {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8 bits; per layer the scales of keys and of values, one for each channel of each
    /// head: `kv_heads * head_width` numbers.
    Int8(Vec<[Vec<f32>; 2]>),
}

impl Cache {
    /// The manifest's word.
    pub fn kind(&self) -> KvType {
        match self {
            Self::F32 => KvType::F32,
            Self::F16 => KvType::F16,
            Self::Int8(_) => KvType::Int8,
        }
    }
}
