//! How a virtual disk is cut into blocks, and blocks into the stretches that one sector bitmap covers
//! (MS-VHDX 2.4, 2.5). Pure arithmetic over numbers that the metadata check has bounded.

use hypercbt_extent::{ByteLen, DiskOffset};

use crate::BlockIndex;
use crate::format::{SECTOR_BITMAP_BYTES, SECTORS_PER_BITMAP};
use crate::metadata::Metadata;

/// Sizes and counts of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    size: u64,
    block_bytes: u64,
    sector_bytes: u64,
    differencing: bool,
}

impl Geometry {
    pub(crate) fn new(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size.0,
            block_bytes: u64::from(metadata.block_bytes),
            sector_bytes: u64::from(metadata.logical_sector_bytes),
            differencing: metadata.parent.is_some(),
        }
    }

    /// The same file for a disk of another size.
    pub(crate) fn resized(&self, size: ByteLen) -> Self {
        Self {
            size: size.0,
            ..*self
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(size: u64, block_bytes: u64, sector_bytes: u64, child: bool) -> Self {
        Self {
            size,
            block_bytes,
            sector_bytes,
            differencing: child,
        }
    }

    /// The size of the virtual disk.
    pub(crate) fn size(&self) -> ByteLen {
        ByteLen(self.size)
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    pub(crate) fn sector_bytes(&self) -> u64 {
        self.sector_bytes
    }

    pub(crate) fn is_differencing(&self) -> bool {
        self.differencing
    }

    /// Payload blocks per sector bitmap: 16 to 32768.
    pub(crate) fn chunk_ratio(&self) -> u64 {
        SECTORS_PER_BITMAP * self.sector_bytes / self.block_bytes
    }

    /// Payload blocks of the disk, at most 2^26.
    pub(crate) fn payload_blocks(&self) -> u64 {
        self.size.div_ceil(self.block_bytes)
    }

    /// Sector bitmaps of the disk, at most 2^14.
    pub(crate) fn sector_bitmaps(&self) -> u64 {
        self.payload_blocks().div_ceil(self.chunk_ratio())
    }

    /// How many entries the BAT must have. A differencing disk's ends with the last bitmap's entry, any other's
    /// with the last payload block's. (The formula that MS-VHDX 2.5 prints is short of the former.)
    pub(crate) fn bat_entries(&self) -> u64 {
        if self.differencing {
            self.sector_bitmaps() * (self.chunk_ratio() + 1)
        } else {
            self.payload_blocks() + (self.payload_blocks() - 1) / self.chunk_ratio()
        }
    }

    /// The number of a block's entry in the BAT: each `chunk_ratio` of them are followed by one of a sector bitmap.
    pub(crate) fn payload_entry(&self, block: BlockIndex) -> u64 {
        block.0 + block.0 / self.chunk_ratio()
    }

    /// The number of a sector bitmap's entry in the BAT.
    pub(crate) fn bitmap_entry(&self, chunk_index: u64) -> u64 {
        (chunk_index + 1) * self.chunk_ratio() + chunk_index
    }

    /// The bytes of a sector bitmap that are one block's: 32 bytes to 64 KiB.
    pub(crate) fn slice_bytes(&self) -> u64 {
        SECTOR_BITMAP_BYTES / self.chunk_ratio()
    }

    /// The block that holds the byte.
    pub(crate) fn block_of(&self, at: DiskOffset) -> BlockIndex {
        BlockIndex(at.0 / self.block_bytes)
    }

    /// The first byte of a block.
    pub(crate) fn start_of(&self, block: BlockIndex) -> DiskOffset {
        DiskOffset(block.0.saturating_mul(self.block_bytes))
    }

    /// The bytes of a block that are inside the disk.
    pub(crate) fn bytes_of(&self, block: BlockIndex) -> u64 {
        let start = self.start_of(block).0;
        self.size.saturating_sub(start).min(self.block_bytes)
    }

    /// The sectors of a block that are inside the disk.
    pub(crate) fn sectors_of(&self, block: BlockIndex) -> u64 {
        self.bytes_of(block) / self.sector_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{GIB, MIB, TIB};

    fn geometry(size: u64, block_bytes: u64, sector_bytes: u64, differencing: bool) -> Geometry {
        Geometry {
            size,
            block_bytes,
            sector_bytes,
            differencing,
        }
    }

    #[test]
    fn a_bitmap_entry_follows_the_payload_entries_of_each_bitmap() {
        let disk = geometry(TIB, 2 * MIB, 512, true);
        assert_eq!(disk.payload_entry(BlockIndex(2047)), 2047);
        assert_eq!(disk.bitmap_entry(0), 2048);
        assert_eq!(disk.payload_entry(BlockIndex(2048)), 2049);
        assert_eq!(disk.bitmap_entry(1), 4097);
        assert_eq!(disk.slice_bytes(), 512);
    }

    #[test]
    fn the_chunk_ratio_is_what_one_bitmap_covers() {
        for (block_mib, at_512, at_4096) in [
            (1, 4096, 32768),
            (2, 2048, 16384),
            (32, 128, 1024),
            (256, 16, 128),
        ] {
            assert_eq!(
                geometry(GIB, block_mib * MIB, 512, false).chunk_ratio(),
                at_512
            );
            assert_eq!(
                geometry(GIB, block_mib * MIB, 4096, false).chunk_ratio(),
                at_4096
            );
        }
    }

    #[test]
    fn the_bat_of_a_disk_without_a_parent_ends_with_a_payload_entry() {
        let entries = |size| geometry(size, 32 * MIB, 512, false).bat_entries();
        assert_eq!(entries(512), 1);
        assert_eq!(entries(4 * GIB), 128);
        assert_eq!(entries(4 * GIB + 512), 130);
        assert_eq!(
            geometry(64 * TIB, MIB, 512, false).bat_entries(),
            67_125_247
        );
    }

    #[test]
    fn the_bat_of_a_differencing_disk_ends_with_a_bitmap_entry() {
        let entries = |size| geometry(size, 2 * MIB, 512, true).bat_entries();
        assert_eq!(entries(512), 2049);
        assert_eq!(entries(4 * GIB), 2049);
        assert_eq!(entries(4 * GIB + 512), 4098);
        assert_eq!(geometry(64 * TIB, MIB, 512, true).bat_entries(), 67_125_248);
    }

    #[test]
    fn the_last_block_counts_only_sectors_of_the_disk() {
        let disk = geometry(3 * MIB, 2 * MIB, 512, true);
        assert_eq!(disk.sectors_of(BlockIndex(0)), 4096);
        assert_eq!(disk.sectors_of(BlockIndex(1)), 2048);
    }
}
