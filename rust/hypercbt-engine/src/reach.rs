//! What restore points reach through their trees: what is lost, who needs it, what is new, a sample.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hypercbt_repo::{
    Error as RepoError, NodeId, PointDisk, PointId, RecordKind, RestorePoint, View,
    tree::{self, Visit, Visited},
};

use crate::{
    Result,
    allocation::Grid,
    check_pack::Finding,
    fetch::{self, Wanted},
};

/// A chunk or a node.
pub(crate) type Key = (RecordKind, [u8; 32]);

/// Chunks that are looked up together.
const WINDOW: usize = 4096;

/// What the trees of some points need and do not get.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Points that were walked.
    pub(crate) points: u64,
    /// Needed, and known in no place.
    pub(crate) lost: BTreeSet<Key>,
    /// Who needs what is lost or was found damaged; newest first.
    pub(crate) needed_by: BTreeMap<Key, Vec<PointId>>,
}

/// Walks the trees of `points` without what the base of the same machine holds at the same place.
pub(crate) fn walk(
    points: &[RestorePoint],
    bases: &[RestorePoint],
    view: &View,
    chunk_bytes: u32,
    findings: &[Finding],
) -> Result<Reached> {
    let mut reached = Reached {
        points: points.len() as u64,
        ..Reached::default()
    };
    let mut visited = Visited::default();
    for point in points {
        for disk in &point.disks {
            let step = walk_disk(point, disk, bases, view, chunk_bytes, &mut visited);
            lost(step, view, &mut reached.lost)?;
        }
    }
    let wanted: HashSet<Key> = findings
        .iter()
        .map(|finding| (finding.kind, finding.id))
        .chain(reached.lost.iter().copied())
        .collect();
    if wanted.is_empty() {
        return Ok(reached);
    }
    // Only now is it worth walking each point on its own: shared subtrees belong to all that share them.
    for point in points {
        for key in needs(point, bases, view, chunk_bytes, &wanted) {
            reached.needed_by.entry(key).or_default().push(point.id);
        }
    }
    Ok(reached)
}

fn walk_disk<'a>(
    point: &RestorePoint,
    disk: &PointDisk,
    bases: &[RestorePoint],
    view: &'a View,
    chunk_bytes: u32,
    visited: &'a mut Visited,
) -> tree::Walk<'a> {
    let chunks = |disk: &PointDisk| {
        Grid {
            disk_bytes: disk.size,
            chunk_bytes: u64::from(chunk_bytes),
        }
        .chunks()
    };
    let bases: Vec<(Option<NodeId>, u64)> = bases
        .iter()
        .filter(|base| base.machine == point.machine)
        .flat_map(|base| &base.disks)
        .filter(|before| before.index == disk.index)
        .map(|before| (before.root, chunks(before)))
        .collect();
    tree::chunks_since(view, &bases, (disk.root, chunks(disk)), visited)
}

/// Adds what a walk comes upon and cannot have.
fn lost(walk: impl Iterator<Item = Visit>, view: &View, lost: &mut BTreeSet<Key>) -> Result<()> {
    let mut ids = Vec::with_capacity(WINDOW);
    let look_up = |ids: &mut Vec<[u8; 32]>, lost: &mut BTreeSet<Key>| -> Result<()> {
        let places = view.places(RecordKind::Chunk, ids)?;
        let missing = ids.iter().zip(places).filter(|(_, place)| place.is_none());
        lost.extend(missing.map(|(id, _)| (RecordKind::Chunk, *id)));
        ids.clear();
        Ok(())
    };
    for visit in walk {
        match visit {
            Visit::Node { .. } => {}
            Visit::Chunk { id, .. } => ids.push(id.0),
            Visit::Lost {
                id,
                error: RepoError::NodeLost { .. } | RepoError::Damaged { .. },
                ..
            } => {
                lost.insert((RecordKind::Node, id.0));
            }
            // The storage failed: that says nothing about the node.
            Visit::Lost { error, .. } => return Err(error.into()),
        }
        if ids.len() == WINDOW {
            look_up(&mut ids, lost)?;
        }
    }
    look_up(&mut ids, lost)
}

/// Which of `wanted` a point needs.
fn needs(
    point: &RestorePoint,
    bases: &[RestorePoint],
    view: &View,
    chunk_bytes: u32,
    wanted: &HashSet<Key>,
) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    let mut visited = Visited::default();
    for disk in &point.disks {
        for visit in walk_disk(point, disk, bases, view, chunk_bytes, &mut visited) {
            let key = match visit {
                Visit::Node { id, .. } | Visit::Lost { id, .. } => (RecordKind::Node, id.0),
                Visit::Chunk { id, .. } => (RecordKind::Chunk, id.0),
            };
            if wanted.contains(&key) {
                found.insert(key);
            }
        }
    }
    found
}

/// Hands on where the chunks stand that `points` reach and their bases do not have at the same place, in windows, and
/// returns how many nodes were read on the way.
pub(crate) fn new_chunks(
    points: &[RestorePoint],
    bases: &[RestorePoint],
    view: &View,
    chunk_bytes: u32,
    each: &mut dyn FnMut(Vec<Wanted<RecordKind>>) -> Result<()>,
) -> Result<u64> {
    let mut visited = Visited::default();
    let mut nodes = 0;
    for point in points {
        for disk in &point.disks {
            let mut ids = Vec::with_capacity(WINDOW);
            for visit in walk_disk(point, disk, bases, view, chunk_bytes, &mut visited) {
                match visit {
                    // Its bytes were hashed when the walk came here.
                    Visit::Node { .. } => nodes += 1,
                    Visit::Chunk { id, .. } => ids.push((id.0, RecordKind::Chunk)),
                    // Told by the walk over the trees that follows.
                    Visit::Lost { .. } => {}
                }
                if ids.len() == WINDOW {
                    each(fetch::locate(view, RecordKind::Chunk, std::mem::take(&mut ids))?.0)?;
                }
            }
            each(fetch::locate(view, RecordKind::Chunk, ids)?.0)?;
        }
    }
    Ok(nodes)
}
