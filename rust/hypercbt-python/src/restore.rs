//! `Repository.restore_disk`: the arguments of a restore, and its result.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hypercbt_engine::{DiskFormat, RestoreRequest, SystemClock, Target, restore};
use hypercbt_repo::RestorePoint;
use hypercbt_vhdx::VhdKind;
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
        "vhd" => DiskFormat::Vhd(VhdKind::Dynamic),
        "vhd-fixed" => DiskFormat::Vhd(VhdKind::Fixed),
        "raw" => DiskFormat::Raw,
        other => return Err(misuse(format!("unknown disk format {other:?}"))),
    };
    let guids = [random::guid()?, random::guid()?, random::guid()?];
    Ok(Target {
        path,
        format,
        overwrite,
        guids,
        seconds_since_2000: seconds_since_2000(SystemTime::now()),
        new_disk_id,
    })
}

/// The time as a VHD has it; nothing where it has none, until 2136.
fn seconds_since_2000(now: SystemTime) -> u32 {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
    let seconds = now.duration_since(start).unwrap_or_default().as_secs();
    u32::try_from(seconds).unwrap_or_default()
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
