//! What restore points reach through the trees of their disks and files: what is lost, who needs it, what is new, a sample.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hypercbt_repo::{
    Error as RepoError, NodeId, PointId, RecordKind, RestorePoint, View,
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
        for (tree, before) in trees(point, bases, chunk_bytes) {
            let step = tree::chunks_since(view, &before, tree, &mut visited);
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

/// The tree of a disk or file: its root, and its length in chunks.
type Tree = (Option<NodeId>, u64);

/// The trees of a point, each with those that the bases of its machine hold at the same place: of the disk of this
/// number, of the file of this name.
fn trees(
    point: &RestorePoint,
    bases: &[RestorePoint],
    chunk_bytes: u32,
) -> impl Iterator<Item = (Tree, Vec<Tree>)> {
    let tree = move |root, size| {
        let grid = Grid {
            disk_bytes: size,
            chunk_bytes: u64::from(chunk_bytes),
        };
        (root, grid.chunks())
    };
    let of_machine = || bases.iter().filter(|base| base.machine == point.machine);
    let disks = point.disks.iter().map(move |disk| {
        let before = of_machine().flat_map(|base| &base.disks);
        let before = before.filter(|before| before.index == disk.index);
        let before = before.map(|before| tree(before.root, before.size));
        (tree(disk.root, disk.size), before.collect())
    });
    let files = point.files.iter().map(move |file| {
        let before = of_machine().flat_map(|base| &base.files);
        let before = before.filter(|before| before.name == file.name);
        let before = before.map(|before| tree(before.root, before.size));
        (tree(file.root, file.size), before.collect())
    });
    disks.chain(files)
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
    for (tree, before) in trees(point, bases, chunk_bytes) {
        for visit in tree::chunks_since(view, &before, tree, &mut visited) {
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
        for (tree, before) in trees(point, bases, chunk_bytes) {
            let mut ids = Vec::with_capacity(WINDOW);
            for visit in tree::chunks_since(view, &before, tree, &mut visited) {
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
