//! Which bytes of which file are which bytes of the disk.

use hypercbt_extent::Extent;

use crate::FileOffset;

/// The number of a file of the chain: an index into [`layers`](crate::VirtualDisk::layers), 0 the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub u32);

/// Where the bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file, from this offset on, all in one piece.
    Data {
        /// Which file.
        file: FileIndex,
        /// Where in it.
        at: FileOffset,
    },
    /// Nowhere: they are zero.
    Zero,
}

/// An extent of the disk whose bytes are all in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Which bytes of the disk.
    pub extent: Extent,
    /// Where they are.
    pub place: Place,
}

/// The segments of an extent, in order. See [`VirtualDisk::segments`](crate::VirtualDisk::segments).
#[derive(Debug)]
pub struct Segments<'disk> {
    disk: std::marker::PhantomData<&'disk ()>,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        todo!()
    }
}
