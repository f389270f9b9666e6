//! `Extents`: a set of bytes of a disk.

use std::ffi::{CStr, c_int, c_void};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use pyo3::{
    exceptions::{PyIndexError, PyOverflowError, PyValueError},
    ffi,
    prelude::*,
};

use crate::buffer;

/// Byte ranges of a virtual disk: sorted, disjoint, not adjacent.
#[pyclass(frozen, module = "hypercbt", eq)]
#[derive(PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) inner: hypercbt_extent::Extents,
    /// The same as offset and length, row by row: what the buffer protocol hands out.
    rows: Vec<[u64; 2]>,
}

impl From<hypercbt_extent::Extents> for Extents {
    fn from(inner: hypercbt_extent::Extents) -> Self {
        let rows = inner
            .iter()
            .map(|extent| [extent.start().0, extent.len().0])
            .collect();
        Self { inner, rows }
    }
}

#[pymethods]
impl Extents {
    #[new]
    #[pyo3(signature = (extents = None))]
    fn new(extents: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(extents) = extents else {
            return Ok(hypercbt_extent::Extents::new().into());
        };
        if let Ok(same) = extents.cast::<Self>() {
            return Ok(same.get().inner.clone().into());
        }
        let pairs = match buffer::pairs(extents)? {
            Some(pairs) => pairs,
            None => extents
                .try_iter()?
                .map(|pair| pair?.extract())
                .collect::<PyResult<_>>()?,
        };
        let extents: Vec<Extent> = pairs.into_iter().map(extent).collect::<PyResult<_>>()?;
        Ok(hypercbt_extent::Extents::from_unsorted(extents).into())
    }

    fn align(&self, grid: u64) -> PyResult<Self> {
        let grid = positive(grid, "grid")?;
        Ok(self.inner.align(grid, DiskOffset(u64::MAX)).into())
    }

    fn coalesce(&self, gap: u64) -> Self {
        self.inner.coalesce(ByteLen(gap)).into()
    }

    fn split(&self, grid: u64) -> PyResult<Vec<(u64, u64)>> {
        let grid = positive(grid, "grid")?;
        Ok(self
            .inner
            .split(grid)
            .map(|extent| (extent.start().0, extent.len().0))
            .collect())
    }

    fn union(&self, other: &Self) -> Self {
        self.inner.union(&other.inner).into()
    }

    fn intersect(&self, other: &Self) -> Self {
        self.inner.intersect(&other.inner).into()
    }

    fn subtract(&self, other: &Self) -> Self {
        self.inner.subtract(&other.inner).into()
    }

    #[getter]
    fn total_bytes(&self) -> u64 {
        self.inner.total().0
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<(u64, u64)> {
        let from_end = usize::try_from(index)
            .ok()
            .or_else(|| self.rows.len().checked_add_signed(index));
        let [offset, length] = from_end
            .and_then(|index| self.rows.get(index))
            .ok_or_else(|| PyIndexError::new_err("there are not that many extents"))?;
        Ok((*offset, *length))
    }

    fn __contains__(&self, offset: &Bound<'_, PyAny>) -> PyResult<bool> {
        match offset.extract() {
            Ok(offset) => Ok(self.inner.contains(DiskOffset(offset))),
            // No disk has such an offset, so nobody's extents do.
            Err(error) if error.is_instance_of::<PyOverflowError>(offset.py()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn __repr__(&self) -> String {
        let shown: Vec<String> = self
            .rows
            .iter()
            .take(4)
            .map(|[offset, length]| format!("({offset}, {length})"))
            .collect();
        let more = if self.rows.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        format!("Extents([{}{more}])", shown.join(", "))
    }

    /// Hands out the rows as a read-only uint64 array of shape `(n, 2)`, without a copy.
    #[allow(unsafe_code, reason = "the buffer protocol is a C structure")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        const FORMAT: &CStr = c"Q";
        const ITEM: isize = 8;
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(pyo3::exceptions::PyBufferError::new_err(
                "extents are read-only",
            ));
        }
        let rows = &slf.get().rows;
        let len =
            isize::try_from(rows.len()).map_err(|_| PyValueError::new_err("too many extents"))?;
        let start: *const [u64; 2] = rows.as_ptr();
        // Shape and strides live in `internal` until the buffer is released.
        let layout = Box::into_raw(Box::new([len, 2, 2 * ITEM, ITEM]));
        let wants = |flag: c_int| flags & flag == flag;
        // SAFETY: Python gives a valid `view`. The rows never change (the class is frozen) and live as long as
        // `obj`, of which the view holds a reference; `layout` lives until `__releasebuffer__`.
        unsafe {
            (*view).buf = start.cast_mut().cast::<c_void>();
            (*view).len = len * 2 * ITEM;
            (*view).itemsize = ITEM;
            (*view).readonly = 1;
            (*view).ndim = 2;
            (*view).format = if wants(ffi::PyBUF_FORMAT) {
                FORMAT.as_ptr().cast_mut()
            } else {
                std::ptr::null_mut()
            };
            (*view).shape = if wants(ffi::PyBUF_ND) {
                layout.cast()
            } else {
                std::ptr::null_mut()
            };
            (*view).strides = if wants(ffi::PyBUF_STRIDES) {
                layout.cast::<isize>().add(2)
            } else {
                std::ptr::null_mut()
            };
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = layout.cast();
            (*view).obj = slf.into_any().into_ptr();
        }
        Ok(())
    }

    #[allow(unsafe_code, reason = "the buffer protocol is a C structure")]
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `internal` is the box that `__getbuffer__` made for this view, released once.
        unsafe { drop(Box::from_raw((*view).internal.cast::<[isize; 4]>())) }
    }
}

/// One extent of a pair. An empty one is refused: it says nothing, and is often a mistake.
fn extent((offset, length): (u64, u64)) -> PyResult<Extent> {
    Extent::new(DiskOffset(offset), ByteLen(length)).ok_or_else(|| {
        PyValueError::new_err(format!(
            "({offset}, {length}) is no extent: it is empty or ends past 2**64"
        ))
    })
}

fn positive(value: u64, name: &str) -> PyResult<ByteLen> {
    if value == 0 {
        return Err(PyValueError::new_err(format!("{name} must be at least 1")));
    }
    Ok(ByteLen(value))
}
