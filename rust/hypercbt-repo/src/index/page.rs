//! One page of a segment: 93 entries and a checksum.

use super::layout::{ENTRY_BYTES, Entry, PAGE_BYTES, PAGE_ENTRIES, prefix};
use super::search::partition_near;
use crate::{Damage, RecordKind};

const CHECKED_BYTES: usize = PAGE_ENTRIES * ENTRY_BYTES;
const _: () = assert!(CHECKED_BYTES + 4 == PAGE_BYTES);

/// The bytes of a page.
pub(super) type PageBytes = [u8; PAGE_BYTES];

/// Zeros, to be read into.
pub(super) fn empty() -> Box<PageBytes> {
    Box::new([0; PAGE_BYTES])
}

/// Checks a page that was read: its checksum, and that it is the page of this fence and no other.
pub(super) fn check(page: &PageBytes, fence: u64) -> Result<(), Damage> {
    let checksum = u32::from_le_bytes([page[4092], page[4093], page[4094], page[4095]]);
    if checksum != crc32c::crc32c(&page[..CHECKED_BYTES]) {
        return Err(Damage::Checksum);
    }
    let first = u64::from_be_bytes([
        page[0], page[1], page[2], page[3], page[4], page[5], page[6], page[7],
    ]);
    if first != fence {
        return Err(Damage::Field);
    }
    Ok(())
}

/// Writes the checksum after the entries.
pub(super) fn seal(page: &mut PageBytes) {
    let checksum = crc32c::crc32c(&page[..CHECKED_BYTES]);
    page[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
}

/// The entries of a page, of which `count` are used.
pub(super) fn entries(page: &PageBytes, count: usize) -> &[[u8; ENTRY_BYTES]] {
    let (entries, _) = page[..CHECKED_BYTES].as_chunks();
    entries.get(..count).unwrap_or(entries)
}

/// Whether the bytes after the used entries are zero, as every writer leaves them.
pub(super) fn rest_is_zero(page: &PageBytes, count: usize) -> bool {
    let unused = page[..CHECKED_BYTES].get(count * ENTRY_BYTES..);
    unused.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// All entries of a page with this id and kind. They stand near `near`, or the search is longer.
pub(super) fn find<'a>(
    entries: &'a [[u8; ENTRY_BYTES]],
    kind: RecordKind,
    id: &'a [u8; 32],
    near: usize,
) -> impl Iterator<Item = Entry> + 'a {
    let wanted = prefix(id);
    let start = partition_near(entries, near, |raw| first_eight(raw) < wanted);
    let near = entries.get(start..).unwrap_or_default();
    near.iter()
        .take_while(move |raw| first_eight(raw) == wanted)
        .map(Entry::decode)
        .filter(move |entry| entry.id == *id && entry.kind == kind)
}

fn first_eight(raw: &[u8; ENTRY_BYTES]) -> u64 {
    u64::from_be_bytes([
        raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> [u8; 32] {
        let mut id = [0; 32];
        (id[0], id[31]) = (first, last);
        id
    }

    fn page_of(list: &[Entry]) -> Box<PageBytes> {
        let mut page = empty();
        for (raw, entry) in page.as_chunks_mut().0.iter_mut().zip(list) {
            *raw = entry.encode();
        }
        seal(&mut page);
        page
    }

    fn chunk(id: [u8; 32], pack: u32) -> Entry {
        Entry {
            id,
            kind: RecordKind::Chunk,
            pack,
            offset: 1,
            stored_len: 2,
        }
    }

    #[test]
    fn all_places_of_an_id_are_found_and_no_others() {
        let list = [
            chunk(id(1, 0), 0),
            chunk(id(1, 1), 1),
            chunk(id(1, 1), 2),
            chunk(id(2, 0), 3),
        ];
        let page = page_of(&list);
        let find = |id, kind| find(entries(&page, 4), kind, &id, 1).collect::<Vec<_>>();
        assert_eq!(find(id(1, 1), RecordKind::Chunk), list[1..3]);
        assert_eq!(find(id(1, 2), RecordKind::Chunk), []);
        assert_eq!(find(id(1, 1), RecordKind::Node), []);
    }

    #[test]
    fn unused_entries_are_not_ids_of_zeros() {
        let page = page_of(&[]);
        assert_eq!(
            find(entries(&page, 0), RecordKind::Chunk, &[0; 32], 0).count(),
            0
        );
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut page = page_of(&[chunk(id(1, 0), 0)]);
        let fence = prefix(&id(1, 0));
        assert_eq!(check(&page, fence), Ok(()));
        for bit in 0..PAGE_BYTES * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&page, fence), Err(Damage::Checksum), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_whole_page_in_the_wrong_place_is_found() {
        let page = page_of(&[chunk(id(1, 0), 0)]);
        assert_eq!(check(&page, prefix(&id(2, 0))), Err(Damage::Field));
    }

    #[test]
    fn bytes_after_the_last_entry_must_be_zero() {
        let page = page_of(&[chunk(id(1, 0), 0)]);
        assert!(rest_is_zero(&page, 1) && !rest_is_zero(&page, 0) && rest_is_zero(&page, 93));
    }
}
