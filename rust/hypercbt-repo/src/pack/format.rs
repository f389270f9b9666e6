//! What the parts of a pack look like on disk. No logic.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 48;
pub(super) const TRAILER_BYTES: usize = 32;

pub(super) const HEADER_SIGNATURE: [u8; 8] = *b"HCBTPACK";
pub(super) const TRAILER_SIGNATURE: [u8; 8] = *b"HCBTFOOT";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) signature: [u8; 8],
    pub(super) format: U16,
    pub(super) reserved: [u8; 6],
    pub(super) run: [u8; 16],
    pub(super) repository: [u8; 16],
    pub(super) reserved_too: [u8; 12],
    pub(super) checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawEntry {
    pub(super) id: [u8; 32],
    pub(super) kind: u8,
    pub(super) codec: u8,
    pub(super) reserved: U16,
    pub(super) offset: U32,
    pub(super) stored_len: U32,
    pub(super) plain_len: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawTrailer {
    pub(super) entries: U32,
    pub(super) entries_checksum: U32,
    pub(super) first_entry: U64,
    pub(super) reserved: U32,
    pub(super) checksum: U32,
    pub(super) signature: [u8; 8],
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<RawEntry>() == ENTRY_BYTES);
const _: () = assert!(size_of::<RawTrailer>() == TRAILER_BYTES);

impl RawHeader {
    /// CRC-32C of all before the checksum.
    pub(super) fn checksum_now(&self) -> u32 {
        let (checked, _) = self.as_bytes().split_at(60);
        crc32c::crc32c(checked)
    }
}

impl RawTrailer {
    /// CRC-32C of all before the checksum.
    pub(super) fn checksum_now(&self) -> u32 {
        let (checked, _) = self.as_bytes().split_at(20);
        crc32c::crc32c(checked)
    }
}
