//! Which bytes of a disk that is not fixed are which bytes of its file.
//!
//! Before each block stands its sector bitmap, most significant bit first, the reverse of VHDX; a set bit means "in
//! this file". A clear one means zeros in a dynamic disk, and "ask the parent" in a differencing one. All bitmaps are
//! loaded when the file is opened, in the order of the file, so that resolving stays pure.

use hypercbt_extent::{ByteLen, DiskOffset};

use super::format::SECTOR_BYTES;
use super::header::Blocks;
use super::table::Stored;
use crate::sector_bitmap::{Held, SectorBitmaps};
use crate::segments::{Here, Run};
use crate::source::Source;
use crate::{BlockIndex, FileOffset, Result};

/// Where every block is.
#[derive(Debug)]
pub(crate) struct BlockMap {
    blocks: Blocks,
    /// What a block or sector is that is not in the file.
    absent: Here,
    /// In the order of the disk.
    stored: Vec<Stored>,
    /// Of the blocks that are in the file in part.
    bitmaps: SectorBitmaps,
}

impl BlockMap {
    /// Loads the bitmaps of the blocks in `stored`. Returns how many blocks are in the file in part, too.
    pub(crate) fn load(
        source: &Source,
        blocks: Blocks,
        absent: Here,
        stored: Vec<Stored>,
    ) -> Result<(Self, u64)> {
        let mut bitmaps = SectorBitmaps::default();
        let mut partial = 0;
        let mut kept = Vec::with_capacity(stored.len());
        let mut bits = vec![0; usize::try_from(bits_bytes(blocks)).unwrap_or_default()];
        for block in stored {
            read_bits(source, block, &mut bits)?;
            let sectors = blocks.sectors_of(u64::from(block.index));
            let held = bitmaps.add(block.block(), &bits, sectors);
            partial += u64::from(held == Held::Some);
            if held != Held::Nothing {
                kept.push(block);
            }
        }
        kept.sort_unstable();
        bitmaps.settle();
        let map = Self {
            blocks,
            absent,
            stored: kept,
            bitmaps,
        };
        Ok((map, partial))
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, at: DiskOffset) -> Run {
        let index = at.0 / self.blocks.block_bytes;
        let start = index * self.blocks.block_bytes;
        let place = self
            .stored
            .partition_point(|block| u64::from(block.index) < index);
        let stored = self.stored.get(place);
        let Some(stored) = stored.filter(|block| u64::from(block.index) == index) else {
            let end = stored.map_or(u64::MAX, |next| {
                u64::from(next.index) * self.blocks.block_bytes
            });
            return self.run(self.absent, end);
        };
        let end = start + self.blocks.block_bytes;
        let data_at = stored.at().0 + self.blocks.bitmap_bytes() + (at.0 - start);
        let data = Here::Data(FileOffset(data_at));
        let sector = (at.0 - start) / SECTOR_BYTES;
        match self.bitmaps.find(BlockIndex(index), sector) {
            None => self.run(data, end),
            Some((is_here, until)) => {
                let until = start.saturating_add(until.saturating_mul(SECTOR_BYTES));
                let here = if is_here { data } else { self.absent };
                self.run(here, end.min(until))
            }
        }
    }

    fn run(&self, here: Here, end: u64) -> Run {
        let end = DiskOffset(end.min(self.blocks.disk_bytes));
        Run { here, end }
    }
}

/// The bytes of a bitmap that hold bits; the rest of its last sector means nothing.
fn bits_bytes(blocks: Blocks) -> u64 {
    (blocks.block_bytes / SECTOR_BYTES).div_ceil(8)
}

/// Fills `bits` with the bitmap of a block, least significant bit first.
fn read_bits(source: &Source, block: Stored, bits: &mut [u8]) -> Result<()> {
    if source.is_hole(block.at(), ByteLen(bits.len() as u64)) {
        bits.fill(0);
    } else {
        source.read(bits, block.at())?;
    }
    for byte in bits {
        *byte = byte.reverse_bits();
    }
    Ok(())
}
