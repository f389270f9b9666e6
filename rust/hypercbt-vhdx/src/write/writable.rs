//! A VHDX that is open for writing.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::{Guid, Result, Segment};

/// A VHDX that is open for writing, by many threads at once.
///
/// Dropping it without [`close`](Self::close) is a power cut: what was flushed is kept.
#[derive(Debug)]
pub struct WritableVhdx {}

impl WritableVhdx {
    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        todo!()
    }

    /// What names the state of the file now: `FileWriteGuid` and `DataWriteGuid` of its header.
    pub fn stamp(&self) -> [u8; 32] {
        todo!()
    }

    /// What will name it from the first change of this session on.
    pub fn coming_stamp(&self) -> [u8; 32] {
        todo!()
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        todo!()
    }

    /// Fills `buf` with the bytes of the disk from `at` on.
    pub fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        let _ = (at, buf);
        todo!()
    }

    /// Writes whole logical sectors. Durable after the next [`flush`](Self::flush).
    pub fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let _ = (at, bytes);
        todo!()
    }

    /// Makes `extent` read as zeros; whole blocks are given up where the kind of the file allows.
    pub fn zero(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        todo!()
    }

    /// Gives up what the guest no longer needs. Whole blocks read as zeros afterwards, where the kind of the file
    /// allows; parts of blocks keep their data.
    pub fn unmap(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        todo!()
    }

    /// All writes that returned before are durable when this returns.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }

    /// Where there is data: a partition of `extent`, in order, equal neighbours merged.
    pub fn segments(&self, extent: Extent) -> Result<Vec<Segment>> {
        let _ = extent;
        todo!()
    }

    /// Flushes and closes the log; `file_write` is new and names the closed file.
    pub fn close(self, file_write: Guid) -> Result<()> {
        let _ = file_write;
        todo!()
    }
}
