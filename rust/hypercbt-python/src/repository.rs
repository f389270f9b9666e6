//! `Repository`: points, differences, and the start of everything long.

use std::{path::PathBuf, sync::Arc};

use hypercbt_engine::{BackupRequest, MachineOptions, PointDiskReader};
use hypercbt_repo::{
    Config, CreateOptions, Fence, LocalStorage, Outcome, PointId, RestorePoint, RunId, Storage,
    Timestamp, VmState,
};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{
    chunks::ChunkIndex,
    disk::VirtualDisk,
    documents,
    error::{PointNotFoundError, engine_error, repository_error},
    extents::Extents,
    machine_run::MachineRun,
    point_disk::PointDisk,
    random,
};

/// An open repository in a local folder.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct Repository {
    pub(crate) inner: hypercbt_repo::Repository,
    path: PathBuf,
}

impl Repository {
    /// The restore point of this id.
    pub(crate) fn find(&self, id: &str) -> PyResult<RestorePoint> {
        let id = point_id(id)?;
        self.inner.point(id).map_err(repository_error)
    }
}

#[pymethods]
impl Repository {
    #[staticmethod]
    #[pyo3(signature = (path, *, chunk_bytes, created))]
    fn create(py: Python<'_>, path: PathBuf, chunk_bytes: u64, created: i64) -> PyResult<Self> {
        let chunk_bytes = u32::try_from(chunk_bytes)
            .map_err(|_| repository_error(hypercbt_repo::Error::ChunkSize { chunk_bytes }))?;
        let options = CreateOptions {
            chunk_bytes,
            id: random::repository_id()?,
            created: Timestamp(created),
        };
        let made = py.detach(|| {
            // Before a folder is made that would then stay.
            Config {
                repository: options.id,
                chunk_bytes,
                created: options.created,
            }
            .check()?;
            let storage = Arc::new(LocalStorage::create(&path)?);
            hypercbt_repo::Repository::create(storage, &path.display().to_string(), &options)
        });
        Ok(Self {
            inner: made.map_err(repository_error)?,
            path,
        })
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| {
            let storage: Arc<dyn Storage> = crate::faults::wrap(LocalStorage::open(&path)?);
            hypercbt_repo::Repository::open(storage, &path.display().to_string())
        });
        Ok(Self {
            inner: opened.map_err(repository_error)?,
            path,
        })
    }

    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    #[getter]
    fn path(&self) -> String {
        self.path.display().to_string()
    }

    #[getter]
    fn chunk_bytes(&self) -> u32 {
        self.inner.chunk_bytes()
    }

    fn points(&self, py: Python<'_>) -> PyResult<String> {
        documents::json(
            &py.detach(|| self.inner.points())
                .map_err(repository_error)?,
        )
    }

    fn damaged_points(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let (_, damaged) = py
            .detach(|| self.inner.points_with_damage())
            .map_err(repository_error)?;
        Ok(damaged.iter().map(ToString::to_string).collect())
    }

    fn point(&self, id: &str) -> PyResult<String> {
        documents::json(&self.find(id)?)
    }

    fn delete_point(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        let id = point_id(id)?;
        py.detach(|| self.inner.delete_point(id))
            .map_err(repository_error)
    }

    fn suspects(&self, py: Python<'_>) -> PyResult<String> {
        documents::json(
            &py.detach(|| self.inner.suspects())
                .map_err(repository_error)?,
        )
    }

    fn diff(
        &self,
        py: Python<'_>,
        first: &str,
        first_disk: u32,
        second: &str,
        second_disk: u32,
    ) -> PyResult<Extents> {
        let (first, second) = (self.find(first)?, self.find(second)?);
        let extents = py.detach(|| {
            hypercbt_engine::diff(&self.inner, (&first, first_disk), (&second, second_disk))
        });
        Ok(extents.map_err(engine_error)?.into())
    }

    fn chunk_index(&self, py: Python<'_>) -> PyResult<ChunkIndex> {
        Ok(ChunkIndex::new(
            py.detach(|| self.inner.view()).map_err(repository_error)?,
        ))
    }

    fn disk(&self, py: Python<'_>, point: &str, disk: u32) -> PyResult<PointDisk> {
        let point = self.find(point)?;
        let reader = py.detach(|| PointDiskReader::open(&self.inner, &point, disk));
        Ok(PointDisk::new(reader.map_err(engine_error)?))
    }

    fn point_file(&self, py: Python<'_>, point: &str, name: &str) -> PyResult<PointDisk> {
        let point = self.find(point)?;
        let reader = py.detach(|| PointDiskReader::open_file(&self.inner, &point, name));
        Ok(PointDisk::new(reader.map_err(engine_error)?))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Python call, all by keyword"
    )]
    #[pyo3(signature = (*, machine, name, created, bases, owner, host, checkpoints, reference_points))]
    fn begin_machine(
        &self,
        py: Python<'_>,
        machine: String,
        name: String,
        created: i64,
        bases: Vec<String>,
        owner: Option<String>,
        host: String,
        checkpoints: Vec<String>,
        reference_points: Vec<String>,
    ) -> PyResult<MachineRun> {
        let options = MachineOptions {
            run: random::run_id()?,
            created: Timestamp(created),
            machine,
            name,
            bases: bases
                .iter()
                .map(|id| point_id(id))
                .collect::<PyResult<_>>()?,
            owner,
            vm: Some(VmState {
                host,
                checkpoints,
                reference_points,
            }),
            level: crate::backup::LEVEL,
            pack_bytes: BackupRequest::PACK_BYTES,
        };
        MachineRun::begin(py, &self.inner, options)
    }

    fn baselines(&self, py: Python<'_>) -> PyResult<String> {
        let found = py.detach(|| self.inner.baselines());
        documents::baselines(&found.and_then(readable).map_err(repository_error)?)
    }

    fn leases(&self, py: Python<'_>) -> PyResult<String> {
        let found = py.detach(|| self.inner.leases());
        documents::leases(&found.and_then(readable).map_err(repository_error)?)
    }

    fn run_state(&self, py: Python<'_>, run: &str) -> PyResult<&'static str> {
        let Ok(run) = run.parse() else {
            return Ok(UNKNOWN);
        };
        let state = py.detach(|| self.inner.run_state(run));
        Ok(state
            .map_err(repository_error)?
            .map_or(UNKNOWN, documents::state))
    }

    #[pyo3(signature = (run, *, created))]
    fn fence(&self, py: Python<'_>, run: &str, created: i64) -> PyResult<bool> {
        let run = run_id(run)?;
        let fence = py.detach(|| self.inner.fence(run, Timestamp(created)));
        Ok(fence.map_err(repository_error)? == Fence::Fenced)
    }

    #[pyo3(signature = (run, *, committed))]
    fn close_lease(&self, py: Python<'_>, run: &str, committed: bool) -> PyResult<()> {
        let run = run_id(run)?;
        let outcome = if committed {
            Outcome::Committed
        } else {
            Outcome::Aborted
        };
        py.detach(|| self.inner.close_lease(run, outcome))
            .map_err(repository_error)
    }

    #[pyo3(signature = (*, machine, disks, created))]
    fn add_void(
        &self,
        py: Python<'_>,
        machine: &str,
        disks: Vec<String>,
        created: i64,
    ) -> PyResult<()> {
        let id = random::run_id()?;
        py.detach(|| self.inner.add_void(id, machine, &disks, Timestamp(created)))
            .map(drop)
            .map_err(repository_error)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Python call, all but one by keyword"
    )]
    #[pyo3(signature = (
        disk, *, name, disk_name, created, full = false, changes = None, since = None, new_disk = false,
        audit = "rotate", audit_period_seconds = 28 * 24 * 60 * 60, threads = 0, progress = None
    ))]
    fn backup_disk(
        &self,
        py: Python<'_>,
        disk: &VirtualDisk,
        name: String,
        disk_name: String,
        created: i64,
        full: bool,
        changes: Option<&Extents>,
        since: Option<&str>,
        new_disk: bool,
        audit: &str,
        audit_period_seconds: u64,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let options = crate::backup::Options {
            name,
            disk_name,
            created: Timestamp(created),
            wanted: crate::backup::wanted(full, changes, since)?,
            new_disk,
            audit: crate::backup::audit(audit, audit_period_seconds)?,
            threads,
        };
        crate::backup::run(py, &self.inner, &*disk.get()?, options, progress)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Python call, most of them by keyword"
    )]
    #[pyo3(signature = (
        point, disk, output, *, format, overwrite = false, new_disk_id = false, threads = 0, progress = None
    ))]
    fn restore_disk(
        &self,
        py: Python<'_>,
        point: &str,
        disk: u32,
        output: PathBuf,
        format: &str,
        overwrite: bool,
        new_disk_id: bool,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let point = self.find(point)?;
        let target = crate::restore::target(output, format, overwrite, new_disk_id)?;
        crate::restore::run(py, &self.inner, &point, disk, target, threads, progress)
    }

    #[pyo3(signature = (*, created, since = None, sample_percent = None, threads = 0, progress = None))]
    fn verify(
        &self,
        py: Python<'_>,
        created: i64,
        since: Option<&str>,
        sample_percent: Option<f64>,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let scope = crate::verify::scope(self, since, sample_percent)?;
        crate::verify::run(
            py,
            &self.inner,
            scope,
            Timestamp(created),
            threads,
            progress,
        )
    }
}

/// What is said of a run that this repository knows nothing of.
const UNKNOWN: &str = "unknown";

fn run_id(id: &str) -> PyResult<RunId> {
    id.parse()
        .map_err(|_| misuse(format!("{id:?} is no id of a run")))
}

/// What was found, if nothing else may be there that only the storage does not give at the moment. What is damaged
/// is gone for good; verification tells of it.
fn readable<T>(
    (found, unreadable): (Vec<T>, Vec<hypercbt_repo::Error>),
) -> hypercbt_repo::Result<Vec<T>> {
    let mut failed = unreadable
        .into_iter()
        .filter(|error| !matches!(error, hypercbt_repo::Error::Damaged { .. }));
    failed.next().map_or(Ok(found), Err)
}

pub(crate) fn point_id(id: &str) -> PyResult<PointId> {
    id.parse()
        .map_err(|_| PointNotFoundError::new_err(format!("there is no restore point {id:?}")))
}

pub(crate) fn threads(threads: usize) -> Option<std::num::NonZeroUsize> {
    std::num::NonZeroUsize::new(threads)
}

pub(crate) fn misuse(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}
