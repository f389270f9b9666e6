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

use crate::encode;
use crate::layout::{self, Layout};
use crate::options::VhdxOptions;
use crate::target::{NewFile, WriteDisk, check_present, extent_of_write};
use crate::{Error, FileOffset, Result};

/// The table is written in pieces of this size, and only those that name a block: the table of
/// 64 TiB in blocks of 1 MiB has 513 MiB, nearly all of it zeros in most disks.
const BAT_PAGE_BYTES: u64 = 64 << 10;

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
            file.write_at(FileOffset(0), &encode::identifier())
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
            .write_at(layout::METADATA_AT, &encode::metadata(&self.options))?;
        self.write_bat()?;
        let regions = encode::region_table(self.layout.bat_len());
        for at in encode::REGION_TABLES_AT {
            self.file.write_at(at, &regions)?;
        }
        self.file.sync()?;
        for (at, number) in encode::HEADERS_AT.into_iter().zip(1..) {
            let header = encode::header(&self.options, number);
            self.file.write_at(at, &header)?;
        }
        self.file.sync()
    }

    /// Writes the pages of the table that name a block; the others are zeros already.
    fn write_bat(&self) -> Result<()> {
        const PER_PAGE: u64 = BAT_PAGE_BYTES / 8;
        let mut entries = self.layout.bat_entries().peekable();
        while let Some(page) = entries.peek().map(|(index, _)| index / PER_PAGE) {
            let mut table = vec![0; PER_PAGE as usize];
            while let Some((index, at)) = entries.next_if(|(index, _)| index / PER_PAGE == page) {
                if let Some(entry) = table.get_mut((index % PER_PAGE) as usize) {
                    *entry = encode::present(at);
                }
            }
            let bytes: Vec<u8> = table.into_iter().flat_map(u64::to_le_bytes).collect();
            let at = FileOffset(layout::BAT_AT.0 + page * BAT_PAGE_BYTES);
            self.file.write_at(at, &bytes)?;
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
