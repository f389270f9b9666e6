//! Makes the tree of a disk from the tree of an older one, by what changed.

use std::ops::Range;

use super::{Node, NodeSink, NodeSource, Place, TreeShape, load};
use crate::{ChunkId, Error, NodeId, Result, codec::node_id};

/// A tree that is being made, chunk by chunk in ascending order. What is not mentioned stays as in the base.
///
/// It holds one path of nodes: the one to the last chunk that was mentioned. A node is put when no more
/// of its chunks can come, and only if it differs from the base's at its place.
///
/// After an error it is of no use any more.
pub struct TreeBuilder<'a> {
    source: &'a dyn NodeSource,
    sink: &'a mut dyn NodeSink,
    base: Option<NodeId>,
    base_chunks: u64,
    shape: TreeShape,
    /// From the root down. Empty: nothing was mentioned yet, and the root is the base's.
    path: Vec<Open>,
    /// The first chunk that can still be mentioned.
    next: u64,
}

/// A node whose children are not all known yet.
struct Open {
    place: Place,
    base: Option<NodeId>,
    children: Vec<Option<[u8; 32]>>,
    /// Whether it differs from the base's.
    changed: bool,
}

impl Open {
    fn child(&self, index: usize) -> Option<[u8; 32]> {
        self.children.get(index).copied().flatten()
    }

    fn set_child(&mut self, index: usize, id: Option<[u8; 32]>) {
        if let Some(child) = self.children.get_mut(index)
            && *child != id
        {
            *child = id;
            self.changed = true;
        }
    }
}

impl<'a> TreeBuilder<'a> {
    /// Begins the tree of a disk of `chunks` chunks from a base, given as its root and its number of chunks.
    /// Without a base, what is not mentioned is zero. A disk that grew has zeros past the base's end.
    ///
    /// # Errors
    /// [`Error::TreeShrank`] if the base has more chunks: what is past the new end cannot be kept, and a
    /// disk that shrank is compared (design: it has no base).
    pub fn new(
        base: Option<(Option<NodeId>, u64)>,
        chunks: u64,
        source: &'a dyn NodeSource,
        sink: &'a mut dyn NodeSink,
    ) -> Result<Self> {
        let (base, base_chunks) = base.unwrap_or_default();
        if base_chunks > chunks {
            return Err(Error::TreeShrank {
                chunks,
                base_chunks,
            });
        }
        let mut builder = Self {
            source,
            sink,
            base,
            base_chunks,
            shape: TreeShape::new(chunks),
            path: Vec::new(),
            next: 0,
        };
        builder.lift();
        Ok(builder)
    }

    /// Where the tree grows higher than the base, the base's root becomes the first child of a new node,
    /// and so on up to the new root. These nodes are open from the start, so that each is put once.
    fn lift(&mut self) {
        let Some(base) = self.base else { return };
        let mut place = self.shape.root();
        let base_height = TreeShape::new(self.base_chunks).height();
        while place.level() > base_height {
            let mut node = Open {
                place,
                base: None,
                children: vec![None; place.children()],
                changed: false, // setting its first child will make it so
            };
            place = place.child(0);
            if place.level() == base_height {
                node.set_child(0, Some(base.0));
            }
            self.path.push(node);
        }
    }

    /// Sets one chunk; `None` makes it zero.
    ///
    /// # Errors
    /// [`Error::TreeOrder`] if a chunk after it was mentioned already, or it is past the end.
    pub fn set(&mut self, chunk: u64, id: Option<ChunkId>) -> Result<()> {
        self.mention(chunk..chunk.saturating_add(1))?;
        self.seek(chunk)?;
        while let Some(node) = self.path.last_mut() {
            let index = node.place.index_of(chunk);
            if node.place.level() == 0 {
                node.set_child(index, id.map(|id| id.0));
                break;
            }
            let child = node.child(index);
            if child.is_none() && id.is_none() {
                break; // zero already, and there is no need for a node to say so
            }
            let place = node.place.child(index);
            self.open(place, child.map(NodeId))?;
        }
        Ok(())
    }

    /// Makes a range of chunks zero. Whole subtrees go without being loaded.
    ///
    /// How many chunks go that were not zero, [`super::TreeReader::count_non_null`] says of the base.
    ///
    /// # Errors
    /// [`Error::TreeOrder`] if a chunk after its start was mentioned already, or it ends past the end.
    pub fn set_zero(&mut self, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.mention(range.clone())?;
        let mut at = range.start;
        while at < range.end {
            self.seek(at)?;
            let Some(node) = self.path.last_mut() else {
                break;
            };
            let index = node.place.index_of(at);
            let child_end = node.place.child_first(index + 1);
            let whole = at == node.place.child_first(index)
                && child_end.min(self.shape.chunks()) <= range.end;
            let child = node.child(index);
            if whole {
                node.set_child(index, None);
                at = child_end;
            } else if child.is_none() {
                at = child_end;
            } else {
                let place = node.place.child(index);
                self.open(place, child.map(NodeId))?;
            }
        }
        Ok(())
    }

    /// Puts what is left and returns the root; `None` if the disk is all zero.
    pub fn finish(mut self) -> Result<Option<NodeId>> {
        let mut root = self.base;
        while let Some(node) = self.path.pop() {
            root = self.close(node)?;
        }
        Ok(root)
    }

    /// Checks that a range may be mentioned now, and that what is before its end may not any more.
    fn mention(&mut self, range: Range<u64>) -> Result<()> {
        let end = self.shape.chunks();
        if range.start < self.next || range.end > end || range.is_empty() {
            return Err(Error::TreeOrder {
                chunk: range.start,
                from: self.next,
                end,
            });
        }
        self.next = range.end;
        Ok(())
    }

    /// Closes the nodes that do not hold this chunk, so that the last one open does.
    fn seek(&mut self, chunk: u64) -> Result<()> {
        while let Some(node) = self
            .path
            .pop_if(|node| !node.place.chunks().contains(&chunk))
        {
            self.close(node)?;
        }
        if self.path.is_empty() {
            self.open(self.shape.root(), self.base)?;
        }
        Ok(())
    }

    fn open(&mut self, place: Place, base: Option<NodeId>) -> Result<()> {
        let children = match base {
            Some(id) => load(self.source, id, place, self.base_chunks)?
                .children()
                .to_vec(),
            None => vec![None; place.children()],
        };
        self.path.push(Open {
            place,
            base,
            children,
            changed: false,
        });
        Ok(())
    }

    /// Puts a node that was just taken off the path, if it is new, and tells its parent.
    fn close(&mut self, node: Open) -> Result<Option<NodeId>> {
        let (place, mut id) = (node.place, node.base);
        if node.changed {
            id = match Node::new(place.level(), node.children) {
                None => None,
                Some(node) => {
                    let bytes = node.encode();
                    let id = node_id(&bytes);
                    self.sink.put(id, bytes)?;
                    Some(id)
                }
            };
        }
        if let Some(parent) = self.path.last_mut() {
            let index = parent.place.index_of(place.chunks().start);
            parent.set_child(index, id.map(|id| id.0));
        }
        Ok(id)
    }
}
