//! `VirtualDisk`: a disk file and its parents, for reading.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::{OpenOptions, Place};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};

use crate::{
    bounds,
    buffer::{Memory, WritableBuffer},
    documents,
    error::disk_error,
    extents::Extents,
    repository::misuse,
};

/// A virtual disk, opened for reading. Any number of threads may read at once.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct VirtualDisk {
    disk: Mutex<Option<Arc<hypercbt_vhdx::VirtualDisk>>>,
}

impl VirtualDisk {
    /// The open disk; what runs keeps it open, whoever closes it meanwhile.
    pub(crate) fn get(&self) -> PyResult<Arc<hypercbt_vhdx::VirtualDisk>> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.clone()
            .ok_or_else(|| PyValueError::new_err("the disk is closed"))
    }
}

#[pymethods]
impl VirtualDisk {
    #[staticmethod]
    #[pyo3(signature = (path, *, format = None, parents = Vec::new(), parent_folders = Vec::new()))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        format: Option<&str>,
        parents: Vec<PathBuf>,
        parent_folders: Vec<PathBuf>,
    ) -> PyResult<Self> {
        let options = OpenOptions {
            parents,
            parent_folders,
        };
        let opened = match format {
            None => py.detach(|| hypercbt_vhdx::VirtualDisk::open(&path, &options)),
            Some("vhdx") => py.detach(|| hypercbt_vhdx::VirtualDisk::open_vhdx(&path, &options)),
            Some("vhd") => py.detach(|| hypercbt_vhdx::VirtualDisk::open_vhd(&path, &options)),
            Some("raw") => py.detach(|| hypercbt_vhdx::VirtualDisk::open_raw(&path)),
            Some(other) => return Err(misuse(format!("unknown disk format {other:?}"))),
        };
        let disk = opened.map_err(disk_error)?;
        Ok(Self {
            disk: Mutex::new(Some(Arc::new(disk))),
        })
    }

    fn close(&self) {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    #[getter]
    fn size(&self) -> PyResult<u64> {
        Ok(self.get()?.size().0)
    }

    #[getter]
    fn format(&self) -> PyResult<&'static str> {
        Ok(self.get()?.format().as_str())
    }

    #[getter]
    fn disk_id(&self) -> PyResult<Option<String>> {
        Ok(self.get()?.disk_id().map(|id| id.to_string()))
    }

    #[getter]
    fn logical_sector_bytes(&self) -> PyResult<u32> {
        Ok(self.get()?.logical_sector_bytes())
    }

    #[getter]
    fn physical_sector_bytes(&self) -> PyResult<u32> {
        Ok(self.get()?.physical_sector_bytes())
    }

    #[getter]
    fn block_bytes(&self) -> PyResult<Option<u32>> {
        Ok(self.get()?.block_bytes())
    }

    #[getter]
    fn allocated(&self, py: Python<'_>) -> PyResult<Extents> {
        let disk = self.get()?;
        Ok(py.detach(|| disk.allocated()).into())
    }

    fn allocated_above(&self, py: Python<'_>, index: usize) -> PyResult<Extents> {
        let disk = self.get()?;
        Ok(py.detach(|| disk.allocated_above(index)).into())
    }

    fn layers(&self) -> PyResult<String> {
        Ok(documents::layers(self.get()?.layers()))
    }

    fn segments(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<Vec<Row>> {
        let disk = self.get()?;
        let Some(extent) = Extent::new(DiskOffset(offset), ByteLen(length)) else {
            return Ok(Vec::new());
        };
        let segments = py.detach(|| disk.resolve(extent)).map_err(disk_error)?;
        let row = |segment: hypercbt_vhdx::Segment| {
            let (file, at) = match segment.place {
                Place::Data { file, at } => (Some(file.0), Some(at.0)),
                Place::Zero => (None, None),
            };
            (segment.extent.start().0, segment.extent.len().0, file, at)
        };
        Ok(segments.into_iter().map(row).collect())
    }

    fn read_at<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let disk = self.get()?;
        bounds::check(offset, length, disk.size().0)?;
        PyBytes::new_with(py, length, |buffer| {
            py.detach(|| disk.read_at(DiskOffset(offset), buffer))
                .map_err(disk_error)
        })
    }

    fn read_into(&self, py: Python<'_>, offset: u64, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let disk = self.get()?;
        let buffer = WritableBuffer::get(buffer)?;
        let memory = buffer.memory();
        bounds::check(offset, memory.len(), disk.size().0)?;
        py.detach(move || read_into(&disk, offset, memory))
            .map_err(disk_error)
    }
}

/// Offset, length, file number and offset in that file of a segment; without a file it is zeros.
type Row = (u64, u64, Option<u32>, Option<u64>);

/// Reads straight into the caller's memory wherever the bytes lie plainly in a local file.
fn read_into(
    disk: &hypercbt_vhdx::VirtualDisk,
    offset: u64,
    memory: Memory,
) -> hypercbt_vhdx::Result<()> {
    let Some(extent) = Extent::new(DiskOffset(offset), ByteLen(memory.len() as u64)) else {
        return Ok(());
    };
    let mut rest = memory;
    for segment in disk.segments(extent)? {
        let len =
            usize::try_from(segment.extent.len().0).expect("a part of a buffer fits in memory");
        let (part, after) = rest.split_at(len);
        rest = after;
        match segment.place {
            Place::Zero => part.zero(),
            Place::Data { file, at } => {
                #[cfg(unix)]
                if let Some(open) = disk.file(file)
                    && part.read_from(open, at.0).is_ok()
                {
                    continue;
                }
                // A log overlay, another platform, or an error that has to be told in the disk's words.
                copy(disk, file, at, part)?;
            }
        }
    }
    Ok(())
}

fn copy(
    disk: &hypercbt_vhdx::VirtualDisk,
    file: hypercbt_vhdx::FileIndex,
    at: hypercbt_vhdx::FileOffset,
    memory: Memory,
) -> hypercbt_vhdx::Result<()> {
    const STEP: usize = 1 << 20;
    let mut own = vec![0; memory.len().min(STEP)];
    let (mut rest, mut at) = (memory, at);
    while rest.len() > 0 {
        let len = rest.len().min(STEP);
        let (part, after) = rest.split_at(len);
        let bytes = own.get_mut(..len).unwrap_or_default();
        disk.read_file(file, at, bytes)?;
        part.copy_from(bytes);
        rest = after;
        at.0 += len as u64;
    }
    Ok(())
}
