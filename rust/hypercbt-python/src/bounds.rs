//! Whether a request of Python lies on its disk. Asked before memory is taken: a length past the end must not allocate.

use pyo3::{exceptions::PyValueError, prelude::*};

/// Refuses a range that leaves a disk of `size` bytes.
pub(crate) fn check(offset: u64, length: usize, size: u64) -> PyResult<()> {
    let end = offset.checked_add(length as u64);
    if end.is_some_and(|end| end <= size) {
        return Ok(());
    }
    Err(outside(offset, length as u64, size))
}

/// What is said of such a range.
pub(crate) fn outside(offset: u64, length: u64, size: u64) -> PyErr {
    PyValueError::new_err(format!(
        "{length} bytes at {offset} are outside the disk of {size} bytes"
    ))
}
