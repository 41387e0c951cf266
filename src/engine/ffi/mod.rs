//! The one place with `unsafe`: tensors over our own memory, and KV slots that ONNX Runtime
//! reads and writes in place.
//!
//! `GroupQueryAttention` appends to the cache without copying it when past and present are
//! bound to the same memory. The safe bindings cannot say that: they copy borrowed tensors
//! on input and refuse them on output. So this module calls the C API through `ort::api()`.
//!
//! What makes it sound: a [`Cell`] owns everything that ONNX Runtime holds a pointer to
//! (sessions, cache, step buffers), it is neither `Clone` nor shared, each run takes `&mut`,
//! and every pointer bound to a run is bound anew before that run or points into the cache,
//! which is allocated once and never resized. Shapes are checked against buffer sizes here,
//! whatever the caller says.
#![allow(unsafe_code, reason = "in-place KV cache; see the module's own words")]

use std::{ffi::CStr, path::Path, ptr};

use ort::{AsPointer, session::Session, sys};
use sys::ONNXTensorElementDataType as ElementType;

use super::border::Float;
use crate::model::KvType;

mod cache;
mod cell;
mod fixed;
mod step;

pub(super) use cache::Keeping;
pub(super) use cell::{Cell, CellShape, Span, Table};
pub(super) use fixed::FixedCell;

const fn kv_element(kv: KvType) -> ElementType {
    match kv {
        KvType::F32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        KvType::F16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        KvType::Int8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    }
}

const fn float_element(float: Float) -> ElementType {
    match float {
        Float::F32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Float::F16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    }
}

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

/// What one run reads and writes.
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

    /// Runs `session`, which it was made for.
    ///
    /// # Safety
    /// The memory under every bound tensor is still there, and nobody else touches it.
    unsafe fn run(&self, session: &Session) -> Result<(), String> {
        // SAFETY: by this function's own contract.
        unsafe { check((ort::api().RunWithBinding)(session.ptr().cast_mut(), ptr::null(), self.0)) }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: made by CreateIoBinding, released once.
        unsafe { (ort::api().ReleaseIoBinding)(self.0) }
    }
}
