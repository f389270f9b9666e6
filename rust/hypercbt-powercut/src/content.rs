//! The bytes of one file: sparse, shared between copies, with a digest that is kept.
//!
//! ```text
//! content ─▶ leaves of 256 KiB ─▶ pages of 4 KiB
//! ```
//!
//! A copy costs one count for each leaf, a change copies one leaf of pointers and one page, and a digest
//! hashes only pages that are new. So a state of a file of megabytes costs what differs from the last one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

const PAGE_BYTES: usize = 4096;
const LEAF_PAGES: usize = 64;
const LEAF_BYTES: u64 = (PAGE_BYTES * LEAF_PAGES) as u64;
static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Bytes and a length. What is past the length is zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    len: u64,
    leaves: BTreeMap<u64, Arc<Leaf>>,
    digest: OnceLock<u128>,
}

#[derive(Debug, Clone)]
struct Leaf {
    /// None: zeros.
    pages: [Option<Arc<Page>>; LEAF_PAGES],
    digest: OnceLock<u128>,
}

#[derive(Debug, Clone)]
struct Page {
    bytes: [u8; PAGE_BYTES],
    digest: OnceLock<u128>,
}

impl Content {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(0, bytes);
        content
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `at` on, zeros past the end.
    pub(crate) fn read(&self, at: u64, buf: &mut [u8]) {
        for piece in pieces(at, buf.len()) {
            let buf = &mut buf[piece.of_buffer];
            let leaf = self.leaves.get(&piece.leaf);
            match leaf.and_then(|leaf| leaf.pages[piece.page].as_ref()) {
                Some(page) => buf.copy_from_slice(&page.bytes[piece.of_page]),
                None => buf.fill(0),
            }
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.len)];
        self.read(0, &mut bytes);
        bytes
    }

    /// Writes, and makes the file longer where that is needed.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.digest = OnceLock::new();
        for piece in pieces(at, bytes.len()) {
            let page = self.page_mut(piece.leaf, piece.page);
            page[piece.of_page].copy_from_slice(&bytes[piece.of_buffer]);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(at + bytes.len() as u64);
        }
    }

    /// Fills a range with zeros. The length stays.
    pub(crate) fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.digest = OnceLock::new();
        let leaves = range.start / LEAF_BYTES..=(range.end - 1) / LEAF_BYTES;
        let touched: Vec<u64> = self.leaves.range(leaves).map(|(&leaf, _)| leaf).collect();
        for leaf in touched {
            for page in 0..LEAF_PAGES {
                let start = leaf * LEAF_BYTES + (page * PAGE_BYTES) as u64;
                let from = range.start.clamp(start, start + PAGE_BYTES as u64) - start;
                let to = range.end.clamp(start, start + PAGE_BYTES as u64) - start;
                let there = self
                    .leaves
                    .get(&leaf)
                    .is_some_and(|leaf| leaf.pages[page].is_some());
                if there && from < to {
                    self.page_mut(leaf, page)[index(from)..index(to)].fill(0);
                }
            }
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero(len..self.len);
        }
        self.digest = OnceLock::new();
        self.len = len;
    }

    /// Sets the length after bytes were written past it: those are gone.
    pub(crate) fn cut_to(&mut self, len: u64) {
        self.set_len(len.max(self.len));
        self.set_len(len);
    }

    /// Where pages are that may hold something, in order.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Range<u64>> {
        let len = self.len;
        self.leaves.iter().flat_map(move |(&number, leaf)| {
            let there = (0..LEAF_PAGES).filter(|&page| leaf.pages[page].is_some());
            there.filter_map(move |page| {
                let start = number * LEAF_BYTES + (page * PAGE_BYTES) as u64;
                let range = start..(start + PAGE_BYTES as u64).min(len);
                (!range.is_empty()).then_some(range)
            })
        })
    }

    /// The same for the same bytes, however they came about.
    pub(crate) fn digest(&self) -> u128 {
        *self.digest.get_or_init(|| {
            let leaves = self
                .leaves
                .iter()
                .map(|(&number, leaf)| placed(number, leaf.digest()));
            leaves.fold(mix(1, u128::from(self.len)), u128::wrapping_add)
        })
    }

    fn page_mut(&mut self, leaf: u64, page: usize) -> &mut [u8; PAGE_BYTES] {
        let leaf = Arc::make_mut(self.leaves.entry(leaf).or_insert_with(Leaf::empty));
        leaf.digest = OnceLock::new();
        let page = Arc::make_mut(leaf.pages[page].get_or_insert_with(Page::empty));
        page.digest = OnceLock::new();
        &mut page.bytes
    }
}

