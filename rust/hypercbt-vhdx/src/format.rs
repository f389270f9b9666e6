//! On-disk structures and constants of VHDX, no logic (MS-VHDX 2.2 to 2.6).
//!
//! ```text
//! 0        64 KiB     128 KiB    192 KiB          256 KiB          320 KiB     1 MiB
//! [ identifier | header 1 | header 2 | region table 1 | region table 2 | reserved | log, regions, blocks …
//! ```
//!
//! All integers are little-endian; all checksums are CRC-32C with the checksum field taken as zero.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Guid;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
#[cfg(test)]
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

/// Where the two headers are, and how much of each slot is used.
pub(crate) const HEADER_OFFSETS: [u64; 2] = [64 * KIB, 128 * KIB];
/// Where the two region tables are.
pub(crate) const REGION_TABLE_OFFSETS: [u64; 2] = [192 * KIB, 256 * KIB];
/// The size of a region table, all of it checksummed.
pub(crate) const REGION_TABLE_BYTES: usize = 64 << 10;
/// The size of the metadata table; items follow it.
pub(crate) const METADATA_TABLE_BYTES: usize = 64 << 10;
/// The header section: no region, log or block begins before its end.
pub(crate) const HEADER_SECTION_BYTES: u64 = MIB;

pub(crate) const FILE_SIGNATURE: [u8; 8] = *b"vhdxfile";
pub(crate) const HEADER_SIGNATURE: [u8; 4] = *b"head";
pub(crate) const REGION_TABLE_SIGNATURE: [u8; 4] = *b"regi";
pub(crate) const METADATA_SIGNATURE: [u8; 8] = *b"metadata";
pub(crate) const LOG_ENTRY_SIGNATURE: [u8; 4] = *b"loge";
pub(crate) const DATA_DESCRIPTOR_SIGNATURE: [u8; 4] = *b"desc";
pub(crate) const ZERO_DESCRIPTOR_SIGNATURE: [u8; 4] = *b"zero";
pub(crate) const DATA_SECTOR_SIGNATURE: [u8; 4] = *b"data";

/// The only version of the format.
pub(crate) const VERSION: u16 = 1;
/// The only version of the log.
pub(crate) const LOG_VERSION: u16 = 0;

/// The most entries of a region or metadata table (MS-VHDX 2.2.3.1, 2.6.1.1).
pub(crate) const MAX_TABLE_ENTRIES: u64 = 2047;
/// The most metadata entries of users (MS-VHDX 2.6.1.2).
pub(crate) const MAX_USER_METADATA_ENTRIES: u64 = 1024;
/// The longest metadata item.
pub(crate) const MAX_METADATA_ITEM_BYTES: u64 = MIB;

pub(crate) const MIN_BLOCK_BYTES: u64 = MIB;
pub(crate) const MAX_BLOCK_BYTES: u64 = 256 * MIB;
/// The largest virtual disk.
pub(crate) const MAX_DISK_BYTES: u64 = 64 * TIB;
/// The largest file that we read: four times the largest disk. It bounds every map of the file.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * TIB;

/// One sector bitmap block, whatever it is a bitmap of.
pub(crate) const SECTOR_BITMAP_BYTES: u64 = MIB;
/// What one sector bitmap block covers: 2^23 sectors.
pub(crate) const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// The log is a ring of these.
pub(crate) const LOG_SECTOR_BYTES: u64 = 4096;
/// Of a log entry's first sector, the part that is not descriptors: two of their size.
pub(crate) const LOG_HEADER_BYTES: u64 = 64;
/// The size of a descriptor.
pub(crate) const LOG_DESCRIPTOR_BYTES: u64 = 32;

pub(crate) const BAT_REGION: Guid =
    Guid::from_fields(0x2DC2_7766, 0xF623, 0x4200, 0x9D64_115E_9BFD_4A08);
pub(crate) const METADATA_REGION: Guid =
    Guid::from_fields(0x8B7C_A206, 0x4790, 0x4B9A, 0xB8FE_575F_050F_886E);

pub(crate) const FILE_PARAMETERS_ITEM: Guid =
    Guid::from_fields(0xCAA1_6737, 0xFA36, 0x4D43, 0xB3B6_33F0_AA44_E76B);
