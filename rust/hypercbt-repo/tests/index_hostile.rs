//! Segments with sound checksums over bytes that no writer makes: an error or an answer, never a panic.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are outside of what clippy takes for tests"
)]

use std::sync::Arc;

use hypercbt_repo::{
    Error, IndexEntry, MemoryStorage, PackName, RecordKind, Storage,
    index::{self, Index, PageCache, merge_if_due, object_name},
};
use proptest::prelude::*;

const ENTRIES: u8 = 150;

fn id(number: u8) -> [u8; 32] {
    let mut id = [number; 32];
    id[31] = 7;
    id
}

/// A segment of two packs, two pages and one filter.
fn segment() -> (String, Vec<u8>) {
    let storage = MemoryStorage::new();
    let kinds = [RecordKind::Chunk, RecordKind::Node];
    let entry = |number: u8| IndexEntry {
        kind: kinds[usize::from(number % 2)],
        id: id(number),
        offset: 64,
        stored_len: 100,
    };
    let pack = |name, from: u8| {
        (
            PackName([name; 32]),
            1000,
            (from..ENTRIES).map(entry).collect(),
        )
    };
    let written = index::write(&storage, "run", &[pack(1, 0), pack(2, 120)], 0).unwrap();
    let object = object_name(written.name);
    let bytes = storage.bytes(&object).unwrap().to_vec();
    assert_eq!(bytes[12..16], [2, 0, 0, 0]);
    (object, bytes)
}

fn put(bytes: &mut [u8], at: usize, covered: std::ops::Range<usize>) {
    let checksum = crc32c::crc32c(&bytes[covered]);
    bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes the checksums that belong to a segment of two pages and one filter.
fn mend(bytes: &mut [u8]) {
    let trailer = bytes.len() - 64;
    let fences = 3 * 4096;
    put(bytes, 16, 64..4096);
    put(bytes, 60, 0..60);
    put(bytes, 4096 + 4092, 4096..4096 + 4092);
    put(bytes, 8192 + 4092, 8192..8192 + 4092);
    put(bytes, fences + 16 + 8, fences + 28..trailer);
    put(bytes, trailer + 12, fences..fences + 16);
    put(bytes, trailer + 16, fences + 16..fences + 28);
    put(bytes, trailer + 52, trailer..trailer + 52);
}

/// Everything that reads a segment. An error has to name it.
fn read(object: &str, bytes: &[u8]) {
    let storage = MemoryStorage::new();
    for copy in 0..8_u8 {
        storage.overwrite(&object_name(hypercbt_repo::SegmentName([copy; 32])), bytes);
    }
    storage.overwrite(object, bytes);
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let (index, damaged) = match Index::open(Arc::clone(&storage), Arc::new(PageCache::new(0))) {
        Ok(opened) => opened,
        Err(Error::NewerFormat { .. }) => return,
        Err(error) => panic!("{error:?}"),
    };
    let is_damage =
        |error: &Error| matches!(error, Error::Damaged { name, .. } if name.starts_with("index/"));
    assert!(damaged.iter().all(is_damage), "{damaged:?}");
    let ids: Vec<_> = (0..=255).map(id).collect();
    for kind in [RecordKind::Chunk, RecordKind::Node] {
        assert!(
            index
                .lookup(kind, &ids)
                .as_ref()
                .err()
                .is_none_or(is_damage)
        );
    }
    for segment in index.segments() {
        let entries: Result<Vec<_>, _> = segment.entries().collect();
        assert!(entries.as_ref().err().is_none_or(is_damage));
        assert!(
            entries.is_err() || entries.is_ok_and(|entries| entries.len() as u64 == segment.len())
        );
    }
    assert!(
        merge_if_due(&storage, "run")
            .as_ref()
            .err()
            .is_none_or(is_damage)
    );
}

/// Where fields stand, so that not only ids are changed.
fn place(len: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0..150_usize, 4096..8192_usize, 12_288..len, len - 64..len]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_in_a_segment_is_believed_for_its_checksum(
        changes in prop::collection::vec((place(segment().1.len()), any::<u8>()), 1..6),
        mended in any::<bool>(),
    ) {
        let (object, mut bytes) = segment();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if mended {
            mend(&mut bytes);
        }
        read(&object, &bytes);
    }
}

#[test]
fn mending_a_whole_segment_changes_nothing() {
    let (object, bytes) = segment();
    let mut mended = bytes.clone();
    mend(&mut mended);
    assert!(mended == bytes);
    read(&object, &bytes);
}
