//! The log: changes to metadata that were promised but may not have reached their place (MS-VHDX 2.3).
//!
//! A ring of 4-KiB sectors holds *entries*; each says "these sectors of the file are now so". What a file holds is
//! what it holds once the *active sequence* of entries is replayed. We replay into an [`Overlay`] in memory: a
//! source file is never written. Payload is never logged, but where an overlay lies over some, it counts too.
//!
//! Work is linear in the length of the log whatever its bytes say: [`ring`] reads and checksums it once, and an
//! entry's checksum is then put together from running ones; the sectors that belong to an entry's structure cannot
//! belong to another's, as each kind has its own signature.

mod checksum;
mod entry;
mod overlay;
mod ring;
mod sequence;

use hypercbt_extent::ByteLen;

pub(crate) use overlay::Overlay;

use crate::disk::LogState;
use crate::format::{LOG_SECTOR_BYTES, MAX_FILE_BYTES, REGION_TABLE_OFFSETS};
use crate::header::Header;
use crate::source::Source;
use crate::{FileOffset, Part, Reason, Result};
use entry::{Change, Entry};

/// Finds what the log of a file says, without touching the file.
pub(crate) fn replay(source: &Source, header: &Header) -> Result<(Overlay, LogState)> {
    if header.log_guid.is_zero() {
        return Ok((Overlay::default(), LogState::Clean));
    }
    let corrupt = |reason| source.corrupt(Part::Log, reason);
    let ring = ring::Ring::read(source, header)?;
    let entries = entry::valid(&ring)?;
    let active = sequence::active(&entries, ring.sectors());
    let Some((head, _)) = active.split_last() else {
        return Err(corrupt(Reason::NoLogSequence));
    };
    // MS-VHDX 2.3.3: these bytes were in the file when the entry was written, so the file was cut since.
    let (file_len, needed) = (source.file_len(), ByteLen(head.flushed_file_bytes));
    if needed > file_len {
        return Err(corrupt(Reason::Truncated { file_len, needed }));
    }
    if head.last_file_bytes > MAX_FILE_BYTES {
        return Err(corrupt(Reason::FileSize(head.last_file_bytes)));
    }
    let mut overlay = Overlay::new(ByteLen(head.last_file_bytes));
    let mut sectors = 0;
    for entry in &active {
        sectors += apply(source, header, &ring, entry, &mut overlay)?;
    }
    let entries = u32::try_from(active.len()).unwrap_or(u32::MAX);
    Ok((overlay, LogState::Replayed { entries, sectors }))
}

/// Lays one entry over the file; returns how many sectors it changes.
fn apply(
    source: &Source,
    header: &Header,
    ring: &ring::Ring<'_>,
    entry: &Entry,
    overlay: &mut Overlay,
) -> Result<u64> {
    let mut sectors = 0;
    entry::for_each_change(ring, entry, |change| {
        let at = change.at();
        let end =
            at.0.checked_add(change.len().0)
                .filter(|end| *end <= MAX_FILE_BYTES);
        let allowed = end.is_some_and(|end| is_allowed(at, end, header));
        if !allowed {
            return Err(source.corrupt(Part::Log, Reason::LogTarget { at }));
        }
        sectors += change.len().0 / LOG_SECTOR_BYTES;
        let fits = match change {
            Change::Sector { at, sector } => overlay.write_sector(at, sector),
            Change::Zeros { at, len } => overlay.write_zeros(at, len),
        };
        if !fits {
            return Err(source.corrupt(Part::Log, Reason::TooManyEntries(overlay.ranges() as u64)));
        }
        Ok(())
    })?;
    Ok(sectors)
}

/// The identifier, the headers and the log itself are never logged. The region tables may be.
fn is_allowed(at: FileOffset, end: u64, header: &Header) -> bool {
    let in_log = at.0 < header.log_end() && header.log_at.0 < end;
    let [first_table, _] = REGION_TABLE_OFFSETS;
    at.0 >= first_table && !in_log
}
