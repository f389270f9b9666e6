//! `MachineRun`: the disks and files of one machine on their way into one restore point.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, TryLockError},
};

use hypercbt_engine::{AuditStop, DiskRequest, MachineOptions, SystemClock, Wanted};
use hypercbt_repo::{BaselineDisk, Timestamp};
use pyo3::prelude::*;

use crate::{
    backup,
    disk::VirtualDisk,
    documents,
    error::{chain, engine_error},
    extents::Extents,
    progress::PyObserver,
    random,
    repository::{misuse, point_id, threads},
};

type Run = hypercbt_engine::MachineRun<SystemClock>;

/// A run that has begun. One thread at a time; only its audit is stopped from any.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct MachineRun {
    run: Mutex<Option<Run>>,
    id: String,
    machine: String,
    audit_stop: AuditStop,
}

impl MachineRun {
    pub(crate) fn begin(
        py: Python<'_>,
        repository: &hypercbt_repo::Repository,
        options: MachineOptions,
    ) -> PyResult<Self> {
        let machine = options.machine.clone();
        let begun = py.detach(|| Run::begin(repository, options, SystemClock::start()));
        let run = begun.map_err(engine_error)?;
        Ok(Self {
            id: run.id().to_string(),
            machine,
            audit_stop: run.audit_stop(),
            run: Mutex::new(Some(run)),
        })
    }

    /// The run, unless another thread has it: waiting for that one could take hours, or for ever where it is the
    /// caller's own.
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<Run>>> {
        match self.run.try_lock() {
            Ok(run) => Ok(run),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(misuse("the run is in use by another call")),
        }
    }

    /// Does something with the open run, detached.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Run) -> T + Send,
    ) -> PyResult<T> {
        let mut run = self.lock()?;
        let run = run.as_mut().ok_or_else(over)?;
        Ok(py.detach(|| work(run)))
    }

    fn take(&self) -> PyResult<Run> {
        self.lock()?.take().ok_or_else(over)
    }
}

fn over() -> PyErr {
    misuse("the run is over")
}

#[pymethods]
impl MachineRun {
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Python call, all but one by keyword"
    )]
    #[pyo3(signature = (
        disk, *, disk_name, location, method, changes = None, base = None, fallback_reason = None, sealed_in = None,
        audit = "rotate", audit_period_seconds = 28 * 24 * 60 * 60, threads = 0, progress = None
    ))]
    fn backup_disk(
        &self,
        py: Python<'_>,
        disk: &VirtualDisk,
        disk_name: String,
        location: Option<String>,
        method: &str,
        changes: Option<&Extents>,
        base: Option<&str>,
        fallback_reason: Option<String>,
        sealed_in: Option<String>,
        audit: &str,
        audit_period_seconds: u64,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let disk = disk.get()?;
        let request = DiskRequest {
            disk: &disk,
            name: disk_name,
            location,
            wanted: wanted(method, changes, base)?,
            fallback_reason,
            sealed_in,
            audit: backup::audit(audit, audit_period_seconds)?,
            seed: random::seed()?,
            workers: self::threads(threads),
        };
        let mut observer = PyObserver::new(progress);
        let read = |run: &mut Run| run.backup_disk(&request, &mut observer);
        let read = self.with(py, read)?;
        documents::json(&read.map_err(|error| observer.reason(error))?)
    }

    #[pyo3(signature = (name, path, *, progress = None))]
    fn store_file(
        &self,
        py: Python<'_>,
        name: &str,
        path: PathBuf,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let mut observer = PyObserver::new(progress);
        let store = |run: &mut Run| run.store_file(name, &path, &mut observer).map(drop);
        let stored = self.with(py, store)?;
        stored.map_err(|error| observer.reason(error))
    }

    fn stop_audit(&self) {
        self.audit_stop.stop();
    }

    #[pyo3(signature = (*, consistency))]
    fn commit(&self, py: Python<'_>, consistency: Option<&str>) -> PyResult<String> {
        let made = self.with(py, |run| run.commit(consistency))?;
        documents::json(&made.map_err(engine_error)?)
    }

    #[pyo3(signature = (*, created, reference_point, disks))]
    fn add_baseline(
        &self,
        py: Python<'_>,
        created: i64,
        reference_point: String,
        disks: Vec<(String, u64, String, Option<String>)>,
    ) -> PyResult<()> {
        let disk = |(disk_id, size, rct_id, location)| BaselineDisk {
            machine: self.machine.clone(),
            disk_id,
            location,
            size,
            rct_id,
        };
        let disks = disks.into_iter().map(disk).collect();
        let add = |run: &mut Run| run.add_baseline(Timestamp(created), reference_point, disks);
        self.with(py, add)?.map_err(engine_error)
    }

    fn close(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let run = self.take()?;
        let unfinished = py.detach(|| run.close());
        Ok(unfinished.iter().map(|error| chain(error)).collect())
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let run = self.take()?;
        py.detach(|| run.abort()).map_err(engine_error)
    }

    fn leave_open(&self, py: Python<'_>) -> PyResult<()> {
        let run = self.take()?;
        py.detach(|| run.leave_open());
        Ok(())
    }
}

impl Drop for MachineRun {
    /// Whoever lets go of a run without a word has not tidied up after it: its lease stays open to say so.
    fn drop(&mut self) {
        if let Ok(mut run) = self.lock()
            && let Some(run) = run.take()
        {
            Python::attach(|py| py.detach(|| run.leave_open()));
        }
    }
}

fn wanted(method: &str, changes: Option<&Extents>, base: Option<&str>) -> PyResult<Wanted> {
    match (method, changes, base) {
        ("full", None, None) => Ok(Wanted::Full),
        ("compare", None, None) => Ok(Wanted::Compare),
        ("rct", Some(changes), Some(base)) => Ok(Wanted::Rct {
            changes: changes.inner.clone(),
            base: point_id(base)?,
        }),
        ("full" | "compare", ..) => Err(misuse("only rct takes changes and a base")),
        ("rct", ..) => Err(misuse("rct takes changes and a base")),
        (other, ..) => Err(misuse(format!("unknown method {other:?}"))),
    }
}
