//! One disk file as its log has it: the bytes of the storage, with the changes that the log holds laid over them.

use std::io;
use std::path::{Path, PathBuf};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

use crate::error::Defect;
use crate::format::MAX_FILE_BYTES;
use crate::log::Overlay;
use crate::{Error, FileOffset, Part, ReadAt, Reason, Result};

/// A named storage, and what its log lays over it.
pub(crate) struct Source {
    name: PathBuf,
    storage: Box<dyn ReadAt>,
    modified: Option<i128>,
    file_len: ByteLen,
    data: Extents,
    overlay: Overlay,
}

impl Source {
    /// Notes the length and the holes of `storage`. No log is looked at yet.
    pub(crate) fn new(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let failed = |source| Error::Examine {
            file: name.clone(),
            source,
        };
        // Before all else: a write from now on is seen by whoever compares.
        let modified = storage.modified().map_err(failed)?;
        let file_len = storage.len().map_err(failed)?;
        let data = storage.data_extents().map_err(failed)?;
        Ok(Self {
            name,
            storage,
            modified,
            file_len,
            data,
            overlay: Overlay::default(),
        })
    }

    /// Lays the changes of the log over the file.
    pub(crate) fn set_overlay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
    }

    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn storage(&self) -> &dyn ReadAt {
        self.storage.as_ref()
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// When the file had last been modified as it was opened, if the storage knows.
    pub(crate) fn modified(&self) -> Option<i128> {
        self.modified
    }

    /// The length of the file as it was opened.
    pub(crate) fn file_len(&self) -> ByteLen {
        self.file_len
    }

    /// The length of the file once its log is replayed: never less than [`file_len`](Self::file_len).
    pub(crate) fn len(&self) -> ByteLen {
        self.file_len.max(self.overlay.file_len())
    }

    /// Where the storage may hold something else than zeros.
    pub(crate) fn data(&self) -> &Extents {
        &self.data
    }

    /// The error that this file breaks a rule.
    pub(crate) fn corrupt(&self, part: Part, reason: Reason) -> Error {
        Error::Corrupt {
            file: self.name.clone(),
            part,
            reason,
        }
    }

    /// The error for a broken rule that was found without knowing the file.
    pub(crate) fn blame(&self, defect: Defect) -> Error {
        self.corrupt(defect.part, defect.reason)
    }

    /// The error that the file could not be looked at.
    pub(crate) fn examine_failed(&self, source: io::Error) -> Error {
        Error::Examine {
            file: self.name.clone(),
            source,
        }
    }

    /// Refuses a file that ends before `end`, or that is too large for our maps of it.
    pub(crate) fn require(&self, part: Part, end: u64) -> Result<()> {
        let file_len = self.len();
        if file_len.0 > MAX_FILE_BYTES {
            return Err(self.corrupt(part, Reason::FileSize(file_len.0)));
        }
        if end > file_len.0 {
            let needed = ByteLen(end);
            return Err(self.corrupt(part, Reason::Truncated { file_len, needed }));
        }
        Ok(())
    }

    /// Whether the range is known to be zero without reading it: a hole that the log leaves alone.
    pub(crate) fn is_hole(&self, at: FileOffset, len: ByteLen) -> bool {
        Extent::new(DiskOffset(at.0), len)
            .is_some_and(|range| self.data.intersecting(range).is_empty())
            && !self.overlay.touches(at, len)
    }

    /// Fills `buf` from `at` on, as the log has it. Bytes that only the log's growth of the file adds are zero.
    ///
    /// # Errors
    /// [`Error::Io`], also where the range ends past [`len`](Self::len).
    pub(crate) fn read(&self, buf: &mut [u8], at: FileOffset) -> Result<()> {
        let end = at.0.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len().0) {
            return Err(self.io(at, buf.len(), io::ErrorKind::UnexpectedEof.into()));
        }
        let in_file = usize::try_from(self.file_len.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
        let (in_file, grown) = buf.split_at_mut(in_file.min(buf.len()));
        self.read_storage(in_file, at)?;
        grown.fill(0);
        self.overlay
            .patch(buf, at, |buf, at| self.read_storage(buf, at))
    }

    /// Fills `buf` from `at` on, as the storage has it.
    pub(crate) fn read_storage(&self, buf: &mut [u8], at: FileOffset) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        self.storage
            .read_exact_at(buf, at)
            .map_err(|source| self.io(at, buf.len(), source))
    }

    fn io(&self, at: FileOffset, len: usize, source: io::Error) -> Error {
        Error::Io {
            file: self.name.clone(),
            at,
            len: ByteLen(len as u64),
            source,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
