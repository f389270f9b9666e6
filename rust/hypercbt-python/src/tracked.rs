//! `TrackedDisk`: a virtual disk that is written, with its change tracker and its checkpoints.

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::{FileSystem, LocalFiles, VolatileFiles};
use hypercbt_nbd::Export;
use hypercbt_rct::RctId;
use hypercbt_tracked::{Error, TrackedOptions, Tracking};
use hypercbt_vhdx::{NewKind, NewVhdx, VhdxOptions, create_vhdx};
use pyo3::{exceptions::PyValueError, prelude::*, pybacked::PyBackedBytes, types::PyBytes};

use crate::{
    bounds,
    error::{disk_error, tracked_error},
    extents::Extents,
    nbd::NbdServer,
    random,
};

/// A tracked disk that can be closed while others still hold it: what runs is waited for.
pub(crate) struct Shared {
    disk: RwLock<Option<hypercbt_tracked::TrackedDisk>>,
    /// Kept for who asks after it was closed; only a resize changes it.
    size: AtomicU64,
    sector_bytes: u32,
    /// The files of a machine whose power can be cut.
    volatile: Option<VolatileFiles>,
}

/// Why a call on a shared disk failed.
pub(crate) enum Refused {
    /// It was closed.
    Closed,
    /// The disk said so.
    Disk(Error),
}

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed => PyValueError::new_err("the disk is closed"),
            Refused::Disk(error) => tracked_error(error),
        }
    }
}

impl Shared {
    /// Does one thing with the open disk.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&hypercbt_tracked::TrackedDisk) -> hypercbt_tracked::Result<T>,
    ) -> Result<T, Refused> {
        let disk = self.disk.read().unwrap_or_else(PoisonError::into_inner);
        let disk = disk.as_ref().ok_or(Refused::Closed)?;
        work(disk).map_err(Refused::Disk)
    }

    pub(crate) fn disk_size(&self) -> ByteLen {
        ByteLen(self.size.load(Ordering::Acquire))
    }

    pub(crate) fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }
}

/// A virtual disk that is written, and never without its tracker. Any number of threads may use it at once.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct TrackedDisk {
    pub(crate) shared: Arc<Shared>,
}

impl TrackedDisk {
    /// Does one thing with the open disk, without holding the interpreter.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&hypercbt_tracked::TrackedDisk) -> hypercbt_tracked::Result<T>,
    ) -> PyResult<T> {
        Ok(py.detach(|| self.shared.with(work))?)
    }
}

/// The id, the frozen file, and what had changed at that moment since other ids.
type FrozenRow = (String, PathBuf, Vec<(String, Extents)>);

/// The id of a checkpoint where it is known, the frozen file, and the file that the guest writes to.
type CheckpointRow = (Option<String>, PathBuf, PathBuf);

