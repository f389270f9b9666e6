//! Where the blocks of an open file are, in memory: the truth for whoever reads and writes, ahead of what is logged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hypercbt_extent::{ByteLen, DiskOffset};

use super::bits::Bits;
use super::live_file::LiveFile;
use crate::bat::{Block, Table};
use crate::format::{
    BITMAP_PRESENT, BLOCK_FULLY_PRESENT, BLOCK_NOT_PRESENT, BLOCK_PARTIALLY_PRESENT, BLOCK_ZERO,
    BatEntry,
};
use crate::geometry::Geometry;
use crate::region::Region;
use crate::sector_bitmap::SectorRuns;
use crate::segments::Run;
use crate::vhdx::BlockMap;
use crate::{BlockIndex, FileOffset, Part, Reason, Result};

/// All blocks of an open file.
#[derive(Debug)]
pub(super) struct Map {
    blocks: BlockMap<OpenBits>,
    /// Where the sector bitmaps are, by number.
    bitmaps: BTreeMap<u64, FileOffset>,
    /// Blocks that are not logged as they are now.
    dirty: BTreeSet<BlockIndex>,
    /// Room of blocks that were given up. Until that is logged, a cut brings the blocks back, so it is nobody else's.
    freed: Vec<FileOffset>,
}

/// Which sectors of the partially present blocks are in the file.
#[derive(Debug, Default)]
struct OpenBits(BTreeMap<BlockIndex, Bits>);

impl SectorRuns for OpenBits {
    fn run_at(&self, block: BlockIndex, sector: u64) -> (bool, u64) {
        self.0
            .get(&block)
            .map_or((false, u64::MAX), |bits| bits.run_at(sector))
    }
}

/// What is to be logged of one block, as one change: its entry and its bits.
#[derive(Debug)]
pub(super) struct Change {
    index: BlockIndex,
    block: Block,
    bits: Option<(FileOffset, Bits)>,
}

/// All that was changed up to one moment.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) blocks: Vec<Change>,
    /// Room that is free once they are logged.
    pub(super) freed: Vec<FileOffset>,
}

/// Bytes that belong at a place of the file.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) at: FileOffset,
    pub(super) bytes: Vec<u8>,
}

impl Map {
    /// The blocks as the table of a clean file has them.
    pub(super) fn load(file: &LiveFile, geometry: Geometry, table: Table) -> Result<Self> {
        let Table { bat, bitmaps, .. } = table;
        let mut bits = BTreeMap::new();
        let slice_bytes = geometry.slice_bytes();
        let mut slice = vec![0; usize::try_from(slice_bytes).unwrap_or_default()];
        for (index, block) in bat.stored_in(0..geometry.payload_blocks()) {
            if !matches!(block, Block::Partial(_)) {
                continue;
            }
            let Some(bitmap) = bitmaps.get(&(index.0 / geometry.chunk_ratio())) else {
                let file = file.path().to_owned();
                let (part, reason) = (Part::Bat, Reason::PartialWithoutBitmap(index));
                return Err(crate::Error::Corrupt { file, part, reason });
            };
            file.read(&mut slice, slice_place(&geometry, *bitmap, index))?;
            bits.insert(index, Bits::load(&slice, geometry.sectors_of(index)));
        }
        Ok(Self {
            blocks: BlockMap {
                geometry,
                bat,
                bitmaps: OpenBits(bits),
                readable: u64::MAX,
            },
            bitmaps,
            dirty: BTreeSet::new(),
            freed: Vec::new(),
        })
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.blocks.geometry
    }

    pub(super) fn size(&self) -> ByteLen {
        self.blocks.size()
    }

    pub(super) fn get(&self, index: BlockIndex) -> Block {
        self.blocks.bat.get(index)
    }

