//! On-disk structures and constants of both files, no logic. `docs/change-tracking.md` has them as tables.
//!
//! ```text
//! .mrt   [ header | its twin | directory sectors … | region sectors … (sparse) | directory again ]
//!        0        32 KiB     64 KiB
//! .rct   [ header page | page of runs | page of runs …
//!        0             4 KiB          8 KiB
//! ```
//!
//! All integers are little-endian; all checksums are CRC-32C.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const MRT_MAGIC: [u8; 8] = *b"HCBTMRT\0";
pub(crate) const RCT_MAGIC: [u8; 8] = *b"HCBTRCT\0";
/// The only format of either file so far; 0 makes no promise.
pub(crate) const VERSION: u16 = 0;

/// What is written whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The room of one header of the `.mrt` file.
pub(crate) const SLOT_BYTES: usize = 32 << 10;
/// Where the two headers are.
pub(crate) const SLOT_OFFSETS: [u64; 2] = [0, SLOT_BYTES as u64];
/// Where the directory begins.
pub(crate) const DIRECTORY_OFFSET: u64 = 2 * SLOT_BYTES as u64;
/// How many ids fit into a header behind its first sector.
pub(crate) const MAX_IDS: usize = (SLOT_BYTES - size_of::<RawMrtHeader>()) / size_of::<RawKeptId>();
/// How many stamps may be accepted at once.
pub(crate) const MAX_STAMPS: usize = 8;

/// What a sector holds behind its own head.
pub(crate) const SECTOR_BODY_BYTES: usize = 480;
/// Regions that one sector has counters of.
pub(crate) const COUNTERS_PER_SECTOR: usize = SECTOR_BODY_BYTES / 8;
/// The same, for arithmetic on regions.
pub(crate) const REGIONS_PER_SECTOR: u64 = COUNTERS_PER_SECTOR as u64;
/// Region sectors that one sector of the directory knows of.
pub(crate) const SECTORS_PER_DIRECTORY: u64 = SECTOR_BODY_BYTES as u64 * 8;
pub(crate) const REGION_SECTOR_MAGIC: [u8; 4] = *b"MRTS";
pub(crate) const DIRECTORY_SECTOR_MAGIC: [u8; 4] = *b"MRTD";
/// More regions than these would make the `.mrt` file unwieldy: 0.5 GiB where all were touched.
pub(crate) const MAX_REGIONS: u64 = 1 << 26;

/// A page of the `.rct` file.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Runs that fit into a page.
pub(crate) const RUNS_PER_PAGE: usize = 169;

/// The first sector of a header of the `.mrt` file; the ids follow.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawMrtHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U16,
    pub(crate) reserved: [u8; 6],
    pub(crate) sequence: U64,
    pub(crate) tracker: [u8; 16],
    pub(crate) disk_id: [u8; 16],
    pub(crate) disk_bytes: U64,
    pub(crate) region_bytes: U64,
    pub(crate) session: [u8; 16],
    pub(crate) clock: U64,
    pub(crate) last_counter: U32,
    pub(crate) ids: U32,
    pub(crate) stamps: U32,
    pub(crate) reserved_2: [u8; 4],
    pub(crate) accepted: [[u8; 32]; MAX_STAMPS],
    pub(crate) rct: [RawRctName; 2],
    pub(crate) reserved_3: [u8; 88],
    /// Of the bytes of the ids, without the padding behind them.
    pub(crate) ids_checksum: U32,
    /// Of all bytes before.
    pub(crate) checksum: U32,
}

/// Names one write-back of the `.rct` file; all zero: none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawRctName {
    pub(crate) clock: U64,
    pub(crate) session: [u8; 16],
}

/// An id that is kept.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawKeptId {
    pub(crate) session: [u8; 16],
    pub(crate) counter: U32,
    pub(crate) sealed_at: U64,
}

/// A sector of the directory (bits) or of regions (counters).
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawSector {
    pub(crate) magic: [u8; 4],
    /// Of all bytes behind.
    pub(crate) checksum: U32,
    /// Which one of its kind it is.
    pub(crate) index: U64,
    pub(crate) tracker: [u8; 16],
    pub(crate) body: [u8; SECTOR_BODY_BYTES],
}

/// The first page of the `.rct` file.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawRctHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U16,
    pub(crate) reserved: [u8; 6],
    pub(crate) tracker: [u8; 16],
    pub(crate) disk_id: [u8; 16],
    pub(crate) disk_bytes: U64,
    pub(crate) unit_bytes: U64,
    pub(crate) name: RawRctName,
    pub(crate) pages: U64,
    pub(crate) runs: U64,
    pub(crate) reserved_2: [u8; 3980],
    /// The magic again: one damaged sector does not make the file a stranger's.
    pub(crate) magic_again: [u8; 8],
    /// Of all bytes before.
    pub(crate) checksum: U32,
}

/// A page of runs.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawPage {
    /// Of all bytes behind.
    pub(crate) checksum: U32,
    pub(crate) runs: U16,
    pub(crate) reserved: U16,
    /// Counted from 0.
    pub(crate) number: U64,
    /// The same as in the header: pages of two write-backs do not mix.
    pub(crate) name: RawRctName,
    pub(crate) run: [RawRun; RUNS_PER_PAGE],
}

/// Some bytes of the disk and when they were last touched.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawRun {
    pub(crate) start: U64,
    pub(crate) len: U64,
    pub(crate) touched: U64,
}

const _: () = assert!(size_of::<RawMrtHeader>() == SECTOR_BYTES);
const _: () = assert!(size_of::<RawKeptId>() == 28);
const _: () = assert!(size_of::<RawSector>() == SECTOR_BYTES);
const _: () = assert!(size_of::<RawRctHeader>() == PAGE_BYTES);
const _: () = assert!(size_of::<RawPage>() == PAGE_BYTES);
const _: () = assert!(MAX_IDS >= 1000, "as many as the tracker promises");
