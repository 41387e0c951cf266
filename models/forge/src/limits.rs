//! Every bound of the forge, with its unit and with what happens when it is reached: the
//! file is refused with an error that names the bound, unless another thing is said.

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Entries of a GGUF file's metadata. The largest models known have about 60.
pub const METADATA_ENTRIES_MAX: u64 = 4096;
/// Tensors of a GGUF file. A 70B model has 723.
pub const TENSORS_MAX: u64 = 65_536;
/// Header of a GGUF file (metadata and tensor table), bytes. A vocabulary of 262,144 takes 16 MB.
pub const HEADER_BYTES_MAX: u64 = 256 * MIB;
/// Header of a safetensors file, and an index of several, bytes. 720 tensors take 100 KB.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 16 * MIB;
/// Scales of all 8-bit tensors of a model together, numbers. Ministral 3 with blocks of 128 has 210,000.
pub const SCALES_MAX: usize = 1 << 25;
/// Tokens of a text sample. Fewer show nothing: a usage error.
pub const SAMPLE_TOKENS_MIN: usize = 64;
/// One word of a `tekken.json`, bytes.
pub const TEKKEN_WORD_BYTES_MAX: usize = 512;
/// Merges that the words of a `tekken.json` make, all their bytes together.
pub const TEKKEN_MERGES_BYTES_MAX: usize = 64 * MIB as usize;
/// A metadata key or tensor name, bytes.
pub const NAME_BYTES_MAX: u64 = 256;
/// One string value, bytes. Chat templates reach 20 KB.
pub const STRING_BYTES_MAX: u64 = MIB;
/// Elements of all metadata arrays together. A vocabulary of 262,144 with its merges has 1.3 million.
pub const ARRAY_ELEMENTS_MAX: u64 = 4 * 1024 * 1024;
/// Dimensions of a tensor, GGUF's own bound.
pub const DIMENSIONS_MAX: u32 = 4;
/// Elements of one tensor.
pub const TENSOR_ELEMENTS_MAX: u64 = 1 << 36;
/// `general.alignment`, bytes.
pub const ALIGNMENT_MAX: u64 = MIB;
/// What the header reader holds of the file at a time, bytes.
pub const WINDOW_BYTES: usize = 64 * KIB as usize;

/// Layers of a model.
pub const LAYERS_MAX: usize = 512;
/// Width of hidden states, of feed-forward layers, of all heads together.
pub const WIDTH_MAX: usize = 1 << 18;
/// Rows of the token table.
pub const VOCABULARY_MAX: usize = 1 << 20;
/// Positions that one package can serve. Beyond: cut to this.
pub const CONTEXT_MAX: usize = 1 << 20;

/// Numbers (as float32) of one tensor that are in memory at a time, bytes. Rows are never
/// cut, so one row of any tensor may exceed it.
pub const CHUNK_BYTES: usize = 16 * MIB as usize;
/// Threads that quantise. The result does not depend on it.
pub const THREADS: usize = 2;

/// A text sample for calibration, bytes. Beyond: cut to this at a character's border.
pub const SAMPLE_BYTES_MAX: usize = 64 * KIB as usize;
/// Tokens of the sample that are run. Beyond: the rest is not used.
pub const SAMPLE_TOKENS_MAX: usize = 4096;
/// Tokens of one calibration run.
pub const SAMPLE_CHUNK_TOKENS: usize = 512;
/// A text for `eval`, bytes. Beyond: cut to this at a character's border.
pub const EVAL_TEXT_BYTES_MAX: u64 = 16 * MIB;
/// Tokens of one window of `eval`. Beyond: a usage error.
pub const EVAL_WINDOW_TOKENS_MAX: usize = 8192;
/// Positions of the package that `eval` makes of a source, at least.
pub const EVAL_CONTEXT_MIN: usize = 256;
/// Rows of logits that one run of `eval` asks for; 64 rows of a vocabulary of 131,072 are 33 MB.
pub const EVAL_ROWS: usize = 64;

/// Name of a package, bytes.
pub const PACKAGE_NAME_BYTES_MAX: usize = 128;
/// Weights of which one graph is made while a model is measured, unless one layer has more. In
/// 8 bits, mapped and packed by ONNX Runtime, they take twice as many bytes.
pub const PART_WEIGHTS: usize = 192 * 1024 * 1024;
