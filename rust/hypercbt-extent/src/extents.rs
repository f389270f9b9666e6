//! A set of bytes of a virtual disk: making one, looking into it, widening it.
//!
//! The one invariant, which every constructor establishes and all else relies on: between two
//! neighbouring extents lies at least one byte that is not in the set. So each set has exactly
//! one form, equality is equality of sets, and a search by start finds what holds a byte.

use crate::{ByteLen, DiskOffset, Extent};

/// Sorted, disjoint, non-adjacent extents: a set of bytes in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Extents(Vec<Extent>);

impl Extents {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of `extents`, which may overlap and come in any order.
    ///
    /// Works in the memory of `extents`. One pass if they are sorted already.
    pub fn from_unsorted(mut extents: Vec<Extent>) -> Self {
        // The start alone decides: whatever the order among equal starts, merging takes the
        // farthest end. Comparing one integer is what makes ten million fit into a second.
        if !extents.is_sorted_by_key(|extent| extent.start()) {
            extents.sort_unstable_by_key(|extent| extent.start());
        }
        merge_sorted(&mut extents, ByteLen(0));
        Self(extents)
    }

    /// Takes extents that are already sorted, disjoint and non-adjacent.
    pub(crate) fn from_normal(extents: Vec<Extent>) -> Self {
        debug_assert!(
            extents.is_sorted_by(|left, right| left.end() < right.start()),
            "sorted, disjoint, non-adjacent"
        );
        Self(extents)
    }

    /// The extents, sorted, disjoint, non-adjacent.
    pub fn as_slice(&self) -> &[Extent] {
        &self.0
    }

    /// The extents in order.
    pub fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, Extent>> {
        self.0.iter().copied()
    }

    /// The number of extents, not of bytes: for those see [`total`](Self::total).
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the set has no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of bytes in the set.
    pub fn total(&self) -> ByteLen {
        // Cannot overflow: the extents are disjoint and the last one ends by `u64::MAX`.
        ByteLen(self.iter().map(|extent| extent.len().0).sum())
    }

    /// True if the byte at `at` is in the set.
    pub fn contains(&self, at: DiskOffset) -> bool {
        let after = self.0.partition_point(|extent| extent.end() <= at);
        self.0.get(after).is_some_and(|extent| extent.start() <= at)
    }

    /// The extents that share at least one byte with `extent`, whole.
    pub fn intersecting(&self, extent: Extent) -> &[Extent] {
        let (_, from) = self
            .0
            .split_at(self.0.partition_point(|own| own.end() <= extent.start()));
        let (hits, _) = from.split_at(from.partition_point(|own| own.start() < extent.end()));
        hits
    }

    /// The bytes before `end`.
    #[must_use]
    pub fn clip(&self, end: DiskOffset) -> Self {
        Self(
            self.iter()
                .map_while(|extent| Extent::between(extent.start(), extent.end().min(end)))
                .collect(),
        )
    }

    /// The set with every gap of at most `gap` bytes between two extents filled.
    ///
    /// For readers: one long read over a small hole is cheaper than two short ones.
    #[must_use]
    pub fn coalesce(&self, gap: ByteLen) -> Self {
        let mut extents = self.0.clone();
        merge_sorted(&mut extents, gap);
        Self(extents)
    }
}

impl FromIterator<Extent> for Extents {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        Self::from_unsorted(extents.into_iter().collect())
    }
}

impl From<Extent> for Extents {
    fn from(extent: Extent) -> Self {
        Self(vec![extent])
    }
}

impl<'a> IntoIterator for &'a Extents {
    type Item = Extent;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, Extent>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Extents {
    type Item = Extent;
    type IntoIter = std::vec::IntoIter<Extent>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Joins neighbours that overlap, touch, or lie at most `gap` bytes apart, in place.
///
/// `extents` are sorted by their starts.
fn merge_sorted(extents: &mut Vec<Extent>, gap: ByteLen) {
    extents.dedup_by(|next, last| match last.joined(*next, gap) {
        Some(joined) => {
            *last = joined;
            true
        }
        None => false,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(DiskOffset(start), DiskOffset(end)).unwrap()
    }

    #[test]
    fn overlapping_and_adjacent_extents_become_one() {
        let extents = Extents::from_unsorted(vec![extent(20, 30), extent(0, 10), extent(10, 21)]);
        assert_eq!(extents.as_slice(), [extent(0, 30)]);
    }

    #[test]
    fn a_gap_of_one_byte_keeps_two_extents_apart() {
        let extents = Extents::from_unsorted(vec![extent(11, 20), extent(0, 10)]);
        assert_eq!(extents.as_slice(), [extent(0, 10), extent(11, 20)]);
    }

    #[test]
    fn a_short_extent_inside_a_long_one_does_not_cut_it() {
        for order in [[extent(0, 50), extent(0, 5)], [extent(0, 5), extent(0, 50)]] {
            assert_eq!(Extents::from_iter(order).as_slice(), [extent(0, 50)]);
        }
        let extents = Extents::from_iter([extent(0, 50), extent(10, 20), extent(30, 60)]);
        assert_eq!(extents.as_slice(), [extent(0, 60)]);
    }

    #[test]
    fn coalescing_fills_gaps_up_to_the_limit_and_none_longer() {
        let extents = Extents::from_iter([extent(0, 10), extent(14, 20), extent(25, 30)]);
        let coalesced = extents.coalesce(ByteLen(4));
        assert_eq!(coalesced.as_slice(), [extent(0, 20), extent(25, 30)]);
        assert_eq!(extents.coalesce(ByteLen(0)), extents);
        assert_eq!(
            extents.coalesce(ByteLen(u64::MAX)).as_slice(),
            [extent(0, 30)]
        );
    }

    #[test]
    fn clipping_inside_an_extent_shortens_it_and_drops_the_rest() {
        let extents = Extents::from_iter([extent(0, 10), extent(20, 30), extent(40, 50)]);
        let clipped = extents.clip(DiskOffset(25));
        assert_eq!(clipped.as_slice(), [extent(0, 10), extent(20, 25)]);
        assert_eq!(extents.clip(DiskOffset(20)).as_slice(), [extent(0, 10)]);
        assert_eq!(extents.clip(DiskOffset(0)), Extents::new());
    }

    #[test]
    fn touching_is_not_intersecting() {
        let extents = Extents::from_iter([extent(0, 10), extent(20, 30), extent(40, 50)]);
        assert_eq!(extents.intersecting(extent(10, 20)), []);
        assert_eq!(
            extents.intersecting(extent(9, 21)),
            [extent(0, 10), extent(20, 30)]
        );
        assert_eq!(extents.intersecting(extent(22, 23)), [extent(20, 30)]);
        assert_eq!(extents.intersecting(extent(50, 60)), []);
    }

    #[test]
    fn the_end_of_an_extent_is_not_contained() {
        let extents = Extents::from(extent(10, 20));
        assert!(!extents.contains(DiskOffset(9)));
        assert!(extents.contains(DiskOffset(10)));
        assert!(extents.contains(DiskOffset(19)));
        assert!(!extents.contains(DiskOffset(20)));
        assert!(!extents.contains(DiskOffset(u64::MAX)));
    }

    #[test]
    fn the_total_of_the_largest_set_does_not_overflow() {
        let extents = Extents::from_iter([extent(1, u64::MAX), extent(0, 1)]);
        assert_eq!(extents.total(), ByteLen(u64::MAX));
    }
}
