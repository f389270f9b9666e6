//! Chunk ids and the index, for pipelines that bring their own data.

use std::sync::Arc;

use hypercbt_repo::{RecordKind, View};
use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyBytes};

use crate::{error::repository_error, repository::misuse};

const ID_BYTES: usize = 32;

/// The index of a repository as it was when this was made. Any number of threads may ask.
#[pyclass(frozen, module = "hypercbt")]
pub(crate) struct ChunkIndex {
    view: Arc<View>,
}

impl ChunkIndex {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self { view }
    }
}

#[pymethods]
impl ChunkIndex {
    fn known<'py>(&self, py: Python<'py>, ids: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let (ids, rest) = ids.as_chunks::<ID_BYTES>();
        if !rest.is_empty() {
            return Err(misuse("chunk ids are 32 bytes each"));
        }
        let places = py
            .detach(|| self.view.places(RecordKind::Chunk, ids))
            .map_err(repository_error)?;
        let flags: Vec<u8> = places
            .iter()
            .map(|place| u8::from(place.is_some()))
            .collect();
        Ok(PyBytes::new(py, &flags))
    }
}

/// The ids of the chunks of `data`, 32 bytes each; 32 zero bytes where a chunk is all zero.
#[pyfunction]
#[pyo3(signature = (data, chunk_size))]
pub(crate) fn chunk_ids(
    py: Python<'_>,
    data: PyBackedBytes,
    chunk_size: usize,
) -> PyResult<Bound<'_, PyBytes>> {
    if chunk_size == 0 {
        return Err(misuse("a chunk has at least one byte"));
    }
    let ids = py.detach(|| hypercbt_engine::chunk_ids(&data, chunk_size));
    let bytes: Vec<u8> = ids
        .iter()
        .flat_map(|id| id.map_or([0; ID_BYTES], |id| id.0))
        .collect();
    Ok(PyBytes::new(py, &bytes))
}
