//! The block allocation table: which payload block lives where in the file (MS-VHDX 2.5).
//!
//! The table interleaves two kinds of entry. After every `chunk_ratio` payload entries comes one sector bitmap
//! entry, in every kind of disk, so payload block `n` is not entry `n`:
//!
//! ```text
//! entry    0    1   ...    r-1        r      r+1
//!        [ p0 | p1 | ... | p(r-1) | bitmap | p(r) | ...
//! ```
//!
//! [`load`] is the only place that knows this. In memory a block takes 32 bits, in pages that exist only where some
//! block is not absent: a disk of 64 TiB may have 2^26 blocks, and an empty one must cost nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use hypercbt_extent::ByteLen;
use zerocopy::FromBytes;

use crate::format::{
    BAT_PLACE, BAT_RESERVED, BAT_STATE, BITMAP_NOT_PRESENT, BITMAP_PRESENT, BLOCK_FULLY_PRESENT,
    BLOCK_NOT_PRESENT, BLOCK_PARTIALLY_PRESENT, BLOCK_UNDEFINED, BLOCK_UNMAPPED, BLOCK_ZERO,
    BatEntry, HEADER_SECTION_BYTES, MIB, SECTOR_BITMAP_BYTES,
};
use crate::geometry::Geometry;
use crate::region::Region;
use crate::source::Source;
use crate::space::SpaceMap;
use crate::{BlockIndex, FileOffset, Part, Reason, Result};

/// Where the bytes of a payload block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// Not in this file: in the parent if the disk has one, else zeros.
    Absent,
    /// Nowhere: the block reads as zeros, whatever the parent holds.
    Zero,
    /// In the file, at this offset, all of them.
    Present(FileOffset),
    /// Some in the file and some in the parent; the sector bitmap tells.
    Partial(FileOffset),
}

/// Entries of a page. 4 KiB of memory.
const PAGE_BLOCKS: usize = 1024;

/// All payload blocks of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Bat {
    pages: BTreeMap<u64, Box<[Packed; PAGE_BLOCKS]>>,
}

/// A block in 32 bits: what it is in bits 0 and 1, its place in MiB in the 28 bits from bit 2 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    const ABSENT: Self = Self(0);

    /// Keeps the place modulo 2^28 MiB; the caller has checked that it is inside a file of at most 256 TiB.
    fn new(block: Block) -> Self {
        let (kind, at) = match block {
            Block::Absent => (0, FileOffset(0)),
            Block::Zero => (1, FileOffset(0)),
            Block::Present(at) => (2, at),
            Block::Partial(at) => (3, at),
        };
        let mib = u32::try_from((at.0 / MIB) & 0xFFF_FFFF).unwrap_or_default();
        Self(mib << 2 | kind)
    }

    fn block(self) -> Block {
        let at = FileOffset(u64::from(self.0 >> 2) * MIB);
        match self.0 & 0b11 {
            0 => Block::Absent,
            1 => Block::Zero,
            2 => Block::Present(at),
            _ => Block::Partial(at),
        }
    }
}

impl Bat {
    /// Where block `index` is.
    pub(crate) fn get(&self, index: BlockIndex) -> Block {
        let (page, slot) = place_of(index);
        let packed = self.pages.get(&page).and_then(|page| page.get(slot));
        packed.map_or(Block::Absent, |packed| packed.block())
    }

    /// Says where block `index` is.
    pub(crate) fn set(&mut self, index: BlockIndex, block: Block) {
        let (page, slot) = place_of(index);
        if block == Block::Absent && !self.pages.contains_key(&page) {
            return;
        }
        let page = self
            .pages
            .entry(page)
            .or_insert_with(|| Box::new([Packed::ABSENT; PAGE_BLOCKS]));
        if let Some(packed) = page.get_mut(slot) {
            *packed = Packed::new(block);
        }
    }

    /// The first block from `from` on that is not absent. Absent pages cost nothing.
    pub(crate) fn next_stored(&self, from: BlockIndex) -> Option<BlockIndex> {
        let (first_page, first_slot) = place_of(from);
        self.pages.range(first_page..).find_map(|(page, blocks)| {
            let skip = if *page == first_page { first_slot } else { 0 };
            let slot = blocks
                .iter()
                .skip(skip)
                .position(|packed| *packed != Packed::ABSENT)?;
            Some(BlockIndex(page * PAGE_BLOCKS as u64 + (skip + slot) as u64))
        })
    }

