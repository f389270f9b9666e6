//! The log as a ring of sectors: one pass over its bytes, and what each sector may be.

use hypercbt_extent::ByteLen;
use zerocopy::FromBytes;

use super::checksum::Shift;
use crate::format::{
    DATA_SECTOR_SIGNATURE, LOG_ENTRY_SIGNATURE, LOG_SECTOR_BYTES, LogDataSector, LogEntryHeader,
};
use crate::header::{Header, checksum_without_field};
use crate::source::Source;
use crate::{FileOffset, Guid, Result};

pub(super) const SECTOR: usize = 4096;
const _: () = assert!(SECTOR as u64 == LOG_SECTOR_BYTES);

/// How much of the log is read at once.
const PIECE_BYTES: u64 = 256 << 10;

/// The log of one file.
pub(super) struct Ring<'a> {
    source: &'a Source,
    at: FileOffset,
    /// The checksum of the first `n` sectors, for each `n`.
    prefixes: Vec<u32>,
    /// The sequence number of each sector that is a data sector, and zero, which no entry has, for the others.
    data_sequences: Vec<u64>,
    starts: Vec<Start>,
    shift: Shift,
}

/// A sector that begins like an entry of this log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) sector: u64,
    pub(super) header: LogEntryFields,
    /// The checksum of this one sector, with the field itself taken as zero.
    own_checksum: u32,
}

/// What an entry's header says, in sectors where the file has bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEntryFields {
    checksum: u32,
    pub(super) sectors: u64,
    pub(super) tail: u64,
    pub(super) sequence_number: u64,
    pub(super) descriptor_count: u64,
    pub(super) flushed_file_bytes: u64,
    pub(super) last_file_bytes: u64,
}

impl<'a> Ring<'a> {
    /// Reads the log of a file once.
    pub(super) fn read(source: &'a Source, header: &Header) -> Result<Self> {
        let mut ring = Self {
            source,
            at: header.log_at,
            prefixes: vec![0],
            data_sequences: Vec::new(),
            starts: Vec::new(),
            shift: Shift::new(),
        };
        let mut buf = vec![0; usize::try_from(PIECE_BYTES).unwrap_or_default()];
        let mut done = 0;
        while done < header.log_len.0 {
            let len = PIECE_BYTES.min(header.log_len.0 - done);
            let at = FileOffset(header.log_at.0.saturating_add(done));
            let piece = buf
                .get_mut(..usize::try_from(len).unwrap_or_default())
                .unwrap_or_default();
            if source.is_hole(at, ByteLen(len)) {
                piece.fill(0);
            } else {
                source.read_storage(piece, at)?;
            }
            for sector in piece.as_chunks::<SECTOR>().0 {
                ring.take(sector, header);
            }
            done += len;
        }
        Ok(ring)
    }

    fn take(&mut self, bytes: &[u8; SECTOR], header: &Header) {
        let sector = self.sectors();
        let before = self.prefixes.last().copied().unwrap_or_default();
        self.prefixes.push(crc32c::crc32c_append(before, bytes));
        self.data_sequences
            .push(data_sequence(bytes).unwrap_or_default());
        let fields = entry_fields(bytes, header.log_guid, header.log_len.0 / LOG_SECTOR_BYTES);
        if let (Some(header), Some(own_checksum)) = (fields, checksum_without_field(bytes, 4)) {
            self.starts.push(Start {
                sector,
                header,
                own_checksum,
            });
        }
    }

    /// The number of sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.data_sequences.len() as u64
    }

    /// The sectors that begin like an entry, by place.
    pub(super) fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// Where the `n`-th sector after `start` is, around the end.
    pub(super) fn wrap(&self, start: u64, n: u64) -> u64 {
        (start + n) % self.sectors().max(1)
    }

    /// Where a sector is in the file.
    pub(super) fn place(&self, sector: u64) -> FileOffset {
        FileOffset(self.at.0.saturating_add(sector * LOG_SECTOR_BYTES))
    }

    /// Reads one sector again.
    pub(super) fn sector(&self, sector: u64, buf: &mut [u8; SECTOR]) -> Result<()> {
        self.source.read_storage(buf, self.place(sector))
    }

    /// Whether the sector is a data sector of the entry with this number.
    pub(super) fn is_data_of(&self, sector: u64, sequence_number: u64) -> bool {
        let found = usize::try_from(sector)
            .ok()
            .and_then(|place| self.data_sequences.get(place));
        found == Some(&sequence_number)
    }

    /// Whether the bytes of the entry that begins here have the checksum that it says.
    pub(super) fn checksum_fits(&self, start: &Start) -> bool {
        let rest = start.header.sectors - 1;
        let first = start.sector + 1;
        let until_end = rest.min(self.sectors() - first);
        let around = rest - until_end;
        let crc = self.shift.join(
            start.own_checksum,
            self.stretch(first, until_end),
            until_end,
        );
        let crc = self.shift.join(crc, self.stretch(0, around), around);
        crc == start.header.checksum
    }

    /// The checksum of `count` sectors from `first` on, which do not wrap.
    fn stretch(&self, first: u64, count: u64) -> u32 {
        let prefix = |n: u64| {
            usize::try_from(n)
                .ok()
                .and_then(|n| self.prefixes.get(n))
                .copied()
                .unwrap_or_default()
        };
        prefix(first + count) ^ self.shift.over(prefix(first), count)
    }
}

fn data_sequence(bytes: &[u8; SECTOR]) -> Option<u64> {
    let sector = LogDataSector::ref_from_bytes(bytes).ok()?;
    let (high, low) = (
        u64::from(sector.sequence_high.get()),
        u64::from(sector.sequence_low.get()),
    );
    (sector.signature == DATA_SECTOR_SIGNATURE).then_some(high << 32 | low)
}

/// The fields of an entry's header, or `None` if one of them is impossible in this log.
fn entry_fields(bytes: &[u8; SECTOR], log_guid: Guid, log_sectors: u64) -> Option<LogEntryFields> {
    let (header, _) = LogEntryHeader::ref_from_prefix(bytes).ok()?;
    let (len, tail) = (
        u64::from(header.entry_length.get()),
        u64::from(header.tail.get()),
    );
    let fields = LogEntryFields {
        checksum: header.checksum.get(),
        sectors: len / LOG_SECTOR_BYTES,
        tail: tail / LOG_SECTOR_BYTES,
        sequence_number: header.sequence_number.get(),
        descriptor_count: u64::from(header.descriptor_count.get()),
        flushed_file_bytes: header.flushed_file_offset.get(),
        last_file_bytes: header.last_file_offset.get(),
    };
    let possible = header.signature == LOG_ENTRY_SIGNATURE
        && Guid(header.log_guid) == log_guid
        && len % LOG_SECTOR_BYTES == 0
        && (1..=log_sectors).contains(&fields.sectors)
        && tail % LOG_SECTOR_BYTES == 0
        && fields.tail < log_sectors
        && fields.sequence_number > 0;
    possible.then_some(fields)
}
