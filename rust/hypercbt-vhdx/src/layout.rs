//! Where the blocks of a new VHDX lie in its file. Pure arithmetic.
//!
//! As Windows lays them out, with the payload in the order of the disk, so that writing the disk
//! from front to back writes the file from front to back:
//!
//! ```text
//! 0        1 MiB  2 MiB      3 MiB                payload_at
//! | headers | log | metadata | BAT, whole MiBs ... | block | block | ...
//! ```
//!
use hypercbt_extent::{ByteLen, Extent, Extents};

use crate::FileOffset;
use crate::block_runs::BlockRuns;
use crate::format::{BatEntry, MIB, SECTORS_PER_BITMAP};
use crate::options::VhdxOptions;

/// Where the log of a new file lies.
pub(crate) const LOG_AT: FileOffset = FileOffset(MIB);
/// How long the log of a new file is.
pub(crate) const LOG_LEN: ByteLen = ByteLen(MIB);
/// Where the metadata region of a new file lies.
pub(crate) const METADATA_AT: FileOffset = FileOffset(2 * MIB);
/// How long the metadata region of a new file is.
pub(crate) const METADATA_LEN: ByteLen = ByteLen(MIB);
/// Where the block allocation table of a new file lies.
pub(crate) const BAT_AT: FileOffset = FileOffset(3 * MIB);

/// Which blocks are present, and where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    disk_len: ByteLen,
    block_bytes: u64,
    chunk_ratio: u64,
    /// Whether the table ends with the entry of the last sector bitmap.
    with_bitmaps: bool,
    present: BlockRuns,
}

impl Layout {
    /// Lays out a disk with the blocks that `present` touches.
    ///
    /// `options` were checked, and `present` lies on the disk.
    pub(crate) fn new(options: &VhdxOptions, present: &Extents) -> Self {
        let block_bytes = u64::from(options.block_bytes);
        Self {
            disk_len: options.size,
            block_bytes,
            chunk_ratio: SECTORS_PER_BITMAP * u64::from(options.logical_sector_bytes) / block_bytes,
            with_bitmaps: false,
            present: BlockRuns::new(ByteLen(block_bytes), present),
        }
    }

    /// Lays out a differencing disk in which nothing differs yet.
    pub(crate) fn of_child(options: &VhdxOptions) -> Self {
        let layout = Self::new(options, &Extents::new());
        Self {
            with_bitmaps: true,
            ..layout
        }
    }

    /// How long the region of the block allocation table is.
    pub(crate) fn bat_len(&self) -> ByteLen {
        let last_block = (self.disk_len.0 - 1) / self.block_bytes;
        let entries = if self.with_bitmaps {
            (last_block / self.chunk_ratio + 1) * (self.chunk_ratio + 1)
        } else {
            // A fixed or dynamic disk needs no bitmap entry after its last payload entry.
            self.bat_index(last_block) + 1
        };
        ByteLen((entries * size_of::<BatEntry>() as u64).next_multiple_of(MIB))
    }

    /// How long the file is: a multiple of 1 MiB, the last block whole.
    pub(crate) fn file_len(&self) -> ByteLen {
        ByteLen(self.block_at(self.present.count()).0)
    }

    /// Where in the file `extent` lies, or `None` if it touches a block that is not present.
    pub(crate) fn place(&self, extent: Extent) -> Option<FileOffset> {
        let (_, number) = self.present.touched(extent)?;
        let inside = extent.start().0 % self.block_bytes;
        Some(FileOffset(self.block_at(number).0 + inside))
    }

