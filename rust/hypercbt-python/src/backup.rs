//! `Repository.backup_disk`: the arguments of a backup, and its result.

use hypercbt_engine::{AuditPolicy, BackupRequest, SystemClock, Wanted, backup};
use hypercbt_repo::Timestamp;
use pyo3::prelude::*;

use crate::{
    documents,
    extents::Extents,
    progress::PyObserver,
    random,
    repository::{misuse, point_id, threads},
};

/// The zstd level of every chunk: level 3 costs a third more time for 3 % less space.
pub(crate) const LEVEL: i32 = 1;

pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) disk_name: String,
    pub(crate) created: Timestamp,
    pub(crate) wanted: Wanted,
    pub(crate) new_disk: bool,
    pub(crate) audit: AuditPolicy,
    pub(crate) threads: usize,
}

pub(crate) fn wanted(
    full: bool,
    changes: Option<&Extents>,
    since: Option<&str>,
) -> PyResult<Wanted> {
    match (full, changes, since) {
        (true, None, None) => Ok(Wanted::Full),
        (false, None, None) => Ok(Wanted::Compare),
        (false, Some(changes), Some(since)) => Ok(Wanted::List {
            changes: changes.inner.clone(),
            since: point_id(since)?,
        }),
        (true, ..) => Err(misuse("a full backup takes no list of changes")),
        _ => Err(misuse(
            "a list of changes needs the restore point that it is relative to, and the other way round",
        )),
    }
}

pub(crate) fn audit(policy: &str, period_seconds: u64) -> PyResult<AuditPolicy> {
    match policy {
        "rotate" => Ok(AuditPolicy::Rotate { period_seconds }),
        "full" => Ok(AuditPolicy::Full),
        "off" => Ok(AuditPolicy::Off),
        other => Err(misuse(format!("unknown audit policy {other:?}"))),
    }
}

pub(crate) fn run(
    py: Python<'_>,
    repository: &hypercbt_repo::Repository,
    disk: &hypercbt_vhdx::VirtualDisk,
    options: Options,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let clock = SystemClock::start();
    let request = BackupRequest {
        disk,
        machine: format!("file:{}", options.name),
        name: options.name,
        disk_name: options.disk_name,
        run: random::run_id()?,
        created: options.created,
        wanted: options.wanted,
        new_disk: options.new_disk,
        audit: options.audit,
        seed: random::seed()?,
        level: LEVEL,
        workers: threads(options.threads),
        clock: &clock,
        pack_bytes: BackupRequest::PACK_BYTES,
    };
    let mut observer = PyObserver::new(progress);
    match py.detach(|| backup(repository, &request, &mut observer)) {
        Ok(outcome) => documents::backup(&outcome),
        Err(error) => Err(observer.reason(error)),
    }
}
