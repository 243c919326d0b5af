//! Memory that crosses the border: the only `unsafe` of this crate.

use std::alloc::{Layout, alloc_zeroed};
use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use pyo3::PyClass;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

/// Fills in a view of read-only memory that `owner` keeps alive and never changes.
///
/// # Safety
/// `view` comes from the interpreter's `getbuffer` call. `data` points to `count` items of `item` bytes each, which stay
/// where they are, and unchanged, as long as `owner` lives. `format` is a NUL-terminated static string.
unsafe fn lend<T: PyClass>(
    owner: Bound<'_, T>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
    (data, count, item, format): (*const c_void, usize, usize, &'static std::ffi::CStr),
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("no view to fill in"));
    }
    // SAFETY: `view` is not null and, by the caller's word, ours to fill in. A request that is refused has to leave NULL
    // there (bf_getbuffer in the C API's documentation): what stands in it is the caller's, and nobody may release it.
    unsafe { (*view).obj = ptr::null_mut() };
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return Err(PyBufferError::new_err("this memory is read-only"));
    }
    // SAFETY: `view` is not null and, by the caller's word, ours to fill in. The shape points into the view's own `len`,
    // which is why items of several bytes keep their count in `internal`. `obj` takes over the owner's reference.
    unsafe {
        (*view).buf = data.cast_mut();
        (*view).len = (count * item) as isize;
        (*view).readonly = 1;
        (*view).itemsize = item as isize;
        (*view).format =
            if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT { format.as_ptr().cast_mut() } else { ptr::null_mut() };
        (*view).ndim = 1;
        (*view).internal = Box::into_raw(Box::new(count as isize)).cast();
        (*view).shape = if flags & ffi::PyBUF_ND == ffi::PyBUF_ND { (*view).internal.cast() } else { ptr::null_mut() };
        (*view).strides =
            if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES { &raw mut (*view).itemsize } else { ptr::null_mut() };
        (*view).suboffsets = ptr::null_mut();
        (*view).obj = owner.into_any().into_ptr();
    }
    Ok(())
}

/// # Safety
/// `view` was filled in by [`lend`] and is released once.
unsafe fn give_back(view: *mut ffi::Py_buffer) {
    // SAFETY: `lend` put a box there, and nobody else takes it.
    drop(unsafe { Box::from_raw((*view).internal.cast::<isize>()) });
}

/// A number whose zero is all zero bits.
///
/// # Safety
/// It is.
pub(crate) unsafe trait Number: Copy {}

// SAFETY: so integers are.
unsafe impl Number for u8 {}
// SAFETY: so integers are.
unsafe impl Number for i64 {}

/// `len` zeros, where a file says how many: asked for so that memory that is not there is an error and not the process's end,
/// and so that large memory is cleared by the system when it is written to.
///
/// # Errors
/// `MemoryError`, which says for `what`.
pub(crate) fn zeros<T: Number>(len: usize, what: impl Display) -> PyResult<Vec<T>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let lacking = || {
        let bytes = len.saturating_mul(size_of::<T>());
        PyMemoryError::new_err(format!("no memory for {what}, {bytes} bytes"))
    };
    let layout = Layout::array::<T>(len).map_err(|_| lacking())?;
    // SAFETY: the layout is not of size 0: neither `len` nor a number's size is.
    let memory = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(lacking());
    }
    // SAFETY: the global allocator gave it, with the layout of `len` numbers, which are all there.
    Ok(unsafe { Vec::from_raw_parts(memory, len, len) })
}

/// A column of 64-bit integers, native byte order, lent as a buffer of format `q`.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Column(pub(crate) Vec<i64>);

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// # Safety
    /// Called by the interpreter.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let values = &slf.get().0;
        let memory = (values.as_ptr().cast(), values.len(), size_of::<i64>(), c"q");
        // SAFETY: the class is frozen and never touches its vector after it was made.
        unsafe { lend(slf.clone(), view, flags, memory) }
    }

    /// # Safety
    /// Called by the interpreter.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `view` was filled in by `__getbuffer__`.
        unsafe { give_back(view) }
    }
}

/// A finished segment, lent as a buffer of bytes.
#[pyclass(frozen, module = "pystream._core")]
pub(crate) struct Segment(pub(crate) Vec<u8>);

#[pymethods]
impl Segment {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<pystream segment: {} bytes; bytes() and memoryview() take it>", self.0.len())
    }

    /// # Safety
    /// Called by the interpreter.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = &slf.get().0;
        // SAFETY: the class is frozen and never touches its vector after it was made.
        unsafe { lend(slf.clone(), view, flags, (bytes.as_ptr().cast(), bytes.len(), 1, c"B")) }
    }

    /// # Safety
    /// Called by the interpreter.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `view` was filled in by `__getbuffer__`.
        unsafe { give_back(view) }
    }
}

/// A caller's writable memory, held for one call.
pub(crate) struct Output(PyBuffer<u8>);

impl Output {
    /// # Errors
    /// `BufferError` where `object` is no writable, contiguous buffer of bytes.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::<u8>::get(object)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("a segment needs a writable, contiguous buffer"));
        }
        Ok(Self(buffer))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.item_count()
    }

    /// # Errors
    /// `ValueError` where two outputs share memory: each is written as if it were nobody else's.
    pub(crate) fn check_apart<'a>(outputs: impl Iterator<Item = &'a Self>) -> PyResult<()> {
        let mut spans: Vec<_> = outputs.map(|output| (output.0.buf_ptr() as usize, output.len())).collect();
        spans.sort_unstable();
        if spans.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err(PyValueError::new_err("two of the buffers share memory"));
        }
        Ok(())
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: no segment is empty, and `segments_into` refused a buffer shorter than its segment, so the pointer is not
        // null. The view pins that many bytes, writable and contiguous, until `self` is dropped. That nobody else
        // touches them during the call is `segments_into`'s documented condition; the interpreter is not held meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.item_count()) }
    }
}

/// The descriptor `fd`, which from now on is nobody else's.
///
/// # Errors
/// `ValueError` where it is none.
pub(crate) fn take_over(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!("{fd} is no file descriptor")));
    }
    // SAFETY: the caller has given it away (`socket.detach()`), and it is not -1.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
