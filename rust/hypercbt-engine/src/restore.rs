//! Restore: a disk's tree, in windows; each window's chunks in order of their packs, in parallel.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
};

use crossbeam_channel::{Receiver, Sender};
use hypercbt_extent::{DiskOffset, Extent, Extents};
use hypercbt_repo::{
    ChunkId, Error as RepoError, PointDisk, RecordKind, Repository, RestorePoint, RunId, View,
    codec::Decoder,
};
use hypercbt_vhdx::WriteDisk;

use crate::{
    Clock, Error, Observer, Phase, Progress, Result,
    allocation::Grid,
    base_tree::BaseTree,
    crew,
    fetch::{self, Batch},
    stop::Stop,
    target::{Target, Unfinished},
    threads,
};

/// Chunks that are looked up and sorted together: 1 GiB at 256 KiB.
const WINDOW_CHUNKS: usize = 4096;

/// While the tree is walked the observer is asked after so many chunks: some ten times a second.
const CHUNKS_BETWEEN_LOOKS: usize = 1 << 16;

/// What is restored, and to where.
pub struct RestoreRequest<'a> {
    /// The point.
    pub point: &'a RestorePoint,
    /// Which of its disks.
    pub disk: u32,
    /// The file to make.
    pub target: Target,
    /// 16 random bytes for the temporary name.
    pub run: RunId,
    /// Threads that read and decompress; one for each core if not given.
    pub workers: Option<NonZeroUsize>,
    /// Measures how long it took.
    pub clock: &'a dyn Clock,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreStats {
    /// The length of the disk.
    pub disk_bytes: u64,
    /// Written to the disk; the rest is zeros that cost nothing.
    pub written_bytes: u64,
    /// Read from packs.
    pub read_bytes: u64,
    /// How long it took.
    pub elapsed_micros: u64,
}

/// Where a chunk goes: its numbers on the disk. The same chunk can stand at many places.
type Places = Vec<u64>;

/// Restores one disk of a point into a file.
///
/// # Errors
/// A chunk that is lost fails the restore and is named; no file stays.
pub fn restore(
    repository: &Repository,
    request: &RestoreRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<RestoreStats> {
    let started = request.clock.elapsed();
    let disk = find_disk(request.point, request.disk)?;
    let grid = Grid {
        disk_bytes: disk.size,
        chunk_bytes: u64::from(repository.chunk_bytes()),
    };
    let view = repository.view()?;
    let tree = BaseTree::open(&view, grid.chunk_bytes, Some(disk));
    let present = present(&tree, grid, observer)?;
    let file = Unfinished::create(&request.target, disk, &present, request.run)?;
    let job = Restore {
        view: &view,
        grid,
        file: &file,
        workers: threads::workers(request.workers),
    };
    let (written_bytes, read_bytes) = job.run(&tree, present.total().0, observer)?;
    file.finish()?;
    let elapsed = request.clock.elapsed().saturating_sub(started);
    Ok(RestoreStats {
        disk_bytes: disk.size,
        written_bytes,
        read_bytes,
        elapsed_micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    })
}

pub(crate) fn find_disk(point: &RestorePoint, index: u32) -> Result<&PointDisk> {
    point
        .disks
        .iter()
        .find(|disk| disk.index == index)
        .ok_or(Error::NoSuchDisk {
            point: point.id,
            index,
        })
}

/// The bytes of the disk that are in chunks.
///
/// That is a walk over the whole tree: seconds on a disk of many TiB, and whoever waits may want to stop.
fn present(tree: &BaseTree<'_>, grid: Grid, observer: &mut dyn Observer) -> Result<Extents> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut found = 0;
    for (number, chunk) in tree.present().enumerate() {
        let (chunk, _) = chunk?;
        found += grid.bytes(&(chunk..chunk + 1));
        if number % CHUNKS_BETWEEN_LOOKS == CHUNKS_BETWEEN_LOOKS - 1 {
            let progress = Progress {
                phase: Phase::Restore,
                done_bytes: 0,
                total_bytes: found,
            };
            if observer.progress(progress).is_break() {
                return Err(Error::Cancelled);
            }
        }
        let Some(extent) = grid.extent(&(chunk..chunk + 1)) else {
            continue;
        };
        match extents.last_mut() {
            Some(last) if last.end() == extent.start() => {
                *last = Extent::between(last.start(), extent.end()).unwrap_or(*last);
            }
            _ => extents.push(extent),
        }
    }
    Ok(Extents::from_unsorted(extents))
}

struct Restore<'a> {
    view: &'a View,
    grid: Grid,
    file: &'a Unfinished<'a>,
    workers: usize,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    read: AtomicU64,
}

