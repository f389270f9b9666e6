//! What can be read: a file, a byte slice, a faulty disk look alike.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

/// A position in a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileOffset(pub u64);

impl fmt::Display for FileOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        (**self).read_exact_at(buf, at)
    }

    fn len(&self) -> io::Result<ByteLen> {
        (**self).len()
    }

    fn data_extents(&self) -> io::Result<Extents> {
        (**self).data_extents()
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        (**self).modified()
    }

    fn as_file(&self) -> Option<&File> {
        (**self).as_file()
    }
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
