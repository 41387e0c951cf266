//! The one place with `unsafe`: KV slots that ONNX Runtime reads and writes in place.
//!
//! `GroupQueryAttention` appends to the cache without copying it when past and present are
//! bound to the same memory. The safe bindings cannot say that: they copy borrowed tensors
//! on input and refuse them on output. So this module calls the C API through `ort::api()`.
//!
//! What makes it sound: a [`Cell`] owns everything that ONNX Runtime holds a pointer to
//! (session, cache, step buffers), it is neither `Clone` nor shared, each run takes `&mut`,
//! and every pointer bound to a run is bound anew before that run or points into the cache,
//! which is allocated once and never resized. Shapes are checked against buffer sizes here,
//! whatever the caller says.
#![allow(unsafe_code, reason = "in-place KV cache; see the module's own words")]

use std::{
    ffi::{CStr, CString},
    path::Path,
    ptr,
};

use ort::{AsPointer, session::Session, sys};
use sys::ONNXTensorElementDataType as ElementType;

use crate::model::{CacheShape, KvType};

/// Version of a library that `ort` has loaded already, from its own mouth.
pub(super) fn runtime_version(path: &Path) -> Option<String> {
    // SAFETY: the library is loaded already, so its initialisers do not run again; the two
    // functions and their signatures are ONNX Runtime's stable entry (onnxruntime_c_api.h).
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base: libloading::Symbol<'_, unsafe extern "C" fn() -> *const sys::OrtApiBase> =
            library.get(b"OrtGetApiBase").ok()?;
        let base = base().as_ref()?;
        let version = (base.GetVersionString)();
        (!version.is_null()).then(|| CStr::from_ptr(version).to_string_lossy().into_owned())
    }
}

