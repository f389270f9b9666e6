//! Reads the tree of one disk: single chunks, and leaves in order.

use std::{ops::Range, sync::Arc};

use super::{LEAF_CHUNKS, Node, NodeSource, Place, TreeShape, load};
use crate::{ChunkId, NodeId, Result};

/// The tree of one disk.
#[derive(Clone, Copy)]
pub struct TreeReader<'a> {
    source: &'a dyn NodeSource,
    root: Option<NodeId>,
    shape: TreeShape,
}

/// The chunks of one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The number of the first one; a multiple of 64.
    pub first: u64,
    /// Their ids. Null: zero, or outside of what was asked for.
    pub chunks: [Option<ChunkId>; LEAF_CHUNKS],
}

impl Leaf {
    /// The chunks that are not null, with their numbers, in order.
    pub fn present(&self) -> impl Iterator<Item = (u64, ChunkId)> + '_ {
        let numbered = (self.first..).zip(&self.chunks);
        numbered.filter_map(|(number, id)| id.map(|id| (number, id)))
    }
}

impl<'a> TreeReader<'a> {
    /// The tree of a disk of so many chunks. A disk without a root is all zero.
    pub fn new(source: &'a dyn NodeSource, root: Option<NodeId>, chunks: u64) -> Self {
        let shape = TreeShape::new(chunks);
        Self {
            source,
            root,
            shape,
        }
    }

    /// The chunks of the disk.
    pub fn chunks(&self) -> u64 {
        self.shape.chunks()
    }

    /// The id of one chunk; `None` if it is zero or past the end. For several, [`TreeReader::cursor`] loads less.
    pub fn get(&self, chunk: u64) -> Result<Option<ChunkId>> {
        self.cursor().get(chunk)
    }

    /// Single chunks, keeping the nodes between the root and the last one.
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor {
            tree: *self,
            path: Vec::new(),
        }
    }

    /// The leaves that hold chunks of this range, in order; those that are all zero are left out.
    ///
    /// A node that cannot be loaded gives one error, and the leaves after it follow.
    pub fn leaves(&self, range: Range<u64>) -> Leaves<'a> {
        let root = self.root.filter(|_| !range.is_empty());
        let stack = root.map(|id| (id, self.shape.root())).into_iter().collect();
        Leaves {
            tree: *self,
            range,
            stack,
        }
    }

    /// How many chunks of this range are not null.
    pub fn count_non_null(&self, range: Range<u64>) -> Result<u64> {
        self.leaves(range)
            .map(|leaf| Ok(leaf?.present().count() as u64))
            .sum()
    }

    fn load(&self, id: NodeId, place: Place) -> Result<Arc<Node>> {
        load(self.source, id, place, self.shape.chunks())
    }
}

/// Looks up chunks one after the other. Cheap where they are near to each other.
pub struct Cursor<'a> {
    tree: TreeReader<'a>,
    path: Vec<(Place, Arc<Node>)>,
}

impl Cursor<'_> {
    /// The id of one chunk; `None` if it is zero or past the end.
    pub fn get(&mut self, chunk: u64) -> Result<Option<ChunkId>> {
        if chunk >= self.tree.chunks() {
            return Ok(None);
        }
        self.path.truncate(
            self.path
                .partition_point(|(place, _)| place.chunks().contains(&chunk)),
        );
        let mut child = match self.path.last() {
            None => self.tree.root.map(|id| (id.0, self.tree.shape.root())),
            Some((place, node)) if place.level() == 0 => {
                return Ok(node.child(place.index_of(chunk)).map(ChunkId));
            }
            Some((place, node)) => child_of(*place, node, chunk),
        };
        while let Some((id, place)) = child {
            let node = self.tree.load(NodeId(id), place)?;
            self.path.push((place, Arc::clone(&node)));
            if place.level() == 0 {
                return Ok(node.child(place.index_of(chunk)).map(ChunkId));
            }
            child = child_of(place, &node, chunk);
        }
        Ok(None)
    }
}

/// The child of an inner node that a chunk is below.
fn child_of(place: Place, node: &Node, chunk: u64) -> Option<([u8; 32], Place)> {
    let index = place.index_of(chunk);
    Some((node.child(index)?, place.child(index)))
}

/// The leaves of a range. See [`TreeReader::leaves`].
pub struct Leaves<'a> {
    tree: TreeReader<'a>,
    range: Range<u64>,
    /// Subtrees that are still to be read, the next one last: at most a node's children a level.
    stack: Vec<(NodeId, Place)>,
}

impl Leaves<'_> {
    fn push_children(&mut self, place: Place, node: &Node) {
        for (index, id) in node.children().iter().enumerate().rev() {
            let Some(id) = id else { continue };
            let child = place.child(index);
            let chunks = child.chunks();
            if chunks.start < self.range.end && chunks.end > self.range.start {
                self.stack.push((NodeId(*id), child));
            }
        }
    }

    fn leaf(&self, place: Place, node: &Node) -> Leaf {
        let first = place.chunks().start;
        let mut chunks = [None; LEAF_CHUNKS];
        for (number, (chunk, id)) in (first..).zip(chunks.iter_mut().zip(node.children())) {
            if self.range.contains(&number) {
                *chunk = id.map(ChunkId);
            }
        }
        Leaf { first, chunks }
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((id, place)) = self.stack.pop() {
            let node = match self.tree.load(id, place) {
                Ok(node) => node,
                Err(error) => return Some(Err(error)),
            };
            if place.level() > 0 {
                self.push_children(place, &node);
                continue;
            }
            let leaf = self.leaf(place, &node);
            if leaf.present().next().is_some() {
                return Some(Ok(leaf));
            }
        }
        None
    }
}