    /// The entries of the present blocks: the index in the table, ascending, and the block's place.
    pub(crate) fn bat_entries(&self) -> impl Iterator<Item = (u64, FileOffset)> + use<'_> {
        let present = self.present.iter();
        present.map(|(block, number)| (self.bat_index(block), self.block_at(number)))
    }

    /// The first byte after the table.
    fn payload_at(&self) -> FileOffset {
        FileOffset(BAT_AT.0 + self.bat_len().0)
    }

    /// Where the n-th present block lies.
    fn block_at(&self, number: u64) -> FileOffset {
        FileOffset(self.payload_at().0 + number * self.block_bytes)
    }

    /// The index of a payload entry: a bitmap entry follows every `chunk_ratio` of them, whether
    /// the disk uses it or not (MS-VHDX 2.5).
    fn bat_index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guid;
    use crate::format::{GIB, TIB};
    use hypercbt_extent::DiskOffset;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(DiskOffset(start), ByteLen(len)).unwrap()
    }

    fn layout(size: u64, block_bytes: u64, sector_bytes: u32, present: &[(u64, u64)]) -> Layout {
        let options = VhdxOptions {
            size: ByteLen(size),
            block_bytes: u32::try_from(block_bytes).unwrap(),
            logical_sector_bytes: sector_bytes,
            physical_sector_bytes: 4096,
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
        };
        let present = present.iter().map(|&(start, len)| extent(start, len));
        Layout::new(&options, &present.collect())
    }

    #[test]
    fn present_blocks_follow_the_table_in_the_order_of_the_disk() {
        let layout = layout(64 * MIB, 2 * MIB, 512, &[(40 * MIB, 1), (MIB, 512)]);
        let entries: Vec<_> = layout.bat_entries().collect();
        let expected = [(0, FileOffset(4 * MIB)), (20, FileOffset(6 * MIB))];
        assert_eq!(entries, expected);
        assert_eq!(layout.file_len(), ByteLen(8 * MIB));
    }

    #[test]
    fn an_empty_disk_has_a_table_and_nothing_after_it() {
        let layout = layout(64 * MIB, 2 * MIB, 512, &[]);
        assert_eq!(layout.bat_entries().next(), None);
        assert_eq!(layout.file_len(), ByteLen(4 * MIB));
    }

    #[test]
    fn a_block_that_two_extents_touch_is_allocated_once() {
        let layout = layout(
            64 * MIB,
            2 * MIB,
            512,
            &[(0, 1), (MIB, 1), (2 * MIB - 1, 2)],
        );
        assert_eq!(layout.bat_entries().count(), 2);
    }

    #[test]
    fn the_entry_after_each_chunk_belongs_to_a_bitmap() {
        let index = |layout: &Layout| layout.bat_entries().next().unwrap().0;
        // A chunk is 4 GiB at 512 bytes a sector and 32 GiB at 4096 (MS-VHDX 2.4).
        let at = |at| layout(TIB, 32 * MIB, 512, &[(at, 1)]);
        assert_eq!(index(&at(4 * GIB - 1)), 127);
        assert_eq!(index(&at(4 * GIB)), 129);
        let at = |at| layout(TIB, 32 * MIB, 4096, &[(at, 1)]);
        assert_eq!(index(&at(32 * GIB - 1)), 1023);
        assert_eq!(index(&at(32 * GIB)), 1025);
    }

    #[test]
    fn the_table_is_rounded_up_to_a_mebibyte() {
        let len = |size, block_bytes| layout(size, block_bytes, 512, &[]).bat_len().0;
        assert_eq!(len(512, MIB), MIB);
        assert_eq!(len(2 * TIB, 32 * MIB), MIB); // 66,047 entries
        assert_eq!(len(64 * TIB, 32 * MIB), 17 * MIB); // 2,113,663 entries, 16.1 MiB
        assert_eq!(len(64 * TIB, MIB), 513 * MIB); // 67,125,247 entries, 512.1 MiB
    }

    #[test]
    fn the_table_of_a_child_holds_the_entry_of_its_last_bitmap() {
        // 32 chunks of 4096 blocks: 131,072 payload entries fill 1 MiB, and 32 bitmap entries follow.
        let mut layout = layout(128 * GIB, MIB, 512, &[]);
        assert_eq!(layout.bat_len().0, 2 * MIB);
        // 131,040 payload entries and 31 bitmap entries before the last: it alone does not fit.
        layout.disk_len = ByteLen(128 * GIB - 32 * MIB);
        assert_eq!(layout.bat_len().0, MIB);
        layout.with_bitmaps = true;
        assert_eq!(layout.bat_len().0, 2 * MIB);
    }

    #[test]
    fn an_extent_across_neighbouring_present_blocks_is_in_one_piece_in_the_file() {
        let layout = layout(64 * MIB, 2 * MIB, 512, &[(0, 1), (10 * MIB, 4 * MIB)]);
        let place = layout.place(extent(12 * MIB - 100, 300));
        assert_eq!(place, Some(FileOffset(8 * MIB - 100)));
    }

    #[test]
    fn an_extent_that_touches_an_absent_block_has_no_place() {
        let layout = layout(64 * MIB, 2 * MIB, 512, &[(0, 1), (10 * MIB, 4 * MIB)]);
        assert_eq!(layout.place(extent(4 * MIB, 1)), None);
        assert_eq!(layout.place(extent(10 * MIB - 1, 2)), None);
        assert_eq!(layout.place(extent(14 * MIB - 1, 2)), None);
        assert_eq!(layout.place(extent(0, 11 * MIB)), None);
        assert_eq!(layout.place(extent(60 * MIB, 1)), None);
    }
}