    /// The first block from `from` on that is in the file.
    pub(super) fn next_stored(&self, from: BlockIndex) -> Option<BlockIndex> {
        self.blocks.bat.next_stored(from)
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(super) fn run_at(&self, at: DiskOffset) -> Run {
        self.blocks.run_at(at)
    }

    /// Whether all of these sectors of a partially present block are in the file.
    pub(super) fn has_sectors(&self, index: BlockIndex, sectors: &Range<u64>) -> bool {
        let bits = self.blocks.bitmaps.0.get(&index);
        bits.is_some_and(|bits| bits.has(sectors))
    }

    /// Where the sector bitmap of a block is.
    pub(super) fn bitmap_of(&self, index: BlockIndex) -> Option<FileOffset> {
        let chunk_index = index.0 / self.blocks.geometry.chunk_ratio();
        self.bitmaps.get(&chunk_index).copied()
    }

    /// Says where the sector bitmap of a block, and of all its neighbours, is from now on.
    pub(super) fn put_bitmap(&mut self, index: BlockIndex, at: FileOffset) {
        let chunk_index = index.0 / self.blocks.geometry.chunk_ratio();
        self.bitmaps.insert(chunk_index, at);
    }

    /// The block is in the file from now on, all of it.
    pub(super) fn put_present(&mut self, index: BlockIndex, at: FileOffset) {
        self.blocks.bat.set(index, Block::Present(at));
        self.blocks.bitmaps.0.remove(&index);
        self.dirty.insert(index);
    }

    /// Some more sectors of a block of a child are in the file from now on.
    pub(super) fn put_sectors(&mut self, index: BlockIndex, at: FileOffset, sectors: Range<u64>) {
        // While these were overwritten, another may have added the last ones that were missing.
        if matches!(self.get(index), Block::Present(_)) {
            return;
        }
        let geometry = self.blocks.geometry;
        let slice_bytes = usize::try_from(geometry.slice_bytes()).unwrap_or_default();
        let bits = self.blocks.bitmaps.0.entry(index);
        let bits = bits.or_insert_with(|| Bits::none(slice_bytes));
        bits.set(sectors);
        if bits.has(&(0..geometry.sectors_of(index))) {
            self.put_present(index, at);
            return;
        }
        self.blocks.bat.set(index, Block::Partial(at));
        self.dirty.insert(index);
    }

    /// The block reads as zeros from now on, and its room is free once that is logged.
    pub(super) fn put_zeros(&mut self, index: BlockIndex) {
        let before = self.get(index);
        let differencing = self.blocks.geometry.is_differencing();
        let zeros = if differencing {
            Block::Zero
        } else {
            Block::Absent
        };
        if before == zeros {
            return;
        }
        self.blocks.bat.set(index, zeros);
        self.blocks.bitmaps.0.remove(&index);
        self.dirty.insert(index);
        if let Block::Present(at) | Block::Partial(at) = before {
            self.freed.push(at);
        }
    }

    /// The disk has another size from now on, and its new blocks, where there is room for them, are in the file from
    /// `blocks_at` on. All of it is logged already.
    pub(super) fn resize(&mut self, new: Geometry, blocks_at: Option<FileOffset>) {
        let old = std::mem::replace(&mut self.blocks.geometry, new);
        let (had, has) = (old.payload_blocks(), new.payload_blocks());
        let cut: Vec<BlockIndex> = self
            .blocks
            .bat
            .stored_in(has..had)
            .map(|(index, _)| index)
            .collect();
        for index in cut {
            self.blocks.bat.set(index, Block::Absent);
        }
        drop(self.blocks.bitmaps.0.split_off(&BlockIndex(has)));
        drop(self.dirty.split_off(&BlockIndex(has)));
        drop(self.bitmaps.split_off(&new.sector_bitmaps()));
        if let Some(first) = blocks_at {
            for (nth, index) in (0..).zip(had..has) {
                let at = FileOffset(first.0 + nth * new.block_bytes());
                self.blocks.bat.set(BlockIndex(index), Block::Present(at));
            }
        }
    }

    /// How many blocks are not logged as they are.
    pub(super) fn dirty_blocks(&self) -> usize {
        self.dirty.len()
    }

    /// Takes all that is not logged yet. Whoever takes it logs it, or nothing is logged any more.
    pub(super) fn take_changes(&mut self) -> Changes {
        let dirty = std::mem::take(&mut self.dirty);
        let changes = dirty.into_iter().map(|index| {
            let bits = self.blocks.bitmaps.0.get(&index).cloned();
            Change {
                index,
                block: self.get(index),
                bits: self.bitmap_of(index).zip(bits),
            }
        });
        Changes {
            blocks: changes.collect(),
            freed: self.take_freed(),
        }
    }

    /// Takes the room of the blocks that were given up.
    pub(super) fn take_freed(&mut self) -> Vec<FileOffset> {
        std::mem::take(&mut self.freed)
    }
}

impl Change {
    /// What the change puts into the file: the entry of the block, and of a partially present one the bits and the
    /// entry of their bitmap.
    pub(super) fn patches(&self, geometry: &Geometry, bat: &Region) -> Vec<Patch> {
        let entry = |number: u64, raw: u64| Patch {
            at: FileOffset(
                bat.at
                    .0
                    .saturating_add(number * size_of::<BatEntry>() as u64),
            ),
            bytes: raw.to_le_bytes().to_vec(),
        };
        let own = entry(geometry.payload_entry(self.index), self.raw(geometry));
        let mut patches = vec![own];
        if let Some((bitmap, bits)) = &self.bits {
            let number = geometry.bitmap_entry(self.index.0 / geometry.chunk_ratio());
            patches.push(entry(number, bitmap.0 | BITMAP_PRESENT));
            patches.push(Patch {
                at: slice_place(geometry, *bitmap, self.index),
                bytes: bits.as_bytes().to_vec(),
            });
        }
        patches
    }