impl Restore<'_> {
    fn run(
        &self,
        tree: &BaseTree<'_>,
        total_bytes: u64,
        observer: &mut dyn Observer,
    ) -> Result<(u64, u64)> {
        let stop = Stop::default();
        let counters = Counters::default();
        let progress = || Progress {
            phase: Phase::Restore,
            done_bytes: counters.written.load(Ordering::Relaxed),
            total_bytes,
        };
        crew::run(
            self.workers,
            &stop,
            observer,
            progress,
            |batches| self.plan(tree, batches, &stop),
            |inbox| self.work(inbox, &counters, &stop),
        );
        stop.into_result()?;
        Ok((counters.written.into_inner(), counters.read.into_inner()))
    }

    fn plan(
        &self,
        tree: &BaseTree<'_>,
        batches: &Sender<Batch<Places>>,
        stop: &Stop,
    ) -> Result<()> {
        let mut chunks = tree.present().peekable();
        while chunks.peek().is_some() && !stop.is_set() {
            let mut window: HashMap<ChunkId, Places> = HashMap::new();
            for chunk in chunks.by_ref().take(WINDOW_CHUNKS) {
                let (chunk, id) = chunk?;
                window.entry(id).or_default().push(chunk);
            }
            let ids = window
                .into_iter()
                .map(|(id, places)| (id.0, places))
                .collect();
            let (found, lost) = fetch::locate(self.view, RecordKind::Chunk, ids)?;
            if let Some((id, _)) = lost.first() {
                return Err(RepoError::ChunkLost { id: ChunkId(*id) }.into());
            }
            for batch in fetch::batches(found) {
                if batches.send(batch).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn work(&self, inbox: &Receiver<Batch<Places>>, counters: &Counters, stop: &Stop) {
        let mut decoder = Decoder::new();
        let (mut buffer, mut plain) = (Vec::new(), Vec::new());
        for batch in inbox {
            if stop.is_set() {
                return;
            }
            if let Err(error) = self.write(&batch, &mut decoder, &mut buffer, &mut plain, counters)
            {
                return stop.fail(error);
            }
        }
    }

    fn write(
        &self,
        batch: &Batch<Places>,
        decoder: &mut Decoder,
        buffer: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        counters: &Counters,
    ) -> Result<()> {
        let readable = batch.read(self.view, buffer).is_ok();
        counters
            .read
            .fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let limit = u32::try_from(self.grid.chunk_bytes).expect("chunks are at most 4 MiB");
        for record in &batch.records {
            let bytes = batch.bytes(record, buffer);
            if !readable
                || decoder
                    .decode(bytes, RecordKind::Chunk, &record.id, limit, plain)
                    .is_err()
            {
                // Damaged here: the view tries every other place, and names the chunk if there is none.
                *plain = self.view.chunk(ChunkId(record.id))?;
            }
            for &chunk in &record.purpose {
                self.write_chunk(chunk, plain, counters)?;
            }
        }
        Ok(())
    }

    fn write_chunk(&self, chunk: u64, plain: &[u8], counters: &Counters) -> Result<()> {
        let Some(extent) = self.grid.extent(&(chunk..chunk + 1)) else {
            return Ok(());
        };
        let len = usize::try_from(extent.len().0).expect("a chunk fits in memory");
        // What a chunk of the wrong length would leave out is for its hash to find; it had the right one.
        let part = plain.get(..len).ok_or(RepoError::ChunkLost {
            id: hypercbt_repo::codec::chunk_id(plain),
        })?;
        self.file
            .write_at(DiskOffset(extent.start().0), part)
            .map_err(Error::WriteDisk)?;
        counters
            .written
            .fetch_add(extent.len().0, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use hypercbt_repo::{CreateOptions, MemoryStorage, RepositoryId, Timestamp};
    use hypercbt_vhdx::{Guid, ReadAt, VirtualDisk};

    use super::*;
    use crate::{AuditPolicy, BackupRequest, DiskFormat, Silent, SystemClock, Wanted, backup};

    fn one_chunk() -> (Repository, RestorePoint) {
        let options = CreateOptions {
            chunk_bytes: 64 << 10,
            id: RepositoryId([1; 16]),
            created: Timestamp(0),
        };
        let storage = Arc::new(MemoryStorage::new());
        let repository = Repository::create(storage, "memory", &options).unwrap();
        let bytes: Box<dyn ReadAt> = Box::new(vec![1_u8; 64 << 10]);
        let disk = VirtualDisk::from_storage(vec![("disk".to_owned(), bytes)]).unwrap();
        let request = BackupRequest {
            disk: &disk,
            machine: "file:disk".to_owned(),
            name: "disk".to_owned(),
            disk_name: "disk".to_owned(),
            run: RunId([2; 16]),
            created: Timestamp(1),
            wanted: Wanted::Full,
            new_disk: false,
            audit: AuditPolicy::Off,
            seed: 0,
            level: 1,
            workers: None,
            clock: &SystemClock::start(),
            pack_bytes: BackupRequest::PACK_BYTES,
        };
        let point = backup(&repository, &request, &mut Silent).unwrap().point;
        (repository, point)
    }

    fn target(path: &Path) -> Target {
        Target {
            path: path.to_owned(),
            format: DiskFormat::Raw,
            overwrite: false,
            guids: [Guid::ZERO; 3],
            seconds_since_2000: 0,
            new_disk_id: false,
        }
    }

    #[test]
    fn a_write_that_fails_fails_the_restore_and_leaves_no_file() {
        let (repository, point) = one_chunk();
        let folder = tempfile::tempdir().unwrap();
        let target = target(&folder.path().join("disk.raw"));
        let disk = find_disk(&point, 0).unwrap();
        // A file that has room for nothing refuses every write.
        let file = Unfinished::create(&target, disk, &Extents::new(), RunId([3; 16])).unwrap();
        let view = repository.view().unwrap();
        let grid = Grid {
            disk_bytes: disk.size,
            chunk_bytes: 64 << 10,
        };
        let tree = BaseTree::open(&view, grid.chunk_bytes, Some(disk));
        let restore = Restore {
            view: &view,
            grid,
            file: &file,
            workers: 2,
        };
        let error = restore.run(&tree, disk.size, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::WriteDisk(_)), "{error:?}");
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
