//! The block allocation table: which block lives where in the file, checked against everything else in it.
//!
//! An entry is the sector at which a block's bitmap begins; the block's data follow. Only blocks that are in the file
//! are kept, 8 bytes each, so at most 32 MiB whatever the disk: a table has at most 2^22 entries, all of them real
//! bytes of the file.

use hypercbt_extent::ByteLen;

use super::footer::Footer;
use super::format::{ABSENT, FOOTER_BYTES, HEADER_BYTES, SECTOR_BYTES};
use super::header::{Blocks, Header};
use crate::source::Source;
use crate::{BlockIndex, FileOffset, Part, Reason, Result};

/// A block that is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    /// Which block.
    pub(crate) index: u32,
    /// The first sector of its bitmap.
    pub(crate) sector: u32,
}

impl Stored {
    pub(crate) fn block(self) -> BlockIndex {
        BlockIndex(u64::from(self.index))
    }

    /// Where its bitmap begins.
    pub(crate) fn at(self) -> FileOffset {
        FileOffset(u64::from(self.sector) * SECTOR_BYTES)
    }
}

/// How much of the table is read at once.
const PIECE_BYTES: usize = 512 << 10;

/// Reads the table and checks the place of every block. In the order of the file, not of the disk.
pub(crate) fn load(source: &Source, footer: &Footer, header: &Header) -> Result<Vec<Stored>> {
    let blocks = header.blocks;
    let mut stored = read(source, footer, header)?;
    stored.sort_unstable_by_key(|block| block.sector);
    let overlap = |at| Err(source.corrupt(Part::Bat, Reason::Overlap { at }));
    for (one, next) in stored.iter().zip(stored.iter().skip(1)) {
        if next.at().0 - one.at().0 < blocks.span_bytes() {
            return overlap(next.at());
        }
    }
    for (at, len) in structures(header, footer) {
        let after = stored.partition_point(|block| block.at().0 < at.0.saturating_add(len.0));
        let before = after.checked_sub(1).and_then(|before| stored.get(before));
        if before.is_some_and(|block| block.at().0 + blocks.span_bytes() > at.0) {
            return overlap(at);
        }
    }
    Ok(stored)
}

/// All entries that name a place, in the order of the disk. A hole of the file is not skipped: its zeros are sector 0.
fn read(source: &Source, footer: &Footer, header: &Header) -> Result<Vec<Stored>> {
    let needed = header.blocks.count() * size_of::<u32>() as u64;
    let mut buf = vec![0; PIECE_BYTES.min(usize::try_from(needed).unwrap_or(PIECE_BYTES))];
    let mut stored = Vec::new();
    let mut index = 0;
    while u64::from(index) < header.blocks.count() {
        let done = u64::from(index) * size_of::<u32>() as u64;
        let len = usize::try_from(needed - done)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let (piece, _) = buf.split_at_mut(len);
        source.read(piece, FileOffset(header.table_at.0.saturating_add(done)))?;
        for entry in piece.as_chunks::<4>().0 {
            let sector = u32::from_be_bytes(*entry);
            if sector != ABSENT {
                let block = Stored { index, sector };
                check_place(block, header.blocks, footer)
                    .map_err(|reason| source.corrupt(Part::Bat, reason))?;
                stored.push(block);
            }
            index += 1;
        }
    }
    Ok(stored)
}

/// A block and its bitmap lie behind the copy of the footer and before the footer.
fn check_place(stored: Stored, blocks: Blocks, footer: &Footer) -> std::result::Result<(), Reason> {
    let at = stored.at();
    if at.0 < FOOTER_BYTES as u64 || at.0 + blocks.span_bytes() > footer.data_end.0 {
        let block = stored.block();
        return Err(Reason::BlockPlace { block, at });
    }
    Ok(())
}

/// What else is in the file, and must not be where a block is.
fn structures(header: &Header, footer: &Footer) -> impl Iterator<Item = (FileOffset, ByteLen)> {
    let table = (header.table_at, ByteLen(header.blocks.table_bytes()));
    let itself = (footer.header_at, ByteLen(HEADER_BYTES as u64));
    let locators = header
        .raw
        .locators
        .iter()
        .filter(|locator| locator.is_used());
    let locators = locators.map(|locator| {
        let len = ByteLen(u64::from(locator.length.get()));
        (FileOffset(locator.at.get()), len)
    });
    [table, itself].into_iter().chain(locators)
}
