//! An open segment: what stands in memory, and how ids are found with it.

use std::{fmt, sync::Arc};

use super::{
    cache::{PageCache, PageKey},
    entries::{Entries, RawEntries},
    layout::{Entry, FILTER_PAGES, PAGE_BYTES, PackRow},
    object_name,
    open::{self, Parts},
    page::{self, PageBytes},
    places::{Found, IndexedPlace},
    read_failed,
    search::{Pages, within},
};
use crate::{Damage, Error, Location, PackName, RecordKind, Result, SegmentName, Storage};

/// A segment of the index. Pages are read when they are asked for.
pub struct Segment {
    name: SegmentName,
    object: String,
    storage: Arc<dyn Storage>,
    parts: Parts,
    cache: Arc<PageCache>,
    /// What the cache knows it by.
    number: u32,
}

/// An id of a batch: its first 8 bytes, and its position. Batches are sorted by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) prefix: u64,
    pub(super) position: u32,
}

/// What one batch asks for.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) kind: RecordKind,
    pub(super) ids: &'a [[u8; 32]],
    /// All ids in order.
    pub(super) sorted: &'a [Wanted],
}

/// Memory that a batch uses again for each segment.
pub(super) struct Scratch {
    page: Box<PageBytes>,
    /// Which page is in `page`.
    held: Option<PageKey>,
    maybe: Vec<Wanted>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            page: page::empty(),
            held: None,
            maybe: Vec::new(),
        }
    }
}

impl Segment {
    /// Opens a segment: reads all but its pages, which are checked when they are read.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the segment. A damaged filter is no error.
    pub fn open(
        storage: Arc<dyn Storage>,
        cache: Arc<PageCache>,
        name: SegmentName,
    ) -> Result<Self> {
        let object = object_name(name);
        let parts = open::read(&*storage, &object)?;
        let number = cache.new_segment();
        Ok(Self {
            name,
            object,
            storage,
            parts,
            cache,
            number,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        self.name
    }

    /// How often its entries were merged: a run writes level 0.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.parts.level
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parts.trailer.entries
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of its filters did not check. Look-ups are right without them, and slow.
    #[must_use]
    pub fn damaged_filters(&self) -> usize {
        self.parts.damaged_filters
    }

    /// How much memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let filters = self
            .parts
            .filters
            .iter()
            .flatten()
            .map(|filter| filter.fingerprints().len());
        size_of_val(&*self.parts.packs) + size_of_val(&*self.parts.fences) + filters.sum::<usize>()
    }

    /// The packs that its entries are of, with their lengths when they were indexed; sorted. A pack
    /// without entries is there too, and one of which two lengths were told is there twice.
    pub fn packs(&self) -> impl ExactSizeIterator<Item = (PackName, u64)> {
        self.parts.packs.iter().map(|row| (row.name, row.len))
    }

    /// All entries in order, read as they are asked for. The last word on whether the pages are
    /// whole: order, fences and unused bytes are checked as well.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self)
    }

