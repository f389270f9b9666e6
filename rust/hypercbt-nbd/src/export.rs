//! What can be served: a disk, as the server sees it.

use std::io;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

/// What stands in a part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Bytes that have to be read.
    Data,
    /// A hole: it takes no space and reads as zeros.
    Zero,
}

impl Content {
    /// What stands in `extent` if there is data in these extents, and a hole everywhere else.
    pub fn partition(extent: Extent, data: &Extents) -> Vec<(Extent, Self)> {
        let mut parts = Vec::new();
        let mut at = extent.start();
        for part in data.intersecting(extent) {
            let Some(part) = part.intersection(extent) else {
                continue;
            };
            parts.extend(Extent::between(at, part.start()).map(|hole| (hole, Self::Zero)));
            parts.push((part, Self::Data));
            at = part.end();
        }
        parts.extend(Extent::between(at, extent.end()).map(|hole| (hole, Self::Zero)));
        parts
    }
}

/// A disk that can be served. Any number of threads call it at once, each for its own request.
///
/// The server checks before it calls: extents lie inside the disk, what writes comes only to a disk
/// that is not read-only, and in whole blocks of [`Export::block_bytes`].
///
/// The kind of an error says what the client is told: `StorageFull` becomes `ENOSPC`,
/// `PermissionDenied` `EPERM`, `InvalidInput` `EINVAL`, all else `EIO`. `InvalidData` says besides that
/// the disk's bytes are damaged, see [`crate::Failure`].
pub trait Export: Send + Sync {
    /// The length of the disk in bytes. It must not change while it is served.
    fn size(&self) -> ByteLen;

    /// Whether the disk refuses to be written to.
    fn is_read_only(&self) -> bool;

    /// The unit of writing: a power of two up to 64 KiB. 1: any place and length will do.
    fn block_bytes(&self) -> ByteLen {
        ByteLen(1)
    }

    /// Fills `buf` from position `at`.
    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at position `at`. They need not be durable before the next [`Export::flush`].
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()>;

    /// Makes `extent` read as zeros. Unless `may_unmap`, its space stays reserved.
    fn zero(&self, extent: Extent, may_unmap: bool) -> io::Result<()>;

    /// Says that nobody needs what stands in `extent`.
    fn unmap(&self, extent: Extent) -> io::Result<()>;

    /// Makes everything durable whose call returned before this one was made, on whatever thread.
    fn flush(&self) -> io::Result<()>;

    /// Partitions `extent` into data and holes: in order, adjacent, covering all of it.
    ///
    /// What it cannot tell the server takes for data: whoever reads that hears what is wrong.
    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(DiskOffset(start), DiskOffset(end)).unwrap()
    }

    #[test]
    fn between_the_data_are_holes() {
        let data: Extents = [extent(0, 10), extent(20, 30), extent(40, 60)]
            .into_iter()
            .collect();
        let parts = Content::partition(extent(5, 50), &data);
        let expected = [
            (extent(5, 10), Content::Data),
            (extent(10, 20), Content::Zero),
            (extent(20, 30), Content::Data),
            (extent(30, 40), Content::Zero),
            (extent(40, 50), Content::Data),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn without_data_all_is_one_hole() {
        let parts = Content::partition(extent(5, 50), &Extents::new());
        assert_eq!(parts, [(extent(5, 50), Content::Zero)]);
    }
}
