//! Log entries: which are valid, and what each changes (MS-VHDX 2.3.1).
//!
//! ```text
//! [ header, 126 descriptors | 128 descriptors | … | data sector | data sector | … ]
//! ```

use std::ops::ControlFlow;

use hypercbt_extent::ByteLen;
use zerocopy::FromBytes;

use super::ring::{Ring, SECTOR, Start};
use crate::format::{
    DATA_DESCRIPTOR_SIGNATURE, LOG_DESCRIPTOR_BYTES, LOG_HEADER_BYTES, LOG_SECTOR_BYTES,
    LogDescriptor, ZERO_DESCRIPTOR_SIGNATURE,
};
use crate::{FileOffset, Result};

/// A valid entry: header, descriptors and data sectors belong together, and so does the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where in the log it begins.
    pub(super) sector: u64,
    pub(super) sectors: u64,
    /// Where the first entry of the sequence is that it ends.
    pub(super) tail: u64,
    pub(super) sequence_number: u64,
    pub(super) descriptor_count: u64,
    pub(super) flushed_file_bytes: u64,
    pub(super) last_file_bytes: u64,
}

/// A sector as the log keeps it: where its middle is, and its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoggedSector {
    pub(crate) place: FileOffset,
    pub(crate) leading: [u8; 8],
    pub(crate) trailing: [u8; 4],
}

/// What an entry does to one place of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Sector {
        at: FileOffset,
        sector: LoggedSector,
    },
    Zeros {
        at: FileOffset,
        len: ByteLen,
    },
}

impl Change {
    pub(super) fn at(&self) -> FileOffset {
        match self {
            Self::Sector { at, .. } | Self::Zeros { at, .. } => *at,
        }
    }

    pub(super) fn len(&self) -> ByteLen {
        match self {
            Self::Sector { .. } => ByteLen(LOG_SECTOR_BYTES),
            Self::Zeros { len, .. } => *len,
        }
    }
}

/// All valid entries, by place.
pub(super) fn valid(ring: &Ring<'_>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for start in ring.starts() {
        let entry = Entry {
            sector: start.sector,
            sectors: start.header.sectors,
            tail: start.header.tail,
            sequence_number: start.header.sequence_number,
            descriptor_count: start.header.descriptor_count,
            flushed_file_bytes: start.header.flushed_file_bytes,
            last_file_bytes: start.header.last_file_bytes,
        };
        if is_valid(ring, start, &entry)? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn is_valid(ring: &Ring<'_>, start: &Start, entry: &Entry) -> Result<bool> {
    if descriptor_sectors(entry) > entry.sectors || !ring.checksum_fits(start) {
        return Ok(false);
    }
    let mut data_sectors = 0;
    let mut whole = true;
    for_each_descriptor(ring, entry, |descriptor| {
        let number = descriptor.sequence_number.get();
        let aligned = descriptor.file_offset.get() % LOG_SECTOR_BYTES == 0;
        let kind = match descriptor.signature {
            DATA_DESCRIPTOR_SIGNATURE => {
                data_sectors += 1;
                true
            }
            ZERO_DESCRIPTOR_SIGNATURE => {
                u64::from_le_bytes(descriptor.leading) % LOG_SECTOR_BYTES == 0
            }
            _ => false,
        };
        whole = kind && aligned && number == entry.sequence_number;
        Ok(if whole {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    })?;
    let first = descriptor_sectors(entry);
    Ok(whole
        && first + data_sectors <= entry.sectors
        && (first..first + data_sectors)
            .all(|n| ring.is_data_of(ring.wrap(entry.sector, n), entry.sequence_number)))
}

/// Calls `each` with what a valid entry changes, in order. Never a list of all: one entry can have 2^27.
pub(super) fn for_each_change(
    ring: &Ring<'_>,
    entry: &Entry,
    mut each: impl FnMut(Change) -> Result<()>,
) -> Result<()> {
    let mut next_data = descriptor_sectors(entry);
    for_each_descriptor(ring, entry, |descriptor| {
        let at = FileOffset(descriptor.file_offset.get());
        each(if descriptor.signature == ZERO_DESCRIPTOR_SIGNATURE {
            Change::Zeros {
                at,
                len: ByteLen(u64::from_le_bytes(descriptor.leading)),
            }
        } else {
            let place = ring.place(ring.wrap(entry.sector, next_data));
            next_data += 1;
            let (leading, trailing) = (descriptor.leading, descriptor.trailing);
            Change::Sector {
                at,
                sector: LoggedSector {
                    place,
                    leading,
                    trailing,
                },
            }
        })?;
        Ok(ControlFlow::Continue(()))
    })
}

/// How many sectors the header and the descriptors take.
fn descriptor_sectors(entry: &Entry) -> u64 {
    (LOG_HEADER_BYTES + entry.descriptor_count * LOG_DESCRIPTOR_BYTES).div_ceil(LOG_SECTOR_BYTES)
}

/// Calls `each` with the descriptors in order until it breaks off.
fn for_each_descriptor(
    ring: &Ring<'_>,
    entry: &Entry,
    mut each: impl FnMut(&LogDescriptor) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut left = usize::try_from(entry.descriptor_count).unwrap_or(usize::MAX);
    let mut buf = [0; SECTOR];
    for n in 0..descriptor_sectors(entry) {
        if left == 0 {
            break;
        }
        ring.sector(ring.wrap(entry.sector, n), &mut buf)?;
        let slots = <[LogDescriptor]>::ref_from_bytes(&buf).unwrap_or_default();
        // The header takes the place of two descriptors.
        let descriptors = slots.iter().skip(if n == 0 { 2 } else { 0 }).take(left);
        left = left.saturating_sub(descriptors.len());
        for descriptor in descriptors {
            if each(descriptor)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