pub(crate) const DISK_SIZE_ITEM: Guid =
    Guid::from_fields(0x2FA5_4224, 0xCD1B, 0x4876, 0xB211_5DBE_D83B_F4B8);
pub(crate) const DISK_ID_ITEM: Guid =
    Guid::from_fields(0xBECA_12AB, 0xB2E6, 0x4523, 0x93EF_C309_E000_C746);
pub(crate) const LOGICAL_SECTOR_ITEM: Guid =
    Guid::from_fields(0x8141_BF1D, 0xA96F, 0x4709, 0xBA47_F233_A8FA_AB5F);
pub(crate) const PHYSICAL_SECTOR_ITEM: Guid =
    Guid::from_fields(0xCDA3_48C7, 0x445D, 0x4471, 0x9CC9_E988_5251_C556);
pub(crate) const PARENT_LOCATOR_ITEM: Guid =
    Guid::from_fields(0xA8D3_5F2D, 0xB30B, 0x454D, 0xABF7_D3D8_4834_AB0C);
/// Marks a file whose creation has not finished. Not in MS-VHDX, but known to Microsoft's own code.
pub(crate) const UNFINISHED_ITEM: Guid =
    Guid::from_fields(0x71CC_85F0, 0x1B69, 0x4E28, 0x9558_C3BF_83AE_75D3);

/// The type of a parent locator of VHDX.
pub(crate) const VHDX_LOCATOR: Guid =
    Guid::from_fields(0xB04A_EFB7, 0xD19E, 0x4A81, 0xB789_25B8_E944_5913);

/// File parameters: blocks stay allocated, the disk is fixed.
pub(crate) const LEAVE_BLOCKS_ALLOCATED: u32 = 1 << 0;
/// File parameters: the disk is a differencing one.
pub(crate) const HAS_PARENT: u32 = 1 << 1;
/// Region and metadata entries: the reader must know this kind.
pub(crate) const REGION_REQUIRED: u32 = 1 << 0;
pub(crate) const METADATA_USER: u32 = 1 << 0;
pub(crate) const METADATA_VIRTUAL_DISK: u32 = 1 << 1;
pub(crate) const METADATA_REQUIRED: u32 = 1 << 2;

/// Offset 0: what the file is and who made it (MS-VHDX 2.2.1).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct FileIdentifier {
    pub(crate) signature: [u8; 8],
    /// UTF-16, ended by a NUL if shorter; diagnostic only.
    pub(crate) creator: [U16; 256],
}
const _: () = assert!(size_of::<FileIdentifier>() == 520);

/// One of the two headers (MS-VHDX 2.2.2).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) signature: [u8; 4],
    pub(crate) checksum: U32,
    pub(crate) sequence_number: U64,
    pub(crate) file_write_guid: [u8; 16],
    pub(crate) data_write_guid: [u8; 16],
    pub(crate) log_guid: [u8; 16],
    pub(crate) log_version: U16,
    pub(crate) version: U16,
    pub(crate) log_length: U32,
    pub(crate) log_offset: U64,
    pub(crate) reserved: [u8; 4016],
}
const _: () = assert!(size_of::<RawHeader>() == 4096);

/// The start of a region table (MS-VHDX 2.2.3.1).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RegionTableHeader {
    pub(crate) signature: [u8; 4],
    pub(crate) checksum: U32,
    pub(crate) entry_count: U32,
    pub(crate) reserved: U32,
}
const _: () = assert!(size_of::<RegionTableHeader>() == 16);

/// One region (MS-VHDX 2.2.3.2).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RegionEntry {
    pub(crate) guid: [u8; 16],
    pub(crate) file_offset: U64,
    pub(crate) length: U32,
    pub(crate) flags: U32,
}
const _: () = assert!(size_of::<RegionEntry>() == 32);

/// The start of the metadata table (MS-VHDX 2.6.1.1).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct MetadataTableHeader {
    pub(crate) signature: [u8; 8],
    pub(crate) reserved: U16,
    pub(crate) entry_count: U16,
    pub(crate) reserved2: [u8; 20],
}
const _: () = assert!(size_of::<MetadataTableHeader>() == 32);

