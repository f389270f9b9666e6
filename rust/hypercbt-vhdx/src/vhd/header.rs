//! The dynamic header: how a disk that is not fixed is cut into blocks, and who its parent is.

use hypercbt_extent::ByteLen;
use zerocopy::{FromZeros, IntoBytes};

use super::footer::{Footer, check_version};
use super::format::{
    HEADER_BYTES, HEADER_SIGNATURE, MAX_BLOCKS, RawHeader, RawLocator, SECTOR_BYTES,
};
use crate::source::Source;
use crate::{FileOffset, Part, Reason, Result};

/// What counts of a header.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) blocks: Blocks,
    pub(crate) table_at: FileOffset,
    pub(crate) raw: Box<RawHeader>,
}

/// Sizes and counts of one disk that is not fixed. Numbers that the checks have bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) disk_bytes: u64,
    /// A power of two.
    pub(crate) block_bytes: u64,
}

impl Blocks {
    /// How many blocks the disk has, at least one.
    pub(crate) fn count(self) -> u64 {
        self.disk_bytes.div_ceil(self.block_bytes)
    }

    /// The sector bitmap before each block: a bit a sector, in whole sectors.
    pub(crate) fn bitmap_bytes(self) -> u64 {
        let bits = self.block_bytes / SECTOR_BYTES;
        bits.div_ceil(8).next_multiple_of(SECTOR_BYTES)
    }

    /// What a block takes in the file, its bitmap included.
    pub(crate) fn span_bytes(self) -> u64 {
        self.bitmap_bytes() + self.block_bytes
    }

    /// What the table takes in the file.
    pub(crate) fn table_bytes(self) -> u64 {
        (self.count() * size_of::<u32>() as u64).next_multiple_of(SECTOR_BYTES)
    }

    /// The sectors of a block that are inside the disk.
    pub(crate) fn sectors_of(self, block: u64) -> u64 {
        let start = block.saturating_mul(self.block_bytes);
        self.disk_bytes.saturating_sub(start).min(self.block_bytes) / SECTOR_BYTES
    }
}

impl RawLocator {
    /// Whether there is anything in it.
    pub(crate) fn is_used(&self) -> bool {
        self.platform != [0; 4] && self.length.get() > 0
    }
}

/// Reads and checks the header that `footer` names.
pub(crate) fn read(source: &Source, footer: &Footer) -> Result<Header> {
    let refuse = |reason| source.corrupt(Part::DynamicHeader, reason);
    check_place(footer, footer.header_at, HEADER_BYTES as u64).map_err(refuse)?;
    let mut raw = Box::new(RawHeader::new_zeroed());
    source.read(raw.as_mut_bytes(), footer.header_at)?;
    let blocks = check(&raw, footer).map_err(refuse)?;
    let table_at = FileOffset(raw.table_at.get());
    check_place(footer, table_at, blocks.table_bytes())
        .map_err(|reason| source.corrupt(Part::Bat, reason))?;
    let gap = table_at.0.abs_diff(footer.header_at.0);
    let first_bytes = if table_at < footer.header_at {
        blocks.table_bytes()
    } else {
        HEADER_BYTES as u64
    };
    if gap < first_bytes {
        return Err(source.corrupt(Part::Bat, Reason::Overlap { at: table_at }));
    }
    Ok(Header {
        blocks,
        table_at,
        raw,
    })
}

fn check(raw: &RawHeader, footer: &Footer) -> std::result::Result<Blocks, Reason> {
    if raw.signature != HEADER_SIGNATURE {
        return Err(Reason::Signature);
    }
    if raw.sum() != raw.checksum.get() {
        return Err(Reason::Checksum);
    }
    check_version(raw.version.get())?;
    let block_bytes = raw.block_bytes.get();
    if !block_bytes.is_power_of_two() || u64::from(block_bytes) < SECTOR_BYTES {
        return Err(Reason::BlockSize(block_bytes));
    }
    let blocks = Blocks {
        disk_bytes: footer.size.0,
        block_bytes: u64::from(block_bytes),
    };
    if blocks.count() > MAX_BLOCKS {
        return Err(Reason::TooManyEntries(blocks.count()));
    }
    // More entries than the disk needs are left over from a larger one, and mean nothing.
    let found = u64::from(raw.max_entries.get());
    if found < blocks.count() {
        let needed = blocks.count();
        return Err(Reason::TooSmall { found, needed });
    }
    Ok(blocks)
}

/// Refuses a place that is not whole sectors behind the copy of the footer and before the footer.
fn check_place(footer: &Footer, at: FileOffset, len: u64) -> std::result::Result<(), Reason> {
    let len = ByteLen(len);
    if at.0 < SECTOR_BYTES || !at.0.is_multiple_of(SECTOR_BYTES) {
        return Err(Reason::Place { at, len });
    }
    match at.0.checked_add(len.0) {
        Some(end) if end <= footer.data_end.0 => Ok(()),
        end => Err(Reason::Truncated {
            file_len: ByteLen(footer.data_end.0),
            needed: ByteLen(end.unwrap_or(u64::MAX)),
        }),
    }
}
