//! Whatever is indexed and however it is merged, the index answers as a map would.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are outside of what clippy takes for tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hypercbt_repo::{
    IndexEntry, Location, MemoryStorage, PackName, RecordKind, Storage,
    index::{self, Index, IndexedPlace, PageCache},
};
use proptest::prelude::*;

type Pack = (PackName, u64, Vec<IndexEntry>);
type Model = BTreeMap<(RecordKind, [u8; 32]), BTreeSet<IndexedPlace>>;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Pack>),
    Merge,
    Reopen,
}

/// Few different ids, many of which share their first 8 bytes: what is rare is common here.
fn id() -> impl Strategy<Value = [u8; 32]> {
    (0..4_u8, 0..3_u8, 0..8_u8).prop_map(|(first, eighth, last)| {
        let mut id = [0; 32];
        (id[0], id[7], id[31]) = (first.wrapping_mul(85), eighth, last);
        id
    })
}

fn kind() -> impl Strategy<Value = RecordKind> {
    prop_oneof![Just(RecordKind::Chunk), Just(RecordKind::Node)]
}

fn entry() -> impl Strategy<Value = IndexEntry> {
    (
        kind(),
        id(),
        0..3_u32,
        prop_oneof![0..3_u32, Just((1 << 31) - 1)],
    )
        .prop_map(|(kind, id, offset, stored_len)| IndexEntry {
            kind,
            id,
            offset,
            stored_len,
        })
}

/// Packs of few names, some of which are told with two lengths.
fn pack() -> impl Strategy<Value = Pack> {
    let len = prop_oneof![9 => Just(1000_u64), 1 => Just(u64::MAX)];
    (0..12_u8, len, prop::collection::vec(entry(), 0..40))
        .prop_map(|(name, len, entries)| (PackName([name; 32]), len, entries))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(pack(), 0..6).prop_map(Step::Write),
        2 => Just(Step::Merge),
        1 => Just(Step::Reopen),
    ]
}

fn open(storage: &MemoryStorage) -> Index {
    let cache = Arc::new(PageCache::new(0));
    let (index, damaged) = Index::open(Arc::new(storage.clone()), cache).unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    index
}

fn learn(model: &mut Model, packs: &[Pack]) {
    for (name, pack_len, entries) in packs {
        for IndexEntry {
            kind,
            id,
            offset,
            stored_len,
        } in entries
        {
            let location = Location {
                pack: *name,
                offset: *offset,
                stored_len: *stored_len,
            };
            let place = IndexedPlace {
                location,
                pack_len: *pack_len,
            };
            model.entry((*kind, *id)).or_default().insert(place);
        }
    }
}

fn agrees(index: &Index, model: &Model, asked: &[[u8; 32]]) {
    for kind in [RecordKind::Chunk, RecordKind::Node] {
        let ids: Vec<_> = model
            .keys()
            .map(|(_, id)| *id)
            .chain(asked.iter().copied())
            .collect();
        let found = index.lookup(kind, &ids).unwrap();
        assert_eq!(found.len(), ids.len());
        for (id, places) in ids.iter().zip(found.iter()) {
            let expected = model.get(&(kind, *id)).cloned().unwrap_or_default();
            assert!(
                places.iter().eq(&expected),
                "{id:?}: {places:?} instead of {expected:?}"
            );
        }
    }
}

fn all_entries(index: &Index) -> Model {
    let mut model = Model::new();
    for segment in index.segments() {
        for entry in segment.entries() {
            let entry = entry.unwrap();
            model
                .entry((entry.kind, entry.id))
                .or_default()
                .insert(entry.place);
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_index_answers_as_a_map_would(
        steps in prop::collection::vec(step(), 1..40),
        asked in prop::collection::vec(id(), 0..20),
    ) {
        let storage = MemoryStorage::new();
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut index = open(&storage);
        let mut model = Model::new();
        let mut packs = BTreeSet::new();
        for step in &steps {
            match step {
                Step::Write(written) => {
                    let segment = index::write(&storage, "run", written, 0).unwrap();
                    index.add(segment.name).unwrap();
                    learn(&mut model, written);
                    packs.extend(written.iter().map(|(name, len, _)| (*name, *len)));
                }
                // The index that is open keeps answering from what the merge deletes or makes.
                Step::Merge => drop(index::merge_if_due(&shared, "run").unwrap()),
                Step::Reopen => index = open(&storage),
            }
            agrees(&index, &model, &asked);
        }
        let index = open(&storage);
        agrees(&index, &model, &asked);
        prop_assert_eq!(all_entries(&index), model);
        prop_assert_eq!(index.packs(), packs.into_iter().collect::<Vec<_>>());
    }
}
