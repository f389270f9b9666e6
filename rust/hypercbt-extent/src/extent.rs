//! One byte range of a virtual disk, and the units that it is measured in.

use std::fmt;

/// A position on the virtual disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DiskOffset(pub u64);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteLen(pub u64);

impl fmt::Display for DiskOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ByteLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A non-empty byte range of a virtual disk. Its end never overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    start: DiskOffset,
    len: ByteLen,
}

impl Extent {
    /// Returns the extent, or `None` if it is empty or ends past `u64::MAX`.
    pub fn new(start: DiskOffset, len: ByteLen) -> Option<Self> {
        start.0.checked_add(len.0).filter(|_| len.0 > 0)?;
        Some(Self { start, len })
    }

    /// Returns the extent from `start` up to `end`, or `None` if it is empty.
    pub fn between(start: DiskOffset, end: DiskOffset) -> Option<Self> {
        Self::new(start, ByteLen(end.0.checked_sub(start.0)?))
    }

    /// The first byte.
    pub fn start(self) -> DiskOffset {
        self.start
    }

    /// The number of bytes, at least 1.
    pub fn len(self) -> ByteLen {
        self.len
    }

    /// One past the last byte. Cannot overflow: `new` checked it.
    pub fn end(self) -> DiskOffset {
        DiskOffset(self.start.0 + self.len.0)
    }

    /// The bytes that both have, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::between(self.start.max(other.start), self.end().min(other.end()))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.len)
    }
}
