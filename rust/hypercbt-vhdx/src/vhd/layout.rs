//! Where everything lies in a new VHD file. Pure arithmetic.
//!
//! As Windows 10 lays a dynamic one out: bitmaps end where a multiple of 4 KiB begins, so all data are aligned, and
//! so is the end of the file:
//!
//! ```text
//! 0        512      1536          data - 512   data       + 2 MiB                 len - 512
//! | footer | header | table … gap | bitmap     | block  … | gap | bitmap | block … gap | footer |
//! ```

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

use super::format::{FOOTER_BYTES, HEADER_BYTES, SECTOR_BYTES};
use super::header::Blocks;
use crate::FileOffset;
use crate::block_runs::BlockRuns;

/// The blocks of all disks that we make, Windows' own choice.
pub(crate) const BLOCK_BYTES: u32 = 2 << 20;
pub(crate) const HEADER_AT: FileOffset = FileOffset(FOOTER_BYTES as u64);
pub(crate) const TABLE_AT: FileOffset = FileOffset(HEADER_AT.0 + HEADER_BYTES as u64);

/// What all data are aligned to.
const ALIGNMENT: u64 = 4096;
/// From one block's data to the next one's.
const STRIDE: u64 = ALIGNMENT + BLOCK_BYTES as u64;

/// Where the bytes of a disk go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    Fixed(FixedLayout),
    Dynamic(DynamicLayout),
}

impl Layout {
    /// Where the footer goes: the last 512 bytes.
    pub(crate) fn footer_at(&self) -> FileOffset {
        match self {
            Self::Fixed(fixed) => FileOffset(fixed.size.0),
            Self::Dynamic(dynamic) => {
                FileOffset(dynamic.data_at(dynamic.present.count()).0 - SECTOR_BYTES)
            }
        }
    }

    pub(crate) fn file_len(&self) -> ByteLen {
        ByteLen(self.footer_at().0 + SECTOR_BYTES)
    }

    /// The pieces of `extent`, in order, each with its place in the file. `None` if some of it is not present.
    pub(crate) fn pieces(&self, extent: Extent) -> Option<Vec<(FileOffset, ByteLen)>> {
        match self {
            Self::Fixed(fixed) => {
                let held = fixed.present.intersecting(extent).first()?;
                (held.intersection(extent) == Some(extent))
                    .then(|| vec![(FileOffset(extent.start().0), extent.len())])
            }
            Self::Dynamic(dynamic) => dynamic.pieces(extent),
        }
    }
}

/// A fixed disk lies in its file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedLayout {
    pub(crate) size: ByteLen,
    /// What may be written.
    pub(crate) present: Extents,
}

/// Which blocks of a dynamic disk are present, in the order of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DynamicLayout {
    blocks: Blocks,
    present: BlockRuns,
}

impl DynamicLayout {
    /// Lays out a disk of `size` with the blocks that `present`, which lies on it, touches.
    pub(crate) fn new(size: ByteLen, present: &Extents) -> Self {
        Self {
            present: BlockRuns::new(ByteLen(u64::from(BLOCK_BYTES)), present),
            blocks: Blocks {
                disk_bytes: size.0,
                block_bytes: u64::from(BLOCK_BYTES),
            },
        }
    }

    /// The blocks of the disk, whether present or not.
    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The present blocks, in order, and where the bitmap of each begins.
    pub(crate) fn bitmaps(&self) -> impl Iterator<Item = (u64, FileOffset)> + use<'_> {
        self.present.iter().map(|(block, number)| {
            let data_at = self.data_at(number);
            (block, FileOffset(data_at.0 - self.blocks.bitmap_bytes()))
        })
    }

    /// Where the data of the n-th present block begin.
    fn data_at(&self, number: u64) -> FileOffset {
        let table_end = TABLE_AT.0 + self.blocks.table_bytes();
        FileOffset(table_end.next_multiple_of(ALIGNMENT) + ALIGNMENT + number * STRIDE)
    }

    fn pieces(&self, extent: Extent) -> Option<Vec<(FileOffset, ByteLen)>> {
        let block_bytes = self.blocks.block_bytes;
        let (blocks, first) = self.present.touched(extent)?;
        let pieces = blocks.zip(first..).filter_map(|(block, number)| {
            let start = DiskOffset(block * block_bytes);
            let piece = Extent::new(start, ByteLen(block_bytes))?.intersection(extent)?;
            let data_at = self.data_at(number);
            let at = FileOffset(data_at.0 + (piece.start().0 - start.0));
            Some((at, piece.len()))
        });
        Some(pieces.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(DiskOffset(start), ByteLen(len)).unwrap()
    }

    fn dynamic(size: u64, present: &[(u64, u64)]) -> DynamicLayout {
        let present = present.iter().map(|&(start, len)| extent(start, len));
        DynamicLayout::new(ByteLen(size), &present.collect())
    }

    #[test]
    fn a_small_disk_is_laid_out_as_windows_10_does() {
        // Sectors 15 and 4119, and 4,210,688 bytes: as in a real file of two blocks.
        let layout = dynamic(4 * MIB, &[(0, 4 * MIB)]);
        let bitmaps: Vec<_> = layout.bitmaps().collect();
        assert_eq!(
            bitmaps,
            [(0, FileOffset(15 * 512)), (1, FileOffset(4119 * 512))]
        );
        assert_eq!(Layout::Dynamic(layout).file_len(), ByteLen(4_210_688));
    }

    #[test]
    fn the_largest_disk_has_its_last_block_where_an_entry_can_name_it() {
        let layout = dynamic(2040 << 30, &[(0, 2040 << 30)]);
        let (block, at) = layout.bitmaps().last().unwrap();
        assert_eq!(block, 1_044_479);
        assert!(at.0 / 512 < u64::from(u32::MAX), "{at:?}");
        assert!(layout.data_at(0).0 >= TABLE_AT.0 + 4 * 1_044_480 + 512);
    }

    #[test]
    fn an_extent_is_cut_where_blocks_meet() {
        let layout = dynamic(64 * MIB, &[(0, 1), (10 * MIB, 4 * MIB)]);
        let first = layout.data_at(1).0;
        assert_eq!(
            layout.pieces(extent(12 * MIB - 100, 300)),
            Some(vec![
                (FileOffset(first + 2 * MIB - 100), ByteLen(100)),
                (FileOffset(first + 2 * MIB + 4096), ByteLen(200)),
            ])
        );
    }

    #[test]
    fn an_extent_that_touches_what_is_not_present_has_no_place() {
        let layout = dynamic(64 * MIB, &[(0, 1), (10 * MIB, 4 * MIB)]);
        for (start, len) in [
            (4 * MIB, 1),
            (10 * MIB - 1, 2),
            (14 * MIB - 1, 2),
            (0, 11 * MIB),
        ] {
            assert_eq!(layout.pieces(extent(start, len)), None);
        }
        let fixed = Layout::Fixed(FixedLayout {
            size: ByteLen(MIB),
            present: extent(512, 512).into(),
        });
        assert_eq!(fixed.pieces(extent(1023, 2)), None);
        assert_eq!(
            fixed.pieces(extent(600, 2)),
            Some(vec![(FileOffset(600), ByteLen(2))])
        );
    }
}
