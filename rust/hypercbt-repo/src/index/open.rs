//! Opens a segment: everything but its pages, each length checked before it is believed.

use super::{
    filter::Filter,
    layout::{
        FENCE_BYTES, FILTER_ROW_BYTES, FORMAT, FilterRow, HEADER_BYTES, Header, PACK_ROW_BYTES,
        PAGE_BYTES, PackRow, Refusal, TRAILER_BYTES, Trailer,
    },
    read_failed,
};
use crate::{Damage, Error, Result, Storage};

/// What of a segment stands in memory.
pub(super) struct Parts {
    pub(super) level: u8,
    pub(super) trailer: Trailer,
    pub(super) pages_at: u64,
    pub(super) packs: Vec<PackRow>,
    /// The first 8 bytes of each page's first id; ascending.
    pub(super) fences: Vec<u64>,
    /// One for every `FILTER_PAGES` pages; `None`: ask the pages.
    pub(super) filters: Vec<Option<Filter>>,
    /// How many filters are missing because they did not check.
    pub(super) damaged_filters: usize,
}

/// Reads the level alone.
pub(super) fn level(storage: &dyn Storage, object: &str) -> Result<u8> {
    File { storage, object }.header().map(|header| header.level)
}

/// Reads the parts of a segment.
pub(super) fn read(storage: &dyn Storage, object: &str) -> Result<Parts> {
    let len = storage
        .len(object)
        .map_err(|source| read_failed(object, source))?;
    let file = File { storage, object };
    let (header, trailer) = file.ends(len)?;
    let pages_at = header.pages_at();
    let fences_at = pages_at + u64::from(trailer.pages) * PAGE_BYTES as u64;
    let table_at = fences_at + u64::from(trailer.pages) * FENCE_BYTES as u64;
    let filters_at = table_at + u64::from(trailer.filters()) * FILTER_ROW_BYTES as u64;
    // Everything up to here lies inside of the object, so no allocation below is larger than it.
    let filter_bytes = (len - TRAILER_BYTES as u64).checked_sub(filters_at);
    let filter_bytes = filter_bytes.ok_or_else(|| file.damaged(Damage::Length))?;

    let packs = file.packs(header)?;
    let fences = file.fences(trailer, fences_at)?;
    let filters = file.filters(trailer, table_at, filters_at, filter_bytes)?;
    let damaged_filters = filters
        .iter()
        .filter(|filter| **filter == ReadFilter::Damaged)
        .count();
    let filters = filters.into_iter().map(ReadFilter::into_filter).collect();
    let level = header.level;
    Ok(Parts {
        level,
        trailer,
        pages_at,
        packs,
        fences,
        filters,
        damaged_filters,
    })
}

/// A filter as it was read.
#[derive(PartialEq)]
enum ReadFilter {
    Whole(Filter),
    /// None was written.
    Absent,
    Damaged,
}

impl ReadFilter {
    fn into_filter(self) -> Option<Filter> {
        match self {
            Self::Whole(filter) => Some(filter),
            Self::Absent | Self::Damaged => None,
        }
    }
}

/// The object that is being opened.
struct File<'a> {
    storage: &'a dyn Storage,
    object: &'a str,
}