    /// Every block in `range` that is not absent, in order.
    pub(crate) fn stored_in(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = (BlockIndex, Block)> + '_ {
        let mut next = range.start;
        std::iter::from_fn(move || {
            let index = self
                .next_stored(BlockIndex(next))
                .filter(|index| index.0 < range.end)?;
            next = index.0 + 1;
            Some((index, self.get(index)))
        })
    }
}

fn place_of(index: BlockIndex) -> (u64, usize) {
    let slot = usize::try_from(index.0 % PAGE_BLOCKS as u64).unwrap_or_default();
    (index.0 / PAGE_BLOCKS as u64, slot)
}

/// Decodes one payload entry. States without data carry whatever place they like; it is ignored.
fn decode(
    entry: BatEntry,
    index: BlockIndex,
    differencing: bool,
) -> std::result::Result<Block, Reason> {
    let raw = entry.0.get();
    let at = FileOffset(raw & BAT_PLACE);
    if raw & BAT_RESERVED != 0 {
        return Err(Reason::ReservedBits);
    }
    let block = match raw & BAT_STATE {
        BLOCK_NOT_PRESENT => Block::Absent,
        // Without a parent these are zeros as an absent block is, and an absent one costs no memory.
        BLOCK_UNDEFINED | BLOCK_ZERO | BLOCK_UNMAPPED => {
            if differencing {
                Block::Zero
            } else {
                Block::Absent
            }
        }
        BLOCK_FULLY_PRESENT => Block::Present(at),
        BLOCK_PARTIALLY_PRESENT if differencing => Block::Partial(at),
        BLOCK_PARTIALLY_PRESENT => return Err(Reason::PartialWithoutParent(index)),
        state => {
            let state = u8::try_from(state).unwrap_or_default();
            return Err(Reason::UnassignedState {
                block: index,
                state,
            });
        }
    };
    match block {
        Block::Present(at) | Block::Partial(at) if at.0 < HEADER_SECTION_BYTES => {
            Err(Reason::BlockPlace { block: index, at })
        }
        block => Ok(block),
    }
}

/// Decodes one sector bitmap entry: the place of the bitmap, if it is there.
fn decode_bitmap(
    entry: BatEntry,
    chunk_index: u64,
    differencing: bool,
) -> std::result::Result<Option<FileOffset>, Reason> {
    let raw = entry.0.get();
    let state = raw & BAT_STATE;
    if raw & BAT_RESERVED != 0 {
        return Err(Reason::ReservedBits);
    }
    match state {
        BITMAP_NOT_PRESENT => Ok(None),
        BITMAP_PRESENT if differencing => Ok(Some(FileOffset(raw & BAT_PLACE))),
        state => {
            let state = u8::try_from(state).unwrap_or_default();
            Err(Reason::BitmapState { chunk_index, state })
        }
    }
}

/// What the table of one file says, checked entry by entry and against the size of the file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) bat: Bat,
    /// Where the sector bitmaps are that are there, by their number.
    pub(crate) bitmaps: BTreeMap<u64, FileOffset>,
    /// Blocks that are in the file, wholly or partially.
    pub(crate) present_blocks: u64,
    /// Of those, the partial ones.
    pub(crate) partial_blocks: u64,
    /// Where the last block ends, in file order.
    pub(crate) blocks_end: u64,
}

/// How much of the table is read at once.
const PIECE_BYTES: usize = 512 << 10;

/// Reads the table, claiming the place of each block and bitmap in `space`. Holes of the file are not read.
pub(crate) fn load(
    source: &Source,
    region: Region,
    geometry: &Geometry,
    space: &mut SpaceMap,
) -> Result<Table> {
    let needed = geometry.bat_entries() * size_of::<BatEntry>() as u64;
    if needed > region.len.0 {
        let reason = Reason::TooSmall {
            found: region.len.0,
            needed,
        };
        return Err(source.corrupt(Part::Bat, reason));
    }
    let mut loader = Loader {
        source,
        geometry,
        space,
        table: Table::default(),
    };
    let mut buf = vec![0; PIECE_BYTES.min(usize::try_from(needed).unwrap_or(PIECE_BYTES))];
    let mut done = 0;
    while done < needed {
        let len = (needed - done).min(buf.len() as u64);
        let at = FileOffset(region.at.0.saturating_add(done));
        if !source.is_hole(at, ByteLen(len)) {
            let piece = buf
                .get_mut(..usize::try_from(len).unwrap_or_default())
                .unwrap_or_default();
            source.read(piece, at)?;
            loader.take(piece, done / size_of::<BatEntry>() as u64)?;
        }
        done += len;
    }
    Ok(loader.table)
}

