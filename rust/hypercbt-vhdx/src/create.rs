//! Making a new dynamic VHDX, laid out as Windows lays one out.
//!
//! The file is no disk until its last write, so a power cut at any moment leaves either the whole
//! disk or something that every reader refuses:
//!
//! ```text
//! create     the identifier, and room for everything     a VHDX without a valid header
//! write_at   payload                                     the same
//! finish     sync; metadata, table, region tables; sync; headers; sync
//! ```
//!
//! The identifier goes first, or a half-made file could be taken for a raw disk. No log is
//! needed: nobody opens the file before it is whole.

use std::path::Path;

use hypercbt_extent::{DiskOffset, Extents};
use zerocopy::{FromZeros, IntoBytes};

use crate::encode;
use crate::format::{BatEntry, HEADER_OFFSETS, REGION_TABLE_OFFSETS};
use crate::layout::{BAT_AT, Layout, METADATA_AT};
use crate::options::VhdxOptions;
use crate::target::{NewFile, WriteDisk, check_present, extent_of_write};
use crate::{Error, FileOffset, Result};

/// The table is written in pieces of 64 KiB, and only those that name a block: the table of
/// 64 TiB in blocks of 1 MiB has 513 MiB, nearly all of it zeros in most disks.
const BAT_PAGE_ENTRIES: usize = 8192;

/// Writes a dynamic VHDX.
#[derive(Debug)]
pub struct VhdxWriter {
    file: NewFile,
    options: VhdxOptions,
    layout: Layout,
}

impl VhdxWriter {
    /// Creates the file `path`, which must not exist, with the blocks that `present` touches.
    ///
    /// The room for all of them is reserved at once. What is never written in them reads as
    /// zeros, like all other blocks.
    ///
    /// # Errors
    ///
    /// A file that was created is removed again. Errors of later calls leave it to the caller.
    pub fn create(path: &Path, options: &VhdxOptions, present: &Extents) -> Result<Self> {
        options.check().map_err(|reason| Error::InvalidOptions {
            file: path.to_owned(),
            reason,
        })?;
        check_present(present, options.size)?;
        let layout = Layout::new(options, present);
        let file = NewFile::create(path, |file| {
            file.reserve(layout.file_len())?;
            file.write_at(FileOffset(0), encode::identifier().as_bytes())
        })?;
        Ok(Self {
            file,
            options: options.clone(),
            layout,
        })
    }

    /// Makes the file a disk, durable under its temporary name.
    ///
    /// # Errors
    ///
    /// The file is then no disk, and of no further use.
    pub fn finish(self) -> Result<()> {
        self.file.sync()?;
        self.file
            .write_at(METADATA_AT, &encode::metadata(&self.options))?;
        self.write_bat()?;
        let regions = encode::region_table(self.layout.bat_len());
        for at in REGION_TABLE_OFFSETS {
            self.file.write_at(FileOffset(at), &regions)?;
        }
        self.file.sync()?;
        for (at, number) in HEADER_OFFSETS.into_iter().zip(1..) {
            let header = encode::header(&self.options, number);
            self.file.write_at(FileOffset(at), header.as_bytes())?;
        }
        self.file.sync()
    }

    /// Writes the pages of the table that name a block; the others are zeros already.
    fn write_bat(&self) -> Result<()> {
        let page_of = |index: &u64| index / BAT_PAGE_ENTRIES as u64;
        let mut entries = self.layout.bat_entries().peekable();
        let mut table = vec![BatEntry::new_zeroed(); BAT_PAGE_ENTRIES];
        while let Some(page) = entries.peek().map(|(index, _)| page_of(index)) {
            table.fill(BatEntry::new_zeroed());
            let first = page * BAT_PAGE_ENTRIES as u64;
            while let Some((index, at)) = entries.next_if(|(index, _)| page_of(index) == page) {
                let place = usize::try_from(index - first).ok();
                let entry = place.and_then(|place| table.get_mut(place));
                *entry.expect("an entry is on its page") = encode::present(at);
            }
            let at = FileOffset(BAT_AT.0 + first * size_of::<BatEntry>() as u64);
            self.file.write_at(at, table.as_bytes())?;
        }
        Ok(())
    }
}

impl WriteDisk for VhdxWriter {
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let Some(extent) = extent_of_write(at, bytes, self.options.size)? else {
            return Ok(());
        };
        // Blocks that are neighbours on the disk are neighbours in the file: one write is enough.
        let place = self.layout.place(extent);
        let place = place.ok_or_else(|| Error::NotAllocated {
            file: self.file.path().to_owned(),
            extent,
        })?;
        self.file.write_at(place, bytes)
    }
}
