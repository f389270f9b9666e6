//! All entries of a segment, in order.

use std::fmt;

use super::{
    layout::{Entry, PAGE_BYTES},
    page,
    places::IndexedPlace,
    segment::Segment,
};
use crate::{Damage, IndexEntry, Location, RecordKind, Result};

/// How many pages are read at once: 256 KiB.
const READ_PAGES: u32 = 64;

/// One entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentEntry {
    /// The id of the chunk or node.
    pub id: [u8; 32],
    /// Which of the two it is.
    pub kind: RecordKind,
    /// Where it stands.
    pub place: IndexedPlace,
}

impl SegmentEntry {
    /// The same as the pack's own footer tells it.
    pub(super) fn in_pack(&self) -> IndexEntry {
        let Location {
            offset, stored_len, ..
        } = self.place.location;
        IndexEntry {
            kind: self.kind,
            id: self.id,
            offset,
            stored_len,
        }
    }
}

/// The entries of a segment, from [`Segment::entries`]. Ends after the first error.
pub struct Entries<'a> {
    segment: &'a Segment,
    raw: RawEntries<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            raw: RawEntries::new(segment),
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<SegmentEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.raw.next()?.and_then(|entry| {
            let Entry { id, kind, .. } = entry;
            Ok(SegmentEntry {
                id,
                kind,
                place: self.segment.place(&entry)?,
            })
        }))
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entries({:?})", self.segment)
    }
}

/// The same, with packs by their row in the table. Strictly ascending, or an error.
pub(super) struct RawEntries<'a> {
    segment: &'a Segment,
    /// Pages that were read at once.
    pages: Vec<u8>,
    next_page: u32,
    page: std::vec::IntoIter<Entry>,
    last: Option<Entry>,
    failed: bool,
}

impl<'a> RawEntries<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        let page = Vec::new().into_iter();
        Self {
            segment,
            pages: Vec::new(),
            next_page: 0,
            page,
            last: None,
            failed: false,
        }
    }

    /// Decodes and checks the next page; false after the last one.
    fn turn(&mut self) -> Result<bool> {
        let pages = self.segment.pages();
        if self.next_page >= pages {
            return Ok(false);
        }
        let number = self.next_page;
        if number.is_multiple_of(READ_PAGES) {
            let count = READ_PAGES.min(pages - number);
            self.pages.resize(count as usize * PAGE_BYTES, 0);
            self.segment.read_pages(number, &mut self.pages)?;
        }
        let (read, _) = self.pages.as_chunks::<PAGE_BYTES>();
        let (Some(page), Some(fence)) = (
            read.get((number % READ_PAGES) as usize),
            self.segment.fence(number),
        ) else {
            return Err(self.segment.damaged(Damage::Length));
        };
        page::check(page, fence).map_err(|reason| self.segment.damaged(reason))?;
        let count = self.segment.entries_in(number);
        let entries: Vec<_> = page::entries(page, count)
            .iter()
            .map(Entry::decode)
            .collect();
        let rows = self.segment.pack_rows().len();
        let known = entries.iter().all(|entry| (entry.pack as usize) < rows);
        let ascending = entries.is_sorted_by(|a, b| a < b) && self.last.as_ref() < entries.first();
        if !known || !ascending || !page::rest_is_zero(page, count) {
            return Err(self.segment.damaged(Damage::Field));
        }
        self.last = entries.last().copied();
        self.page = entries.into_iter();
        self.next_page += 1;
        Ok(true)
    }
}

impl Iterator for RawEntries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            if self.failed {
                return None;
            }
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Error, MemoryStorage,
        index::{
            object_name,
            testing::{id, open, pack, place, try_open, write},
        },
    };

    #[test]
    fn entries_come_in_order_and_all_of_them() {
        let storage = MemoryStorage::new();
        write(&storage, &[pack(1, 0..10_000), pack(2, 9_000..11_000)]);
        let index = open(&storage);
        let found: Vec<_> = index.segments()[0]
            .entries()
            .collect::<Result<_>>()
            .unwrap();
        let kind = RecordKind::Chunk;
        let one = (0..10_000).map(|n| SegmentEntry {
            id: id(n),
            kind,
            place: place(1, n),
        });
        let two = (9_000..11_000).map(|n| SegmentEntry {
            id: id(n),
            kind,
            place: place(2, n),
        });
        let mut expected: Vec<_> = one.chain(two).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Changes a page of a segment of two, seals it again and reads all entries.
    fn first_error(change: impl Fn(&mut page::PageBytes)) -> Option<Error> {
        let storage = MemoryStorage::new();
        let object = object_name(write(&storage, &[pack(1, 0..100)]));
        let mut bytes = storage.bytes(&object).unwrap().to_vec();
        let page = bytes[8192..].first_chunk_mut().unwrap();
        change(page);
        page::seal(page);
        storage.overwrite(&object, &bytes);
        let (index, _) = try_open(&storage);
        let segments = index.segments();
        let mut entries = segments[0].entries();
        let error = entries.find_map(Result::err);
        assert!(entries.next().is_none(), "nothing comes after an error");
        error
    }

    #[test]
    fn pages_that_no_writer_makes_are_refused_though_their_checksum_is_right() {
        assert!(first_error(|_| ()).is_none());
        let changes: [fn(&mut page::PageBytes); 4] = [
            |page| page[4000] = 1,              // after the last entry
            |page| page.copy_within(0..44, 44), // the same entry twice
            |page| page[32] = 1,                // a pack that is not in the table
            |page| page[44..52].fill(0),        // not in order
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let error = first_error(change);
            assert!(
                matches!(
                    error,
                    Some(Error::Damaged {
                        reason: Damage::Field,
                        ..
                    })
                ),
                "change {number}: {error:?}"
            );
        }
    }
}
