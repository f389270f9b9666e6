//! Room on the volume, taken before it is needed.

use std::fs::File;
use std::io;

use hypercbt_extent::ByteLen;

/// Takes the room for `len` bytes and makes the file at least that long, or fails with `Unsupported` if the file
/// system cannot. What is new reads as zeros.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &File, len: ByteLen) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
    use rustix::io::{Errno, retry_on_intr};

    let missing = len.0.saturating_sub(file.metadata()?.len());
    // Asking first keeps a request that is too big from filling the volume until it fails, to the
    // harm of everybody else who writes there. Zero blocks in all: the file system does not say.
    if let Ok(volume) = fstatvfs(file)
        && volume.f_blocks > 0
        && volume.f_bavail.saturating_mul(volume.f_frsize) < missing
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
pub(crate) fn reserve(_file: &File, _len: ByteLen) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