#[pymethods]
impl TrackedDisk {
    #[staticmethod]
    #[pyo3(signature = (path, *, size, fixed = false, block_bytes, logical_sector_bytes = 512, physical_sector_bytes = 4096))]
    fn create_file(
        py: Python<'_>,
        path: PathBuf,
        size: u64,
        fixed: bool,
        block_bytes: u32,
        logical_sector_bytes: u32,
        physical_sector_bytes: u32,
    ) -> PyResult<()> {
        let options = VhdxOptions {
            size: ByteLen(size),
            block_bytes,
            logical_sector_bytes,
            physical_sector_bytes,
            disk_id: random::guid()?,
            file_write_guid: random::guid()?,
            data_write_guid: random::guid()?,
        };
        let kind = if fixed {
            NewKind::Fixed
        } else {
            NewKind::Dynamic
        };
        let new = NewVhdx { kind, options };
        py.detach(|| create_vhdx(&LocalFiles, &path, &new))
            .map_err(disk_error)
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, volatile = false))]
    fn open(py: Python<'_>, path: PathBuf, volatile: bool) -> PyResult<Self> {
        let options = TrackedOptions::default();
        let random = random::stream()?;
        let volatile = volatile.then(VolatileFiles::default);
        let files: Arc<dyn FileSystem> = match &volatile {
            Some(machine) => Arc::new(machine.clone()),
            None => Arc::new(LocalFiles),
        };
        let opened =
            py.detach(|| hypercbt_tracked::TrackedDisk::open(files, &path, &options, random));
        let disk = opened.map_err(tracked_error)?;
        let shared = Shared {
            size: AtomicU64::new(disk.size().0),
            sector_bytes: disk.logical_sector_bytes(),
            volatile,
            disk: RwLock::new(Some(disk)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Closes it when all calls that run have returned. A second close does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = py.detach(|| {
            let mut disk = self
                .shared
                .disk
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            disk.take()
                .map_or(Ok(()), hypercbt_tracked::TrackedDisk::close)
        });
        closed.map_err(tracked_error)
    }

    /// Drops it without what was not synced. Calls that run fail, and are waited for.
    fn cut_power(&self, py: Python<'_>) -> PyResult<()> {
        let Some(machine) = &self.shared.volatile else {
            return Err(PyValueError::new_err(
                "only a disk that was opened as volatile has a power that can be cut",
            ));
        };
        py.detach(|| {
            machine.cut_power();
            let disk = self.shared.disk.write();
            drop(disk.unwrap_or_else(PoisonError::into_inner).take());
        });
        Ok(())
    }

    /// Serves the disk over NBD until the server is stopped.
    fn serve(&self, py: Python<'_>, address: &str) -> PyResult<NbdServer> {
        let shared: Arc<dyn Export> = Arc::clone(&self.shared) as _;
        NbdServer::start(py, address, shared)
    }

    #[getter]
    fn size(&self) -> u64 {
        self.shared.disk_size().0
    }

    #[getter]
    fn logical_sector_bytes(&self) -> u32 {
        self.shared.sector_bytes
    }

    /// How tracking began, and why it was lost if it was.
    #[getter]
    fn tracking(&self, py: Python<'_>) -> PyResult<(&'static str, Option<String>)> {
        self.with(py, |disk| {
            Ok(match disk.tracking() {
                Tracking::Continued => ("continued", None),
                Tracking::Started => ("started", None),
                Tracking::Lost(reason) => ("lost", Some(reason.to_string())),
            })
        })
    }

    fn read_at<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        bounds::check(offset, length, self.shared.disk_size().0)?;
        PyBytes::new_with(py, length, |buffer| {
            self.with(py, |disk| disk.read_at(DiskOffset(offset), buffer))
        })
    }

    fn write_at(&self, py: Python<'_>, offset: u64, data: PyBackedBytes) -> PyResult<()> {
        self.with(py, |disk| disk.write_at(DiskOffset(offset), &data))
    }

    fn zero(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<()> {
        match self.extent(offset, length)? {
            Some(extent) => self.with(py, |disk| disk.zero(extent)),
            None => Ok(()),
        }
    }

    fn unmap(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<()> {
        match self.extent(offset, length)? {
            Some(extent) => self.with(py, |disk| disk.unmap(extent)),
            None => Ok(()),
        }
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, hypercbt_tracked::TrackedDisk::flush)
    }

    #[pyo3(signature = (since = Vec::new()))]
    fn freeze(&self, py: Python<'_>, since: Vec<String>) -> PyResult<FrozenRow> {
        let since = since.iter().map(|id| parse_id(id));
        let since = since.collect::<PyResult<Vec<RctId>>>()?;
        let frozen = self.with(py, |disk| disk.freeze_since(&since))?;
        let changes = frozen.changes.into_iter();
        let changes = changes.map(|(id, changes)| (id.to_string(), changes.into()));
        Ok((frozen.id.to_string(), frozen.file, changes.collect()))
    }

    fn thaw(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, hypercbt_tracked::TrackedDisk::thaw)
    }

    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, hypercbt_tracked::TrackedDisk::discard)
    }

    fn add_layer(
        &self,
        py: Python<'_>,
        path: PathBuf,
        writes: Vec<(u64, PyBackedBytes)>,
    ) -> PyResult<()> {
        self.with(py, |disk| {
            let writes = writes.iter().map(|(at, bytes)| (DiskOffset(*at), &**bytes));
            disk.add_layer(&path, &writes.collect::<Vec<_>>())
        })
    }

    fn resize(&self, py: Python<'_>, size: u64) -> PyResult<()> {
        self.with(py, |disk| {
            let resized = disk.resize(ByteLen(size));
            self.shared.size.store(disk.size().0, Ordering::Release);
            resized
        })
    }

    /// Oldest first.
    #[getter]
    fn checkpoints(&self, py: Python<'_>) -> PyResult<Vec<CheckpointRow>> {
        let checkpoints = self.with(py, |disk| Ok(disk.checkpoints()))?;
        let rows = checkpoints.into_iter().map(|checkpoint| {
            let id = checkpoint.id.map(|id| id.to_string());
            (id, checkpoint.file, checkpoint.leaf)
        });
        Ok(rows.collect())
    }

    fn seal(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self
            .with(py, hypercbt_tracked::TrackedDisk::seal)?
            .to_string())
    }

    fn changes_since(&self, py: Python<'_>, id: &str) -> PyResult<Extents> {
        let id = parse_id(id)?;
        Ok(self.with(py, |disk| disk.changes_since(&id))?.into())
    }

    fn forget(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        let id = parse_id(id)?;
        self.with(py, |disk| disk.forget(&id))
    }

    #[getter]
    fn ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let ids = self.with(py, hypercbt_tracked::TrackedDisk::ids)?;
        Ok(ids.iter().map(ToString::to_string).collect())
    }

    fn flush_tracking(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, hypercbt_tracked::TrackedDisk::flush_tracking)
    }
}

impl TrackedDisk {
    /// The extent, or none for one without bytes.
    fn extent(&self, offset: u64, length: u64) -> PyResult<Option<Extent>> {
        if length == 0 {
            return Ok(None);
        }
        Extent::new(DiskOffset(offset), ByteLen(length))
            .map(Some)
            .ok_or_else(|| bounds::outside(offset, length, self.shared.disk_size().0))
    }
}

/// An id as a person wrote it. One that is none is not known either, but the mistake is another.
fn parse_id(text: &str) -> PyResult<RctId> {
    text.parse().map_err(|error: hypercbt_rct::InvalidRctId| {
        PyValueError::new_err(format!("{text:?}: {error}"))
    })
}
