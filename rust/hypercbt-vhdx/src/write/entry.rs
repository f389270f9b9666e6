//! One entry of the log, as bytes (MS-VHDX 2.3.1).
//!
//! ```text
//! [ header, at most 126 descriptors | data sector | data sector | … ]
//! ```
//!
//! The format allows more descriptors in further sectors, but qemu 7.2 cannot open such an entry.

use std::collections::BTreeMap;

use zerocopy::{FromZeros, IntoBytes};

use crate::Guid;
use crate::format::{
    DATA_DESCRIPTOR_SIGNATURE, DATA_SECTOR_SIGNATURE, LOG_DESCRIPTOR_BYTES, LOG_ENTRY_SIGNATURE,
    LOG_HEADER_BYTES, LOG_SECTOR_BYTES, LogDataSector, LogDescriptor, LogEntryHeader,
};

/// What metadata are logged and written by.
pub(super) type Sector = Box<[u8; 4096]>;

/// Sectors of the file, by place.
pub(super) type Sectors = BTreeMap<u64, Sector>;

/// The most sectors that one entry changes: 126.
pub(super) const MAX_SECTORS: usize =
    ((LOG_SECTOR_BYTES - LOG_HEADER_BYTES) / LOG_DESCRIPTOR_BYTES) as usize;

/// What stands in the header of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryFacts {
    pub(super) guid: Guid,
    pub(super) number: u64,
    /// Where in the log the sequence begins that this entry ends.
    pub(super) tail: u64,
    /// How long the file is, durably; a multiple of 1 MiB.
    pub(super) file_len: u64,
}

/// How many bytes of the log an entry takes that changes `sectors` sectors.
pub(super) fn len(sectors: usize) -> u64 {
    (1 + sectors as u64) * LOG_SECTOR_BYTES
}

/// An entry that puts `sectors`, at most [`MAX_SECTORS`], in their places.
pub(super) fn encode(facts: &EntryFacts, sectors: &Sectors) -> Vec<u8> {
    debug_assert!(sectors.len() <= MAX_SECTORS, "one sector of descriptors");
    let entry_length = u32::try_from(len(sectors.len())).expect("at most 127 sectors");
    let header = LogEntryHeader {
        signature: LOG_ENTRY_SIGNATURE,
        checksum: 0.into(),
        entry_length: entry_length.into(),
        tail: u32::try_from(facts.tail)
            .expect("inside a log of less than 4 GiB")
            .into(),
        sequence_number: facts.number.into(),
        descriptor_count: u32::try_from(sectors.len()).expect("at most 126").into(),
        reserved: 0.into(),
        log_guid: facts.guid.0,
        flushed_file_offset: facts.file_len.into(),
        last_file_offset: facts.file_len.into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    for (at, sector) in sectors {
        bytes.extend_from_slice(descriptor(facts.number, *at, sector).as_bytes());
    }
    bytes.resize(usize::try_from(LOG_SECTOR_BYTES).unwrap_or_default(), 0);
    for sector in sectors.values() {
        bytes.extend_from_slice(data_sector(facts.number, sector).as_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    if let Some(field) = bytes.get_mut(4..8) {
        field.copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// The descriptor keeps the ends of the sector, whose places the data sector needs for itself.
fn descriptor(number: u64, at: u64, sector: &[u8; 4096]) -> LogDescriptor {
    let mut descriptor = LogDescriptor {
        signature: DATA_DESCRIPTOR_SIGNATURE,
        trailing: [0; 4],
        leading: [0; 8],
        file_offset: at.into(),
        sequence_number: number.into(),
    };
    let (leading, rest) = sector.split_at(8);
    let (_, trailing) = rest.split_at(4084);
    descriptor.leading.copy_from_slice(leading);
    descriptor.trailing.copy_from_slice(trailing);
    descriptor
}

fn data_sector(number: u64, sector: &[u8; 4096]) -> LogDataSector {
    let high = u32::try_from(number >> 32).expect("32 bits are left");
    let low = u32::try_from(number & u64::from(u32::MAX)).expect("32 bits are left");
    let mut data = LogDataSector {
        signature: DATA_SECTOR_SIGNATURE,
        sequence_high: high.into(),
        sequence_low: low.into(),
        ..LogDataSector::new_zeroed()
    };
    let (_, rest) = sector.split_at(8);
    let (middle, _) = rest.split_at(4084);
    data.data.copy_from_slice(middle);
    data
}
