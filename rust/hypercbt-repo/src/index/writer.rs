//! Writes a segment from sorted entries, in one pass and in bounded memory.

use super::{
    FOLDER,
    filter::{Filter, FilterBuilder},
    layout::{
        ENTRY_BYTES, Entry, FILTER_PAGES, FilterRow, HEADER_BYTES, Header, PAGE_BYTES,
        PAGE_ENTRIES, PackRow, Trailer, prefix,
    },
    object_name,
    page::{self, PageBytes},
};
use crate::{Damage, Error, IndexEntry, PackName, Result, SegmentName, Storage, Upload, name};

/// How much is handed to the storage at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A segment that was just written. Another run's merge may have taken it in and deleted it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: SegmentName,
    /// Its length.
    pub len: u64,
}

/// Writes one segment over the entries of some packs, in any order.
///
/// All entries stand in memory once more, 48 bytes each: fine for a run's segment.
/// The same packs and level give the same bytes and so the same name, whoever writes them.
///
/// # Panics
/// With four billion packs, or 16 TiB of entries.
pub fn write(
    storage: &dyn Storage,
    owner: &str,
    packs: &[(PackName, u64, Vec<IndexEntry>)],
    level: u8,
) -> Result<Written> {
    let mut table: Vec<PackRow> = packs
        .iter()
        .map(|(name, len, _)| PackRow {
            name: *name,
            len: *len,
        })
        .collect();
    table.sort_unstable();
    table.dedup();
    let mut entries = Vec::with_capacity(packs.iter().map(|(.., entries)| entries.len()).sum());
    for (pack_name, len, list) in packs {
        let row = PackRow {
            name: *pack_name,
            len: *len,
        };
        let pack = table.binary_search(&row).expect("every row was put in");
        let pack = u32::try_from(pack).expect("four billion packs do not fit in memory");
        for entry in list {
            let IndexEntry {
                kind,
                id,
                offset,
                stored_len,
            } = *entry;
            if !Entry::fits(stored_len) {
                let name = name::pack(*pack_name);
                return Err(Error::Damaged {
                    name,
                    reason: Damage::Field,
                });
            }
            entries.push(Entry {
                id,
                kind,
                pack,
                offset,
                stored_len,
            });
        }
    }
    entries.sort_unstable();
    let mut writer = SegmentWriter::begin(storage, owner, &table, level)?;
    entries
        .into_iter()
        .try_for_each(|entry| writer.push(entry))?;
    writer.finish()
}

/// A segment that is being written.
pub(super) struct SegmentWriter {
    upload: Box<dyn Upload>,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    page: Box<PageBytes>,
    entries: u64,
    last: Option<Entry>,
    fences: Vec<u8>,
    keys: FilterBuilder,
    filters: Vec<Option<Filter>>,
}

impl SegmentWriter {
    /// Begins a segment over these packs: sorted, each once.
    pub(super) fn begin(
        storage: &dyn Storage,
        owner: &str,
        packs: &[PackRow],
        level: u8,
    ) -> Result<Self> {
        let upload = storage
            .begin(owner)
            .map_err(Error::storage("write", FOLDER))?;
        let mut table: Vec<u8> = packs.iter().flat_map(|row| row.encode()).collect();
        table.resize(
            (HEADER_BYTES + table.len()).next_multiple_of(PAGE_BYTES) - HEADER_BYTES,
            0,
        );
        let header = Header {
            level,
            packs: u32::try_from(packs.len()).expect("four billion packs do not fit in memory"),
            packs_checksum: crc32c::crc32c(&table),
        };
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + PAGE_BYTES);
        buffer.extend(header.encode());
        buffer.append(&mut table);
        Ok(Self {
            upload,
            hasher: blake3::Hasher::new(),
            buffer,
            page: page::empty(),
            entries: 0,
            last: None,
            fences: Vec::new(),
            keys: FilterBuilder::default(),
            filters: Vec::new(),
        })
    }

    /// Adds the next entry in order. One that equals the last is dropped.
    pub(super) fn push(&mut self, entry: Entry) -> Result<()> {
        if self.last == Some(entry) {
            return Ok(());
        }
        debug_assert!(self.last < Some(entry), "entries come in ascending order");
        let in_page = self.in_page();
        if in_page == 0 {
            self.fences.extend(&entry.id[..8]);
        }
        let (slots, _) = self.page.as_chunks_mut::<ENTRY_BYTES>();
        if let Some(slot) = slots.get_mut(in_page) {
            *slot = entry.encode();
        }
        self.keys.push(prefix(&entry.id), entry.kind);
        self.last = Some(entry);
        self.entries += 1;
        if self.in_page() == 0 {
            self.end_page()?;
        }
        Ok(())
    }

    /// Writes what remains, and makes the segment durable under its name.
    pub(super) fn finish(mut self) -> Result<Written> {
        if self.in_page() > 0 {
            self.end_page()?;
        }
        if !self.pages().is_multiple_of(FILTER_PAGES) {
            self.filters.push(self.keys.finish());
        }
        let table = filter_table(&self.filters);
        let trailer = Trailer {
            entries: self.entries,
            pages: self.pages(),
            fences_checksum: crc32c::crc32c(&self.fences),
            filter_table_checksum: crc32c::crc32c(&table),
        };
        let fences = std::mem::take(&mut self.fences);
        self.append(&fences)?;
        self.append(&table)?;
        for filter in std::mem::take(&mut self.filters).iter().flatten() {
            self.append(filter.fingerprints())?;
        }
        self.append(&trailer.encode())?;
        self.flush()?;
        let name = SegmentName(*self.hasher.finalize().as_bytes());
        let object = object_name(name);
        let finished = self.upload.finish(&object);
        finished.map_err(Error::storage("write", &object))?;
        let len = self.hasher.count();
        Ok(Written { name, len })
    }

    /// How many entries the open page has.
    fn in_page(&self) -> usize {
        usize::try_from(self.entries % PAGE_ENTRIES as u64).expect("below 93")
    }

    fn pages(&self) -> u32 {
        u32::try_from(self.fences.len() / 8).expect("2^32 pages are 16 TiB")
    }

    fn end_page(&mut self) -> Result<()> {
        page::seal(&mut self.page);
        let page = std::mem::replace(&mut self.page, page::empty());
        self.append(&*page)?;
        if self.pages().is_multiple_of(FILTER_PAGES) {
            self.filters.push(self.keys.finish());
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        let written = self.upload.append(&self.buffer);
        self.buffer.clear();
        written.map_err(Error::storage("write", FOLDER))
    }
}

