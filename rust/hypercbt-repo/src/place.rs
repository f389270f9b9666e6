//! Where a chunk or a tree node stands.

use serde::{Deserialize, Serialize};

use crate::PackName;

/// What a record of a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum RecordKind {
    /// A piece of a disk.
    Chunk = 1,
    /// A node of a disk tree.
    Node = 2,
}

impl RecordKind {
    /// The kind that a byte of a record, a footer or an index segment names, if it names one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Chunk),
            2 => Some(Self::Node),
            _ => None,
        }
    }

    /// The byte that names it.
    #[must_use]
    pub fn byte(self) -> u8 {
        self as u8
    }
}

/// One record of a pack, as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexEntry {
    /// What it holds.
    pub kind: RecordKind,
    /// The id of the chunk or node.
    pub id: [u8; 32],
    /// Where its header starts in the pack.
    pub offset: u32,
    /// The length of its stored bytes, the header not counted.
    pub stored_len: u32,
}

/// The place of one record among all packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The pack.
    pub pack: PackName,
    /// Where the record's header starts in it.
    pub offset: u32,
    /// The length of its stored bytes, the header not counted.
    pub stored_len: u32,
}
