//! One backup of one disk file: choose a base, read what is claimed, audit what is not, commit.

use std::num::NonZeroUsize;

use hypercbt_repo::{Repository, RestorePoint, RunId, Timestamp};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    AuditPolicy, Clock, DiskRequest, Error, MachineOptions, MachineRun, Observer, Result, Wanted,
    allocation::Grid,
    base::{self, Basis, Choice},
    identity::Identity,
    machine::readable_points,
};

/// What is backed up, and how.
pub struct BackupRequest<'a> {
    /// The disk, opened.
    pub disk: &'a VirtualDisk,
    /// What the point belongs to: `file:NAME` or `vm:GUID`.
    pub machine: String,
    /// What people call the machine.
    pub name: String,
    /// What people call the disk.
    pub disk_name: String,
    /// 16 random bytes.
    pub run: RunId,
    /// Now.
    pub created: Timestamp,
    /// How the disk is to be read.
    pub wanted: Wanted,
    /// The caller knows that this is not the disk of the last point.
    pub new_disk: bool,
    /// How much of what is claimed unchanged is re-read.
    pub audit: AuditPolicy,
    /// Picks the audit's random chunks.
    pub seed: u64,
    /// The zstd level.
    pub level: i32,
    /// Threads that hash and compress; one for each core if not given.
    pub workers: Option<NonZeroUsize>,
    /// Measures the audit's time budget.
    pub clock: &'a dyn Clock,
    /// When a pack is full; [`BackupRequest::PACK_BYTES`] but for tests.
    pub pack_bytes: u64,
}

impl BackupRequest<'_> {
    /// Design §6.
    pub const PACK_BYTES: u64 = 64 << 20;
}

/// A backup that is done.
#[derive(Debug)]
pub struct BackupOutcome {
    /// The new point. It is durable.
    pub point: RestorePoint,
    /// What could not be tidied up after the commit. It harms nothing: a lease that stays open, files under `tmp/`.
    pub unfinished: Option<Error>,
}

/// Backs up one disk and returns its new restore point.
///
/// # Errors
/// Whatever fails before the commit leaves no restore point; packs that were finished stay and are used by the
/// next run.
pub fn backup(
    repository: &Repository,
    request: &BackupRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<BackupOutcome> {
    let points = points(repository, &request.wanted)?;
    let basis = choose(repository, request, &points)?;
    let options = MachineOptions {
        run: request.run,
        created: request.created,
        machine: request.machine.clone(),
        name: request.name.clone(),
        bases: basis.base.iter().map(|base| base.point).collect(),
        owner: None,
        vm: None,
        level: request.level,
        pack_bytes: request.pack_bytes,
    };
    let mut run = MachineRun::begin_with(repository, options, points, request.clock)?;
    let disk = DiskRequest {
        disk: request.disk,
        name: request.disk_name.clone(),
        location: None,
        // The basis says it already, and a list of changes may be long.
        wanted: Wanted::Compare,
        fallback_reason: None,
        sealed_in: None,
        audit: request.audit,
        seed: request.seed,
        workers: request.workers,
    };
    let done = run.add_disk(&disk, basis, observer).map(drop);
    match done.and_then(|()| run.commit(None)) {
        Ok(point) => Ok(BackupOutcome {
            point,
            unfinished: run.close(),
        }),
        Err(error) => {
            // The first error is the one to tell; what abort leaves behind takes up room and harms nothing.
            let _ = run.abort();
            Err(error)
        }
    }
}

/// The points to choose a base from, and a damaged one named where it is asked for.
fn points(repository: &Repository, wanted: &Wanted) -> Result<Vec<RestorePoint>> {
    let points = readable_points(repository)?;
    if let Wanted::List { since, .. } = wanted
        && points.iter().all(|point| point.id != *since)
        && let Err(error @ hypercbt_repo::Error::Damaged { .. }) = repository.point(*since)
    {
        return Err(error.into());
    }
    Ok(points)
}

/// What the disk is built on: what the caller says, or the newest point of its machine.
fn choose(
    repository: &Repository,
    request: &BackupRequest<'_>,
    points: &[RestorePoint],
) -> Result<Basis> {
    let machine = &*request.machine;
    let disk_id = request.disk.disk_id().map(|id| id.to_string());
    if !request.new_disk {
        base::check_identity(points, machine, &request.name, disk_id.as_deref())?;
    }
    let grid = Grid {
        disk_bytes: request.disk.size().0,
        chunk_bytes: u64::from(repository.chunk_bytes()),
    };
    let identity = Identity {
        disk_id: disk_id.as_deref(),
        location: None,
    };
    let choice = Choice {
        disk: request.disk,
        grid,
        identity,
        alone: true,
        machine,
        points,
    };
    let only = match &request.wanted {
        Wanted::List { since, .. } => Some(*since),
        _ => base::latest(points, machine).map(|point| point.id),
    };
    let basis = choice.choose(&request.wanted, None, |point| Some(point) == only)?;
    request.wanted.check(grid.disk_bytes)?;
    Ok(basis)
}