/// One metadata item (MS-VHDX 2.6.1.2).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct MetadataEntry {
    pub(crate) item: [u8; 16],
    /// From the start of the region.
    pub(crate) offset: U32,
    pub(crate) length: U32,
    pub(crate) flags: U32,
    pub(crate) reserved: U32,
}
const _: () = assert!(size_of::<MetadataEntry>() == 32);

/// The start of a parent locator (MS-VHDX 2.6.2.6.1).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LocatorHeader {
    pub(crate) locator_type: [u8; 16],
    pub(crate) reserved: U16,
    pub(crate) key_value_count: U16,
}
const _: () = assert!(size_of::<LocatorHeader>() == 20);

/// One key and its value, both UTF-16; offsets from the start of the item (MS-VHDX 2.6.2.6.2).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LocatorEntry {
    pub(crate) key_offset: U32,
    pub(crate) value_offset: U32,
    pub(crate) key_length: U16,
    pub(crate) value_length: U16,
}
const _: () = assert!(size_of::<LocatorEntry>() == 12);

/// The start of a log entry (MS-VHDX 2.3.1.1). Lengths and the tail are multiples of [`LOG_SECTOR_BYTES`].
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LogEntryHeader {
    pub(crate) signature: [u8; 4],
    pub(crate) checksum: U32,
    pub(crate) entry_length: U32,
    /// Where in the log the first entry of the sequence is that this entry ends.
    pub(crate) tail: U32,
    pub(crate) sequence_number: U64,
    pub(crate) descriptor_count: U32,
    pub(crate) reserved: U32,
    pub(crate) log_guid: [u8; 16],
    pub(crate) flushed_file_offset: U64,
    pub(crate) last_file_offset: U64,
}
const _: () = assert!(size_of::<LogEntryHeader>() == 64);

/// What a log entry does to one place: a sector of data, or a run of zeros (MS-VHDX 2.3.1.2, 2.3.1.3).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LogDescriptor {
    pub(crate) signature: [u8; 4],
    /// Data: the last 4 bytes of the sector. Zero: reserved.
    pub(crate) trailing: [u8; 4],
    /// Data: the first 8 bytes of the sector. Zero: the length of the run, as an integer.
    pub(crate) leading: [u8; 8],
    pub(crate) file_offset: U64,
    pub(crate) sequence_number: U64,
}
const _: () = assert!(size_of::<LogDescriptor>() == 32);

/// A sector of data in the log; its first 8 and last 4 bytes are in the descriptor (MS-VHDX 2.3.1.4).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LogDataSector {
    pub(crate) signature: [u8; 4],
    pub(crate) sequence_high: U32,
    pub(crate) data: [u8; 4084],
    pub(crate) sequence_low: U32,
}
const _: () = assert!(size_of::<LogDataSector>() == 4096);

/// One entry of the block allocation table (MS-VHDX 2.5.1): state in bits 0 to 2, place in bits 20 to 63.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub(crate) struct BatEntry(pub(crate) U64);
const _: () = assert!(size_of::<BatEntry>() == 8);

/// The state bits of a [`BatEntry`].
pub(crate) const BAT_STATE: u64 = 0b111;
/// The reserved bits of a [`BatEntry`].
pub(crate) const BAT_RESERVED: u64 = 0xF_FFF8;
/// The place bits of a [`BatEntry`]; so masked they are bytes.
pub(crate) const BAT_PLACE: u64 = !0xF_FFFF;

/// States of payload blocks (MS-VHDX 2.5.1.1).
pub(crate) const BLOCK_NOT_PRESENT: u64 = 0;
pub(crate) const BLOCK_UNDEFINED: u64 = 1;
pub(crate) const BLOCK_ZERO: u64 = 2;
pub(crate) const BLOCK_UNMAPPED: u64 = 3;
pub(crate) const BLOCK_FULLY_PRESENT: u64 = 6;
pub(crate) const BLOCK_PARTIALLY_PRESENT: u64 = 7;

/// States of sector bitmap blocks (MS-VHDX 2.5.1.2).
pub(crate) const BITMAP_NOT_PRESENT: u64 = 0;
pub(crate) const BITMAP_PRESENT: u64 = 6;