impl File<'_> {
    fn damaged(&self, reason: Damage) -> Error {
        Error::damaged(self.object, reason)
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<()> {
        let read = self.storage.read_exact_at(self.object, buf, at);
        read.map_err(|source| read_failed(self.object, source))
    }

    /// Reads so many bytes, which the caller has found to be in the object.
    fn read_vec(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| self.damaged(Damage::Length))?;
        let mut bytes = vec![0; len];
        self.read(&mut bytes, at)?;
        Ok(bytes)
    }

    fn header(&self) -> Result<Header> {
        let mut raw = [0; HEADER_BYTES];
        self.read(&mut raw, 0)?;
        Header::decode(&raw).map_err(|refusal| match refusal {
            Refusal::Damaged(reason) => self.damaged(reason),
            Refusal::Newer(found) => Error::NewerFormat {
                name: self.object.to_owned(),
                found,
                supported: FORMAT,
            },
        })
    }

    fn ends(&self, len: u64) -> Result<(Header, Trailer)> {
        if len < (PAGE_BYTES + TRAILER_BYTES) as u64 {
            return Err(self.damaged(Damage::Length));
        }
        let header = self.header()?;
        let mut raw = [0; TRAILER_BYTES];
        self.read(&mut raw, len - TRAILER_BYTES as u64)?;
        let trailer = Trailer::decode(&raw).map_err(|reason| self.damaged(reason))?;
        Ok((header, trailer))
    }

    fn packs(&self, header: Header) -> Result<Vec<PackRow>> {
        let raw = self.read_vec(HEADER_BYTES as u64, header.pages_at() - HEADER_BYTES as u64)?;
        if crc32c::crc32c(&raw) != header.packs_checksum {
            return Err(self.damaged(Damage::Checksum));
        }
        let (rows, _) = raw.as_chunks::<PACK_ROW_BYTES>();
        let packs: Vec<_> = rows
            .iter()
            .take(header.packs as usize)
            .map(PackRow::decode)
            .collect();
        let rest = raw.get(packs.len() * PACK_ROW_BYTES..).unwrap_or_default();
        if !packs.is_sorted_by(|a, b| a < b) || rest.iter().any(|byte| *byte != 0) {
            return Err(self.damaged(Damage::Field));
        }
        Ok(packs)
    }

    fn fences(&self, trailer: Trailer, at: u64) -> Result<Vec<u64>> {
        let raw = self.read_vec(at, u64::from(trailer.pages) * FENCE_BYTES as u64)?;
        if crc32c::crc32c(&raw) != trailer.fences_checksum {
            return Err(self.damaged(Damage::Checksum));
        }
        let fences: Vec<_> = raw
            .as_chunks()
            .0
            .iter()
            .map(|raw| u64::from_be_bytes(*raw))
            .collect();
        if !fences.is_sorted() {
            return Err(self.damaged(Damage::Field));
        }
        Ok(fences)
    }

    /// Filters are a help and no more: only what makes the segment's length wrong is an error.
    fn filters(
        &self,
        trailer: Trailer,
        table_at: u64,
        mut at: u64,
        len: u64,
    ) -> Result<Vec<ReadFilter>> {
        let rows = u64::from(trailer.filters());
        let table = self.read_vec(table_at, rows * FILTER_ROW_BYTES as u64)?;
        let (table_rows, _) = table.as_chunks::<FILTER_ROW_BYTES>();
        if crc32c::crc32c(&table) != trailer.filter_table_checksum {
            return Ok(table_rows.iter().map(|_| ReadFilter::Damaged).collect());
        }
        let rows = table_rows.iter().map(FilterRow::decode);
        let rows: Option<Vec<_>> = rows.collect();
        let rows = rows.ok_or_else(|| self.damaged(Damage::Field))?;
        if rows
            .iter()
            .try_fold(0, |sum: u64, row| sum.checked_add(row.len()))
            != Some(len)
        {
            return Err(self.damaged(Damage::Length));
        }
        let mut filters = Vec::with_capacity(rows.len());
        for row in rows {
            filters.push(self.filter(row, at)?);
            at += row.len();
        }
        Ok(filters)
    }

    fn filter(&self, row: FilterRow, at: u64) -> Result<ReadFilter> {
        let Some(shape) = row.shape else {
            return Ok(ReadFilter::Absent);
        };
        let fingerprints = self.read_vec(at, shape.len())?;
        if crc32c::crc32c(&fingerprints) != row.checksum {
            return Ok(ReadFilter::Damaged);
        }
        let filter = Filter::from_parts(shape, fingerprints.into());
        Ok(filter.map_or(ReadFilter::Damaged, ReadFilter::Whole))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        MemoryStorage, RecordKind,
        index::{
            PageCache, Segment, object_name,
            testing::{self, id, pack, place, try_open, write},
        },
    };

    const ENTRIES: u32 = 200;

    /// A segment of three pages, and its object.
    fn small() -> (MemoryStorage, String, Vec<u8>) {
        let storage = MemoryStorage::new();
        let object = object_name(write(&storage, &[pack(1, 0..ENTRIES)]));
        let bytes = storage.bytes(&object).unwrap().to_vec();
        (storage, object, bytes)
    }

    /// Looks up everything and then some. An error must name the segment; an answer must be right.
    fn is_right_or_refused(storage: &MemoryStorage, object: &str) -> bool {
        let refused = |error: &Error| {
            let Error::Damaged { name, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!(name, object);
            false
        };
        let (index, damaged) = try_open(storage);
        if let Some(error) = damaged.first() {
            assert!(index.segments().is_empty());
            return refused(error);
        }
        let ids: Vec<_> = (0..2 * ENTRIES).map(id).collect();
        match index.lookup(RecordKind::Chunk, &ids) {
            Err(error) => refused(&error),
            Ok(places) => {
                for (number, places) in (0..).zip(places.iter()) {
                    let expected: &[_] = if number < ENTRIES {
                        &[place(1, number)]
                    } else {
                        &[]
                    };
                    assert_eq!(places, expected, "{number}");
                }
                true
            }
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_is_found_or_harmless() {
        let (storage, object, bytes) = small();
        let fences_at = 4096 + 3 * 4096;
        let filter_table = fences_at + 3 * 8;
        let trailer = bytes.len() - 64;
        for at in (0..bytes.len()).filter(|at| *at < 200 || *at >= fences_at || at % 23 == 0) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            storage.overwrite(&object, &bytes);
            let right = is_right_or_refused(&storage, &object);
            let harmless = (filter_table..trailer).contains(&at);
            assert_eq!(right, harmless, "byte {at}");
        }
    }

    #[test]
    fn a_damaged_filter_or_its_table_means_ask_the_pages() {
        let (storage, object, bytes) = small();
        for at in [4096 * 4 + 24, bytes.len() - 65] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            storage.overwrite(&object, &bytes);
            let (index, damaged) = try_open(&storage);
            assert!(damaged.is_empty());
            assert_eq!(index.segments()[0].damaged_filters(), 1);
            assert!(is_right_or_refused(&storage, &object));
        }
    }

    #[test]
    fn a_segment_without_a_filter_answers_from_its_pages() {
        let (storage, object, mut bytes) = small();
        let row = 4096 * 4 + 24;
        bytes.truncate(row);
        bytes.extend([0; 12]);
        let trailer = Trailer {
            entries: u64::from(ENTRIES),
            pages: 3,
            fences_checksum: crc32c::crc32c(&bytes[4096 * 4..row]),
            filter_table_checksum: crc32c::crc32c(&[0; 12]),
        };
        bytes.extend(trailer.encode());
        storage.overwrite(&object, &bytes);
        assert!(is_right_or_refused(&storage, &object));
        let (index, _) = try_open(&storage);
        assert_eq!(index.segments()[0].damaged_filters(), 0);
    }

    #[test]
    fn a_segment_that_was_cut_or_grew_is_damaged() {
        let (storage, object, bytes) = small();
        for len in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
            storage.overwrite(&object, &bytes[..len]);
            assert!(!is_right_or_refused(&storage, &object), "{len} bytes");
        }
        let grown = [
            &bytes[..bytes.len() - 64],
            &[0; 5],
            &bytes[bytes.len() - 64..],
        ]
        .concat();
        storage.overwrite(&object, &grown);
        assert!(!is_right_or_refused(&storage, &object));
    }

    /// A segment with these two ends and nothing sound in between.
    fn open_hostile(header: Header, trailer: Trailer) -> Error {
        let storage = MemoryStorage::new();
        let name = crate::SegmentName([1; 32]);
        let bytes = [&header.encode()[..], &[0; 4032], &trailer.encode()].concat();
        storage.overwrite(&object_name(name), &bytes);
        Segment::open(Arc::new(storage), Arc::new(PageCache::new(0)), name).unwrap_err()
    }

    #[test]
    fn counts_that_do_not_fit_into_the_object_allocate_nothing() {
        let header = Header {
            level: 0,
            packs: u32::MAX,
            packs_checksum: 0,
        };
        let trailer = Trailer {
            entries: 0,
            pages: 0,
            fences_checksum: 0,
            filter_table_checksum: 0,
        };
        let error = open_hostile(header, trailer);
        assert!(
            matches!(
                error,
                Error::Damaged {
                    reason: Damage::Length,
                    ..
                }
            ),
            "{error:?}"
        );
        let entries = u64::from(u32::MAX) * 93;
        let trailer = Trailer {
            entries,
            pages: u32::MAX,
            ..trailer
        };
        let error = open_hostile(Header { packs: 0, ..header }, trailer);
        assert!(
            matches!(
                error,
                Error::Damaged {
                    reason: Damage::Length,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_sound_checksum_over_unsorted_packs_is_no_excuse() {
        let (storage, object, _) = small();
        let name = write(&storage, &[pack(1, [1]), pack(2, [2])]);
        let mut bytes = storage.bytes(&object_name(name)).unwrap().to_vec();
        bytes[64..96].fill(9);
        let packs_checksum = crc32c::crc32c(&bytes[64..4096]);
        bytes[..64].copy_from_slice(
            &Header {
                level: 0,
                packs: 2,
                packs_checksum,
            }
            .encode(),
        );
        storage.overwrite(&object, &bytes);
        assert!(matches!(
            read(&storage, &object),
            Err(Error::Damaged {
                reason: Damage::Field,
                ..
            })
        ));
    }

    #[test]
    fn an_entry_of_a_pack_that_is_not_in_the_table_is_damage() {
        let (storage, object, mut bytes) = small();
        bytes[64..104].fill(0);
        let packs_checksum = crc32c::crc32c(&bytes[64..4096]);
        bytes[..64].copy_from_slice(
            &Header {
                level: 0,
                packs: 0,
                packs_checksum,
            }
            .encode(),
        );
        storage.overwrite(&object, &bytes);
        assert!(!is_right_or_refused(&storage, &object));
        let (index, _) = testing::try_open(&storage);
        assert!(index.segments()[0].entries().next().unwrap().is_err());
    }

    #[test]
    fn a_segment_of_a_newer_format_is_not_opened_and_not_called_damaged() {
        let (storage, object, mut bytes) = small();
        bytes[8] = 1;
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        storage.overwrite(&object, &bytes);
        let cache = Arc::new(PageCache::new(0));
        let result = crate::index::Index::open(Arc::new(storage), cache);
        assert!(matches!(result, Err(Error::NewerFormat { found: 1, .. })));
    }
}
