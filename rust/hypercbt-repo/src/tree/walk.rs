//! Everything that a tree needs, each node once: for `verify`, and for what a collection keeps.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
};

use super::{
    Node, NodeSource, Place, TreeShape,
    lifted::{Branch, Lifted},
    load,
};
use crate::{ChunkId, Error, NodeId, Result};

/// Nodes that were visited, over as many trees as the caller likes: 33 bytes a node of 64 or more chunks.
#[derive(Debug, Clone, Default)]
pub struct Visited(HashSet<(NodeId, u8)>); // with the level: a node in a wrong place is not the same visit

impl Visited {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a walk comes upon.
#[derive(Debug)]
pub enum Visit {
    /// A node that was loaded and can stand where it stands.
    Node {
        /// Its id.
        id: NodeId,
        /// Where it was first seen.
        place: Place,
    },
    /// A chunk. The same one comes again where another leaf holds it too.
    Chunk {
        /// Its id.
        id: ChunkId,
        /// Its number on the disk where it was first seen.
        chunk: u64,
    },
    /// A node that cannot be had: what is below it is not visited.
    Lost {
        /// Its id.
        id: NodeId,
        /// The chunks below it, clipped to the disk.
        chunks: Range<u64>,
        /// Why. It may be the storage's fault: then nothing is known of the node.
        error: Error,
    },
}

/// Visits every node of a tree that was not visited yet, and the chunks of its leaves, in order of place.
///
/// Lost nodes are not noted as visited: each tree that needs one tells.
pub fn walk<'a>(
    source: &'a dyn NodeSource,
    root: Option<NodeId>,
    chunks: u64,
    visited: &'a mut Visited,
) -> Walk<'a> {
    chunks_since(source, &[], (root, chunks), visited)
}

/// As [`walk`], without what a base has at the same place: subtrees, and chunks of leaves. Base and tree are
/// given as root and number of chunks.
///
/// Every chunk that no base holds anywhere is visited. The cost follows the difference. `visited` may be
/// used again for other trees, with the same bases. What is lost in a base is no reason to leave anything out.
pub fn chunks_since<'a>(
    source: &'a dyn NodeSource,
    bases: &[(Option<NodeId>, u64)],
    (root, chunks): (Option<NodeId>, u64),
    visited: &'a mut Visited,
) -> Walk<'a> {
    let place = TreeShape::new(chunks).root();
    let fitting = |&(root, chunks): &(_, u64)| {
        // From a lower place only the first part of a higher base is seen; the rest differs anyway.
        let tree = Lifted::tree(root, chunks)?;
        lowered(source, tree, place, chunks).map(|at| (at, chunks))
    };
    let (at, base_chunks): (Vec<_>, _) = bases.iter().filter_map(fitting).unzip();
    let step = |id| Step {
        id,
        place,
        bases: at.into_iter().map(Some).collect(),
    };
    Walk {
        source,
        chunks,
        base_chunks,
        visited,
        stack: root.map(step).into_iter().collect(),
        found: VecDeque::new(),
    }
}

/// What a base that may be higher has at the root's place of a lower tree.
fn lowered(source: &dyn NodeSource, tree: Lifted, place: Place, chunks: u64) -> Option<Lifted> {
    let mut at = tree;
    let mut base_place = TreeShape::new(chunks).root();
    while base_place.level() > place.level() {
        let branch = Branch::load(source, Some(at), base_place, chunks).ok()?;
        at = branch.child(0)?;
        base_place = base_place.child(0);
    }
    Some(at)
}

/// A walk through a tree. See [`walk`] and [`chunks_since`].
pub struct Walk<'a> {
    source: &'a dyn NodeSource,
    chunks: u64,
    /// Of each base.
    base_chunks: Vec<u64>,
    visited: &'a mut Visited,
    /// Nodes still to be visited, the next one last: at most a node's children a level.
    stack: Vec<Step>,
    /// The chunks of the last leaf: at most 64.
    found: VecDeque<(u64, ChunkId)>,
}

struct Step {
    id: NodeId,
    place: Place,
    /// What each base has there.
    bases: Vec<Option<Lifted>>,
}

impl Walk<'_> {
    /// Visits one node. `None`: it, and what is below it, was visited, or a base has it.
    fn visit(&mut self, step: &Step) -> Result<Option<Visit>> {
        let Step { id, place, .. } = *step;
        let here = Some(Lifted::node(id, place.level()));
        if step.bases.contains(&here) {
            return Ok(None);
        }
        // Whether a node has children past the end of the disk depends on the disk, so at the end (one node
        // a level) having been visited elsewhere is not enough.
        let seen = self.visited.0.contains(&(id, place.level()));
        if seen && place.chunks().end <= self.chunks {
            return Ok(None);
        }
        let node = load(self.source, id, place, self.chunks)?;
        let bases = self.base_branches(step);
        if place.level() > 0 {
            self.push_children(&node, place, &bases);
        } else if !seen {
            self.find_chunks(&node, place, &bases);
        }
        if seen {
            return Ok(None);
        }
        self.visited.0.insert((id, place.level()));
        Ok(Some(Visit::Node { id, place }))
    }

    fn base_branches(&self, step: &Step) -> Vec<Branch> {
        let each = step.bases.iter().zip(&self.base_chunks);
        each.map(|(base, chunks)| {
            // A base that cannot be read has nothing in common with us: more is visited, never less.
            Branch::load(self.source, *base, step.place, *chunks).unwrap_or(Branch::Null)
        })
        .collect()
    }

    fn push_children(&mut self, node: &Node, place: Place, bases: &[Branch]) {
        for (index, id) in node.children().iter().enumerate().rev() {
            let Some(id) = id else { continue };
            self.stack.push(Step {
                id: NodeId(*id),
                place: place.child(index),
                bases: bases.iter().map(|base| base.child(index)).collect(),
            });
        }
    }

    fn find_chunks(&mut self, node: &Node, place: Place, bases: &[Branch]) {
        for (index, id) in node.children().iter().enumerate() {
            let Some(id) = id else { continue };
            if bases.iter().all(|base| base.chunk(index) != Some(*id)) {
                let number = place.child_first(index);
                self.found.push_back((number, ChunkId(*id)));
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        loop {
            if let Some((chunk, id)) = self.found.pop_front() {
                return Some(Visit::Chunk { id, chunk });
            }
            let step = self.stack.pop()?;
            match self.visit(&step) {
                Ok(None) => {}
                Ok(visit) => return visit,
                Err(error) => {
                    let Range { start, end } = step.place.chunks();
                    return Some(Visit::Lost {
                        id: step.id,
                        chunks: start..end.min(self.chunks),
                        error,
                    });
                }
            }
        }
    }
}
