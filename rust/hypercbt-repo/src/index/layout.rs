//! The bytes of a segment's header, trailer, tables and entries (`docs/repository-format.md` §5).
//!
//! Bytes in, values out: no I/O, and the only place that knows where a field stands.

use super::filter::Shape;
use crate::{Damage, PackName, RecordKind};

pub(super) const FORMAT: u16 = 0;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const TRAILER_BYTES: usize = 64;
pub(super) const PACK_ROW_BYTES: usize = 40;
pub(super) const FENCE_BYTES: usize = 8;
pub(super) const FILTER_ROW_BYTES: usize = 12;
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const ENTRY_BYTES: usize = 44;
/// 93 × 44 = 4092 bytes, and 4 of checksum.
pub(super) const PAGE_ENTRIES: usize = 93;
/// How many pages share one filter: 380,928 entries. Building one takes about 16 MB at any size of
/// the segment, and it stays in the second-level cache while it is asked.
pub(super) const FILTER_PAGES: u32 = 4096;

const MAGIC: [u8; 8] = *b"HCBTINDX";
const END_MAGIC: [u8; 8] = *b"HCBTXEND";
/// The top bit of an entry's length says that it is a node.
const NODE: u32 = 1 << 31;

/// One pack that entries refer to, by its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackRow {
    pub(super) name: PackName,
    pub(super) len: u64,
}

impl PackRow {
    pub(super) fn encode(self) -> [u8; PACK_ROW_BYTES] {
        let mut raw = [0; PACK_ROW_BYTES];
        raw[..32].copy_from_slice(&self.name.0);
        raw[32..].copy_from_slice(&self.len.to_le_bytes());
        raw
    }

    pub(super) fn decode(raw: &[u8; PACK_ROW_BYTES]) -> Self {
        let (mut name, mut len) = ([0; 32], [0; 8]);
        name.copy_from_slice(&raw[..32]);
        len.copy_from_slice(&raw[32..]);
        Self {
            name: PackName(name),
            len: u64::from_le_bytes(len),
        }
    }
}

/// One entry. Its order is the order in the segment, because the pack table is sorted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) id: [u8; 32],
    pub(super) kind: RecordKind,
    /// The row of the pack table.
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) stored_len: u32,
}

impl Entry {
    /// Lengths that do not fit in 31 bits have no form here.
    pub(super) fn fits(stored_len: u32) -> bool {
        stored_len < NODE
    }

    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let node = if self.kind == RecordKind::Node {
            NODE
        } else {
            0
        };
        let mut raw = [0; ENTRY_BYTES];
        raw[..32].copy_from_slice(&self.id);
        raw[32..36].copy_from_slice(&self.pack.to_le_bytes());
        raw[36..40].copy_from_slice(&self.offset.to_le_bytes());
        raw[40..].copy_from_slice(&(self.stored_len | node).to_le_bytes());
        raw
    }

    pub(super) fn decode(raw: &[u8; ENTRY_BYTES]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(&raw[..32]);
        let len = u32::from_le_bytes([raw[40], raw[41], raw[42], raw[43]]);
        Self {
            id,
            kind: if len & NODE == 0 {
                RecordKind::Chunk
            } else {
                RecordKind::Node
            },
            pack: u32::from_le_bytes([raw[32], raw[33], raw[34], raw[35]]),
            offset: u32::from_le_bytes([raw[36], raw[37], raw[38], raw[39]]),
            stored_len: len & !NODE,
        }
    }
}

/// The first 8 bytes of an id, as a number of the same order.
pub(super) fn prefix(id: &[u8; 32]) -> u64 {
    u64::from_be_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]])
}

/// What stands at the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) level: u8,
    pub(super) packs: u32,
    /// Of the pack table, with the zeros that follow it.
    pub(super) packs_checksum: u32,
}

