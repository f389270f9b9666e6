//! Buffers that belong to Python: the only place with unsafe code.
//!
//! A buffer that a caller gave may be looked at and written to by other threads of its own while we fill it.
//! So no reference to its bytes ever exists here: raw pointers go to read(2), or to a copy.
#![allow(
    unsafe_code,
    reason = "Python's memory can only be reached through pointers"
)]

use std::ffi::c_void;

use pyo3::{
    buffer::{ElementType, PyUntypedBuffer},
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyMemoryView},
};

/// A writable, contiguous buffer of a caller, held for as long as this lives.
pub(crate) struct WritableBuffer {
    // Keeps the memory alive and in place; released with the interpreter attached, by its own drop.
    _buffer: PyUntypedBuffer,
    memory: Memory,
}

/// Where the bytes of a buffer are.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory stays where it is while the exporter's buffer is held, which whoever made this
// does until the last use; writes go through the kernel or through raw copies, never through references.
unsafe impl Send for Memory {}

impl WritableBuffer {
    /// Takes hold of `object`'s buffer.
    pub(crate) fn get(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if buffer.readonly() {
            return Err(PyValueError::new_err("the buffer is read-only"));
        }
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("the buffer is not contiguous"));
        }
        let memory = Memory {
            start: buffer.buf_ptr().cast(),
            len: buffer.len_bytes(),
        };
        Ok(Self {
            _buffer: buffer,
            memory,
        })
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }
}

impl Memory {
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The first `len` bytes and the rest. Both are inside this memory.
    pub(crate) fn split_at(self, len: usize) -> (Self, Self) {
        assert!(
            len <= self.len,
            "a part of a buffer is not longer than the buffer"
        );
        // SAFETY: `len` is at most the length of the allocation that `start` points to.
        let rest = unsafe { self.start.add(len) };
        (
            Self {
                start: self.start,
                len,
            },
            Self {
                start: rest,
                len: self.len - len,
            },
        )
    }

    /// Fills all of it with zeros.
    pub(crate) fn zero(self) {
        // SAFETY: `start` is valid for writes of `len` bytes: the holder of the buffer upholds it.
        unsafe { self.start.write_bytes(0, self.len) }
    }

    /// Copies `bytes`, which must be as long as this.
    pub(crate) fn copy_from(self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.len, "a copy fills the whole part");
        // SAFETY: both are valid for `len` bytes; `bytes` is ours and cannot overlap a foreign buffer.
        unsafe {
            self.start
                .copy_from_nonoverlapping(bytes.as_ptr(), self.len);
        }
    }

    /// Reads from `file` at `at` until it is full.
    #[cfg(unix)]
    pub(crate) fn read_from(mut self, file: &std::fs::File, mut at: u64) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;

        while self.len > 0 {
            let position =
                libc::off_t::try_from(at).map_err(|_| std::io::ErrorKind::InvalidInput)?;
            let target: *mut c_void = self.start.cast();
            // SAFETY: `target` is valid for writes of `len` bytes, and the descriptor is open.
            let read = unsafe { libc::pread(file.as_raw_fd(), target, self.len, position) };
            match usize::try_from(read) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self = self.split_at(read).1;
                    at += read as u64;
                }
                Err(_) => {
                    let error = std::io::Error::last_os_error();
                    if error.kind() != std::io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The `(n, 2)` or flat uint64 array that `object` exports, as pairs. `None` if it exports no buffer.
pub(crate) fn pairs(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<(u64, u64)>>> {
    let Ok(buffer) = PyUntypedBuffer::get(object) else {
        return Ok(None);
    };
    if !matches!(buffer.shape(), [] | [_] | [_, 2]) {
        return Err(PyValueError::new_err(
            "a buffer of extents must be flat or have two columns",
        ));
    }
    let words = if let Ok(words) = buffer.as_typed::<u64>() {
        words.to_vec(object.py())?
    } else if holds_words(&buffer) {
        unaligned_words(object)?
    } else {
        words_of_bytes(object, &buffer)?
    };
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PyValueError::new_err(
            "extents must be pairs of offset and length",
        ));
    }
    Ok(Some(
        pairs
            .iter()
            .map(|[offset, length]| (*offset, *length))
            .collect(),
    ))
}

fn holds_words(buffer: &PyUntypedBuffer) -> bool {
    ElementType::from_format(buffer.format()) == ElementType::UnsignedInteger { bytes: 8 }
}

/// uint64 that does not lie where one may: in a slice of bytes, or in an empty array, which lies anywhere.
fn unaligned_words(object: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let bytes = PyMemoryView::from(object)?.call_method0("tobytes")?;
    let (words, _) = bytes.cast::<PyBytes>()?.as_bytes().as_chunks::<8>();
    Ok(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

/// bytes, bytearray and memoryview of bytes: little-endian words, as a file holds them.
fn words_of_bytes(object: &Bound<'_, PyAny>, buffer: &PyUntypedBuffer) -> PyResult<Vec<u64>> {
    let bytes = buffer
        .as_typed::<u8>()
        .map_err(|_| PyValueError::new_err("a buffer of extents must hold uint64 or bytes"))?
        .to_vec(object.py())?;
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(PyValueError::new_err(
            "bytes of extents must be pairs of 64-bit integers",
        ));
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
