//! A disk, a clock and a repository in memory, and the model that they are held against.

mod chain;
mod disk;
pub(crate) mod machine;

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hypercbt_engine::{
    AuditPolicy, BackupOutcome, BackupRequest, Clock, DiskFormat, DiskRequest, Error,
    MachineOptions, MachineRun, Observer, PointDiskReader, RestoreRequest, RestoreStats, Silent,
    Target, VerifyReport, VerifyRequest, VerifyScope, Wanted, backup, restore, verify,
};
use hypercbt_extent::Extents;
use hypercbt_repo::{
    CreateOptions, DiskStats, IndexEntry, MemoryStorage, PackName, PointDisk, PointId, Repository,
    RepositoryId, RestorePoint, RunId, Storage, Timestamp, pack,
};
use hypercbt_vhdx::{Guid, VirtualDisk};

pub(crate) use chain::Chain;
pub(crate) use disk::{FakeDisk, File, changes, chunks, extent, noise};

/// The smallest chunk that a repository may have.
pub(crate) const CHUNK: u64 = 64 << 10;
pub(crate) const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A clock that goes on only when it is told to, and as far as it is told at every look.
#[derive(Default)]
pub(crate) struct FakeClock {
    micros: AtomicU64,
    /// How far it goes on at every look.
    pub(crate) step: AtomicU64,
}

impl Clock for FakeClock {
    fn elapsed(&self) -> Duration {
        let step = self.step.load(Ordering::SeqCst);
        Duration::from_micros(self.micros.fetch_add(step, Ordering::SeqCst))
    }
}

