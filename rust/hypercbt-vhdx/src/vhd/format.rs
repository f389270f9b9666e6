//! On-disk structures and constants of legacy VHD, no logic (VHD image format specification 1.0).
//!
//! ```text
//! fixed         [ the bytes of the disk | footer ]
//! the others    [ copy of the footer | dynamic header | parent locators | table | bitmap, block … | footer ]
//! ```
//!
//! All integers are big-endian; identifiers are GUIDs in Microsoft's order; a checksum is the complement of the
//! sum of all bytes, the checksum's own taken as zero.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The only sector that the format has.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// The largest disk: Windows and qemu stop here.
pub(crate) const MAX_DISK_BYTES: u64 = 2040 << 30;
/// The most blocks of a disk: 2040 GiB in the smallest blocks that Windows makes, 512 KiB. It bounds our maps.
pub(crate) const MAX_BLOCKS: u64 = 1 << 22;

pub(crate) const FOOTER_SIGNATURE: [u8; 8] = *b"conectix";
pub(crate) const HEADER_SIGNATURE: [u8; 8] = *b"cxsparse";
/// The major version of footer and header is in the upper half.
pub(crate) const VERSION: u32 = 0x0001_0000;
/// A bit of the features that every writer sets.
pub(crate) const FEATURE_RESERVED: u32 = 2;
/// Where a fixed disk has a header: nowhere.
pub(crate) const NO_HEADER: u64 = u64::MAX;
/// The entry of a block that is not in the file.
pub(crate) const ABSENT: u32 = u32::MAX;

pub(crate) const TYPE_FIXED: u32 = 2;
pub(crate) const TYPE_DYNAMIC: u32 = 3;
pub(crate) const TYPE_DIFFERENCING: u32 = 4;

/// A relative Windows path in UTF-16, little-endian though all else is not.
pub(crate) const RELATIVE_PATH: [u8; 4] = *b"W2ru";
/// An absolute one.
pub(crate) const ABSOLUTE_PATH: [u8; 4] = *b"W2ku";

pub(crate) const FOOTER_BYTES: usize = size_of::<RawFooter>();
pub(crate) const HEADER_BYTES: usize = size_of::<RawHeader>();

/// At the end of the file, and, but for fixed disks, at its start.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawFooter {
    pub(crate) signature: [u8; 8],
    pub(crate) features: U32,
    pub(crate) version: U32,
    /// Where the dynamic header is.
    pub(crate) header_at: U64,
    /// Seconds since 2000, UTC.
    pub(crate) time: U32,
    pub(crate) creator: [u8; 4],
    pub(crate) creator_version: U32,
    pub(crate) creator_system: [u8; 4],
    pub(crate) original_size: U64,
    pub(crate) current_size: U64,
    pub(crate) cylinders: U16,
    pub(crate) heads: u8,
    pub(crate) sectors_per_track: u8,
    pub(crate) disk_type: U32,
    pub(crate) checksum: U32,
    pub(crate) unique_id: [u8; 16],
    pub(crate) saved_state: u8,
    pub(crate) reserved: [u8; 427],
}
const _: () = assert!(FOOTER_BYTES == 512);

/// The header of a disk that is not fixed.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) signature: [u8; 8],
    /// All ones; not used.
    pub(crate) next: U64,
    pub(crate) table_at: U64,
    pub(crate) version: U32,
    pub(crate) max_entries: U32,
    pub(crate) block_bytes: U32,
    pub(crate) checksum: U32,
    pub(crate) parent_id: [u8; 16],
    pub(crate) parent_time: U32,
    pub(crate) reserved: [u8; 4],
    /// UTF-16, ended by a NUL if shorter.
    pub(crate) parent_name: [U16; 256],
    pub(crate) locators: [RawLocator; 8],
    pub(crate) reserved_too: [u8; 256],
}
const _: () = assert!(HEADER_BYTES == 1024);

/// One way to the parent.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawLocator {
    pub(crate) platform: [u8; 4],
    /// Sectors to some writers, bytes to Windows 10: of no use.
    pub(crate) space: U32,
    pub(crate) length: U32,
    pub(crate) reserved: [u8; 4],
    pub(crate) at: U64,
}
const _: () = assert!(size_of::<RawLocator>() == 24);

/// The checksum of a structure that holds it in the four bytes at `place`.
pub(crate) fn checksum(bytes: &[u8], place: usize) -> u32 {
    let own = place..place + size_of::<u32>();
    let summed = bytes
        .iter()
        .enumerate()
        .filter(|(at, _)| !own.contains(at))
        .fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !summed
}

impl RawFooter {
    /// The checksum that it ought to have.
    pub(crate) fn sum(&self) -> u32 {
        checksum(self.as_bytes(), std::mem::offset_of!(Self, checksum))
    }
}

impl RawHeader {
    /// The checksum that it ought to have.
    pub(crate) fn sum(&self) -> u32 {
        checksum(self.as_bytes(), std::mem::offset_of!(Self, checksum))
    }
}
