//! Byte ranges of a virtual disk: normalise, align, split, intersect, subtract, coalesce.
//!
//! Pure arithmetic on half-open ranges; no I/O and no dependencies. An [`Extent`] is one
//! non-empty range; [`Extents`] is a set of bytes written as sorted, disjoint, non-adjacent
//! extents, and every operation keeps it so.
//!
//! ```
//! use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
//!
//! let changed: Extents = [(70_000, 512), (0, 100), (100, 28)]
//!     .into_iter()
//!     .filter_map(|(start, len)| Extent::new(DiskOffset(start), ByteLen(len)))
//!     .collect();
//! assert_eq!(changed.len(), 2); // 0+128 and 70000+512
//! let chunks = changed.align(ByteLen(65_536), DiskOffset(100_000));
//! assert_eq!(chunks.total(), ByteLen(100_000)); // two chunks, the second cut at the disk's end
//! ```

mod algebra;
mod extent;
mod extents;
mod grid;

pub use extent::{ByteLen, DiskOffset, Extent};
pub use extents::Extents;
