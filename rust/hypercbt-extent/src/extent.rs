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

    /// Both and what lies between them, or `None` if that is more than `gap` bytes.
    ///
    /// `next` does not start before this extent does.
    pub(crate) fn joined(self, next: Self, gap: ByteLen) -> Option<Self> {
        let between = next.start.0.saturating_sub(self.end().0);
        (between <= gap.0).then_some(())?;
        Self::between(self.start, self.end().max(next.end()))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_extent_does_not_exist() {
        assert_eq!(Extent::new(DiskOffset(7), ByteLen(0)), None);
        assert_eq!(Extent::between(DiskOffset(7), DiskOffset(7)), None);
        assert_eq!(Extent::between(DiskOffset(7), DiskOffset(6)), None);
    }

    #[test]
    fn an_extent_may_end_at_the_largest_number_but_not_past_it() {
        let last = Extent::new(DiskOffset(u64::MAX - 1), ByteLen(1)).unwrap();
        assert_eq!(last.end(), DiskOffset(u64::MAX));
        assert_eq!(Extent::new(DiskOffset(u64::MAX - 1), ByteLen(2)), None);
        assert_eq!(Extent::new(DiskOffset(u64::MAX), ByteLen(1)), None);
    }

    #[test]
    fn extents_that_only_touch_have_no_byte_in_common() {
        let one = Extent::new(DiskOffset(0), ByteLen(10)).unwrap();
        let two = Extent::new(DiskOffset(10), ByteLen(10)).unwrap();
        assert_eq!(one.intersection(two), None);
        assert_eq!(one.intersection(one), Some(one));
    }
}
