//! Changing the blocks: in place where the bytes are in the file, else into new room.
//!
//! A block in its place is written under a shared lock of the block, so writers do not wait for each other. A block
//! that is brought into the file or given up is locked alone: then no write to its old room is still under way.
//!
//! New room is filled before anybody finds it: a block of a disk without a parent is written or zeroed as a whole, of
//! a child only the written sectors count, and their bits say so. Whoever flushes makes that durable before the log
//! tells of it.

use std::ops::Range;
use std::sync::atomic::Ordering;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::step;

use super::free_space::Taken;
use super::{Guard, WritableVhdx, lock, read, write};
use crate::bat::Block;
use crate::format::SECTOR_BITMAP_BYTES;
use crate::{BlockIndex, FileOffset, Result};

/// What a part of a block is filled with.
#[derive(Debug, Clone, Copy)]
enum Fill<'a> {
    Bytes(&'a [u8]),
    Zeros,
}

/// A stretch of one block, in bytes from the start of the block.
#[derive(Debug, Clone, Copy)]
struct Part {
    index: BlockIndex,
    from: u64,
    len: u64,
    /// It is all of the block that is inside the disk.
    is_whole: bool,
}

/// More changes than this are logged without waiting for the guest to ask: they take memory.
const MAX_DIRTY_BLOCKS: usize = 1024;

