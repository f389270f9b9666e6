//! What can be served: a disk, as the server sees it.

use std::io;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

/// What stands in a part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Bytes that have to be read.
    Data,
    /// A hole: it takes no space and reads as zeros.
    Zero,
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
    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>>;
}
