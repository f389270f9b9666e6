//! Room on the volume, taken before it is needed.

use std::fs::File;
use std::io;

use hypercbt_extent::ByteLen;

/// Makes the file at least `len` bytes long and takes the room for what is new, or fails with `Unsupported` if the
/// file system cannot. What is new reads as zeros; holes in what was there stay holes.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &File, len: ByteLen) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
    use rustix::io::{Errno, retry_on_intr};

    let old_len = file.metadata()?.len();
    let missing = len.0.saturating_sub(old_len);
    if missing == 0 {
        return Ok(());
    }
    // Asking first keeps a request that is too big from filling the volume until it fails, to the
    // harm of everybody else who writes there. Zero blocks in all: the file system does not say.
    if let Ok(volume) = fstatvfs(file)
        && volume.f_blocks > 0
        && volume.f_bavail.saturating_mul(volume.f_frsize) < missing
    {
        return Err(Errno::NOSPC.into());
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), old_len, missing)) {
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
