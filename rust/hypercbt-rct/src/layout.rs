//! Where everything is in the `.mrt` file of a disk: arithmetic on the numbers of regions.

use std::ops::Range;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::FileOffset;

use crate::format::{
    DIRECTORY_OFFSET, MAX_REGIONS, REGIONS_PER_SECTOR, SECTOR_BYTES, SECTORS_PER_DIRECTORY,
};

/// The shape of a `.mrt` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    disk: ByteLen,
    region: ByteLen,
    /// Sectors that hold counters.
    sectors: u64,
    /// Sectors of the directory.
    directories: u64,
}

impl Layout {
    /// None if the regions would be too many.
    pub(crate) fn new(disk: ByteLen, region: ByteLen) -> Option<Self> {
        let regions = disk.0.div_ceil(region.0);
        let sectors = regions.div_ceil(REGIONS_PER_SECTOR);
        (regions <= MAX_REGIONS).then_some(Self {
            disk,
            region,
            sectors,
            directories: sectors.div_ceil(SECTORS_PER_DIRECTORY),
        })
    }

    /// The regions that an extent touches.
    pub(crate) fn regions(&self, extent: Extent) -> Range<u64> {
        extent.cells(self.region)
    }

    /// The bytes of a region, or of several; none if they lie behind the end of the disk.
    pub(crate) fn extent(&self, regions: Range<u64>) -> Option<Extent> {
        let start = regions.start.saturating_mul(self.region.0);
        let end = regions.end.saturating_mul(self.region.0).min(self.disk.0);
        Extent::between(DiskOffset(start), DiskOffset(end))
    }

    pub(crate) fn directories(&self) -> u64 {
        self.directories
    }

    /// The sectors of which this one of the directory knows.
    pub(crate) fn sectors_of(&self, directory: u64) -> Range<u64> {
        let start = directory * SECTORS_PER_DIRECTORY;
        start..(start + SECTORS_PER_DIRECTORY).min(self.sectors)
    }

    /// Where a sector of the directory stands, and where it stands again: before and behind all counters.
    pub(crate) fn directories_at(&self, directory: u64) -> [FileOffset; 2] {
        let behind = self.directories + self.sectors;
        [0, behind]
            .map(|before| FileOffset(DIRECTORY_OFFSET + (before + directory) * SECTOR_BYTES as u64))
    }

    pub(crate) fn sector_at(&self, sector: u64) -> FileOffset {
        FileOffset(DIRECTORY_OFFSET + (self.directories + sector) * SECTOR_BYTES as u64)
    }

    /// The length of the whole file, which is sparse where nothing was touched.
    pub(crate) fn file_len(&self) -> ByteLen {
        ByteLen(self.sector_at(self.sectors + self.directories).0)
    }
}

/// The regions of a sector.
pub(crate) fn regions_of(sector: u64) -> Range<u64> {
    sector * REGIONS_PER_SECTOR..(sector + 1) * REGIONS_PER_SECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_follow_each_other_up_to_the_end_of_the_file() {
        let layout = Layout::new(ByteLen(64 << 40), ByteLen(2 << 20)).unwrap();
        assert_eq!((layout.sectors, layout.directories()), (559_241, 146));
        let behind = 65536 + (146 + 559_241) * 512;
        let both = [FileOffset(65536), FileOffset(behind)];
        assert_eq!(layout.directories_at(0), both);
        assert_eq!(layout.sector_at(0), FileOffset(65536 + 146 * 512));
        assert_eq!(layout.file_len(), ByteLen(behind + 146 * 512));
        assert_eq!(layout.sectors_of(145), 556_800..559_241);
    }

    #[test]
    fn a_disk_of_too_many_regions_has_no_layout() {
        assert!(Layout::new(ByteLen(1 << 46), ByteLen(1 << 20)).is_some());
        assert!(Layout::new(ByteLen((1 << 46) + 1), ByteLen(1 << 20)).is_none());
        assert!(Layout::new(ByteLen(u64::MAX), ByteLen(1)).is_none());
    }

    #[test]
    fn the_last_region_ends_with_the_disk() {
        let layout = Layout::new(ByteLen(10_000), ByteLen(4096)).unwrap();
        let last = Extent::between(DiskOffset(8192), DiskOffset(10_000));
        assert_eq!(layout.extent(2..3), last);
        assert_eq!(layout.extent(2..60), last);
        assert_eq!(layout.extent(3..60), None);
    }
}
