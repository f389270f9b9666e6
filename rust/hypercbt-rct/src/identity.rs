//! Which disk is tracked, and in which state its file is.

use std::fmt;

use hypercbt_extent::ByteLen;

/// What a disk keeps for life: tracker files of another disk, or of another size, say nothing about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskIdentity {
    /// The disk's own id; for VHDX the `VirtualDiskId`.
    pub disk_id: [u8; 16],
    /// The size of the virtual disk.
    pub size: ByteLen,
}

/// Names a state of the disk's file: it is a new one whenever somebody may have changed the file.
///
/// Opaque here. For VHDX it is `FileWriteGuid` followed by `DataWriteGuid` of the header that counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(pub [u8; 32]);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stamp({self})")
    }
}
