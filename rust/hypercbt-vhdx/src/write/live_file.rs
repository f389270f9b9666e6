//! The file that is written: its I/O with errors that name it, and the memory that it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hypercbt_extent::ByteLen;
use hypercbt_file::DiskFile;

use crate::{Error, FileOffset, Result};

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: u64 = 1 << 20;

/// A file that is open for writing, and its name.
pub(super) struct LiveFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Something could not be made durable. What the file holds after a cut is then still the last thing that was
    /// promised, but only while nothing more is written.
    failed: AtomicBool,
}

impl LiveFile {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: PathBuf) -> Self {
        Self {
            file,
            path,
            failed: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, to be read through another interface.
    pub(super) fn shared(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Refuses where an earlier failure forbids further writes.
    pub(super) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            let file = self.path.clone();
            return Err(Error::NoMoreWrites { file });
        }
        Ok(())
    }

    /// Takes no more writes from now on.
    pub(super) fn give_up(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(super) fn len(&self) -> Result<ByteLen> {
        self.file.len().map_err(|source| Error::Examine {
            file: self.path.clone(),
            source,
        })
    }

    pub(super) fn read(&self, buf: &mut [u8], at: FileOffset) -> Result<()> {
        let read = self.file.read_exact_at(buf, at);
        read.map_err(|source| Error::Io {
            file: self.path.clone(),
            at,
            len: ByteLen(buf.len() as u64),
            source,
        })
    }

    pub(super) fn write(&self, bytes: &[u8], at: FileOffset) -> Result<()> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|source| self.write_failed(at, ByteLen(bytes.len() as u64), source))
    }

    pub(super) fn write_zeros(&self, at: FileOffset, len: ByteLen) -> Result<()> {
        let zeros = vec![0; usize::try_from(len.0.min(ZEROS_BYTES)).unwrap_or_default()];
        let mut done = 0;
        while done < len.0 {
            let piece = usize::try_from(len.0 - done).unwrap_or(usize::MAX);
            let piece = zeros.get(..piece).unwrap_or(&zeros);
            self.write(piece, FileOffset(at.0.saturating_add(done)))?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes the file at least `len` bytes long. What is new reads as zeros.
    pub(super) fn grow(&self, len: ByteLen) -> Result<()> {
        let grown = self.file.reserve(len);
        grown.map_err(|source| self.write_failed(FileOffset(len.0), ByteLen(0), source))
    }

    /// Returns when all that was written is durable. A failure is for good: a second sync would prove nothing.
    pub(super) fn sync(&self) -> Result<()> {
        self.check()?;
        self.file.sync().map_err(|source| {
            self.give_up();
            let file = self.path.clone();
            Error::Sync { file, source }
        })
    }

    fn write_failed(&self, at: FileOffset, len: ByteLen, source: io::Error) -> Error {
        Error::Write {
            file: self.path.clone(),
            at,
            len,
            source,
        }
    }
}

impl fmt::Debug for LiveFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFile")
            .field("path", &self.path)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