/// Turns a status of the C API into ONNX Runtime's own words.
fn check(status: sys::OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null status is owned by us until released, its message lives as long.
    unsafe {
        let message = CStr::from_ptr((ort::api().GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.0);
        Err(message)
    }
}

/// A tensor over memory that somebody else owns; lives shorter than that memory.
struct Tensor(*mut sys::OrtValue);

impl Tensor {
    /// # Safety
    /// `data` points to at least as many elements as `shape` says, and stays valid and
    /// unmoved while the tensor, or a binding that it was given to, is in use.
    unsafe fn over<T>(data: *mut T, shape: &[i64], element: ElementType) -> Result<Self, String> {
        let bytes = shape.iter().product::<i64>() as usize * size_of::<T>();
        // SAFETY: by this function's own contract.
        unsafe { Self::over_bytes(data.cast(), bytes, shape, element) }
    }

    /// # Safety
    /// As [`over`](Self::over), for `bytes` bytes.
    unsafe fn over_bytes(
        data: *mut u8,
        bytes: usize,
        shape: &[i64],
        element: ElementType,
    ) -> Result<Self, String> {
        let mut info = ptr::null_mut();
        let mut value = ptr::null_mut();
        // SAFETY: out pointers are ours; the memory info is released once the tensor has its copy.
        unsafe {
            check((ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &raw mut info,
            ))?;
            let made = check((ort::api().CreateTensorWithDataAsOrtValue)(
                info,
                data.cast(),
                bytes,
                shape.as_ptr(),
                shape.len(),
                element,
                &raw mut value,
            ));
            (ort::api().ReleaseMemoryInfo)(info);
            made?;
        }
        Ok(Self(value))
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: made by CreateTensorWithDataAsOrtValue, released once.
        unsafe { (ort::api().ReleaseValue)(self.0) }
    }
}

/// The cache bound for `rows` neighbouring slots; made once, used for every run over them.
struct Binding(*mut sys::OrtIoBinding);

impl Binding {
    fn new(session: &Session) -> Result<Self, String> {
        let mut binding = ptr::null_mut();
        // SAFETY: the session outlives the binding, `Cell` owns both and drops bindings first.
        unsafe { check((ort::api().CreateIoBinding)(session.ptr().cast_mut(), &raw mut binding))? };
        Ok(Self(binding))
    }

    fn input(&self, name: &CStr, value: &Tensor) -> Result<(), String> {
        // SAFETY: both pointers are live; the binding keeps its own reference to the value.
        unsafe { check((ort::api().BindInput)(self.0, name.as_ptr(), value.0)) }
    }

    fn output(&self, name: &CStr, value: &Tensor) -> Result<(), String> {
        // SAFETY: as for inputs.
        unsafe { check((ort::api().BindOutput)(self.0, name.as_ptr(), value.0)) }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: made by CreateIoBinding, released once.
        unsafe { (ort::api().ReleaseIoBinding)(self.0) }
    }
}

/// Names of one layer's cache tensor at the graph's border.
struct CacheNames {
    past: CString,
    present: CString,
}

/// Size of everything that is allocated once.
#[derive(Clone, Copy)]
pub(super) struct CellShape {
    pub(super) cache: CacheShape,
    pub(super) kv: KvType,
    pub(super) slots: usize,
    /// Tokens of one slot.
    pub(super) context: usize,
    pub(super) vocabulary: usize,
}

/// A session with its KV cache: `slots` sequences of up to `context` tokens.
pub(super) struct Cell {
    // Declared before what they point into, hence dropped before it.
    by_slot: Vec<Option<Binding>>,
    by_count: Vec<Option<Binding>>,
    session: Session,
    names: Vec<CacheNames>,
    /// One buffer per layer and kind, `[slots, heads, context, head_width]`; never resized.
    /// `u64` for its alignment.
    cache: Vec<Box<[u64]>>,
    shape: CellShape,
    ids: Vec<i64>,
    last_positions: Vec<i32>,
    total: [i32; 1],
    rows: Vec<i64>,
    logits: Vec<f32>,
}

// SAFETY: ONNX Runtime's sessions and bindings may be used from any thread, one at a time;
// `&mut self` sees to the latter.
unsafe impl Send for Cell {}

/// Which slots a run is over.
#[derive(Clone, Copy)]
pub(super) enum Span {
    /// One slot with any number of tokens.
    Slot(usize),
    /// Slots `0..n` with one token each.
    First(usize),
}

impl Cell {
    pub(super) fn new(session: Session, shape: CellShape) -> Self {
        let CacheShape { layers, heads, head_width } = shape.cache;
        let slot_bytes = heads * shape.context * head_width * shape.kv.bytes();
        // `vec![0; n]` asks the kernel for zero pages: memory is resident once it is written.
        let cache = (0..layers * 2)
            .map(|_| vec![0u64; (shape.slots * slot_bytes).div_ceil(8)].into_boxed_slice())
            .collect();
        let names = (0..layers)
            .flat_map(|l| ["key", "value"].map(|kind| (l, kind)))
            .map(|(l, kind)| {
                let name =
                    |side: &str| CString::new(format!("{side}.{l}.{kind}")).expect("the name has no NUL");
                CacheNames { past: name("past"), present: name("present") }
            })
            .collect();
        Self {
            by_slot: (0..shape.slots).map(|_| None).collect(),
            by_count: (0..=shape.slots).map(|_| None).collect(),
            session,
            names,
            cache,
            shape,
            ids: Vec::new(),
            last_positions: Vec::new(),
            total: [0],
            rows: Vec::new(),
            logits: Vec::new(),
        }
    }

    fn slot_bytes(&self) -> usize {
        self.shape.cache.heads * self.shape.context * self.shape.cache.head_width * self.shape.kv.bytes()
    }

    /// Bytes of the whole cache.
    pub(super) fn cache_bytes(&self) -> usize {
        self.cache.len() * self.slot_bytes() * self.shape.slots
    }

    fn bind_cache(&mut self, first: usize, count: usize) -> Result<Binding, String> {
        let element = match self.shape.kv {
            KvType::F32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            KvType::F16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
            KvType::Int8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        };
        let CacheShape { heads, head_width, .. } = self.shape.cache;
        let dims = [count, heads, self.shape.context, head_width].map(|d| d as i64);
        let slot_bytes = self.slot_bytes();
        assert!(first + count <= self.shape.slots, "slots {first}+{count} of {}", self.shape.slots);

        let binding = Binding::new(&self.session)?;
        for (buffer, names) in self.cache.iter_mut().zip(&self.names) {
            // SAFETY: the range was checked above; the buffer is a box that `self` keeps
            // and never resizes, and it outlives the binding (see the order of fields).
            let tensor = unsafe {
                let start = buffer.as_mut_ptr().cast::<u8>().add(first * slot_bytes);
                Tensor::over_bytes(start, count * slot_bytes, &dims, element)?
            };
            binding.input(&names.past, &tensor)?;
            binding.output(&names.present, &tensor)?;
        }
        Ok(binding)
    }

    /// Runs the graph over `tokens`, `tokens.len() / pasts.len()` per sequence, each
    /// continuing after `past` committed tokens. Returns the logits of `rows` (indices into
    /// `tokens`), one after the other.
    pub(super) fn run(
        &mut self,
        span: Span,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<&[f32], String> {
        let sequences = pasts.len();
        let each = tokens.len() / sequences.max(1);
        let longest = pasts.iter().copied().max().unwrap_or(0) + each;
        assert!(
            each > 0 && each * sequences == tokens.len(),
            "{} tokens for {sequences} sequences",
            tokens.len()
        );
        assert!(longest <= self.shape.context, "{longest} tokens in a slot of {}", self.shape.context);
        assert!(rows.iter().all(|r| *r < tokens.len()) && !rows.is_empty(), "rows beyond the chunk");
        assert!(tokens.iter().all(|t| (*t as usize) < self.shape.vocabulary), "token beyond the vocabulary");

        let (place, first, count) = match span {
            Span::Slot(slot) => (self.by_slot[slot].take(), slot, 1),
            Span::First(n) => (self.by_count[n].take(), 0, n),
        };
        assert!(count == sequences, "{sequences} sequences over {count} slots");
        let binding = match place {
            Some(binding) => binding,
            None => self.bind_cache(first, count)?,
        };
        self.fill(tokens, pasts, rows, each, longest);
        let ran = self.run_bound(&binding, sequences, each);
        match span {
            Span::Slot(slot) => self.by_slot[slot] = Some(binding),
            Span::First(n) => self.by_count[n] = Some(binding),
        }
        ran?;
        Ok(&self.logits[..rows.len() * self.shape.vocabulary])
    }

    /// The small tensors of one run, in buffers that keep their capacity.
    fn fill(&mut self, tokens: &[u32], pasts: &[usize], rows: &[usize], each: usize, longest: usize) {
        self.ids.clear();
        self.ids.extend(tokens.iter().map(|t| i64::from(*t)));
        self.last_positions.clear();
        self.last_positions.extend(pasts.iter().map(|p| (p + each - 1) as i32));
        self.total = [longest as i32];
        self.rows.clear();
        self.rows.extend(rows.iter().map(|r| *r as i64));
        let wanted = rows.len() * self.shape.vocabulary;
        if self.logits.len() < wanted {
            self.logits.resize(wanted, 0.0);
        }
    }

    fn run_bound(&mut self, binding: &Binding, sequences: usize, each: usize) -> Result<(), String> {
        use ElementType as E;
        let (batch, rows) = (sequences as i64, self.rows.len() as i64);
        let vocabulary = self.shape.vocabulary as i64;
        // SAFETY: each tensor is over a buffer of `self` that was filled for these very shapes
        // and is not touched again before the run has ended.
        unsafe {
            let int64 = E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
            let int32 = E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
            let float = E::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
            binding
                .input(c"input_ids", &Tensor::over(self.ids.as_mut_ptr(), &[batch, each as i64], int64)?)?;
            binding.input(c"seqlens_k", &Tensor::over(self.last_positions.as_mut_ptr(), &[batch], int32)?)?;
            binding.input(c"total_len", &Tensor::over(self.total.as_mut_ptr(), &[], int32)?)?;
            binding.input(c"logits_rows", &Tensor::over(self.rows.as_mut_ptr(), &[rows], int64)?)?;
            let logits = Tensor::over(self.logits.as_mut_ptr(), &[rows, vocabulary], float)?;
            binding.output(c"logits", &logits)?;
            check((ort::api().RunWithBinding)(self.session.ptr().cast_mut(), ptr::null(), binding.0))
        }
    }

    /// Copies the first `tokens` positions of one slot over those of another.
    pub(super) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        let CacheShape { heads, head_width, .. } = self.shape.cache;
        let row = self.shape.context * head_width * self.shape.kv.bytes();
        let used = tokens * head_width * self.shape.kv.bytes();
        let slot = self.slot_bytes();
        assert!(
            from < self.shape.slots && to < self.shape.slots && tokens <= self.shape.context,
            "slot copy"
        );
        for buffer in &mut self.cache {
            for head in 0..heads {
                let base = buffer.as_mut_ptr().cast::<u8>();
                // SAFETY: both ranges lie within the buffer by the assertion above, and do not
                // overlap unless `from == to`, which `copy` allows.
                unsafe {
                    ptr::copy(base.add(from * slot + head * row), base.add(to * slot + head * row), used);
                }
            }
        }
    }
}
