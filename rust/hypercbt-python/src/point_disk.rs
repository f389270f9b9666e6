//! `PointDisk`: a disk of a restore point, read without restoring it.

use std::sync::Arc;

use hypercbt_engine::PointDiskReader;
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    bounds,
    buffer::{Memory, WritableBuffer},
    error::engine_error,
    nbd::{NbdServer, PointExport},
};

/// A disk of a restore point. Any number of threads may read at once.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct PointDisk {
    reader: Arc<PointDiskReader>,
}

impl PointDisk {
    pub(crate) fn new(reader: PointDiskReader) -> Self {
        Self {
            reader: Arc::new(reader),
        }
    }

    fn check(&self, offset: u64, length: usize) -> PyResult<()> {
        bounds::check(offset, length, self.reader.size())
    }
}

#[pymethods]
impl PointDisk {
    #[getter]
    fn size(&self) -> u64 {
        self.reader.size()
    }

    fn read_at<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check(offset, length)?;
        PyBytes::new_with(py, length, |buffer| {
            py.detach(|| self.reader.read_at(offset, buffer))
                .map_err(engine_error)
        })
    }

    fn serve(&self, py: Python<'_>, address: &str) -> PyResult<NbdServer> {
        let export = PointExport(Arc::clone(&self.reader));
        NbdServer::start(py, address, Arc::new(export))
    }

    fn read_into(&self, py: Python<'_>, offset: u64, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffer = WritableBuffer::get(buffer)?;
        let memory = buffer.memory();
        self.check(offset, memory.len())?;
        py.detach(move || self.fill(offset, memory))
            .map_err(engine_error)
    }
}

impl PointDisk {
    /// Chunks have to be decompressed somewhere of our own: what others may write to cannot be checked.
    fn fill(&self, offset: u64, memory: Memory) -> hypercbt_engine::Result<()> {
        const STEP: usize = 1 << 20;
        let mut own = vec![0; memory.len().min(STEP)];
        let (mut rest, mut at) = (memory, offset);
        while rest.len() > 0 {
            let (part, after) = rest.split_at(rest.len().min(STEP));
            let bytes = own.get_mut(..part.len()).unwrap_or_default();
            self.reader.read_at(at, bytes)?;
            part.copy_from(bytes);
            at += part.len() as u64;
            rest = after;
        }
        Ok(())
    }
}