    /// The same with packs by their row in [`pack_rows`](Self::pack_rows).
    pub(super) fn raw_entries(&self) -> RawEntries<'_> {
        RawEntries::new(self)
    }

    pub(super) fn pack_rows(&self) -> &[PackRow] {
        &self.parts.packs
    }

    pub(super) fn pages(&self) -> u32 {
        self.parts.trailer.pages
    }

    pub(super) fn entries_in(&self, page: u32) -> usize {
        self.parts.trailer.entries_in(page)
    }

    /// Reads pages that follow each other. Their checksums are still to be checked.
    pub(super) fn read_pages(&self, first: u32, buf: &mut [u8]) -> Result<()> {
        let at = self.parts.pages_at + u64::from(first) * PAGE_BYTES as u64;
        let read = self.storage.read_exact_at(&self.object, buf, at);
        read.map_err(|source| read_failed(&self.object, source))
    }

    pub(super) fn fence(&self, page: u32) -> Option<u64> {
        self.parts.fences.get(page as usize).copied()
    }

    pub(super) fn damaged(&self, reason: Damage) -> Error {
        Error::damaged(&self.object, reason)
    }

    /// Where an entry says its chunk or node is.
    pub(super) fn place(&self, entry: &Entry) -> Result<IndexedPlace> {
        let row = self.parts.packs.get(entry.pack as usize);
        let row = row.ok_or_else(|| self.damaged(Damage::Field))?;
        let Entry {
            offset, stored_len, ..
        } = *entry;
        let location = Location {
            pack: row.name,
            offset,
            stored_len,
        };
        Ok(IndexedPlace {
            location,
            pack_len: row.len,
        })
    }

    /// Adds all places of the batch's ids that this segment knows.
    pub(super) fn find(
        &self,
        batch: Batch<'_>,
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let groups = self
            .parts
            .fences
            .chunks(FILTER_PAGES as usize)
            .zip(&self.parts.filters);
        for ((fences, filter), first_page) in groups.zip((0_u32..).step_by(FILTER_PAGES as usize)) {
            let next = first_page.checked_add(FILTER_PAGES);
            let next = next.and_then(|page| self.fence(page));
            let wanted = within(batch.sorted, fences.first().copied(), next);
            let mut maybe = std::mem::take(&mut scratch.maybe);
            maybe.clear();
            match filter {
                Some(filter) => maybe.extend(
                    wanted
                        .iter()
                        .filter(|id| filter.may_contain(id.prefix, batch.kind)),
                ),
                None => maybe.extend_from_slice(wanted),
            }
            let result = Pages {
                segment: self,
                batch,
                fences,
                end: next.unwrap_or(u64::MAX),
                first_page,
            }
            .find(&maybe, scratch, found);
            scratch.maybe = maybe;
            result?;
        }
        Ok(())
    }

    /// Shows a checked page to `look`, once, from the cache or from the storage.
    pub(super) fn with_page(
        &self,
        page: u32,
        fence: u64,
        scratch: &mut Scratch,
        look: &mut impl FnMut(&PageBytes) -> Result<()>,
    ) -> Result<()> {
        let key = PageKey {
            segment: self.number,
            page,
        };
        if scratch.held == Some(key) {
            return look(&scratch.page);
        }
        if let Some(result) = self.cache.show(key, &mut *look) {
            return result;
        }
        scratch.held = None;
        self.read_pages(page, &mut *scratch.page)?;
        page::check(&scratch.page, fence).map_err(|reason| self.damaged(reason))?;
        look(&scratch.page)?;
        if !self.cache.offer(key, &mut scratch.page) {
            scratch.held = Some(key);
        }
        Ok(())
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Segment({}, level {}, {} entries)",
            self.name,
            self.level(),
            self.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FaultyStorage, IndexEntry, MemoryStorage,
        index::testing::{self, id, pack, pack_name, place, write},
        index::{Index, Places},
    };

    const CHUNK: RecordKind = RecordKind::Chunk;

    fn index_of(packs: &[testing::Pack]) -> Index {
        let storage = MemoryStorage::new();
        write(&storage, packs);
        testing::open(&storage)
    }

    fn counting(
        packs: &[testing::Pack],
        cache_bytes: usize,
    ) -> (FaultyStorage<MemoryStorage>, Index) {
        let storage = FaultyStorage::recording(MemoryStorage::new());
        write(&storage, packs);
        let cache = Arc::new(PageCache::new(cache_bytes));
        let (index, damaged) = Index::open(Arc::new(storage.clone()), cache).unwrap();
        assert!(damaged.is_empty());
        (storage, index)
    }

    /// An id of a number, in the same order.
    fn plain_id(number: u64) -> [u8; 32] {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn plain_pack(numbers: impl IntoIterator<Item = u32>) -> testing::Pack {
        let entry = |number: u32| IndexEntry {
            kind: CHUNK,
            id: plain_id(number.into()),
            offset: number,
            stored_len: 100,
        };
        (pack_name(1), 1000, numbers.into_iter().map(entry).collect())
    }

    fn offsets(places: &Places) -> Vec<Vec<u32>> {
        let offset = |place: &IndexedPlace| place.location.offset;
        places
            .iter()
            .map(|places| places.iter().map(offset).collect())
            .collect()
    }

    #[test]
    fn places_come_back_in_the_order_of_the_batch() {
        let index = index_of(&[pack(1, 0..1000)]);
        let places = index
            .lookup(CHUNK, &[id(999), id(5000), id(0), id(999)])
            .unwrap();
        let expected: [&[_]; 4] = [&[place(1, 999)], &[], &[place(1, 0)], &[place(1, 999)]];
        assert!(places.iter().eq(expected));
    }

    #[test]
    fn every_chunk_is_found_and_no_other() {
        let index = index_of(&[pack(1, (0..4000).step_by(2))]);
        let ids: Vec<_> = (0..4000).map(id).collect();
        let places = index.lookup(CHUNK, &ids).unwrap();
        for (number, places) in (0..).zip(places.iter()) {
            let expected = if number % 2 == 0 {
                vec![place(1, number)]
            } else {
                vec![]
            };
            assert_eq!(places, expected, "{number}");
        }
    }

    #[test]
    fn a_chunk_and_a_node_of_one_id_are_told_apart() {
        let entry = |kind, offset| IndexEntry {
            kind,
            id: id(1),
            offset,
            stored_len: 100,
        };
        let entries = vec![entry(RecordKind::Node, 8), entry(CHUNK, 9)];
        let index = index_of(&[(pack_name(1), 1000, entries)]);
        assert_eq!(index.lookup(CHUNK, &[id(1)]).unwrap().of(0), [place(1, 9)]);
        assert_eq!(
            index.lookup(RecordKind::Node, &[id(1)]).unwrap().of(0),
            [place(1, 8)]
        );
    }

    #[test]
    fn an_id_of_more_packs_than_a_page_has_entries_has_all_its_places() {
        let packs: Vec<_> = (0..250)
            .map(|number| pack(number, [3, u32::from(number) + 9]))
            .collect();
        let places = index_of(&packs).lookup(CHUNK, &[id(3), id(9)]).unwrap();
        let expected: Vec<_> = (0..250).map(|number| place(number, 3)).collect();
        assert_eq!(places.of(0), expected);
        assert_eq!(places.of(1), [place(0, 9)]);
    }

    #[test]
    fn ids_that_share_their_first_bytes_are_found_over_several_pages() {
        let same = |number: u64| {
            let mut id = plain_id(5);
            id[8..16].copy_from_slice(&number.to_be_bytes());
            id
        };
        let entry = |number: u32| IndexEntry {
            kind: CHUNK,
            id: same(number.into()),
            offset: number,
            stored_len: 1,
        };
        let index = index_of(&[
            plain_pack([1, 2, 9]),
            (pack_name(2), 1000, (0..300).map(entry).collect()),
        ]);
        let ids: Vec<_> = (0..301).map(same).collect();
        let expected: Vec<_> = (0..300)
            .map(|number| vec![number])
            .chain([vec![]])
            .collect();
        assert_eq!(offsets(&index.lookup(CHUNK, &ids).unwrap()), expected);
    }

    #[test]
    fn ids_at_the_edge_of_two_filters_are_found() {
        let edge = FILTER_PAGES * 93;
        // Two entries with the first 8 bytes of `edge`: one on each side.
        let mut packs = vec![plain_pack(0..=edge)];
        let mut twin = plain_pack([edge]).2;
        twin[0].id[31] = 0;
        twin[0].offset = 77;
        packs[0].2.append(&mut twin.clone());
        packs[0].2.remove(0);
        let index = index_of(&packs);
        assert_eq!(index.segments()[0].parts.filters.len(), 2);
        let ids = [
            plain_id(edge.into()),
            twin[0].id,
            plain_id(u64::from(edge) - 1),
            plain_id(0),
            plain_id(u64::from(edge) + 1),
        ];
        let expected = vec![vec![edge], vec![77], vec![edge - 1], vec![], vec![]];
        assert_eq!(offsets(&index.lookup(CHUNK, &ids).unwrap()), expected);
    }

    #[test]
    fn a_batch_reads_each_page_once() {
        let (storage, index) = counting(&[plain_pack(0..93 * 20)], 0);
        let before = storage.calls().len();
        let ids: Vec<_> = (0..93 * 20).rev().map(plain_id).collect();
        let places = index.lookup(CHUNK, &ids).unwrap();
        assert!(places.iter().all(|places| places.len() == 1));
        assert_eq!(storage.calls().len() - before, 20);
    }

    #[test]
    fn what_is_absent_reads_hardly_any_page() {
        let (storage, index) = counting(&[pack(1, 0..1000)], 0);
        let before = storage.calls().len();
        let ids: Vec<_> = (5000..6000).map(id).collect();
        assert!(
            index
                .lookup(CHUNK, &ids)
                .unwrap()
                .iter()
                .all(<[_]>::is_empty)
        );
        assert!(storage.calls().len() - before < 12);
    }

    #[test]
    fn a_page_that_is_asked_for_again_and_again_is_kept() {
        let (storage, index) = counting(&[pack(1, 0..50)], 1 << 20);
        for _ in 0..3 {
            index.lookup(CHUNK, &[id(7)]).unwrap();
        }
        let before = storage.calls().len();
        assert_eq!(index.lookup(CHUNK, &[id(7)]).unwrap().of(0), [place(1, 7)]);
        assert_eq!(storage.calls().len(), before);
    }

    #[test]
    fn it_takes_little_memory() {
        let index = index_of(&[plain_pack(0..200_000)]);
        let bytes = index.memory_bytes();
        assert!(bytes < 200_000 * 13 / 10, "{bytes} bytes");
    }

    #[test]
    fn an_empty_segment_knows_nothing() {
        let index = index_of(&[pack(1, [])]);
        assert_eq!(index.lookup(CHUNK, &[id(1)]).unwrap().of(0), []);
        assert_eq!(index.packs(), [(pack_name(1), 1000)]);
    }
}
