//! One backup of one disk: choose a base, read what is claimed, audit what is not, commit.

use std::{num::NonZeroUsize, time::Duration};

use hypercbt_repo::{
    DiskStats, Method, PointDisk, Repository, RestorePoint, Run, RunId, RunOptions, Timestamp,
};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    AuditPolicy, Clock, Error, Observer, Result, Wanted, allocation::Grid, base, base::Basis,
    pass::DiskRun, suspects, threads,
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
    /// A run writes an index segment after this many bytes of new chunks (design §6).
    pub const SEGMENT_BYTES: u64 = 4 << 30;
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
    let started = request.clock.elapsed();
    // Not from now on: what is where was settled when the disk was opened.
    let before = request.disk.opened_stamp();
    let points = points(repository, &request.wanted)?;
    let basis = base::choose(
        &points,
        &request.machine,
        &request.name,
        request.disk,
        &request.wanted,
        request.new_disk,
    )?;
    let grid = Grid {
        disk_bytes: request.disk.size().0,
        chunk_bytes: u64::from(repository.chunk_bytes()),
    };
    check_changes(&request.wanted, grid)?;
    let mut run = repository.begin(RunOptions {
        id: request.run,
        created: request.created,
        bases: basis.base.iter().map(|(id, _)| *id).collect(),
        machine: request.machine.clone(),
        owner: None,
        vm: None,
        level: request.level,
        pack_bytes: request.pack_bytes,
        segment_bytes: BackupRequest::SEGMENT_BYTES,
    })?;
    let done = read_disk(request, grid, &run, basis, &points, observer).and_then(|disk| {
        if request.disk.stamp()? != before {
            return Err(Error::SourceChanged);
        }
        let elapsed = request.clock.elapsed().saturating_sub(started);
        Ok(run.commit(point(request, disk, elapsed))?)
    });
    match done {
        Ok(point) => Ok(BackupOutcome {
            point,
            unfinished: run.close().err().map(Error::from),
        }),
        Err(error) => {
            // The first error is the one to tell; what abort leaves behind takes up room and harms nothing.
            let _ = run.abort();
            Err(error)
        }
    }
}

/// The points to choose a base from. A damaged one cannot be chosen; one that cannot be read just now may be the
/// newest, or the one that is asked for.
fn points(repository: &Repository, wanted: &Wanted) -> Result<Vec<RestorePoint>> {
    let (points, unreadable) = repository.points_with_damage()?;
    let failed = unreadable
        .into_iter()
        .find(|error| matches!(error, hypercbt_repo::Error::Storage { .. }));
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    if let Wanted::List { since, .. } = wanted
        && points.iter().all(|point| point.id != *since)
        && let Err(error @ hypercbt_repo::Error::Damaged { .. }) = repository.point(*since)
    {
        return Err(error.into());
    }
    Ok(points)
}

fn check_changes(wanted: &Wanted, grid: Grid) -> Result<()> {
    let Wanted::List { changes, .. } = wanted else {
        return Ok(());
    };
    match changes.as_slice().last() {
        Some(last) if last.end().0 > grid.disk_bytes => Err(Error::ChangeOutside {
            extent: *last,
            disk_len: hypercbt_extent::ByteLen(grid.disk_bytes),
        }),
        _ => Ok(()),
    }
}

/// Reads the disk into the run, audits it, and says what the point will hold.
fn read_disk(
    request: &BackupRequest<'_>,
    grid: Grid,
    run: &Run,
    basis: Basis,
    points: &[RestorePoint],
    observer: &mut dyn Observer,
) -> Result<PointDisk> {
    let reading = DiskRun {
        request,
        grid,
        run,
        workers: threads::workers(request.workers),
    };
    let mut basis = basis;
    let result = match reading.read(&basis, observer) {
        // A base whose tree is damaged is no base: everything is read, and the new point is whole.
        Err(Error::Repository(lost)) if basis.base.is_some() && is_lost(&lost) => {
            basis = Basis {
                method: Method::Compare,
                fallback_reason: Some(format!("the base point is damaged: {lost}")),
                base: None,
                point: None,
            };
            reading.read(&basis, observer)?
        }
        other => other?,
    };
    if !result.missed.is_empty() {
        suspects::record(run, request, grid, points, &basis, &result.missed)?;
    }
    run.flush()?;
    let written = run.stats();
    let disk = request.disk;
    Ok(PointDisk {
        index: 0,
        name: request.disk_name.clone(),
        disk_id: disk.disk_id().map(|id| id.to_string()),
        size: grid.disk_bytes,
        format: disk.format().as_str().to_owned(),
        logical_sector_bytes: disk.logical_sector_bytes(),
        physical_sector_bytes: disk.physical_sector_bytes(),
        block_bytes: disk.block_bytes(),
        location: None,
        sealed_in: None,
        layer_extents: Vec::new(),
        root: result.root,
        method: basis.method,
        fallback_reason: basis.fallback_reason,
        base: basis.base.as_ref().map(|(id, _)| *id),
        stats: DiskStats {
            metadata_bytes: written.metadata_bytes,
            ..result.stats
        },
        audit: result.audit,
    })
}

/// Whether something of a tree is damaged or gone.
pub(crate) fn is_lost(error: &hypercbt_repo::Error) -> bool {
    matches!(
        error,
        hypercbt_repo::Error::NodeLost { .. } | hypercbt_repo::Error::Damaged { .. }
    )
}

fn point(request: &BackupRequest<'_>, disk: PointDisk, elapsed: Duration) -> RestorePoint {
    RestorePoint {
        id: request.run,
        // The commit puts it last.
        sequence: 0,
        machine: request.machine.clone(),
        name: request.name.clone(),
        created: request.created,
        elapsed_micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        consistency: None,
        disks: vec![disk],
        files: Vec::new(),
    }
}