/// A repository, and what backs up into it.
pub(crate) struct Lab {
    pub(crate) storage: MemoryStorage,
    pub(crate) repository: Repository,
    pub(crate) clock: FakeClock,
    /// When the next run begins.
    pub(crate) now: i64,
    pub(crate) workers: usize,
    pub(crate) audit: AuditPolicy,
    pub(crate) pack_bytes: u64,
    pub(crate) seed: u64,
    next: u64,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_chunks(CHUNK)
    }

    pub(crate) fn with_chunks(chunk_bytes: u64) -> Self {
        let storage = MemoryStorage::new();
        let options = CreateOptions {
            chunk_bytes: chunk_bytes as u32,
            id: RepositoryId([7; 16]),
            created: Timestamp(0),
        };
        let repository = Repository::create(Arc::new(storage.clone()), "memory", &options).unwrap();
        Self::of(storage, repository)
    }

    /// Around a repository somewhere else; what looks into `storage` is of no use then.
    pub(crate) fn around(repository: Repository) -> Self {
        Self::of(MemoryStorage::new(), repository)
    }

    fn of(storage: MemoryStorage, repository: Repository) -> Self {
        Self {
            storage,
            repository,
            clock: FakeClock::default(),
            now: DAY,
            workers: 2,
            audit: AuditPolicy::Off,
            pack_bytes: BackupRequest::PACK_BYTES,
            seed: 0,
            next: 1,
        }
    }

    /// A copy that goes its own way.
    pub(crate) fn fork(&self) -> Self {
        let storage = self.storage.copy();
        let repository = Repository::open(Arc::new(storage.clone()), "memory").unwrap();
        Self {
            now: self.now,
            workers: self.workers,
            audit: self.audit,
            pack_bytes: self.pack_bytes,
            next: self.next,
            ..Self::of(storage, repository)
        }
    }

    /// An id that was not given yet.
    pub(crate) fn id(&mut self) -> RunId {
        self.next += 1;
        let mut id = [0x11; 16];
        id[..8].copy_from_slice(&self.next.to_le_bytes());
        RunId(id)
    }

    /// The request of an ordinary backup of the machine `file:disk`.
    pub(crate) fn request<'a>(
        &'a self,
        run: RunId,
        disk: &'a VirtualDisk,
        wanted: Wanted,
    ) -> BackupRequest<'a> {
        BackupRequest {
            disk,
            machine: "file:disk".to_owned(),
            name: "disk".to_owned(),
            disk_name: "disk".to_owned(),
            run,
            created: Timestamp(self.now),
            wanted,
            new_disk: false,
            audit: self.audit,
            seed: self.seed,
            level: 1,
            workers: NonZeroUsize::new(self.workers),
            clock: &self.clock,
            pack_bytes: self.pack_bytes,
        }
    }

    /// Backs up an open disk; `change` has the last word on the request.
    pub(crate) fn run(
        &mut self,
        disk: &VirtualDisk,
        wanted: Wanted,
        change: impl FnOnce(&mut BackupRequest<'_>),
    ) -> Result<BackupOutcome, Error> {
        self.watched(disk, wanted, change, &mut Silent)
    }

    pub(crate) fn watched(
        &mut self,
        disk: &VirtualDisk,
        wanted: Wanted,
        change: impl FnOnce(&mut BackupRequest<'_>),
        observer: &mut dyn Observer,
    ) -> Result<BackupOutcome, Error> {
        let run = self.id();
        let mut request = self.request(run, disk, wanted);
        change(&mut request);
        backup(&self.repository, &request, observer)
    }

    pub(crate) fn backup(&mut self, disk: &FakeDisk, wanted: Wanted) -> RestorePoint {
        let outcome = self.run(&disk.open(), wanted, |_| {}).unwrap();
        assert!(outcome.unfinished.is_none(), "{:?}", outcome.unfinished);
        outcome.point
    }

    /// Begins a run over the machine `vm:1`, on these bases and its newest point.
    pub(crate) fn begin(&mut self, bases: &[PointId]) -> MachineRun<FakeClock> {
        self.begin_as("vm:1", bases).unwrap()
    }

    pub(crate) fn begin_as(
        &mut self,
        machine: &str,
        bases: &[PointId],
    ) -> Result<MachineRun<FakeClock>, Error> {
        let options = MachineOptions {
            run: self.id(),
            created: Timestamp(self.now),
            machine: machine.to_owned(),
            name: "web01".to_owned(),
            bases: bases.to_vec(),
            owner: Some("here 1 2".to_owned()),
            vm: None,
            level: 1,
            pack_bytes: self.pack_bytes,
        };
        MachineRun::begin(&self.repository, options, FakeClock::default())
    }

    /// The request of a disk of a machine that hangs at `location`; the file that its guest writes to is disk.vhdx.
    pub(crate) fn of_machine<'a>(
        &self,
        disk: &'a VirtualDisk,
        location: &str,
        wanted: Wanted,
    ) -> DiskRequest<'a> {
        DiskRequest {
            disk,
            name: format!("disk at {location}"),
            location: Some(location.to_owned()),
            wanted,
            fallback_reason: None,
            sealed_in: Some("disk.vhdx".to_owned()),
            audit: self.audit,
            seed: self.seed,
            workers: NonZeroUsize::new(self.workers),
        }
    }

    /// A run over the machine's only disk, and its point.
    pub(crate) fn one_disk(
        &mut self,
        disk: &VirtualDisk,
        wanted: Wanted,
        change: impl FnOnce(&mut DiskRequest<'_>),
    ) -> RestorePoint {
        let bases = match &wanted {
            Wanted::Rct { base, .. } => vec![*base],
            _ => Vec::new(),
        };
        let mut request = self.of_machine(disk, "SCSI 0:0", wanted);
        change(&mut request);
        let mut run = self.begin(&bases);
        run.backup_disk(&request, &mut Silent).unwrap();
        let point = run.commit(Some("crash")).unwrap();
        assert!(run.close().is_none());
        point
    }

    pub(crate) fn full(&mut self, disk: &FakeDisk) -> RestorePoint {
        self.backup(disk, Wanted::Full)
    }

    pub(crate) fn compare(&mut self, disk: &FakeDisk) -> RestorePoint {
        self.backup(disk, Wanted::Compare)
    }

    pub(crate) fn list(
        &mut self,
        disk: &FakeDisk,
        changes: Extents,
        since: &RestorePoint,
    ) -> RestorePoint {
        self.backup(disk, list(changes, since.id))
    }

    /// All bytes of the point's disk, read in one go.
    pub(crate) fn content(&self, point: &RestorePoint) -> Result<Vec<u8>, Error> {
        self.content_of(point, 0)
    }

    pub(crate) fn content_of(&self, point: &RestorePoint, index: u32) -> Result<Vec<u8>, Error> {
        let reader = PointDiskReader::open(&self.repository, point, index)?;
        let mut bytes = vec![0xEE; reader.size() as usize];
        reader.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// All bytes of the point's disk, restored into a raw file.
    pub(crate) fn restored(&self, point: &RestorePoint) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        self.restore(point, target(&path, DiskFormat::Raw), &mut Silent)?;
        Ok(std::fs::read(path).unwrap())
    }

    pub(crate) fn restore(
        &self,
        point: &RestorePoint,
        target: Target,
        observer: &mut dyn Observer,
    ) -> Result<RestoreStats, Error> {
        let request = RestoreRequest {
            point,
            disk: 0,
            target,
            run: RunId([9; 16]),
            workers: NonZeroUsize::new(self.workers),
            clock: &self.clock,
        };
        restore(&self.repository, &request, observer)
    }

    /// Both ways out of the repository give these bytes.
    pub(crate) fn assert_holds(&self, point: &RestorePoint, bytes: &[u8]) {
        assert!(
            self.content(point).unwrap() == bytes,
            "{} reads differently",
            point.id
        );
        assert!(
            self.restored(point).unwrap() == bytes,
            "{} restores differently",
            point.id
        );
    }

    pub(crate) fn verify(&mut self, scope: VerifyScope) -> VerifyReport {
        let id = self.id();
        let request = VerifyRequest {
            scope,
            id,
            created: Timestamp(self.now),
            workers: NonZeroUsize::new(self.workers),
            clock: &self.clock,
        };
        verify(&self.repository, &request, &mut Silent).unwrap()
    }

    /// Everything in the repository is as it should be.
    pub(crate) fn assert_clean(&mut self) {
        let report = self.verify(VerifyScope::All);
        assert!(report.damaged.is_empty(), "{report:?}");
        assert!(report.damaged_objects.is_empty(), "{report:?}");
    }

    /// The repository holds these points and no others, newest first.
    pub(crate) fn assert_points(&self, points: &[&RestorePoint]) {
        let held = self.repository.points().unwrap();
        assert_eq!(held.iter().collect::<Vec<_>>(), points);
    }

    /// Every record in every pack, by the packs' own word.
    pub(crate) fn records(&self) -> Vec<(PackName, IndexEntry)> {
        let storage = &**self.repository.storage();
        let packs = storage.list("pack").unwrap();
        let named = packs
            .iter()
            .map(|(name, len)| (name.rsplit('/').next().unwrap().parse().unwrap(), *len));
        named
            .flat_map(|(name, len)| {
                let entries = pack::read_footer(storage, name, len).unwrap();
                entries.into_iter().map(move |entry| (name, entry))
            })
            .collect()
    }

    /// No chunk and no node is stored in two places, and the index tells of every pack.
    pub(crate) fn assert_stored_once(&self) {
        let mut seen = HashSet::new();
        for (_, IndexEntry { kind, id, .. }) in self.records() {
            assert!(seen.insert((kind, id)), "{kind:?} {id:?} is stored twice");
        }
        let view = self.repository.view().unwrap();
        let mut indexed = view.index().packs();
        indexed.sort_unstable();
        indexed.dedup();
        assert_eq!(indexed, view.packs());
    }

    /// Flips a bit of the `byte`-th byte of a record in its pack, counted from the record's header.
    pub(crate) fn damage(&self, pack: PackName, entry: &IndexEntry, byte: u32) {
        let name = format!("pack/{:02x}/{pack}", pack.0[0]);
        self.flip(&name, (entry.offset + byte) as usize);
    }

    /// Flips a bit in an object.
    pub(crate) fn flip(&self, name: &str, byte: usize) {
        let mut bytes = self.storage.bytes(name).unwrap().to_vec();
        bytes[byte] ^= 0x10;
        self.storage.overwrite(name, &bytes);
    }

    /// The names of the objects of a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let listed = self.storage.list(folder).unwrap();
        listed.into_iter().map(|(name, _)| name).collect()
    }

    /// The bytes in the objects of a folder.
    pub(crate) fn stored(&self, folder: &str) -> u64 {
        let listed = self.storage.list(folder).unwrap();
        listed.into_iter().map(|(_, len)| len).sum()
    }
}

pub(crate) fn list(changes: Extents, since: PointId) -> Wanted {
    Wanted::List { changes, since }
}

pub(crate) fn rct(changes: Extents, base: &RestorePoint) -> Wanted {
    let base = base.id;
    Wanted::Rct { changes, base }
}

pub(crate) fn target(path: &std::path::Path, format: DiskFormat) -> Target {
    Target {
        path: path.to_owned(),
        format,
        overwrite: false,
        guids: [Guid([1; 16]), Guid([2; 16]), Guid([3; 16])],
        seconds_since_2000: 0,
        new_disk_id: false,
    }
}

/// The one disk of a point.
pub(crate) fn disk(point: &RestorePoint) -> &PointDisk {
    &point.disks[0]
}

pub(crate) fn stats(point: &RestorePoint) -> DiskStats {
    disk(point).stats
}
