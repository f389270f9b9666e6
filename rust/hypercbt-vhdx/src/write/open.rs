//! Opening a VHDX for writing: look first, then begin.

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::ByteLen;
use hypercbt_file::FileSystem;

use super::WritableVhdx;
use crate::{Guid, OpenOptions, Result};

/// The random values of one session that writes. Each is new, never zero, and used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guids {
    /// Names the state of the file while it is open.
    pub file_write: Guid,
    /// Names the content of the disk from the first change on.
    pub data_write: Guid,
    /// Names the log of the session.
    pub log: Guid,
}

/// A VHDX that is locked, read and checked, but not yet written.
#[derive(Debug)]
pub struct Opening {}

impl Opening {
    /// Locks the file at `path`, reads and checks it and all its parents. Nothing is written.
    ///
    /// # Errors
    /// [`Error::InUse`](crate::Error::InUse) if another holds it open for writing.
    pub fn new(files: Arc<dyn FileSystem>, path: &Path, options: &OpenOptions) -> Result<Self> {
        let _ = (files, path, options);
        todo!()
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        todo!()
    }

    /// The identity of the virtual disk.
    pub fn disk_id(&self) -> Guid {
        todo!()
    }

    /// What names the state of the file: `FileWriteGuid` and `DataWriteGuid` of its header.
    pub fn stamp(&self) -> [u8; 32] {
        todo!()
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        todo!()
    }

    /// The sector that the guest should align to.
    pub fn physical_sector_bytes(&self) -> u32 {
        todo!()
    }

    /// Whether the file holds only what differs from a parent.
    pub fn is_differencing(&self) -> bool {
        todo!()
    }

    /// Replays the log if the file was not closed, and opens a log of this session.
    pub fn begin(self, guids: &Guids) -> Result<WritableVhdx> {
        let _ = guids;
        todo!()
    }
}
