//! Makes one segment of eight, so that look-ups ask few of them.
//!
//! Anybody may merge at any time, several at once, and die at any moment: the result is durable under
//! its name before the first of its parts is deleted, the same parts make the same result, and what is
//! told twice meanwhile does no harm. Entries are never dropped, but for equal ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use super::{
    cache::PageCache,
    entries::RawEntries,
    layout::{Entry, PackRow},
    lookup::list,
    object_name, open,
    segment::Segment,
    writer::SegmentWriter,
};
use crate::{Error, Result, SegmentName, Storage};

/// So many segments of a level become one of the next. An entry is then written once more for each
/// eightfold growth, and a look-up asks at most seven segments of each level.
const DUE: usize = 8;
/// More are not merged at once: each takes 256 KiB for its pages, and its filters.
const AT_ONCE: usize = 64;
/// How often the list is read again because another merge was faster.
const ATTEMPTS: usize = 16;

/// What merging did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Segments that were written, in this order. Some of them may be merged again already.
    pub written: Vec<SegmentName>,
    /// Segments whose entries stand in those now, and which were deleted.
    pub deleted: Vec<SegmentName>,
}

/// Merges segments until no level has eight of them. `owner` starts the temporary names.
///
/// Memory is bounded but for the filters of the parts and of the result, 1.2 bytes an entry each.
///
/// # Errors
/// [`Error::Damaged`] names a segment whose pages are damaged: it has to be replaced first.
/// Segments that cannot even be opened are left alone.
pub fn merge_if_due(storage: &Arc<dyn Storage>, owner: &str) -> Result<Merged> {
    let mut merged = Merged::default();
    let mut attempts = 0;
    loop {
        match merge_one(storage, owner, &mut merged) {
            Ok(true) => {}
            Ok(false) => return Ok(merged),
            // Another merge has deleted a part: its result is listed now.
            Err(error) if error.is_not_found() && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Merges the lowest level that is due; false if there is none.
fn merge_one(storage: &Arc<dyn Storage>, owner: &str, merged: &mut Merged) -> Result<bool> {
    let Some((level, parts)) = due(storage)? else {
        return Ok(false);
    };
    let result = merge(&**storage, owner, &parts, level.saturating_add(1))?;
    merged.written.push(result);
    for part in &parts {
        // A merge of level 255 stays there, and may have made one of its parts anew.
        if part.name() != result {
            let object = object_name(part.name());
            storage
                .delete(&object)
                .map_err(Error::storage("delete", &object))?;
            merged.deleted.push(part.name());
        }
    }
    Ok(true)
}

/// The lowest level of eight segments or more, and those.
fn due(storage: &Arc<dyn Storage>) -> Result<Option<(u8, Vec<Segment>)>> {
    let cache = Arc::new(PageCache::new(0));
    let mut levels: BTreeMap<u8, Vec<SegmentName>> = BTreeMap::new();
    for name in list(&**storage)? {
        let level = open::level(&**storage, &object_name(name));
        if let Some(level) = unless_damaged(level)? {
            levels.entry(level).or_default().push(name);
        }
    }
    for (level, names) in levels.into_iter().filter(|(_, names)| names.len() >= DUE) {
        let mut segments = Vec::with_capacity(names.len());
        for name in names.into_iter().take(AT_ONCE) {
            let segment = Segment::open(Arc::clone(storage), Arc::clone(&cache), name);
            segments.extend(unless_damaged(segment)?);
        }
        if segments.len() >= DUE {
            return Ok(Some((level, segments)));
        }
    }
    Ok(None)
}

/// Damage is told to whoever opens the index, and is no reason not to merge the rest.
fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the entries of all parts as one segment.
pub(super) fn merge(
    storage: &dyn Storage,
    owner: &str,
    parts: &[Segment],
    level: u8,
) -> Result<SegmentName> {
    let mut packs: Vec<PackRow> = parts
        .iter()
        .flat_map(|part| part.pack_rows().iter().copied())
        .collect();
    packs.sort_unstable();
    packs.dedup();
    let mut inputs = Vec::with_capacity(parts.len());
    for part in parts {
        inputs.push(Input::new(part, &packs));
    }
    let mut writer = SegmentWriter::begin(storage, owner, &packs, level)?;
    let mut heads = BinaryHeap::with_capacity(inputs.len());
    for (number, input) in inputs.iter_mut().enumerate() {
        if let Some(entry) = input.next().transpose()? {
            heads.push(Reverse((entry, number)));
        }
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((entry, number)) = *head;
        writer.push(entry)?;
        match inputs
            .get_mut(number)
            .and_then(Iterator::next)
            .transpose()?
        {
            Some(next) => *head = Reverse((next, number)),
            None => drop(std::collections::binary_heap::PeekMut::pop(head)),
        }
    }
    writer.finish().map(|written| written.name)
}

/// The entries of a part, with its packs by their rows in the result's table. Both tables are
/// sorted, so the entries stay in order.
struct Input<'a> {
    entries: RawEntries<'a>,
    rows: Vec<u32>,
}

impl<'a> Input<'a> {
    fn new(part: &'a Segment, packs: &[PackRow]) -> Self {
        let row = |pack| {
            let row = packs
                .binary_search(pack)
                .expect("the table has every part's packs");
            u32::try_from(row).expect("four billion packs do not fit in memory")
        };
        Self {
            entries: part.raw_entries(),
            rows: part.pack_rows().iter().map(row).collect(),
        }
    }
}

impl Iterator for Input<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.entries.next()?.map(|entry| {
            let pack = self.rows.get(entry.pack as usize).copied();
            Entry {
                pack: pack.expect("entries are checked against their table"),
                ..entry
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::{
        Damage, Fault, FaultyStorage, MemoryStorage, RecordKind,
        index::{
            Index,
            testing::{Call, Hooked, id, open, pack, pack_name, place, write},
        },
    };

    const CHUNK: RecordKind = RecordKind::Chunk;

    fn merge_all(storage: &(impl Storage + Clone + 'static)) -> Result<Merged> {
        let storage: Arc<dyn Storage> = Arc::new(storage.clone());
        merge_if_due(&storage, "test")
    }

    /// Segments 0, 1, ...: each has a pack of its own, with ten chunks of its own, and chunk 1000.
    fn filled(segments: u8) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for number in 0..segments {
            write(&storage, &[pack(number, numbers(number).chain([1000]))]);
        }
        storage
    }

    fn numbers(segment: u8) -> std::ops::Range<u32> {
        u32::from(segment) * 10..u32::from(segment) * 10 + 10
    }

    fn assert_holds(index: &Index, segments: u8) {
        for segment in 0..segments {
            let ids: Vec<_> = numbers(segment).map(id).collect();
            let found = index.lookup(CHUNK, &ids).unwrap();
            for (number, places) in numbers(segment).zip(found.iter()) {
                assert_eq!(places, [place(segment, number)]);
            }
        }
        let everywhere: Vec<_> = (0..segments).map(|number| place(number, 1000)).collect();
        assert_eq!(index.lookup(CHUNK, &[id(1000)]).unwrap().of(0), everywhere);
        let packs: Vec<_> = (0..segments)
            .map(|number| (pack_name(number), 1000))
            .collect();
        assert_eq!(index.packs(), packs);
    }

    fn levels(index: &Index) -> Vec<u8> {
        let mut levels: Vec<_> = index
            .segments()
            .iter()
            .map(|segment| segment.level())
            .collect();
        levels.sort_unstable();
        levels
    }

    #[test]
    fn seven_segments_are_left_alone() {
        let storage = filled(7);
        assert_eq!(merge_all(&storage).unwrap(), Merged::default());
        assert_holds(&open(&storage), 7);
    }

    #[test]
    fn eight_segments_become_one_of_the_next_level() {
        let storage = filled(8);
        let merged = merge_all(&storage).unwrap();
        assert_eq!((merged.written.len(), merged.deleted.len()), (1, 8));
        let index = open(&storage);
        assert_eq!(levels(&index), [1]);
        assert_eq!(index.segments()[0].len(), 8 * 11);
        assert_holds(&index, 8);
    }

    #[test]
    fn a_merge_that_makes_the_eighth_of_a_level_goes_on() {
        let storage = MemoryStorage::new();
        for level in 0..8 {
            for number in 0..8 {
                write(
                    &storage,
                    &[pack(
                        level * 8 + number,
                        numbers(level * 8 + number).chain([1000]),
                    )],
                );
            }
            merge_all(&storage).unwrap();
        }
        let index = open(&storage);
        assert_eq!(levels(&index), [2]);
        assert_holds(&index, 64);
    }

    #[test]
    fn what_is_told_twice_is_told_once_after_the_merge() {
        let storage = filled(7);
        write(&storage, &[pack(0, numbers(0)), pack(1, numbers(1))]);
        merge_all(&storage).unwrap();
        let index = open(&storage);
        assert_eq!(index.segments()[0].len(), 7 * 11);
        assert_holds(&index, 7);
    }

    #[test]
    fn two_lengths_of_one_pack_are_both_kept() {
        let storage = filled(7);
        let mut other = pack(0, numbers(0));
        other.1 = 999;
        write(&storage, &[other]);
        merge_all(&storage).unwrap();
        let index = open(&storage);
        assert_eq!(
            index.packs()[..2],
            [(pack_name(0), 999), (pack_name(0), 1000)]
        );
        let places = index.lookup(CHUNK, &[id(3)]).unwrap();
        let lens: Vec<_> = places.of(0).iter().map(|place| place.pack_len).collect();
        assert_eq!(lens, [999, 1000]);
    }

    #[test]
    fn two_mergers_make_the_same_bytes() {
        let one = filled(8);
        let other = one.copy();
        assert_eq!(merge_all(&one).unwrap(), merge_all(&other).unwrap());
    }

    #[test]
    fn the_same_entries_in_one_step_or_in_two_are_the_same_entries() {
        let storage = filled(8);
        merge_all(&storage).unwrap();
        let packs: Vec<_> = (0..8)
            .map(|number| pack(number, numbers(number).chain([1000])))
            .collect();
        let direct = super::super::write(&MemoryStorage::new(), "test", &packs, 1).unwrap();
        assert_eq!(open(&storage).segments()[0].name(), direct.name);
    }

    #[test]
    fn nothing_is_deleted_before_the_result_is_durable() {
        let storage = FaultyStorage::recording(filled(8));
        merge_all(&storage).unwrap();
        let calls: Vec<_> = storage
            .calls()
            .into_iter()
            .map(|call| call.action)
            .collect();
        let finish = calls.iter().position(|action| *action == "finish").unwrap();
        let delete = calls.iter().position(|action| *action == "delete").unwrap();
        assert!(finish < delete);
    }

    #[test]
    fn a_crash_at_any_call_loses_nothing_and_the_next_merge_cleans_up() {
        let original = filled(9);
        let calls = {
            let storage = FaultyStorage::recording(original.copy());
            merge_all(&storage).unwrap();
            storage.calls().len()
        };
        assert!(calls > 8 * 6);
        for at in 0..calls {
            let disk = original.copy();
            let dying =
                FaultyStorage::failing(disk.clone(), at, Fault::FailFrom(io::ErrorKind::Other));
            assert!(merge_all(&dying).is_err(), "call {at}");
            assert_holds(&open(&disk), 9);
            merge_all(&disk).unwrap();
            assert_holds(&open(&disk), 9);
        }
    }

    #[test]
    fn one_failure_at_any_call_is_told_or_overcome() {
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::StorageFull] {
            for at in 0..60 {
                let disk = filled(8);
                let failing = FaultyStorage::failing(disk.clone(), at, Fault::Fail(kind));
                let merged = merge_all(&failing);
                assert!(
                    merged.is_ok() || open(&disk).segments().len() > 1,
                    "call {at}"
                );
                assert_holds(&open(&disk), 8);
            }
        }
    }

    /// A storage on which another merge is done at the first read of a page.
    fn overtaken(storage: &MemoryStorage) -> Hooked {
        let other = storage.clone();
        Hooked::new(storage, move |call| {
            let read = matches!(call, Call::Read { at: 4096 });
            if read {
                assert_eq!(merge_all(&other).unwrap().written.len(), 1);
            }
            read
        })
    }

    #[test]
    fn a_merge_that_another_overtakes_finds_nothing_left_to_do() {
        let memory = filled(8);
        let storage = overtaken(&memory);
        let merged = merge_all(&storage).unwrap();
        assert!(storage.has_fired());
        assert_eq!(merged, Merged::default());
        assert_holds(&open(&memory), 8);
    }

    #[test]
    fn a_look_up_goes_on_when_a_merge_deletes_what_it_reads() {
        let memory = filled(8);
        let storage = overtaken(&memory);
        let cache = Arc::new(PageCache::new(0));
        let (index, damaged) = Index::open(Arc::new(storage.clone()), cache).unwrap();
        assert!(damaged.is_empty());
        assert_eq!(
            index.lookup(CHUNK, &[id(75)]).unwrap().of(0),
            [place(7, 75)]
        );
        assert!(storage.has_fired());
        assert_eq!(levels(&index), [1]);
        assert_holds(&index, 8);
    }

    #[test]
    fn a_damaged_part_is_named_and_nothing_is_deleted() {
        let storage = filled(8);
        let object = object_name(open(&storage).segments()[3].name());
        let mut bytes = storage.bytes(&object).unwrap().to_vec();
        bytes[5000] ^= 1;
        storage.overwrite(&object, &bytes);
        let error = merge_all(&storage).unwrap_err();
        assert!(
            matches!(&error, Error::Damaged { name, reason: Damage::Checksum } if *name == object)
        );
        assert_eq!(storage.list("index").unwrap().len(), 8);
    }

    #[test]
    fn a_segment_that_cannot_be_opened_does_not_keep_the_others_from_merging() {
        let storage = filled(9);
        let object = object_name(open(&storage).segments()[3].name());
        storage.overwrite(&object, b"short");
        let merged = merge_all(&storage).unwrap();
        assert_eq!(merged.deleted.len(), 8);
        assert!(storage.bytes(&object).is_some());
    }
}