/// Why a header is not ours: damage, or a format number from the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Damaged(Damage),
    Newer(u16),
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut raw = [0; HEADER_BYTES];
        raw[..8].copy_from_slice(&MAGIC);
        raw[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        raw[10] = self.level;
        raw[12..16].copy_from_slice(&self.packs.to_le_bytes());
        raw[16..20].copy_from_slice(&self.packs_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&raw[..60]);
        raw[60..].copy_from_slice(&checksum.to_le_bytes());
        raw
    }

    pub(super) fn decode(raw: &[u8; HEADER_BYTES]) -> Result<Self, Refusal> {
        if raw[..8] != MAGIC {
            return Err(Refusal::Damaged(Damage::Signature));
        }
        if u32_at(raw, 60) != crc32c::crc32c(&raw[..60]) {
            return Err(Refusal::Damaged(Damage::Checksum));
        }
        let format = u16::from_le_bytes([raw[8], raw[9]]);
        if format > FORMAT {
            return Err(Refusal::Newer(format));
        }
        if raw[11] != 0 || raw[20..60] != [0; 40] {
            return Err(Refusal::Damaged(Damage::Field));
        }
        Ok(Self {
            level: raw[10],
            packs: u32_at(raw, 12),
            packs_checksum: u32_at(raw, 16),
        })
    }

    /// Where the pages begin.
    pub(super) fn pages_at(self) -> u64 {
        let table_end = HEADER_BYTES as u64 + u64::from(self.packs) * PACK_ROW_BYTES as u64;
        table_end.next_multiple_of(PAGE_BYTES as u64)
    }
}

/// One row of the filter table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FilterRow {
    /// `None`: no filter was written.
    pub(super) shape: Option<Shape>,
    /// Of the fingerprints.
    pub(super) checksum: u32,
}

impl FilterRow {
    pub(super) fn encode(self) -> [u8; FILTER_ROW_BYTES] {
        let mut raw = [0; FILTER_ROW_BYTES];
        if let Some(shape) = self.shape {
            raw[..4].copy_from_slice(&shape.segments.to_le_bytes());
            raw[4] = shape.segment_bits;
            raw[5] = shape.seed;
            raw[8..].copy_from_slice(&self.checksum.to_le_bytes());
        }
        raw
    }

    /// The row, or `None` if no writer makes it.
    pub(super) fn decode(raw: &[u8; FILTER_ROW_BYTES]) -> Option<Self> {
        if *raw == [0; FILTER_ROW_BYTES] {
            return Some(Self {
                shape: None,
                checksum: 0,
            });
        }
        let segments = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
        let shape = Shape::new(segments, raw[4], raw[5]).filter(|_| raw[6..8] == [0; 2])?;
        let checksum = u32::from_le_bytes([raw[8], raw[9], raw[10], raw[11]]);
        Some(Self {
            shape: Some(shape),
            checksum,
        })
    }

    /// How many fingerprints there are.
    pub(super) fn len(self) -> u64 {
        self.shape.map_or(0, Shape::len)
    }
}

/// What stands at the end: what a writer knows only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) entries: u64,
    pub(super) pages: u32,
    pub(super) fences_checksum: u32,
    pub(super) filter_table_checksum: u32,
}

impl Trailer {
    pub(super) fn encode(self) -> [u8; TRAILER_BYTES] {
        let mut raw = [0; TRAILER_BYTES];
        raw[..8].copy_from_slice(&self.entries.to_le_bytes());
        raw[8..12].copy_from_slice(&self.pages.to_le_bytes());
        raw[12..16].copy_from_slice(&self.fences_checksum.to_le_bytes());
        raw[16..20].copy_from_slice(&self.filter_table_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&raw[..52]);
        raw[52..56].copy_from_slice(&checksum.to_le_bytes());
        raw[56..].copy_from_slice(&END_MAGIC);
        raw
    }

    pub(super) fn decode(raw: &[u8; TRAILER_BYTES]) -> Result<Self, Damage> {
        if raw[56..] != END_MAGIC {
            return Err(Damage::Signature);
        }
        if u32_at(raw, 52) != crc32c::crc32c(&raw[..52]) {
            return Err(Damage::Checksum);
        }
        let mut entries = [0; 8];
        entries.copy_from_slice(&raw[..8]);
        let trailer = Self {
            entries: u64::from_le_bytes(entries),
            pages: u32_at(raw, 8),
            fences_checksum: u32_at(raw, 12),
            filter_table_checksum: u32_at(raw, 16),
        };
        // Pages are full but for the last one, so either number follows from the other.
        let pages = trailer.entries.div_ceil(PAGE_ENTRIES as u64);
        if pages != u64::from(trailer.pages) || raw[20..52] != [0; 32] {
            return Err(Damage::Field);
        }
        Ok(trailer)
    }

    /// How many filters there are, and rows in their table.
    pub(super) fn filters(self) -> u32 {
        self.pages.div_ceil(FILTER_PAGES)
    }

    /// How many entries of a page are used.
    pub(super) fn entries_in(self, page: u32) -> usize {
        let before = u64::from(page) * PAGE_ENTRIES as u64;
        let left = self.entries.saturating_sub(before).min(PAGE_ENTRIES as u64);
        usize::try_from(left).expect("at most 93")
    }
}

