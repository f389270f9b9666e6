//! A disk, a clock and a repository in memory, and the model that they are held against.

use std::{
    collections::HashSet,
    io,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hypercbt_engine::{
    AuditPolicy, BackupOutcome, BackupRequest, Clock, DiskFormat, Error, Observer, PointDiskReader,
    RestoreRequest, RestoreStats, Silent, Target, VerifyReport, VerifyRequest, VerifyScope, Wanted,
    backup, restore, verify,
};
use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_repo::{
    CreateOptions, DiskStats, IndexEntry, MemoryStorage, PackName, PointDisk, PointId, Repository,
    RepositoryId, RestorePoint, RunId, Storage, Timestamp, pack,
};
use hypercbt_vhdx::{FileOffset, Guid, ReadAt, VirtualDisk};

/// The smallest chunk that a repository may have.
pub(crate) const CHUNK: u64 = 64 << 10;
pub(crate) const DAY: i64 = 24 * 60 * 60 * 1_000_000;
const SECTOR: usize = 512;

/// A raw disk file in memory: bytes, and which sectors are no hole. A clone is the same file.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk {
    file: Arc<Mutex<File>>,
}

type Hook = Box<dyn FnMut(&mut File, u64) + Send>;

#[derive(Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    held: Vec<bool>,
    /// The time of modification, or something like it.
    pub(crate) stamp: i128,
    /// Reads that touch this byte fail.
    pub(crate) fails_at: Option<u64>,
    /// What was read since the disk was opened.
    reads: Vec<(u64, u64)>,
    /// Called before each read, with its offset.
    hook: Option<Hook>,
}

impl File {
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.held[at / SECTOR..(at + bytes.len()).div_ceil(SECTOR)].fill(true);
        }
        self.stamp += 1;
    }

    fn unmap(&mut self, at: u64, len: u64) {
        let (from, to) = (at as usize / SECTOR, (at + len) as usize / SECTOR);
        self.bytes[from * SECTOR..to * SECTOR].fill(0);
        self.held[from..to].fill(false);
        self.stamp += 1;
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.bytes.resize(len as usize, 0);
        self.held.resize(len as usize / SECTOR, false);
        self.stamp += 1;
    }
}

impl FakeDisk {
    /// A disk that is one hole.
    pub(crate) fn new(len: u64) -> Self {
        let disk = Self::default();
        disk.file().set_len(len);
        disk
    }

    /// A disk whose chunks hold what `chunks` says: 0 is a hole, every other number its own noise.
    pub(crate) fn of(chunks: &[u64]) -> Self {
        let disk = Self::new(chunks.len() as u64 * CHUNK);
        for (chunk, &seed) in (0..).zip(chunks) {
            if seed > 0 {
                disk.write(chunk * CHUNK, &noise(seed, CHUNK));
            }
        }
        disk
    }

    /// Another file with the same content.
    pub(crate) fn copy(&self) -> Self {
        let File { bytes, held, .. } = &*self.file();
        let file = File {
            bytes: bytes.clone(),
            held: held.clone(),
            ..File::default()
        };
        Self {
            file: Arc::new(Mutex::new(file)),
        }
    }

    pub(crate) fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap()
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.file().write(at, bytes);
    }

    /// Fills a chunk with the noise of `seed`.
    pub(crate) fn set(&self, chunk: u64, seed: u64) {
        self.write(chunk * CHUNK, &noise(seed, CHUNK));
    }

    /// Fills a chunk with zeros that are allocated.
    pub(crate) fn clear(&self, chunk: u64) {
        self.write(chunk * CHUNK, &vec![0; CHUNK as usize]);
    }

    /// Makes whole sectors a hole.
    pub(crate) fn unmap(&self, at: u64, len: u64) {
        self.file().unmap(at, len);
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.file().set_len(len);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.file().bytes.clone()
    }

    /// Opens it, and forgets what the opening read.
    pub(crate) fn open(&self) -> VirtualDisk {
        let storage: Box<dyn ReadAt> = Box::new(self.clone());
        let disk = VirtualDisk::from_storage(vec![("disk.raw".to_owned(), storage)]).unwrap();
        self.file().reads.clear();
        disk
    }

    /// Where was read since it was opened: sorted, in bytes.
    pub(crate) fn reads(&self) -> Vec<(u64, u64)> {
        let mut reads = self.file().reads.clone();
        reads.sort_unstable();
        reads
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.reads().iter().map(|(_, len)| len).sum()
    }

    /// Which chunks were read since it was opened: sorted, each as often as it was read.
    pub(crate) fn read_chunks(&self) -> Vec<u64> {
        let mut chunks: Vec<u64> = self
            .reads()
            .iter()
            .flat_map(|&(at, len)| at / CHUNK..(at + len).div_ceil(CHUNK))
            .collect();
        chunks.sort_unstable();
        chunks
    }

    /// Calls `hook` before each read.
    pub(crate) fn on_read(&self, hook: impl FnMut(&mut File, u64) + Send + 'static) {
        self.file().hook = Some(Box::new(hook));
    }
}

impl ReadAt for FakeDisk {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let mut file = self.file();
        if let Some(mut hook) = file.hook.take() {
            hook(&mut file, at.0);
            file.hook = Some(hook);
        }
        let (at, len) = (at.0, buf.len() as u64);
        file.reads.push((at, len));
        if file
            .fails_at
            .is_some_and(|bad| (at..at + len).contains(&bad))
        {
            return Err(io::Error::other("bad sector"));
        }
        let bytes = file.bytes.get(at as usize..(at + len) as usize);
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.file().bytes.len() as u64))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let file = self.file();
        let sector = SECTOR as u64;
        let held = (0..).zip(&file.held).filter(|(_, held)| **held);
        Ok(held
            .map(|(number, _)| extent(number * sector, sector))
            .collect())
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        Ok(Some(self.file().stamp))
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

pub(crate) fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

/// Changed extents from offsets and lengths, in any order.
pub(crate) fn changes(pairs: &[(u64, u64)]) -> Extents {
    Extents::from_unsorted(pairs.iter().map(|&(at, len)| extent(at, len)).collect())
}

/// The extents of whole chunks.
pub(crate) fn chunks(numbers: &[u64]) -> Extents {
    let pairs: Vec<_> = numbers.iter().map(|chunk| (chunk * CHUNK, CHUNK)).collect();
    changes(&pairs)
}

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
        let reader = PointDiskReader::open(&self.repository, point, 0)?;
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

pub(crate) fn target(path: &std::path::Path, format: DiskFormat) -> Target {
    Target {
        path: path.to_owned(),
        format,
        overwrite: false,
        guids: [Guid([1; 16]), Guid([2; 16]), Guid([3; 16])],
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
