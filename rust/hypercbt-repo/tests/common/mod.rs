//! A backup and a restore as small as they can be: a disk is a list of numbers, one for each chunk.

#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "small numbers of our own"
)]

use std::sync::Arc;

use hypercbt_repo::{
    AuditState, CreateOptions, DiskStats, MemoryStorage, Method, PointDisk, RecordKind, Repository,
    RepositoryId, RestorePoint, Result, Run, RunId, RunOptions, Storage, Timestamp, codec, pack,
    tree::{TreeBuilder, TreeReader},
};

pub(crate) const CHUNK: usize = 64 << 10;

pub(crate) const DISK: [u64; 9] = [1, 2, 0, 3, 4, 5, 6, 1, 7];
pub(crate) const LATER: [u64; 9] = [1, 20, 0, 3, 40, 5, 60, 0, 70];

pub(crate) fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

pub(crate) fn create(storage: Arc<dyn Storage>) -> Repository {
    let options = CreateOptions {
        chunk_bytes: CHUNK as u32,
        id: RepositoryId([9; 16]),
        created: Timestamp(0),
    };
    Repository::create(storage, "here", &options).unwrap()
}

pub(crate) fn in_memory() -> (MemoryStorage, Repository) {
    let storage = MemoryStorage::new();
    let repository = create(Arc::new(storage.clone()));
    (storage, repository)
}

pub(crate) fn open(storage: impl Storage + 'static) -> Repository {
    Repository::open(Arc::new(storage), "here").unwrap()
}

/// Packs of two chunks, and a segment for every four.
pub(crate) fn options(number: u8, bases: &[&RestorePoint]) -> RunOptions {
    RunOptions {
        id: run_id(number),
        created: Timestamp(i64::from(number)),
        bases: bases.iter().map(|base| base.id).collect(),
        machine: "file:disk".to_owned(),
        owner: None,
        vm: None,
        level: 1,
        pack_bytes: 2 * CHUNK as u64,
        segment_bytes: 4 * CHUNK as u64,
    }
}

/// The chunk of a number: 0 is zeros, all others do not compress.
pub(crate) fn chunk(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK];
    if number != 0 {
        blake3::Hasher::new()
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
    }
    bytes
}

/// Stores the chunks of a disk and its tree, and gives the restore point to commit.
pub(crate) fn store(run: &Run, disk: &[u64]) -> Result<RestorePoint> {
    let mut encoder = codec::Encoder::new(1);
    let mut sink = run;
    let mut tree = TreeBuilder::new(None, disk.len() as u64, run, &mut sink)?;
    for (number, &seed) in disk.iter().enumerate() {
        let bytes = chunk(seed);
        if codec::is_zero(&bytes) {
            continue;
        }
        let id = codec::chunk_id(&bytes);
        if run.claim(&[id])? == [true] {
            run.append(vec![encoder.encode_chunk(id, &bytes)])?;
        }
        tree.set(number as u64, Some(id))?;
    }
    let root = tree.finish()?;
    let disk = PointDisk {
        index: 0,
        name: "disk".to_owned(),
        disk_id: None,
        size: (disk.len() * CHUNK) as u64,
        format: "raw".to_owned(),
        logical_sector_bytes: 512,
        physical_sector_bytes: 512,
        block_bytes: None,
        location: None,
        sealed_in: None,
        layer_extents: Vec::new(),
        root,
        method: Method::Full,
        fallback_reason: None,
        base: None,
        stats: DiskStats::default(),
        audit: AuditState::default(),
    };
    Ok(RestorePoint {
        id: run.id(),
        sequence: 0,
        machine: "file:disk".to_owned(),
        name: "disk".to_owned(),
        created: Timestamp(i64::from(run.id().0[0])),
        elapsed_micros: 1,
        consistency: None,
        disks: vec![disk],
        files: Vec::new(),
    })
}

/// A whole backup.
pub(crate) fn backup(
    repository: &Repository,
    number: u8,
    disk: &[u64],
    bases: &[&RestorePoint],
) -> Result<RestorePoint> {
    let mut run = repository.begin(options(number, bases))?;
    let point = store(&run, disk)?;
    let point = run.commit(point)?;
    run.close()?;
    Ok(point)
}

/// Reads every chunk of a restore point.
pub(crate) fn restore(repository: &Repository, point: &RestorePoint) -> Result<Vec<u8>> {
    let view = repository.view()?;
    let [disk] = &*point.disks else {
        panic!("one disk")
    };
    let mut bytes = vec![0; disk.size as usize];
    let chunks = disk.size / CHUNK as u64;
    for leaf in TreeReader::new(&*view, disk.root, chunks).leaves(0..chunks) {
        for (number, id) in leaf?.present() {
            bytes[number as usize * CHUNK..][..CHUNK].copy_from_slice(&view.chunk(id)?);
        }
    }
    Ok(bytes)
}

/// The bytes of a disk.
pub(crate) fn bytes(disk: &[u64]) -> Vec<u8> {
    disk.iter().flat_map(|&number| chunk(number)).collect()
}

/// The names in a folder.
pub(crate) fn names(storage: &dyn Storage, folder: &str) -> Vec<String> {
    storage
        .list(folder)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// The chunks in all packs, by their footers.
pub(crate) fn stored_chunks(storage: &dyn Storage) -> Vec<[u8; 32]> {
    let mut ids = Vec::new();
    for (name, len) in storage.list("pack").unwrap() {
        let pack = name.rsplit('/').next().unwrap().parse().unwrap();
        let entries = pack::read_footer(storage, pack, len).unwrap();
        ids.extend(
            entries
                .iter()
                .filter(|entry| entry.kind == RecordKind::Chunk)
                .map(|entry| entry.id),
        );
    }
    ids
}