fn u32_at(raw: &[u8; 64], at: usize) -> u32 {
    let mut bytes = [0; 4];
    if let Some(field) = raw.get(at..at + 4) {
        bytes.copy_from_slice(field);
    }
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        level: 3,
        packs: 7,
        packs_checksum: 0x0102_0304,
    };
    const TRAILER: Trailer = Trailer {
        entries: 94,
        pages: 2,
        fences_checksum: 5,
        filter_table_checksum: 6,
    };

    fn resealed(mut raw: [u8; 64], covered: usize) -> [u8; 64] {
        let checksum = crc32c::crc32c(&raw[..covered]);
        raw[covered..covered + 4].copy_from_slice(&checksum.to_le_bytes());
        raw
    }

    #[test]
    fn a_header_stands_where_the_format_says() {
        let raw = HEADER.encode();
        assert_eq!(&raw[..20], b"HCBTINDX\0\0\x03\0\x07\0\0\0\x04\x03\x02\x01");
        assert_eq!(Header::decode(&raw), Ok(HEADER));
    }

    #[test]
    fn a_trailer_stands_where_the_format_says() {
        let raw = TRAILER.encode();
        assert_eq!(
            &raw[..20],
            b"\x5e\0\0\0\0\0\0\0\x02\0\0\0\x05\0\0\0\x06\0\0\0"
        );
        assert_eq!(&raw[56..], b"HCBTXEND");
        assert_eq!(Trailer::decode(&raw), Ok(TRAILER));
    }

    #[test]
    fn an_entry_stands_where_the_format_says() {
        let kind = RecordKind::Node;
        let entry = Entry {
            id: [9; 32],
            kind,
            pack: 1,
            offset: 2,
            stored_len: 3,
        };
        let raw = entry.encode();
        assert_eq!(&raw[30..], b"\x09\x09\x01\0\0\0\x02\0\0\0\x03\0\0\x80");
        assert_eq!(Entry::decode(&raw), entry);
    }

    #[test]
    fn a_filter_row_stands_where_the_format_says() {
        let row = FilterRow {
            shape: Shape::new(258, 12, 1),
            checksum: 7,
        };
        assert_eq!(&row.encode(), b"\x02\x01\0\0\x0c\x01\0\0\x07\0\0\0");
        assert_eq!(FilterRow::decode(&row.encode()), Some(row));
        let none = FilterRow {
            shape: None,
            checksum: 0,
        };
        assert_eq!(FilterRow::decode(&[0; 12]), Some(none));
        assert_eq!(
            FilterRow::decode(b"\x02\x01\0\0\x0c\x01\0\x01\x07\0\0\0"),
            None
        );
        assert_eq!(FilterRow::decode(b"\0\0\0\0\x0c\x01\0\0\x07\0\0\0"), None);
    }

    #[test]
    fn a_flipped_bit_in_header_or_trailer_is_found() {
        for bit in 0..512 {
            let mut raw = HEADER.encode();
            raw[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&raw).is_err(), "header bit {bit}");
            let mut raw = TRAILER.encode();
            raw[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::decode(&raw).is_err(), "trailer bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_not_called_damage() {
        let mut raw = HEADER.encode();
        raw[8] = 1;
        assert_eq!(Header::decode(&resealed(raw, 60)), Err(Refusal::Newer(1)));
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        for at in [11, 20, 59] {
            let mut raw = HEADER.encode();
            raw[at] = 1;
            let refusal = Refusal::Damaged(Damage::Field);
            assert_eq!(
                Header::decode(&resealed(raw, 60)),
                Err(refusal),
                "header byte {at}"
            );
        }
        for at in [20, 51] {
            let mut raw = TRAILER.encode();
            raw[at] = 1;
            assert_eq!(
                Trailer::decode(&resealed(raw, 52)),
                Err(Damage::Field),
                "byte {at}"
            );
        }
    }

    #[test]
    fn pages_and_entries_must_agree() {
        for entries in [93, 187, u64::MAX] {
            let raw = Trailer { entries, ..TRAILER }.encode();
            assert_eq!(
                Trailer::decode(&raw),
                Err(Damage::Field),
                "{entries} entries"
            );
        }
    }

    #[test]
    fn pages_begin_at_a_multiple_of_their_size() {
        let pages_at = |packs| Header { packs, ..HEADER }.pages_at();
        assert_eq!(
            (pages_at(0), pages_at(100), pages_at(101)),
            (4096, 4096, 8192)
        );
        assert_eq!(pages_at(u32::MAX) % 4096, 0);
    }
}
