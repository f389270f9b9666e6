//! What a restore writes into.
//!
//! Nothing here replaces a file that exists, and nothing renames: a target is made under a
//! temporary name, and is the disk only when whoever asked for it gives it its real name.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

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
    file: File,
    path: PathBuf,
}

impl NewFile {
    /// Creates `path`, which must not exist, and prepares it. If that fails the file is removed.
    pub(crate) fn create(path: &Path, prepare: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        let new = Self {
            file: OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .map_err(|source| failed(path, source))?,
            path: path.to_owned(),
        };
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
        match reserve(&self.file, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.set_len(len),
            done => done.map_err(|source| failed(&self.path, source)),
        }
    }

    /// Makes the file `len` bytes long; what was not written reads as zeros.
    pub(crate) fn set_len(&self, len: ByteLen) -> Result<()> {
        self.file
            .set_len(len.0)
            .map_err(|source| failed(&self.path, source))
    }

    /// Writes all of `bytes` at `at`.
    pub(crate) fn write_at(&self, at: FileOffset, bytes: &[u8]) -> Result<()> {
        write_all_at(&self.file, at, bytes).map_err(|source| Error::Write {
            file: self.path.clone(),
            at,
            len: ByteLen(bytes.len() as u64),
            source,
        })
    }

    /// Returns when all that was written is durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| Error::Sync {
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

/// Reserves room, or fails with `Unsupported` if the file system cannot.
#[cfg(target_os = "linux")]
fn reserve(file: &File, len: ByteLen) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
    use rustix::io::{Errno, retry_on_intr};

    // Asking first keeps a request that is too big from filling the volume until it fails, to the
    // harm of everybody else who writes there. Zero blocks in all: the file system does not say.
    if let Ok(volume) = fstatvfs(file)
        && volume.f_blocks > 0
        && volume.f_bavail.saturating_mul(volume.f_frsize) < len.0
    {
        return Err(Errno::NOSPC.into());
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len.0)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
        done => Ok(done?),
    }
}

/// Elsewhere setting the length is all there is. On Windows it does reserve the room, since a new
/// file there is not sparse.
#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _len: ByteLen) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn write_all_at(file: &File, at: FileOffset, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at.0)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut at: FileOffset, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;

    while !bytes.is_empty() {
        match file.seek_write(bytes, at.0) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(done) => {
                bytes = bytes.get(done..).unwrap_or_default();
                at.0 += done as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
