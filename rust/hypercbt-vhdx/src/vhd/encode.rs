//! The bytes of a new VHD file's metadata.

use zerocopy::{FromZeros, IntoBytes};

use super::format::{
    ABSENT, FEATURE_RESERVED, FOOTER_BYTES, FOOTER_SIGNATURE, HEADER_SIGNATURE, NO_HEADER,
    RawFooter, RawHeader, SECTOR_BYTES, TYPE_DYNAMIC, TYPE_FIXED, VERSION,
};
use super::header::Blocks;
use super::layout::{HEADER_AT, TABLE_AT};
use super::write::{VhdKind, VhdOptions};
use crate::FileOffset;

/// What Windows 10 calls itself. qemu shows a disk of an unknown maker only as far as its cylinders reach, and
/// somebody would miss the rest of it.
const CREATOR: [u8; 4] = *b"win ";
const CREATOR_VERSION: u32 = 0x000A_0000;
const CREATOR_SYSTEM: [u8; 4] = *b"Wi2k";

/// What stands where a footer will be: enough to tell what the file is going to be, and no footer.
pub(crate) fn unfinished() -> [u8; FOOTER_BYTES] {
    let mut marker = [0; FOOTER_BYTES];
    let (signature, _) = marker.split_at_mut(FOOTER_SIGNATURE.len());
    signature.copy_from_slice(&FOOTER_SIGNATURE);
    marker
}

/// The footer, also for its copy.
pub(crate) fn footer(options: &VhdOptions) -> RawFooter {
    let mut footer = RawFooter::new_zeroed();
    let (cylinders, heads, sectors_per_track) = geometry(options.size.0 / SECTOR_BYTES);
    footer.signature = FOOTER_SIGNATURE;
    footer.features.set(FEATURE_RESERVED);
    footer.version.set(VERSION);
    footer.time.set(options.seconds_since_2000);
    footer.creator = CREATOR;
    footer.creator_version.set(CREATOR_VERSION);
    footer.creator_system = CREATOR_SYSTEM;
    footer.original_size.set(options.size.0);
    footer.current_size.set(options.size.0);
    footer.cylinders.set(cylinders);
    footer.heads = heads;
    footer.sectors_per_track = sectors_per_track;
    let (disk_type, header_at) = match options.kind {
        VhdKind::Fixed => (TYPE_FIXED, NO_HEADER),
        VhdKind::Dynamic => (TYPE_DYNAMIC, HEADER_AT.0),
    };
    footer.disk_type.set(disk_type);
    footer.header_at.set(header_at);
    footer.unique_id = options.unique_id.0;
    footer.checksum.set(footer.sum());
    footer
}

/// The dynamic header.
pub(crate) fn header(blocks: Blocks) -> RawHeader {
    let mut header = RawHeader::new_zeroed();
    header.signature = HEADER_SIGNATURE;
    header.next.set(u64::MAX);
    header.table_at.set(TABLE_AT.0);
    header.version.set(VERSION);
    // Bounded by the largest disk: 1,044,480 entries.
    header
        .max_entries
        .set(u32::try_from(blocks.count()).unwrap_or(u32::MAX));
    header
        .block_bytes
        .set(u32::try_from(blocks.block_bytes).unwrap_or(u32::MAX));
    header.checksum.set(header.sum());
    header
}

/// The table, and the rest of its last sector.
pub(crate) fn table(blocks: Blocks, bitmaps: impl Iterator<Item = (u64, FileOffset)>) -> Vec<u8> {
    let entries = blocks.table_bytes() / size_of::<u32>() as u64;
    let mut table = vec![ABSENT.to_be_bytes(); usize::try_from(entries).unwrap_or_default()];
    for (block, at) in bitmaps {
        let entry = usize::try_from(block).ok();
        let entry = entry.and_then(|block| table.get_mut(block));
        let sector = u32::try_from(at.0 / SECTOR_BYTES);
        if let (Some(entry), Ok(sector)) = (entry, sector) {
            *entry = sector.to_be_bytes();
        }
    }
    table.as_bytes().to_vec()
}

/// Cylinders, heads and sectors of a disk, as the format's specification computes them (its appendix).
pub(crate) fn geometry(sectors: u64) -> (u16, u8, u8) {
    const MOST_CYLINDERS: u64 = 65_535;
    let sectors = sectors.min(MOST_CYLINDERS * 16 * 255);
    let (tracks, heads, per_track) = if sectors >= MOST_CYLINDERS * 16 * 63 {
        (sectors / 255, 16, 255)
    } else {
        small_geometry(sectors)
    };
    let cylinders = u16::try_from(tracks / heads).unwrap_or(u16::MAX);
    let heads = u8::try_from(heads).unwrap_or(u8::MAX);
    (cylinders, heads, per_track)
}

/// Tracks, heads, and sectors of a track.
fn small_geometry(sectors: u64) -> (u64, u64, u8) {
    let tracks = sectors / 17;
    let heads = tracks.div_ceil(1024).max(4);
    if tracks < heads * 1024 && heads <= 16 {
        return (tracks, heads, 17);
    }
    let tracks = sectors / 31;
    if tracks < 16 * 1024 {
        return (tracks, 16, 31);
    }
    (sectors / 63, 16, 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_that_of_the_specification() {
        // 4 MiB is what Windows 10 wrote for a disk of this size; the others were worked out by hand.
        assert_eq!(geometry(8192), (120, 4, 17));
        assert_eq!(geometry(1), (0, 4, 17));
        assert_eq!(geometry(17 * 4 * 1024), (140, 16, 31));
        assert_eq!(geometry(17 * 16 * 1024 - 1), (1023, 16, 17));
        assert_eq!(geometry(17 * 16 * 1024), (561, 16, 31));
        assert_eq!(geometry(31 * 16 * 1024), (503, 16, 63));
        assert_eq!(geometry(65_535 * 16 * 63 - 1), (65_534, 16, 63));
        assert_eq!(geometry(65_535 * 16 * 63), (16_191, 16, 255));
        assert_eq!(geometry(u64::MAX), (65_535, 16, 255));
    }

    #[test]
    fn a_file_that_is_not_finished_is_told_by_its_signature_and_has_no_valid_footer() {
        use zerocopy::FromBytes;
        let marker = RawFooter::read_from_bytes(&unfinished()).unwrap();
        assert_eq!(marker.signature, FOOTER_SIGNATURE);
        assert_ne!(marker.sum(), marker.checksum.get());
    }
}
