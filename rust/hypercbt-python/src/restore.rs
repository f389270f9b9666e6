//! `Repository.restore_disk`: the arguments of a restore, and its result.

use std::path::PathBuf;

use hypercbt_engine::{DiskFormat, RestoreRequest, SystemClock, Target, restore};
use hypercbt_repo::RestorePoint;
use pyo3::prelude::*;

use crate::{
    documents,
    progress::PyObserver,
    random,
    repository::{misuse, threads},
};

pub(crate) fn target(
    path: PathBuf,
    format: &str,
    overwrite: bool,
    new_disk_id: bool,
) -> PyResult<Target> {
    let format = match format {
        "vhdx" => DiskFormat::Vhdx,
        "raw" => DiskFormat::Raw,
        other => return Err(misuse(format!("unknown disk format {other:?}"))),
    };
    let guids = [random::guid()?, random::guid()?, random::guid()?];
    Ok(Target {
        path,
        format,
        overwrite,
        guids,
        new_disk_id,
    })
}

pub(crate) fn run(
    py: Python<'_>,
    repository: &hypercbt_repo::Repository,
    point: &RestorePoint,
    disk: u32,
    target: Target,
    workers: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let clock = SystemClock::start();
    let request = RestoreRequest {
        point,
        disk,
        target,
        run: random::run_id()?,
        workers: threads(workers),
        clock: &clock,
    };
    let mut observer = PyObserver::new(progress);
    match py.detach(|| restore(repository, &request, &mut observer)) {
        Ok(stats) => Ok(documents::restore(&stats)),
        Err(error) => Err(observer.reason(error)),
    }
}
