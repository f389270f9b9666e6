//! A new raw disk: the file is the disk, with holes where nothing is written.

use std::path::Path;

use hypercbt_extent::{ByteLen, DiskOffset, Extents};

use crate::options::check_size;
use crate::target::{NewFile, WriteDisk, check_present, extent_of_write};
use crate::{Error, Result};

/// What readers of raw disks, ours among them, take for a sector.
const SECTOR_BYTES: u32 = 512;

/// Writes a raw disk.
#[derive(Debug)]
pub struct RawWriter {
    file: NewFile,
    size: ByteLen,
    present: Extents,
}

impl RawWriter {
    /// Creates the file `path`, which must not exist: `size` bytes, all of them holes.
    ///
    /// Only `present` can be written to. A write elsewhere is a mistake in somebody's plan, and
    /// must not pass here when a VHDX with the same plan would refuse it.
    ///
    /// # Errors
    ///
    /// A file that was created is removed again.
    pub fn create(path: &Path, size: ByteLen, present: &Extents) -> Result<Self> {
        check_size(size, SECTOR_BYTES, ByteLen(u64::MAX)).map_err(|reason| {
            Error::InvalidOptions {
                file: path.to_owned(),
                reason,
            }
        })?;
        check_present(present, size)?;
        Ok(Self {
            file: NewFile::create(path, |file| file.set_len(size))?,
            size,
            present: present.clone(),
        })
    }

    /// Makes the disk durable under its temporary name.
    pub fn finish(self) -> Result<()> {
        self.file.sync()
    }
}

impl WriteDisk for RawWriter {
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let Some(extent) = extent_of_write(at, bytes, self.size)? else {
            return Ok(());
        };
        match self.present.intersecting(extent) {
            [held] if held.intersection(extent) == Some(extent) => {
                self.file.write_at(crate::FileOffset(at.0), bytes)
            }
            _ => Err(Error::NotAllocated {
                file: self.file.path().to_owned(),
                extent,
            }),
        }
    }
}
