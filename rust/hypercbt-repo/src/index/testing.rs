//! Small indexes for the tests.

use std::sync::Arc;

use super::{Index, IndexedPlace, PageCache, writer};
use crate::{IndexEntry, Location, MemoryStorage, PackName, RecordKind, SegmentName, Storage};

/// A pack as [`writer::write`] takes it.
pub(super) type Pack = (PackName, u64, Vec<IndexEntry>);

pub(super) fn pack_name(number: u8) -> PackName {
    PackName([number; 32])
}

/// An id that looks like one; ids of numbers next to each other are far apart.
pub(super) fn id(number: u32) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

pub(super) fn chunk(number: u32) -> IndexEntry {
    IndexEntry {
        kind: RecordKind::Chunk,
        id: id(number),
        offset: number,
        stored_len: 100,
    }
}

/// One pack with chunks of these numbers.
pub(super) fn pack(number: u8, chunks: impl IntoIterator<Item = u32>) -> Pack {
    (
        pack_name(number),
        1000,
        chunks.into_iter().map(chunk).collect(),
    )
}

pub(super) fn place(pack: u8, number: u32) -> IndexedPlace {
    let location = Location {
        pack: pack_name(pack),
        offset: number,
        stored_len: 100,
    };
    IndexedPlace {
        location,
        pack_len: 1000,
    }
}

pub(super) fn write(storage: &dyn Storage, packs: &[Pack]) -> SegmentName {
    writer::write(storage, "test", packs, 0).unwrap()
}

pub(super) fn open(storage: &MemoryStorage) -> Index {
    let (index, damaged) = try_open(storage);
    assert!(damaged.is_empty(), "{damaged:?}");
    index
}

pub(super) fn try_open(storage: &MemoryStorage) -> (Index, Vec<crate::Error>) {
    let cache = Arc::new(PageCache::new(1 << 16));
    Index::open(Arc::new(storage.clone()), cache).unwrap()
}