impl Leaf {
    fn empty() -> Arc<Self> {
        Arc::new(Self {
            pages: [const { None }; LEAF_PAGES],
            digest: OnceLock::new(),
        })
    }

    /// 0 for zeros.
    fn digest(&self) -> u128 {
        *self.digest.get_or_init(|| {
            let pages = self.pages.iter().zip(0..).filter_map(|(page, number)| {
                page.as_ref().map(|page| placed(number, page.digest()))
            });
            pages.fold(0, u128::wrapping_add)
        })
    }
}

impl Page {
    fn empty() -> Arc<Self> {
        Arc::new(Self {
            bytes: ZEROS,
            digest: OnceLock::new(),
        })
    }

    /// 0 for zeros: a page of zeros is as good as none.
    fn digest(&self) -> u128 {
        *self.digest.get_or_init(|| {
            if self.bytes == ZEROS {
                0
            } else {
                hash(&self.bytes)
            }
        })
    }
}

/// A part of a buffer that lies in one page.
struct Piece {
    leaf: u64,
    page: usize,
    of_page: Range<usize>,
    of_buffer: Range<usize>,
}

fn pieces(at: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let in_page = index(here % PAGE_BYTES as u64);
        let take = (PAGE_BYTES - in_page).min(len - done);
        let piece = Piece {
            leaf: here / LEAF_BYTES,
            page: index(here % LEAF_BYTES) / PAGE_BYTES,
            of_page: in_page..in_page + take,
            of_buffer: done..done + take,
        };
        done += take;
        (take > 0).then_some(piece)
    })
}

/// A position in memory.
pub(crate) fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files fit into memory")
}

pub(crate) fn hash(bytes: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// A digest at a place, so that the sum of many tells which was where. Zeros count nowhere.
fn placed(number: u64, digest: u128) -> u128 {
    match digest {
        0 => 0,
        _ => mix(u128::from(number) + 2, digest),
    }
}

/// Mixes two numbers into one that depends on both and on their order.
pub(crate) fn mix(one: u128, other: u128) -> u128 {
    const ODD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    let mut x = one.wrapping_mul(ODD) ^ other;
    x = (x ^ (x >> 67)).wrapping_mul(ODD);
    x = (x ^ (x >> 61)).wrapping_mul(ODD);
    x ^ (x >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_written_across_pages_and_leaves() {
        let mut content = Content::default();
        let bytes: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        content.write(LEAF_BYTES - 5000, &bytes);
        let mut model = vec![0; index(LEAF_BYTES) - 5000];
        model.extend(&bytes);
        assert_eq!(content.to_vec(), model);
        content.zero(LEAF_BYTES - 10..LEAF_BYTES + 4100);
        let at = index(LEAF_BYTES);
        model[at - 10..at + 4100].fill(0);
        assert_eq!(content.to_vec(), model);
    }

    #[test]
    fn the_digest_tells_bytes_places_and_lengths_apart_and_nothing_else() {
        let one = Content::from_bytes(b"some");
        let mut same = Content::from_bytes(b"other bytes");
        same.write(0, b"some");
        same.set_len(4);
        assert_eq!(one.digest(), same.digest());
        same.set_len(5);
        assert_ne!(one.digest(), same.digest());
        let mut moved = Content::default();
        moved.write(4096, b"x");
        let mut further = Content::default();
        further.write(8192, b"x");
        further.set_len(8193);
        moved.set_len(8193);
        assert_ne!(moved.digest(), further.digest());
    }

    #[test]
    fn a_copy_does_not_change_with_its_original() {
        let mut one = Content::from_bytes(b"before");
        let copy = one.clone();
        assert_eq!(one.digest(), copy.digest());
        one.write(0, b"after!");
        assert_eq!(copy.to_vec(), b"before");
        assert_ne!(one.digest(), copy.digest());
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let mut content = Content::from_bytes(&[7; 6000]);
        content.set_len(100);
        content.set_len(6000);
        assert!(content.to_vec()[100..].iter().all(|&byte| byte == 0));
    }
}
