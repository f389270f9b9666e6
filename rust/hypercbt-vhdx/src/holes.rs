//! Where a sparse file has data, by `SEEK_DATA` and `SEEK_HOLE`; elsewhere "everywhere".

use std::fs::File;
use std::io;

use hypercbt_extent::{ByteLen, Extents};

use crate::storage::everywhere;

/// More pieces than this are not asked for: the rest of the file then counts as data. 4 MiB of memory and
/// less than a second of calls, whatever the file looks like.
pub(crate) const MAX_EXTENTS: usize = 1 << 18;

/// The parts of the first `len` bytes that are no hole, in at most `limit` pieces.
///
/// The file's own position moves, which nobody uses: all reads are positional.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd"
))]
pub(crate) fn data_extents(file: &File, len: ByteLen, limit: usize) -> io::Result<Extents> {
    use hypercbt_extent::{DiskOffset, Extent};
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    let mut found = Vec::new();
    let mut at = 0;
    while at < len.0 {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // The file system cannot tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(everywhere(len)),
            Err(error) => return Err(error.into()),
        };
        let end = if found.len() + 1 >= limit {
            len.0
        } else {
            match seek(file, SeekFrom::Hole(start)) {
                Ok(end) => end.min(len.0),
                // The file became shorter meanwhile.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            }
        };
        let Some(extent) = Extent::between(DiskOffset(start), DiskOffset(end)) else {
            break;
        };
        found.push(extent);
        at = end;
    }
    Ok(Extents::from_unsorted(found))
}

/// This system cannot tell: data everywhere.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd"
)))]
pub(crate) fn data_extents(_: &File, len: ByteLen, _: usize) -> io::Result<Extents> {
    Ok(everywhere(len))
}
