//! What a tracker did, in numbers.

use hypercbt_extent::ByteLen;

/// Counts since the tracker was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Writes that touched a region which was not marked yet, and so had to wait for a mark.
    pub first_touches: u64,
    /// Syncs that made marks of waiting writes durable. With `g` writers waiting together one sync serves all.
    pub mark_syncs: u64,
    /// Regions that were marked in the `.mrt` file.
    pub marks_written: u64,
    /// Times that the `.rct` file was written back.
    pub rct_writes: u64,
    /// What the map in memory tells apart now; more than the grain where memory got short.
    pub coarsened: ByteLen,
    /// Bytes of memory that the map and what belongs to it take now.
    pub memory_bytes: u64,
}

/// What a tracker that was opened could build on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// Nothing: tracking began with this session.
    Started,
    /// The `.rct` file and, for what was touched after it was written, `.mrt` regions.
    Fine {
        /// Regions that are reported whole.
        whole_regions: u64,
    },
    /// `.mrt` regions alone, since the `.rct` file was missing, damaged or not the one that belongs here.
    Coarse {
        /// Regions that are reported whole.
        whole_regions: u64,
    },
}
