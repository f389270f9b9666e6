//! The block allocation table of a disk that grows, entry by entry. Pure arithmetic.
//!
//! What stands behind the last entry that a disk uses is nobody's, and may be anything: entries of blocks that the
//! disk had before it was made smaller, or of an attempt to grow that lost its power. So every entry that the larger
//! disk uses and the smaller one did not is written anew.

use zerocopy::{FromBytes, IntoBytes};

use crate::FileOffset;
use crate::encode;
use crate::format::{BatEntry, LOG_SECTOR_BYTES};
use crate::geometry::Geometry;

/// Entries of one sector, the unit in which the log writes the table.
pub(super) const SECTOR_ENTRIES: u64 = LOG_SECTOR_BYTES / size_of::<BatEntry>() as u64;

/// A disk before and after it grows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub(super) old: Geometry,
    pub(super) new: Geometry,
    /// Where the first of the new blocks is, and the others behind it; `None` where new blocks are absent.
    pub(super) blocks_at: Option<FileOffset>,
}

/// What becomes of one sector of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patched {
    /// Some entry of it says something else than before.
    pub(super) changed: bool,
    /// Some entry of it belongs to the disk as it is now, so that a torn write of it would harm the disk.
    pub(super) in_use: bool,
}

impl Growth {
    /// The first sector of the table that may change.
    pub(super) fn first_sector(&self) -> u64 {
        let block = self.old.payload_blocks();
        (block + block / self.old.chunk_ratio()) / SECTOR_ENTRIES
    }

    /// The sectors that the larger disk's table has.
    pub(super) fn sectors(&self) -> u64 {
        self.new.bat_entries().div_ceil(SECTOR_ENTRIES)
    }

    /// Turns a sector of the table as it is into what it has to be.
    pub(super) fn patch(&self, sector: u64, bytes: &mut [u8]) -> Patched {
        let mut patched = Patched {
            changed: false,
            in_use: false,
        };
        let entries = <[BatEntry]>::mut_from_bytes(bytes).unwrap_or_default();
        for (number, entry) in (sector * SECTOR_ENTRIES..).zip(entries) {
            match self.fresh(number) {
                None => patched.in_use = true,
                Some(fresh) => {
                    patched.changed |= entry.as_bytes() != fresh.as_bytes();
                    *entry = fresh;
                }
            }
        }
        patched
    }

    /// What the entry of this number becomes, or `None` if the disk uses it now and it stays what it is.
    fn fresh(&self, number: u64) -> Option<BatEntry> {
        let ratio = self.new.chunk_ratio();
        let (chunk_index, place) = (number / (ratio + 1), number % (ratio + 1));
        let nothing = BatEntry(0.into());
        if place == ratio {
            let kept = self.old.is_differencing() && chunk_index < self.old.sector_bitmaps();
            return (!kept).then_some(nothing);
        }
        let block = number - chunk_index;
        let nth = block.checked_sub(self.old.payload_blocks())?;
        Some(match self.blocks_at {
            Some(first) if block < self.new.payload_blocks() => {
                encode::present(FileOffset(first.0 + nth * self.new.block_bytes()))
            }
            _ => nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{GIB, MIB};
    use hypercbt_extent::ByteLen;

    fn geometry(size: u64, differencing: bool) -> Geometry {
        Geometry::for_test(size, 32 * MIB, 512, differencing)
    }

    fn growth(from: u64, to: u64, differencing: bool, blocks_at: Option<u64>) -> Growth {
        let old = geometry(from, differencing);
        Growth {
            old,
            new: old.resized(ByteLen(to)),
            blocks_at: blocks_at.map(FileOffset),
        }
    }

    /// The sector of all ones after the growth, entry by entry.
    fn patched(growth: &Growth, sector: u64) -> (Vec<u64>, Patched) {
        let mut bytes = vec![0xFF; 4096];
        let patched = growth.patch(sector, &mut bytes);
        let entries = bytes.chunks_exact(8);
        let entries = entries.map(|entry| u64::from_le_bytes(entry.try_into().unwrap()));
        (entries.collect(), patched)
    }

    #[test]
    fn what_the_disk_uses_is_kept_and_all_else_is_wiped() {
        // 2 blocks become 3.
        let (entries, patched) = patched(&growth(64 * MIB, 96 * MIB, false, None), 0);
        assert_eq!(entries[..2], [u64::MAX; 2]);
        assert_eq!(entries[2..], [0; 510]);
        assert!(patched.changed && patched.in_use);
    }

    #[test]
    fn the_blocks_of_a_fixed_disk_follow_one_another_and_skip_the_bitmaps_entry() {
        // 128 blocks a chunk; 127 become 130.
        let growth = growth(127 * 32 * MIB, 130 * 32 * MIB, false, Some(7 * GIB));
        let (entries, _) = patched(&growth, 0);
        let present = |nth: u64| (7 * GIB + nth * 32 * MIB) | 6;
        assert_eq!(entries[126], u64::MAX);
        assert_eq!(
            entries[127..132],
            [present(0), 0, present(1), present(2), 0]
        );
    }

    #[test]
    fn a_child_keeps_the_bitmap_of_its_last_chunk_behind_blocks_that_it_did_not_have() {
        let (entries, _) = patched(&growth(64 * MIB, 5 * GIB, true, None), 0);
        assert_eq!(entries[1], u64::MAX);
        assert_eq!(entries[2..128], [0; 126]);
        assert_eq!(entries[128], u64::MAX, "the first bitmap");
        assert_eq!(entries[129..], [0; 383], "and the second is new");
    }

    #[test]
    fn a_sector_behind_all_that_is_used_is_in_nobodys_use() {
        let growth = growth(64 * MIB, 5000 * GIB, false, None);
        assert_eq!(growth.first_sector(), 0);
        let (_, patched) = patched(&growth, 1);
        assert_eq!((patched.changed, patched.in_use), (true, false));
        let mut zeros = vec![0; 4096];
        assert!(!growth.patch(1, &mut zeros).changed);
    }

    #[test]
    fn the_first_sector_is_that_of_the_first_new_block() {
        // Block 512 is entry 512 + 4: in the second sector.
        assert_eq!(
            growth(512 * 32 * MIB, GIB * 40, false, None).first_sector(),
            1
        );
        assert_eq!(
            growth(508 * 32 * MIB, GIB * 40, false, None).first_sector(),
            0
        );
    }
}