fn filter_table(filters: &[Option<Filter>]) -> Vec<u8> {
    let row = |filter: &Option<Filter>| match filter {
        Some(filter) => FilterRow {
            shape: Some(filter.shape()),
            checksum: crc32c::crc32c(filter.fingerprints()),
        },
        None => FilterRow {
            shape: None,
            checksum: 0,
        },
    };
    filters
        .iter()
        .flat_map(|filter| row(filter).encode())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemoryStorage, RecordKind,
        index::testing::{chunk, pack, pack_name},
    };

    fn bytes(packs: &[(PackName, u64, Vec<IndexEntry>)]) -> Vec<u8> {
        let storage = MemoryStorage::new();
        let written = write(&storage, "run", packs, 2).unwrap();
        storage.bytes(&object_name(written.name)).unwrap().to_vec()
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn every_part_stands_where_the_format_says() {
        let packs = [pack(2, 0..94), pack(1, [])];
        let bytes = bytes(&packs);
        assert_eq!(&bytes[..16], b"HCBTINDX\0\0\x02\0\x02\0\0\0");
        assert_eq!(u32_at(&bytes, 16), crc32c::crc32c(&bytes[64..4096]));
        assert_eq!(bytes[64..96], pack_name(1).0);
        assert_eq!(bytes[96..104], 1000_u64.to_le_bytes());
        assert_eq!(bytes[104..136], pack_name(2).0);
        assert!(bytes[144..4096].iter().all(|byte| *byte == 0));

        let mut ids: Vec<_> = (0..94).map(|number| chunk(number).id).collect();
        ids.sort_unstable();
        assert_eq!(
            (&bytes[4096..4128], &bytes[4140..4172]),
            (&ids[0][..], &ids[1][..])
        );
        assert_eq!(u32_at(&bytes, 4128), 1, "the second pack of the table");
        assert_eq!(
            u32_at(&bytes, 4096 + 4092),
            crc32c::crc32c(&bytes[4096..8188])
        );
        assert_eq!(bytes[8192..8224], ids[93]);
        assert!(bytes[8192 + 44..8192 + 4092].iter().all(|byte| *byte == 0));

        let fences = 4096 + 2 * 4096;
        assert_eq!(bytes[fences..fences + 8], ids[0][..8]);
        assert_eq!(bytes[fences + 8..fences + 16], ids[93][..8]);
        let row = fences + 16;
        let filter = row + 12;
        let filter_len = (u32_at(&bytes, row) as usize + 2) << bytes[row + 4];
        assert_eq!(
            u32_at(&bytes, row + 8),
            crc32c::crc32c(&bytes[filter..filter + filter_len])
        );
        let trailer = filter + filter_len;
        assert_eq!(
            (u32_at(&bytes, trailer), u32_at(&bytes, trailer + 8)),
            (94, 2)
        );
        assert_eq!(
            u32_at(&bytes, trailer + 12),
            crc32c::crc32c(&bytes[fences..row])
        );
        assert_eq!(
            u32_at(&bytes, trailer + 16),
            crc32c::crc32c(&bytes[row..filter])
        );
        assert_eq!(bytes.len(), trailer + 64);
    }

    #[test]
    fn a_segment_is_named_by_the_hash_of_its_bytes() {
        let storage = MemoryStorage::new();
        let written = write(&storage, "run", &[pack(1, 0..20_000)], 0).unwrap();
        let bytes = storage.bytes(&object_name(written.name)).unwrap();
        assert_eq!(written.name.0, *blake3::hash(&bytes).as_bytes());
        assert_eq!(written.len, bytes.len() as u64);
    }

    #[test]
    fn the_order_of_packs_and_entries_makes_no_difference() {
        let mut reversed = pack(1, 0..500);
        reversed.2.reverse();
        let one = bytes(&[pack(1, 0..500), pack(2, 400..900)]);
        assert!(one == bytes(&[pack(2, 400..900), reversed]));
    }

    #[test]
    fn an_entry_that_comes_twice_is_written_once() {
        let twice = bytes(&[pack(1, 0..50), pack(1, 25..75)]);
        assert!(twice == bytes(&[pack(1, 0..75)]));
    }

    #[test]
    fn a_segment_without_entries_is_a_segment() {
        assert_eq!(bytes(&[]).len(), 4096 + 64);
    }

    #[test]
    fn a_length_that_would_look_like_a_node_is_refused() {
        let entry = IndexEntry {
            kind: RecordKind::Chunk,
            id: [1; 32],
            offset: 0,
            stored_len: 1 << 31,
        };
        let result = write(
            &MemoryStorage::new(),
            "run",
            &[(pack_name(1), 1000, vec![entry])],
            0,
        );
        let Err(Error::Damaged {
            name,
            reason: Damage::Field,
        }) = result
        else {
            panic!("{result:?}")
        };
        assert_eq!(name, name::pack(pack_name(1)));
    }
}
