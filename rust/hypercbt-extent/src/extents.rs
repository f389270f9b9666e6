//! A set of bytes of a virtual disk.

use crate::Extent;

/// Sorted, disjoint, non-adjacent extents: a set of bytes in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extents(Vec<Extent>);

impl Extents {
    /// The extents, sorted, disjoint, non-adjacent.
    pub fn as_slice(&self) -> &[Extent] {
        &self.0
    }
}
