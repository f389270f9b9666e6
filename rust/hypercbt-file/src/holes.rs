//! Where a sparse file has data, by `SEEK_DATA` and `SEEK_HOLE`; elsewhere "everywhere".

use std::fs::File;
use std::io;

use hypercbt_extent::{ByteLen, Extents};

use crate::read::everywhere;

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
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd"
)))]
pub(crate) fn data_extents(_: &File, len: ByteLen, _: usize) -> io::Result<Extents> {
    Ok(everywhere(len))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use hypercbt_extent::{DiskOffset, Extent};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file of 8 MiB with a little data at each of these MiB, if the file system knows holes.
    fn sparse(places: &[u64]) -> Option<File> {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * MIB).unwrap();
        for place in places {
            file.write_all_at(b"data", place * MIB).unwrap();
        }
        let found = data_extents(&file, ByteLen(8 * MIB), MAX_EXTENTS).unwrap();
        (found.total().0 < 8 * MIB).then_some(file)
    }

    #[test]
    fn data_are_found_where_they_are() {
        let Some(file) = sparse(&[1, 4]) else { return };
        let found = data_extents(&file, ByteLen(8 * MIB), MAX_EXTENTS).unwrap();
        let starts: Vec<u64> = found.iter().map(|extent| extent.start().0).collect();
        assert_eq!(starts, [MIB, 4 * MIB]);
        let all_hole = sparse(&[]).unwrap();
        assert!(
            data_extents(&all_hole, ByteLen(8 * MIB), MAX_EXTENTS)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn behind_the_last_piece_that_is_asked_for_everything_counts_as_data() {
        let Some(file) = sparse(&[1, 4, 6]) else {
            return;
        };
        let found = data_extents(&file, ByteLen(8 * MIB), 2).unwrap();
        assert_eq!(found.len(), 2);
        let rest = Extent::between(DiskOffset(4 * MIB), DiskOffset(8 * MIB)).unwrap();
        assert_eq!(found.as_slice().last(), Some(&rest));
    }
}
