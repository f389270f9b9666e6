//! What a restore writes into.
//!
//! Nothing here replaces a file that exists, and nothing renames: a target is made under a
//! temporary name, and is the disk only when whoever asked for it gives it its real name.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::{DiskFile, LocalFile};

use crate::{Error, FileOffset, Result};

/// A virtual disk that is being written, from many threads at once.
pub trait WriteDisk: Send + Sync {
    /// Writes `bytes` at `at`. Calls that run at the same time write to disjoint ranges.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] past the end of the disk, and [`Error::NotAllocated`] where nothing
    /// was announced when the target was created; then nothing at all has been written.
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()>;
}

/// A file that is being made, and knows its name for errors.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl NewFile {
    /// A file that was just made, and will be called `path`.
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
        }
    }

    /// Creates `path`, which must not exist, and prepares it. If that fails the file is removed.
    pub(crate) fn create(path: &Path, prepare: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = options.open(path).map_err(|source| failed(path, source))?;
        let new = Self::new(Arc::new(LocalFile::from(file)), path);
        match prepare(&new) {
            Ok(()) => Ok(new),
            Err(error) => {
                drop(new); // Windows removes no open file
                // What went wrong first is what the caller must hear; a leftover is only litter.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// The name, for errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file `len` bytes long, with room on the volume for all of them.
    ///
    /// Where the file system cannot reserve room, only the length is set.
    pub(crate) fn reserve(&self, len: ByteLen) -> Result<()> {
        self.file
            .reserve(len)
            .map_err(|source| failed(&self.path, source))
    }

    /// Makes the file `len` bytes long; what was not written reads as zeros.
    pub(crate) fn set_len(&self, len: ByteLen) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|source| failed(&self.path, source))
    }

    /// Writes all of `bytes` at `at`.
    pub(crate) fn write_at(&self, at: FileOffset, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|source| Error::Write {
            file: self.path.clone(),
            at,
            len: ByteLen(bytes.len() as u64),
            source,
        })
    }

    /// Returns when all that was written is durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|source| Error::Sync {
            file: self.path.clone(),
            source,
        })
    }
}

/// Names the extent of a write, or says why it cannot be one. `None` if it has no bytes.
pub(crate) fn extent_of_write(
    at: DiskOffset,
    bytes: &[u8],
    disk_len: ByteLen,
) -> Result<Option<Extent>> {
    let len = ByteLen(bytes.len() as u64);
    match at.0.checked_add(len.0) {
        Some(end) if end <= disk_len.0 => Ok(Extent::new(at, len)),
        _ => Err(Error::OutOfRange { at, len, disk_len }),
    }
}

/// Checks that what is going to be written lies on the disk.
pub(crate) fn check_present(present: &Extents, disk_len: ByteLen) -> Result<()> {
    match present.as_slice().last() {
        Some(last) if last.end().0 > disk_len.0 => Err(Error::OutOfRange {
            at: last.start(),
            len: last.len(),
            disk_len,
        }),
        _ => Ok(()),
    }
}

fn failed(file: &Path, source: io::Error) -> Error {
    Error::Create {
        file: file.to_owned(),
        source,
    }
}
