//! A run over the disks of one machine: each read on its own terms, all in one restore point.
//!
//! ```text
//! begin ──▶ backup_disk … store_file … ──▶ commit ──▶ add_baseline ──▶ close
//!                    │ one fails: nothing can be committed any more
//!                    └──▶ abort
//! ```
//!
//! [`backup`](crate::backup) is such a run over one disk.

use std::path::Path;

use hypercbt_repo::{
    Baseline, BaselineDisk, DiskStats, Method, PointDisk, PointFile, PointId, Repository,
    RestorePoint, Run, RunId, RunOptions, Timestamp,
};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    AuditStop, Clock, DiskRequest, Error, MachineOptions, Observer, Result,
    allocation::Grid,
    base::{self, Basis, Choice},
    error::Turn,
    file_pass,
    identity::Identity,
    layers,
    pass::{DiskResult, DiskRun},
    suspects::{self, Missed},
    threads,
};

/// A run writes an index segment after this many bytes of new chunks (design §6).
const SEGMENT_BYTES: u64 = 4 << 30;

/// A run that has begun. Dropped before it was closed, it is aborted as well as that goes.
pub struct MachineRun<C> {
    run: Run,
    machine: String,
    name: String,
    created: Timestamp,
    level: i32,
    clock: C,
    started: std::time::Duration,
    chunk_bytes: u32,
    /// The points that stood when it began, newest first.
    points: Vec<RestorePoint>,
    /// Those of them that a collection leaves alone until the run ends.
    bases: Vec<PointId>,
    audit_stop: AuditStop,
    disks: Vec<PointDisk>,
    files: Vec<PointFile>,
    /// Ids of disks that hang elsewhere than their base did, so that only the id says that they are the same.
    by_id_alone: Vec<String>,
    /// Metadata that the run has written and that stands in `disks`.
    counted_metadata: u64,
    failed: bool,
    committed: bool,
}

impl<C: Clock> MachineRun<C> {
    /// Begins a run. Besides the bases that are given, its disks may be built on the newest point of the machine.
    ///
    /// # Errors
    /// [`hypercbt_repo::Error::PointNotFound`] if a base does not stand.
    pub fn begin(repository: &Repository, options: MachineOptions, clock: C) -> Result<Self> {
        let points = readable_points(repository)?;
        let mut options = options;
        let latest = base::latest(&points, &options.machine).map(|point| point.id);
        options.bases.extend(latest);
        options.bases.sort_unstable();
        options.bases.dedup();
        Self::begin_with(repository, options, points, clock)
    }

    /// Begins a run on these bases and no others.
    pub(crate) fn begin_with(
        repository: &Repository,
        options: MachineOptions,
        points: Vec<RestorePoint>,
        clock: C,
    ) -> Result<Self> {
        let started = clock.elapsed();
        let run = repository.begin(RunOptions {
            id: options.run,
            created: options.created,
            bases: options.bases.clone(),
            machine: options.machine.clone(),
            owner: options.owner,
            vm: options.vm,
            level: options.level,
            pack_bytes: options.pack_bytes,
            segment_bytes: SEGMENT_BYTES,
        })?;
        Ok(Self {
            run,
            machine: options.machine,
            name: options.name,
            created: options.created,
            level: options.level,
            clock,
            started,
            chunk_bytes: repository.chunk_bytes(),
            points,
            bases: options.bases,
            audit_stop: AuditStop::default(),
            disks: Vec::new(),
            files: Vec::new(),
            by_id_alone: Vec::new(),
            counted_metadata: 0,
            failed: false,
            committed: false,
        })
    }

    /// The id of the run, and of the restore point that it makes.
    pub fn id(&self) -> RunId {
        self.run.id()
    }

    /// What ends its audits, from any thread.
    pub fn audit_stop(&self) -> AuditStop {
        self.audit_stop.clone()
    }

    /// Reads a disk into the run, and says what the point will hold of it; only its `metadata_bytes` may grow
    /// until then.
    ///
    /// # Errors
    /// After an error of the disk, the repository or the observer the run can only be aborted.
    pub fn backup_disk(
        &mut self,
        request: &DiskRequest<'_>,
        observer: &mut dyn Observer,
    ) -> Result<PointDisk> {
        self.check_open()?;
        let disk_id = request.disk.disk_id().map(|id| id.to_string());
        let identity = Identity {
            disk_id: disk_id.as_deref(),
            location: request.location.as_deref(),
        };
        let alone = self
            .check_disk(identity)
            .inspect_err(|_| self.failed = true)?;
        let grid = self.grid(request.disk);
        request.wanted.check(grid.disk_bytes)?;
        let choice = Choice {
            disk: request.disk,
            grid,
            identity,
            alone,
            machine: &self.machine,
            points: &self.points,
        };
        let reason = request.fallback_reason.as_deref();
        let usable = |point| self.bases.contains(&point);
        let basis = choice.choose(&request.wanted, reason, usable)?;
        if base::is_by_id_alone(identity, &basis) {
            self.by_id_alone.extend(disk_id);
        }
        self.add_disk(request, basis, observer)
    }

