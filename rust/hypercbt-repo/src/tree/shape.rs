//! How high the tree of a disk is, and which chunks lie below which node. Arithmetic only.

use std::ops::Range;

/// The chunks of a leaf.
pub const LEAF_CHUNKS: usize = 64;

/// The children of an inner node.
pub const FAN_OUT: usize = 256;

/// The shape of a disk's tree. It depends on nothing but the number of chunks, so that equal disks have
/// equal trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeShape {
    chunks: u64,
    height: u8,
}

impl TreeShape {
    /// The shape of a disk of so many chunks: the lowest that holds them.
    pub fn new(chunks: u64) -> Self {
        let mut height = 0;
        while chunks_below(height) < chunks {
            height += 1; // ends at 8: there it is as many as can be counted
        }
        Self { chunks, height }
    }

    /// The chunks of the disk.
    pub fn chunks(self) -> u64 {
        self.chunks
    }

    /// The level of the root. 0: it is a leaf.
    pub fn height(self) -> u8 {
        self.height
    }

    /// The place of the root.
    pub fn root(self) -> Place {
        Place {
            level: self.height,
            first: 0,
        }
    }
}

/// The chunks below a node of this level, or [`u64::MAX`] where they cannot be counted any more.
fn chunks_below(level: u8) -> u64 {
    (FAN_OUT as u64)
        .checked_pow(level.into())
        .and_then(|leaves| leaves.checked_mul(LEAF_CHUNKS as u64))
        .unwrap_or(u64::MAX)
}

/// Where a node stands: its level and its first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    level: u8,
    first: u64,
}

impl Place {
    /// The level; 0 is a leaf.
    pub fn level(self) -> u8 {
        self.level
    }

    /// The chunks below it, also those past the disk's end.
    pub fn chunks(self) -> Range<u64> {
        self.first..self.first.saturating_add(chunks_below(self.level))
    }

    /// How many children a node has here, null ones included.
    pub(super) fn children(self) -> usize {
        children_at(self.level)
    }

    /// The chunks below each child: for a leaf, 1.
    pub(super) fn child_chunks(self) -> u64 {
        self.level.checked_sub(1).map_or(1, chunks_below)
    }

    /// The first chunk below a child, or [`u64::MAX`] where no disk has any.
    pub(super) fn child_first(self, index: usize) -> u64 {
        let before = self.child_chunks().saturating_mul(index as u64);
        self.first.saturating_add(before)
    }

    /// Which child a chunk is below. The chunk is below this place.
    pub(super) fn index_of(self, chunk: u64) -> usize {
        let index = (chunk - self.first) / self.child_chunks();
        usize::try_from(index).expect("a node has at most 256 children")
    }

    /// The place of a child. This is no leaf.
    pub(super) fn child(self, index: usize) -> Self {
        Self {
            level: self.level - 1,
            first: self.child_first(index),
        }
    }
}

/// How many children a node of this level has, null ones included.
pub(super) fn children_at(level: u8) -> usize {
    if level == 0 { LEAF_CHUNKS } else { FAN_OUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_as_low_as_its_chunks_allow() {
        let cases = [
            (0, 0),
            (1, 0),
            (64, 0),
            (65, 1),
            (64 << 8, 1),
            ((64 << 8) + 1, 2),
            (1 << 30, 3), // 64 TiB of 64 KiB chunks
            (1 << 62, 7),
            ((1 << 62) + 1, 8),
            (u64::MAX, 8),
        ];
        for (chunks, height) in cases {
            assert_eq!(TreeShape::new(chunks).height(), height, "{chunks}");
        }
    }

    #[test]
    fn children_share_the_chunks_of_their_parent_without_a_gap() {
        let root = TreeShape::new(1 << 30).root();
        assert_eq!(root.chunks(), 0..1 << 30);
        for index in 0..256 {
            let child = root.child(index);
            let next = root.child_first(index + 1);
            assert_eq!(child.chunks(), root.child_first(index)..next);
            assert_eq!(root.index_of(next - 1), index);
        }
    }

    #[test]
    fn the_largest_disk_there_can_be_does_not_overflow() {
        let root = TreeShape::new(u64::MAX).root();
        assert_eq!(root.index_of(u64::MAX - 1), 3);
        assert_eq!(root.child(3).chunks().end, u64::MAX);
        assert_eq!(root.child_first(4), u64::MAX);
    }
}
