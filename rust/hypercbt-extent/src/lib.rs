//! Byte ranges of a virtual disk: normalise, align, split, intersect, subtract, coalesce.
//!
//! Pure arithmetic on half-open ranges; no I/O and no dependencies. An [`Extent`] is one
//! non-empty range; [`Extents`] is a set of bytes written as sorted, disjoint, non-adjacent
//! extents, and every operation keeps it so.

mod extent;
mod extents;

pub use extent::{ByteLen, DiskOffset, Extent};
pub use extents::Extents;
