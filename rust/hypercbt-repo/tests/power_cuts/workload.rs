//! Backups as small as they can be: a disk is a list of numbers, one for each chunk, and a chunk compresses to nothing.

use hypercbt_powercut::SimFiles;
use hypercbt_repo::{
    AuditState, Baseline, ChunkId, CreateOptions, DiskStats, LocalStorage, Method, PointDisk,
    Repository, RepositoryId, RestorePoint, Result, Run, RunId, RunOptions, Timestamp, codec,
    tree::TreeBuilder,
};
use std::sync::Arc;

pub(crate) const CHUNK: usize = 64 << 10;
pub(crate) const PLACE: &str = "/srv/backups/repository";

/// Chunks by number; 0 is zeros.
pub(crate) type Disk = [u64; 4];

pub(crate) fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

pub(crate) fn create(files: &SimFiles) -> Result<Repository> {
    let storage = LocalStorage::create_on(Arc::new(files.clone()), PLACE)?;
    let options = CreateOptions {
        chunk_bytes: u32::try_from(CHUNK).unwrap(),
        id: RepositoryId([9; 16]),
        created: Timestamp(0),
    };
    Repository::create(Arc::new(storage), PLACE, &options)
}

pub(crate) fn open(files: &SimFiles) -> Result<Repository> {
    let storage = LocalStorage::open_on(Arc::new(files.clone()), PLACE)?;
    Repository::open(Arc::new(storage), PLACE)
}

pub(crate) fn begin(repository: &Repository, number: u8, bases: &[u8]) -> Result<Run> {
    repository.begin(RunOptions {
        id: run_id(number),
        created: Timestamp(i64::from(number)),
        bases: bases.iter().copied().map(run_id).collect(),
        machine: "file:disk".to_owned(),
        owner: None,
        vm: None,
        level: 1,
        pack_bytes: 1 << 20,
        segment_bytes: 1 << 30,
    })
}

pub(crate) fn chunk(number: u64) -> Vec<u8> {
    // Longer than a number, for zstd is slow where what repeats is short.
    blake3::hash(&number.to_le_bytes())
        .as_bytes()
        .repeat(CHUNK / 32)
}

pub(crate) fn id(number: u64) -> Option<ChunkId> {
    (number != 0).then(|| codec::chunk_id(&chunk(number)))
}

/// Stores the chunks that differ from the base's, as an incremental by list does, and gives the point to commit.
/// Each ends a pack, so that there are several.
pub(crate) fn store(
    run: &Run,
    disk: &Disk,
    base: Option<(&RestorePoint, &Disk)>,
) -> Result<RestorePoint> {
    let mut encoder = codec::Encoder::new(1);
    let mut sink = run;
    let base_tree = base.map(|(point, _)| (point.disks.first().unwrap().root, 4));
    let mut tree = TreeBuilder::new(base_tree, 4, run, &mut sink)?;
    for (at, &number) in (0..).zip(disk) {
        let old = base.map(|(_, disk)| disk.get(usize::try_from(at).unwrap()).copied().unwrap());
        if old == Some(number) {
            continue;
        }
        let id = id(number);
        if let Some(id) = id
            && run.claim(&[id])? == [true]
        {
            run.append(vec![encoder.encode_chunk(id, &chunk(number))])?;
            if number % 2 == 0 {
                run.flush()?;
            }
        }
        tree.set(at, id)?;
    }
    Ok(point(run.id(), tree.finish()?))
}

fn point(id: RunId, root: Option<hypercbt_repo::NodeId>) -> RestorePoint {
    let disk = PointDisk {
        index: 0,
        name: "disk".to_owned(),
        disk_id: None,
        size: (4 * CHUNK) as u64,
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
    RestorePoint {
        id,
        sequence: 0,
        machine: "file:disk".to_owned(),
        name: "disk".to_owned(),
        created: Timestamp(1),
        elapsed_micros: 1,
        consistency: None,
        disks: vec![disk],
        files: Vec::new(),
    }
}

pub(crate) fn baseline(number: u8) -> Baseline {
    Baseline {
        point: run_id(number),
        created: Timestamp(1),
        reference_point: "point".to_owned(),
        disks: Vec::new(),
    }
}