struct Loader<'a> {
    source: &'a Source,
    geometry: &'a Geometry,
    space: &'a mut SpaceMap,
    table: Table,
}

impl Loader<'_> {
    /// Takes the entries of `piece`, of which the first has the number `first`.
    fn take(&mut self, piece: &[u8], first: u64) -> Result<()> {
        let period = self.geometry.chunk_ratio() + 1;
        let entries = <[BatEntry]>::ref_from_bytes(piece).unwrap_or_default();
        for (number, entry) in (first..).zip(entries) {
            // Most entries of a large disk say nothing, and nothing is what they cost.
            if entry.0.get() == 0 {
                continue;
            }
            let (chunk_index, place) = (number / period, number % period);
            if place == period - 1 {
                self.take_bitmap(*entry, chunk_index)?;
            } else {
                self.take_block(*entry, BlockIndex(number - chunk_index))?;
            }
        }
        Ok(())
    }

    fn take_block(&mut self, entry: BatEntry, index: BlockIndex) -> Result<()> {
        // The last bitmap of a differencing disk covers entries of blocks that the disk does not have.
        if index.0 >= self.geometry.payload_blocks() {
            return Ok(());
        }
        let block = decode(entry, index, self.geometry.is_differencing());
        let block = block.map_err(|reason| self.source.corrupt(Part::Bat, reason))?;
        if let Block::Present(at) | Block::Partial(at) = block {
            // Older qemu ends a file where the disk ends, inside its last block. Anywhere else bytes are lost.
            let used_end = at.0.checked_add(self.geometry.bytes_of(index));
            if used_end.is_none_or(|end| end > self.source.len().0) {
                let reason = Reason::BlockPlace { block: index, at };
                return Err(self.source.corrupt(Part::Bat, reason));
            }
            let len = self.geometry.block_bytes();
            self.claim(at, len)?;
            self.table.present_blocks += 1;
            self.table.partial_blocks += u64::from(matches!(block, Block::Partial(_)));
            self.table.blocks_end = self.table.blocks_end.max(at.0.saturating_add(len));
        }
        self.table.bat.set(index, block);
        Ok(())
    }

    fn take_bitmap(&mut self, entry: BatEntry, chunk_index: u64) -> Result<()> {
        let refuse = |reason| self.source.corrupt(Part::Bat, reason);
        let place =
            decode_bitmap(entry, chunk_index, self.geometry.is_differencing()).map_err(refuse)?;
        let Some(at) = place else {
            return Ok(());
        };
        let end = at.0.saturating_add(SECTOR_BITMAP_BYTES);
        if at.0 < HEADER_SECTION_BYTES || end > self.source.len().0 {
            let len = ByteLen(SECTOR_BITMAP_BYTES);
            return Err(self
                .source
                .corrupt(Part::SectorBitmap, Reason::Place { at, len }));
        }
        self.claim(at, SECTOR_BITMAP_BYTES)?;
        self.table.bitmaps.insert(chunk_index, at);
        Ok(())
    }

    fn claim(&mut self, at: FileOffset, len: u64) -> Result<()> {
        if self.space.claim(at, ByteLen(len)) {
            return Ok(());
        }
        Err(self.source.corrupt(Part::Bat, Reason::Overlap { at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: u64, mib: u64) -> BatEntry {
        BatEntry((mib << 20 | state).into())
    }

    const BLOCK: BlockIndex = BlockIndex(7);

    #[test]
    fn without_a_parent_states_zero_to_three_read_as_zeros_whatever_their_place() {
        for state in 0..=3 {
            for mib in [0, 1, 5, (1 << 44) - 1] {
                assert_eq!(decode(entry(state, mib), BLOCK, false), Ok(Block::Absent));
            }
        }
    }

    #[test]
    fn with_a_parent_only_state_zero_looks_into_it() {
        assert_eq!(decode(entry(0, 9), BLOCK, true), Ok(Block::Absent));
        for state in 1..=3 {
            assert_eq!(decode(entry(state, 9), BLOCK, true), Ok(Block::Zero));
        }
    }

    #[test]
    fn present_blocks_are_where_the_entry_says() {
        let at = FileOffset(5 * MIB);
        assert_eq!(decode(entry(6, 5), BLOCK, false), Ok(Block::Present(at)));
        assert_eq!(decode(entry(6, 5), BLOCK, true), Ok(Block::Present(at)));
        assert_eq!(decode(entry(7, 5), BLOCK, true), Ok(Block::Partial(at)));
    }

    #[test]
    fn states_four_and_five_are_corrupt() {
        for state in [4, 5] {
            let refused = Reason::UnassignedState {
                block: BLOCK,
                state,
            };
            assert_eq!(
                decode(entry(u64::from(state), 5), BLOCK, true),
                Err(refused)
            );
        }
    }

    #[test]
    fn a_partial_block_needs_a_parent() {
        let refused = Reason::PartialWithoutParent(BLOCK);
        assert_eq!(decode(entry(7, 5), BLOCK, false), Err(refused));
    }

    #[test]
    fn reserved_bits_are_corrupt_in_every_state() {
        for bit in 3..20 {
            for state in [0, 2, 6] {
                let entry = BatEntry((5 << 20 | 1 << bit | state).into());
                assert_eq!(decode(entry, BLOCK, true), Err(Reason::ReservedBits));
                assert_eq!(decode_bitmap(entry, 0, true), Err(Reason::ReservedBits));
            }
        }
    }

    #[test]
    fn a_present_block_below_the_first_mib_would_read_the_header() {
        let refused = Reason::BlockPlace {
            block: BLOCK,
            at: FileOffset(0),
        };
        assert_eq!(decode(entry(6, 0), BLOCK, false), Err(refused));
        assert_eq!(decode(entry(7, 0), BLOCK, true), Err(refused));
    }

    #[test]
    fn a_sector_bitmap_is_absent_or_present_and_nothing_else() {
        assert_eq!(decode_bitmap(entry(0, 3), 2, true), Ok(None));
        assert_eq!(decode_bitmap(entry(0, 0), 2, false), Ok(None));
        assert_eq!(
            decode_bitmap(entry(6, 3), 2, true),
            Ok(Some(FileOffset(3 * MIB)))
        );
        for state in [1, 2, 3, 4, 5, 7] {
            let refused = Reason::BitmapState {
                chunk_index: 2,
                state,
            };
            assert_eq!(
                decode_bitmap(entry(u64::from(state), 3), 2, true),
                Err(refused)
            );
        }
        let refused = Reason::BitmapState {
            chunk_index: 2,
            state: 6,
        };
        assert_eq!(decode_bitmap(entry(6, 3), 2, false), Err(refused));
    }

    #[test]
    fn what_is_set_is_what_is_got_up_to_the_largest_place() {
        let mut bat = Bat::default();
        let last = FileOffset(((1 << 28) - 1) * MIB);
        let blocks = [
            (BlockIndex(0), Block::Present(FileOffset(MIB))),
            (BlockIndex(1023), Block::Zero),
            (BlockIndex(1024), Block::Partial(last)),
            (BlockIndex((1 << 26) - 1), Block::Present(last)),
        ];
        for (index, block) in blocks {
            bat.set(index, block);
        }
        for (index, block) in blocks {
            assert_eq!(bat.get(index), block);
        }
        assert_eq!(bat.stored_in(0..1 << 26).collect::<Vec<_>>(), blocks);
        assert_eq!(bat.stored_in(1..1024).collect::<Vec<_>>(), blocks[1..2]);
        assert_eq!(bat.get(BlockIndex(1)), Block::Absent);
    }

    #[test]
    fn the_next_stored_block_is_found_across_pages_that_do_not_exist() {
        let mut bat = Bat::default();
        bat.set(BlockIndex(5), Block::Zero);
        bat.set(BlockIndex(60_000_000), Block::Zero);
        bat.set(BlockIndex(9_000), Block::Absent);
        assert_eq!(bat.pages.len(), 2);
        assert_eq!(bat.next_stored(BlockIndex(0)), Some(BlockIndex(5)));
        assert_eq!(bat.next_stored(BlockIndex(5)), Some(BlockIndex(5)));
        assert_eq!(bat.next_stored(BlockIndex(6)), Some(BlockIndex(60_000_000)));
        assert_eq!(bat.next_stored(BlockIndex(60_000_001)), None);
    }
}
