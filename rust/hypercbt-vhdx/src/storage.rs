//! What a disk is read from: a file, a byte slice, a faulty disk look alike.
//!
//! Nothing here knows a format. Positional reads only, so that any number of threads can share one file.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

use crate::{Error, FileOffset, NotADisk, Result};

/// A file that can be read at any position by many threads at once.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `at` on; an end of file before that is an error.
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()>;

    /// The length of the file now.
    fn len(&self) -> io::Result<ByteLen>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()?.0 == 0)
    }

    /// Where the file may hold something else than zeros, as positions in the file. The default: everywhere.
    fn data_extents(&self) -> io::Result<Extents> {
        Ok(everywhere(self.len()?))
    }

    /// When the file was last modified, in nanoseconds since 1970, if the storage knows.
    fn modified(&self) -> io::Result<Option<i128>> {
        Ok(None)
    }

    /// The file itself, for callers that read into foreign memory.
    fn as_file(&self) -> Option<&File> {
        None
    }
}

/// One extent for all of a file, none for an empty one.
pub(crate) fn everywhere(len: ByteLen) -> Extents {
    Extent::new(DiskOffset(0), len).into_iter().collect()
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let bytes = usize::try_from(at.0)
            .ok()
            .and_then(|from| self.get(from..)?.get(..buf.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.as_slice().len() as u64))
    }
}

/// A file of this machine.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
}

impl LocalFile {
    /// Opens a regular file for reading. Folders, pipes and devices are refused, and never waited for.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Open {
            file: path.to_owned(),
            source,
        };
        let file = open_without_waiting(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::NotADisk {
                file: path.to_owned(),
                reason: NotADisk::NotAFile,
            });
        }
        Ok(Self { file })
    }
}

impl From<File> for LocalFile {
    fn from(file: File) -> Self {
        Self { file }
    }
}

impl ReadAt for LocalFile {
    #[cfg(unix)]
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, at.0)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let mut at = at.0;
        while !buf.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, buf, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buf = buf.get_mut(read..).ok_or(io::ErrorKind::InvalidData)?;
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.file.metadata()?.len()))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let len = self.len()?;
        crate::holes::data_extents(&self.file, len, crate::holes::MAX_EXTENTS)
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        let modified = self.file.metadata()?.modified()?;
        let nanoseconds = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()),
            Err(before) => i128::try_from(before.duration().as_nanos()).map(|n| -n),
        };
        Ok(nanoseconds.ok())
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// Opens for reading; a pipe that nobody writes to must not hold us up before we can refuse it.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
        options.custom_flags(i32::try_from(nonblock).unwrap_or_default());
    }
    options.open(path)
}