    /// Reads a disk for which it is decided what it is built on, whatever the request wants.
    pub(crate) fn add_disk(
        &mut self,
        request: &DiskRequest<'_>,
        basis: Basis,
        observer: &mut dyn Observer,
    ) -> Result<PointDisk> {
        let read = self.read_disk(request, basis, observer);
        let disk = read.inspect_err(|_| self.failed = true)?;
        self.disks.push(disk.clone());
        Ok(disk)
    }

    /// Stores a file of the machine's configuration, whole. It must not change meanwhile.
    ///
    /// # Errors
    /// As for [`backup_disk`](Self::backup_disk); but where it is the file that cannot be stored, the run can go on
    /// without it.
    pub fn store_file(
        &mut self,
        name: &str,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<PointFile> {
        self.check_open()?;
        let taken = self.files.iter().any(|f| f.name.eq_ignore_ascii_case(name));
        if taken || !PointFile::is_name(name) {
            let name = name.to_owned();
            return Err(Error::FileName { name, taken });
        }
        let stored = file_pass::store(&self.run, self.chunk_bytes, self.level, path, observer);
        let (size, root) = stored.inspect_err(|error| {
            // What was read of it until then is stored, and nothing refers to it: the point goes without the file.
            let of_file = matches!(error, Error::File { .. } | Error::FileChanged { .. });
            self.failed |= !of_file;
        })?;
        let name = name.to_owned();
        let file = PointFile { name, size, root };
        self.files.push(file.clone());
        Ok(file)
    }

    /// Makes the restore point of what was read. It is the only commit.
    ///
    /// # Errors
    /// Nothing can be said of a point whose creation failed in the storage: it may stand.
    pub fn commit(&mut self, consistency: Option<&str>) -> Result<RestorePoint> {
        self.check_open()?;
        if self.disks.is_empty() {
            return Err(Error::OutOfTurn { turn: Turn::Empty });
        }
        let made = self.make_point(consistency);
        self.failed = made.is_err();
        self.committed = made.is_ok();
        made
    }

    fn make_point(&mut self, consistency: Option<&str>) -> Result<RestorePoint> {
        self.run.flush()?;
        // What is written only now belongs to all of them, and to the files; the sum is what counts.
        let rest = self.new_metadata();
        if let Some(last) = self.disks.last_mut() {
            last.stats.metadata_bytes += rest;
        }
        let elapsed = self.clock.elapsed().saturating_sub(self.started);
        Ok(self.run.commit(RestorePoint {
            id: self.run.id(),
            // The commit puts it last.
            sequence: 0,
            machine: self.machine.clone(),
            name: self.name.clone(),
            created: self.created,
            elapsed_micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            consistency: consistency.map(str::to_owned),
            disks: self.disks.clone(),
            files: self.files.clone(),
        })?)
    }

    /// Adds what a later incremental can start from. It comes after the restore point.
    pub fn add_baseline(
        &self,
        created: Timestamp,
        reference_point: String,
        disks: Vec<BaselineDisk>,
    ) -> Result<()> {
        if !self.committed {
            let turn = Turn::Uncommitted;
            return Err(Error::OutOfTurn { turn });
        }
        Ok(self.run.add_baseline(&Baseline {
            point: self.run.id(),
            created,
            reference_point,
            disks,
        })?)
    }

    /// Ends the run. What could not be tidied up harms nothing: a lease that stays open, files under `tmp/`.
    pub fn close(self) -> Option<Error> {
        self.run.close().err().map(Error::from)
    }

    /// Ends the run without a restore point, unless it has made it. What was stored is used by the next run.
    pub fn abort(self) -> Result<()> {
        Ok(self.run.abort()?)
    }

    /// Lets go of the run as if its process had been killed: its lease stays open for those who look after it.
    pub fn leave_open(self) {
        self.run.leave_open();
    }

    fn check_open(&self) -> Result<()> {
        match (self.failed, self.committed) {
            (true, _) => Err(Error::OutOfTurn { turn: Turn::Failed }),
            (_, true) => Err(Error::OutOfTurn {
                turn: Turn::Committed,
            }),
            _ => Ok(()),
        }
    }

    /// Whether no disk that was read has the id of this one. Refuses a disk that cannot be told from another one,
    /// also where that other one was taken for its base's by an id that turns out not to be its own.
    fn check_disk(&self, identity: Identity<'_>) -> Result<bool> {
        let twins = || self.disks.iter().filter(|disk| identity.shares_id(disk));
        let alone = twins().next().is_none();
        let Some(id) = identity.disk_id else {
            return Ok(alone);
        };
        let mut places = twins().map(|twin| twin.location.as_deref());
        let is_apart = |place: Option<&str>| place.is_some() && place != identity.location;
        let apart = alone || identity.location.is_some() && places.all(is_apart);
        if apart && !self.by_id_alone.iter().any(|known| known == id) {
            return Ok(alone);
        }
        Err(Error::SameDisk {
            disk_id: id.to_owned(),
            location: identity.location.map(str::to_owned),
        })
    }

    fn grid(&self, disk: &VirtualDisk) -> Grid {
        Grid {
            disk_bytes: disk.size().0,
            chunk_bytes: u64::from(self.chunk_bytes),
        }
    }

    fn read_disk(
        &mut self,
        request: &DiskRequest<'_>,
        basis: Basis,
        observer: &mut dyn Observer,
    ) -> Result<PointDisk> {
        let (disk, grid) = (request.disk, self.grid(request.disk));
        let (basis, result) = self.read(request, basis, observer)?;
        if !result.missed.is_empty()
            && let Some(base) = &basis.base
        {
            suspects::record(&Missed {
                run: &self.run,
                created: self.created,
                machine: &self.machine,
                points: &self.points,
                base,
                grid,
                chunks: &result.missed,
            })?;
        }
        // Not from now on: what is where was settled when the disk was opened.
        if disk.stamp()? != disk.opened_stamp() {
            return Err(Error::SourceChanged);
        }
        let sealed_in = request.sealed_in.as_ref();
        let sealed_in = sealed_in.and_then(|name| match layers::find(disk, name) {
            layers::Found::At(index) => Some((name.clone(), layers::extents_above(disk, index))),
            _ => None,
        });
        let (sealed_in, layer_extents) = sealed_in.unzip();
        Ok(PointDisk {
            index: u32::try_from(self.disks.len()).expect("a machine has few disks"),
            name: request.name.clone(),
            disk_id: disk.disk_id().map(|id| id.to_string()),
            size: grid.disk_bytes,
            format: disk.format().as_str().to_owned(),
            logical_sector_bytes: disk.logical_sector_bytes(),
            physical_sector_bytes: disk.physical_sector_bytes(),
            block_bytes: disk.block_bytes(),
            location: request.location.clone(),
            sealed_in,
            layer_extents: layer_extents.unwrap_or_default(),
            root: result.root,
            method: basis.method,
            fallback_reason: basis.fallback_reason,
            base: basis.base.map(|base| base.point),
            stats: DiskStats {
                metadata_bytes: self.new_metadata(),
                ..result.stats
            },
            audit: result.audit,
        })
    }

    fn read(
        &self,
        request: &DiskRequest<'_>,
        basis: Basis,
        observer: &mut dyn Observer,
    ) -> Result<(Basis, DiskResult)> {
        let reading = DiskRun {
            disk: request.disk,
            grid: self.grid(request.disk),
            run: &self.run,
            created: self.created,
            audit: request.audit,
            audit_stop: &self.audit_stop,
            seed: request.seed,
            level: self.level,
            workers: threads::workers(request.workers),
            clock: &self.clock,
        };
        match reading.read(&basis, observer) {
            // A base whose tree is damaged is no base: everything is read, and the new point is whole.
            Err(Error::Repository(lost)) if basis.base.is_some() && is_lost(&lost) => {
                let reason = format!("the base point is damaged: {lost}");
                let basis = Basis::everything(Method::Compare, Some(reason));
                let result = reading.read(&basis, observer)?;
                Ok((basis, result))
            }
            read => Ok((basis, read?)),
        }
    }

    /// Metadata that was written since this was last asked.
    fn new_metadata(&mut self) -> u64 {
        let all = self.run.stats().metadata_bytes;
        let new = all.saturating_sub(self.counted_metadata);
        self.counted_metadata = all;
        new
    }
}

/// The points to choose a base from. A damaged one cannot be chosen; one that cannot be read just now may be the
/// newest, or the one that is asked for.
pub(crate) fn readable_points(repository: &Repository) -> Result<Vec<RestorePoint>> {
    let (points, unreadable) = repository.points_with_damage()?;
    let failed = unreadable
        .into_iter()
        .find(|error| matches!(error, hypercbt_repo::Error::Storage { .. }));
    match failed {
        Some(failed) => Err(failed.into()),
        None => Ok(points),
    }
}

/// Whether something of a tree is damaged or gone.
pub(crate) fn is_lost(error: &hypercbt_repo::Error) -> bool {
    matches!(
        error,
        hypercbt_repo::Error::NodeLost { .. } | hypercbt_repo::Error::Damaged { .. }
    )
}
