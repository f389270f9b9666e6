//! Places in a disk file's own terms. Places on the virtual disk are `hypercbt_extent`'s, in the file `hypercbt_file`'s.

use std::fmt;

/// The number of a payload block, counted from the start of the virtual disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockIndex(pub u64);

impl fmt::Display for BlockIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
