//! What a run has promised or stored, and no index segment tells of yet.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{ChunkId, IndexEntry, NodeId, RecordKind};

#[derive(Default)]
pub(super) struct Pending {
    /// Goes up with each segment. Whoever looked into the index before must look again: an id that left this
    /// set since then is in the index now.
    pub(super) generation: u64,
    chunks: HashMap<[u8; 32], Stored>,
    /// How many chunks are claimed and not stored.
    claimed: usize,
    /// Nodes that are not readable yet: without them a run could not read what it has just written.
    nodes: HashMap<[u8; 32], Arc<[u8]>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Not,
    Yes,
}

impl Pending {
    /// True for the first caller.
    pub(super) fn claim(&mut self, id: ChunkId) -> bool {
        match self.chunks.entry(id.0) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Stored::Not);
                self.claimed += 1;
                true
            }
        }
    }

    /// Notes that a chunk is being stored. False if it has been already.
    pub(super) fn store(&mut self, id: &[u8; 32]) -> bool {
        let before = self.chunks.insert(*id, Stored::Yes);
        if before == Some(Stored::Not) {
            self.claimed -= 1;
        }
        before != Some(Stored::Yes)
    }

    /// How many chunks somebody promised to store and did not.
    pub(super) fn unstored(&self) -> usize {
        self.claimed
    }

    /// True for the first caller.
    pub(super) fn put_node(&mut self, id: NodeId, bytes: &Arc<[u8]>) -> bool {
        match self.nodes.entry(id.0) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(bytes));
                true
            }
        }
    }

    pub(super) fn node(&self, id: NodeId) -> Option<Arc<[u8]>> {
        self.nodes.get(&id.0).cloned()
    }

    /// Forgets what the index tells of from now on.
    pub(super) fn indexed<'a>(&mut self, entries: impl Iterator<Item = &'a IndexEntry>) {
        self.generation += 1;
        for entry in entries {
            match entry.kind {
                RecordKind::Chunk => drop(self.chunks.remove(&entry.id)),
                RecordKind::Node => drop(self.nodes.remove(&entry.id)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_claimed_once_and_stored_once() {
        let mut pending = Pending::default();
        assert!(pending.claim(ChunkId([1; 32])));
        assert!(!pending.claim(ChunkId([1; 32])));
        assert_eq!(pending.unstored(), 1);
        assert!(pending.store(&[1; 32]));
        assert!(!pending.store(&[1; 32]));
        assert!(pending.store(&[2; 32])); // without a claim
        assert!(!pending.claim(ChunkId([2; 32])));
        assert_eq!(pending.unstored(), 0);
    }

    #[test]
    fn what_the_index_tells_of_is_forgotten_and_nothing_else() {
        let mut pending = Pending::default();
        pending.store(&[1; 32]);
        pending.store(&[2; 32]);
        pending.put_node(NodeId([1; 32]), &Arc::from(*b"node"));
        let entry = IndexEntry {
            kind: RecordKind::Chunk,
            id: [1; 32],
            offset: 64,
            stored_len: 1,
        };
        pending.indexed([entry].iter());
        assert_eq!(pending.generation, 1);
        assert!(pending.claim(ChunkId([1; 32])));
        assert!(!pending.claim(ChunkId([2; 32])));
        assert_eq!(pending.node(NodeId([1; 32])).as_deref(), Some(&b"node"[..]));
    }
}