    /// The entry. Without data its place is zero: Hyper-V fails to read a zero block that has one.
    fn raw(&self, geometry: &Geometry) -> u64 {
        match self.block {
            Block::Present(at) => at.0 | BLOCK_FULLY_PRESENT,
            Block::Partial(at) => at.0 | BLOCK_PARTIALLY_PRESENT,
            Block::Absent if geometry.is_differencing() => BLOCK_NOT_PRESENT,
            // Not unmapped: that would allow another reader to find old data, and zeros were promised.
            Block::Zero | Block::Absent => BLOCK_ZERO,
        }
    }
}

/// Where the bits of a block are.
fn slice_place(geometry: &Geometry, bitmap: FileOffset, index: BlockIndex) -> FileOffset {
    let within = index.0 % geometry.chunk_ratio() * geometry.slice_bytes();
    FileOffset(bitmap.0.saturating_add(within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bat::Bat;
    use crate::format::MIB;

    const BLOCK: BlockIndex = BlockIndex(1);
    const AT: FileOffset = FileOffset(9 * MIB);

    /// A child of four blocks of 1 MiB.
    fn map() -> Map {
        Map {
            blocks: BlockMap {
                geometry: Geometry::for_test(4 * MIB, MIB, 512, true),
                bat: Bat::default(),
                bitmaps: OpenBits::default(),
                readable: u64::MAX,
            },
            bitmaps: BTreeMap::new(),
            dirty: BTreeSet::new(),
            freed: Vec::new(),
        }
    }

    #[test]
    fn a_block_is_present_once_all_its_sectors_are() {
        let mut map = map();
        map.put_sectors(BLOCK, AT, 0..2047);
        assert_eq!(map.get(BLOCK), Block::Partial(AT));
        map.put_sectors(BLOCK, AT, 2047..2048);
        assert_eq!(map.get(BLOCK), Block::Present(AT));
    }

    #[test]
    fn a_present_block_stays_so_when_a_slow_writer_tells_of_its_sectors() {
        let mut map = map();
        map.put_sectors(BLOCK, AT, 0..2048);
        map.put_sectors(BLOCK, AT, 3..4);
        assert_eq!(map.get(BLOCK), Block::Present(AT));
    }

    #[test]
    fn room_is_given_up_once() {
        let mut map = map();
        map.put_present(BLOCK, AT);
        map.put_zeros(BLOCK);
        map.put_zeros(BLOCK);
        assert_eq!(map.take_changes().freed, [AT]);
        assert_eq!(map.take_changes().freed, []);
    }
}