impl WritableVhdx {
    /// Writes whole logical sectors. Durable after the next [`flush`](Self::flush); before that a cut may leave the
    /// old or the new bytes of each sector.
    ///
    /// # Errors
    /// [`Error::Misaligned`](crate::Error::Misaligned), [`Error::OutOfRange`](crate::Error::OutOfRange): nothing was
    /// written. Where the file could not be written or grow, some of the blocks may have been.
    pub fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let Some(extent) = self.checked(at, ByteLen(bytes.len() as u64))? else {
            return Ok(());
        };
        self.before_change()?;
        let mut rest = bytes;
        for part in self.parts(extent) {
            let len = usize::try_from(part.len).unwrap_or(usize::MAX);
            let (piece, after) = rest.split_at(len.min(rest.len()));
            self.fill(&part, Fill::Bytes(piece))?;
            rest = after;
        }
        self.flush_if_much()
    }

    /// Makes `extent`, whole logical sectors, read as zeros, whatever a parent holds. Blocks that are wholly in it are
    /// given up, but not those of a fixed disk, which are overwritten.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn zero(&self, extent: Extent) -> Result<()> {
        if self.checked(extent.start(), extent.len())?.is_none() {
            return Ok(());
        }
        self.before_change()?;
        self.for_each_stored(extent, |part| {
            if part.is_whole && self.frees {
                self.give_up(part.index);
                Ok(())
            } else {
                self.fill(part, Fill::Zeros)
            }
        })
    }

    /// Takes note that the guest no longer needs `extent`. Blocks that are wholly in it are given up and read as zeros
    /// from now on. All other bytes stay as they are: those of blocks that are only touched, and of a fixed disk.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange), or that the disk takes no more writes.
    pub fn unmap(&self, extent: Extent) -> Result<()> {
        self.check_range(extent.start(), extent.len())?;
        if !self.frees {
            return self.file.check();
        }
        self.before_change()?;
        self.for_each_stored(extent, |part| {
            if part.is_whole {
                self.give_up(part.index);
            }
            Ok(())
        })
    }

    /// Calls `each` with the parts of blocks that `extent` has, but not with those that are zeros already. Where there
    /// is no parent, those cost nothing.
    fn for_each_stored(
        &self,
        extent: Extent,
        mut each: impl FnMut(&Part) -> Result<()>,
    ) -> Result<()> {
        let geometry = *read(&self.map).geometry();
        let mut next = Some(extent);
        while let Some(rest) = next {
            let index = geometry.block_of(rest.start());
            let stored = if geometry.is_differencing() {
                Some(index)
            } else {
                read(&self.map).next_stored(index)
            };
            let Some(stored) = stored else { break };
            let start = rest.start().max(geometry.start_of(stored));
            let Some(rest) = Extent::between(start, rest.end()) else {
                break;
            };
            let Some(part) = self.parts(rest).next() else {
                break;
            };
            each(&part)?;
            self.flush_if_much()?;
            next = Extent::between(DiskOffset(start.0.saturating_add(part.len)), rest.end());
        }
        Ok(())
    }

    /// Gives up a block, which reads as zeros from now on. No write to it is under way meanwhile.
    fn give_up(&self, index: BlockIndex) {
        let _alone = write(self.block_lock(index));
        write(&self.map).put_zeros(index);
        if step::left_out("vhdx.free.after_log") {
            let freed = write(&self.map).take_freed();
            self.free(freed);
        }
    }

    /// Fills a part of a block.
    fn fill(&self, part: &Part, fill: Fill<'_>) -> Result<()> {
        let shared = read(self.block_lock(part.index));
        if self.fill_in_place(part, fill)? {
            return Ok(());
        }
        drop(shared);
        let alone = write(self.block_lock(part.index));
        // Another may have brought the block into the file meanwhile.
        if self.fill_in_place(part, fill)? {
            return Ok(());
        }
        self.fill_new(part, fill, &alone)
    }

    /// Fills a part of a block that is in the file, or that stays zero. `false` if it needs room first.
    fn fill_in_place(&self, part: &Part, fill: Fill<'_>) -> Result<bool> {
        let (block, sectors) = {
            let map = read(&self.map);
            let sector_bytes = map.geometry().sector_bytes();
            let end = part.from + part.len;
            (
                map.get(part.index),
                part.from / sector_bytes..end / sector_bytes,
            )
        };
        match block {
            Block::Present(at) => self.put(at, part, fill).map(|()| true),
            Block::Partial(at) => {
                self.put(at, part, fill)?;
                let known = read(&self.map).has_sectors(part.index, &sectors);
                if !known {
                    write(&self.map).put_sectors(part.index, at, sectors);
                }
                Ok(true)
            }
            Block::Zero => Ok(matches!(fill, Fill::Zeros)),
            Block::Absent => {
                Ok(matches!(fill, Fill::Zeros) && !read(&self.map).geometry().is_differencing())
            }
        }
    }

    /// Brings a block into the file with a part of it filled. The caller has the block alone.
    fn fill_new(&self, part: &Part, fill: Fill<'_>, _alone: &Guard<'_>) -> Result<()> {
        let geometry = *read(&self.map).geometry();
        let block_len = ByteLen(geometry.block_bytes());
        let was = read(&self.map).get(part.index);
        // A zero block of a child may not let its parent through, so all of it is in the file from now on.
        let is_partial = geometry.is_differencing() && was == Block::Absent && !part.is_whole;
        if is_partial {
            self.need_bitmap(part.index)?;
        }
        let taken = lock(&self.space).take(&self.file, block_len)?;
        // Behind the end of the disk are zeros too, for the day on which the disk is made larger.
        let inside = geometry.bytes_of(part.index);
        let counts = if is_partial {
            inside..block_len.0
        } else {
            0..block_len.0
        };
        let filled = self
            .clear_around(taken, part, counts)
            .and_then(|()| self.put(taken.at, part, fill));
        if let Err(error) = filled {
            lock(&self.space).give(taken.at, block_len);
            return Err(error);
        }
        let mut map = write(&self.map);
        if is_partial {
            let sector_bytes = geometry.sector_bytes();
            let end = part.from + part.len;
            let sectors = part.from / sector_bytes..end / sector_bytes;
            map.put_sectors(part.index, taken.at, sectors);
        } else {
            map.put_present(part.index, taken.at);
        }
        Ok(())
    }

    /// Zeroes those bytes of a block's new room that `counts` says are looked at, but for the part that is filled next.
    fn clear_around(&self, taken: Taken, part: &Part, counts: Range<u64>) -> Result<()> {
        if taken.is_new || step::left_out("vhdx.block.zeroed") {
            return Ok(());
        }
        let after = part.from + part.len;
        for range in [
            counts.start..part.from.min(counts.end),
            after.max(counts.start)..counts.end,
        ] {
            if range.start < range.end {
                let at = FileOffset(taken.at.0.saturating_add(range.start));
                self.file
                    .write_zeros(at, ByteLen(range.end - range.start))?;
            }
        }
        Ok(())
    }

    /// Writes into the room of a block, and notes that there is something to sync.
    fn put(&self, block: FileOffset, part: &Part, fill: Fill<'_>) -> Result<()> {
        let at = FileOffset(block.0.saturating_add(part.from));
        let written = match fill {
            Fill::Bytes(bytes) => self.file.write(bytes, at),
            Fill::Zeros => self.file.write_zeros(at, ByteLen(part.len)),
        };
        // After the write: a flush that sees the note syncs it, and one that saw it before does not.
        self.unsynced.store(true, Ordering::Release);
        written
    }

    /// Sees to it that a block has a sector bitmap: one in which no sector is set.
    fn need_bitmap(&self, index: BlockIndex) -> Result<()> {
        let _one = lock(&self.bitmap_lock);
        if read(&self.map).bitmap_of(index).is_some() {
            return Ok(());
        }
        let len = ByteLen(SECTOR_BITMAP_BYTES);
        let taken = lock(&self.space).take(&self.file, len)?;
        // No bit in it counts before it was logged, but other readers may look at bits that do not count.
        if !taken.is_new {
            let cleared = self.file.write_zeros(taken.at, len);
            self.unsynced.store(true, Ordering::Release);
            if let Err(error) = cleared {
                lock(&self.space).give(taken.at, len);
                return Err(error);
            }
        }
        write(&self.map).put_bitmap(index, taken.at);
        Ok(())
    }

    /// The parts of the blocks that an extent, which is inside the disk, has.
    fn parts(&self, extent: Extent) -> impl Iterator<Item = Part> + use<> {
        let geometry = *read(&self.map).geometry();
        let mut next = Some(extent);
        std::iter::from_fn(move || {
            let rest = next?;
            let index = geometry.block_of(rest.start());
            let start = geometry.start_of(index);
            let block_end = DiskOffset(start.0.saturating_add(geometry.block_bytes()));
            let end = rest.end().min(block_end);
            next = Extent::between(end, rest.end());
            let len = end.0 - rest.start().0;
            Some(Part {
                index,
                from: rest.start().0 - start.0,
                len,
                is_whole: len == geometry.bytes_of(index),
            })
        })
    }

    fn flush_if_much(&self) -> Result<()> {
        if read(&self.map).dirty_blocks() < MAX_DIRTY_BLOCKS {
            return Ok(());
        }
        self.flush()
    }
}
