//! Two sets of bytes: what is in both, in either, in one but not the other.
//!
//! Each operation walks both sets once, side by side, so it costs the sum of their extents.

use crate::{ByteLen, Extent, Extents};

impl Extents {
    /// The bytes that are in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.as_slice(), other.as_slice());
        let mut both = Vec::new();
        while let ([one, left_rest @ ..], [two, right_rest @ ..]) = (left, right) {
            both.extend(one.intersection(*two));
            // Whichever ends first cannot meet anything more.
            if one.end() <= two.end() {
                left = left_rest;
            } else {
                right = right_rest;
            }
        }
        Self::from_normal(both)
    }

    /// The bytes that are in this set or in `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.as_slice(), other.as_slice());
        let mut either: Vec<Extent> = Vec::with_capacity(left.len().max(right.len()));
        while let Some(next) = take_first(&mut left, &mut right) {
            match either.last_mut() {
                Some(last) => match last.joined(next, ByteLen(0)) {
                    Some(joined) => *last = joined,
                    None => either.push(next),
                },
                None => either.push(next),
            }
        }
        Self::from_normal(either)
    }

    /// The bytes of this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut holes = other.as_slice();
        let mut kept = Vec::new();
        for extent in self {
            let mut from = extent.start();
            while let [hole, rest @ ..] = holes {
                if hole.start() >= extent.end() {
                    break;
                }
                kept.extend(Extent::between(from, hole.start()));
                from = from.max(hole.end());
                if hole.end() > extent.end() {
                    break; // it may reach into the next extent too
                }
                holes = rest;
            }
            kept.extend(Extent::between(from, extent.end()));
        }
        Self::from_normal(kept)
    }
}

/// Takes the extent that starts first off whichever slice it heads.
fn take_first<'a>(left: &mut &'a [Extent], right: &mut &'a [Extent]) -> Option<Extent> {
    let from = match (left.first(), right.first()) {
        (Some(one), Some(two)) if two.start() < one.start() => right,
        (None, _) => right,
        (Some(_), _) => left,
    };
    let (first, rest) = from.split_first()?;
    *from = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskOffset;

    fn set(ranges: &[(u64, u64)]) -> Extents {
        ranges
            .iter()
            .map(|&(start, end)| Extent::between(DiskOffset(start), DiskOffset(end)).unwrap())
            .collect()
    }

    #[test]
    fn one_long_extent_meets_several_short_ones() {
        let long = set(&[(5, 45)]);
        let short = set(&[(0, 10), (20, 30), (40, 50)]);
        let both = set(&[(5, 10), (20, 30), (40, 45)]);
        assert_eq!(long.intersect(&short), both);
        assert_eq!(short.intersect(&long), both);
    }

    #[test]
    fn a_hole_across_two_extents_cuts_both() {
        let kept = set(&[(0, 10), (20, 30)]).subtract(&set(&[(8, 22)]));
        assert_eq!(kept, set(&[(0, 8), (22, 30)]));
    }

    #[test]
    fn several_holes_in_one_extent_leave_what_lies_between() {
        let kept = set(&[(0, 100)]).subtract(&set(&[(0, 10), (20, 30), (90, 100)]));
        assert_eq!(kept, set(&[(10, 20), (30, 90)]));
    }

    #[test]
    fn adjacent_extents_of_two_sets_become_one() {
        let either = set(&[(0, 10), (20, 30)]).union(&set(&[(10, 20), (30, 31)]));
        assert_eq!(either, set(&[(0, 31)]));
    }

    #[test]
    fn the_empty_set_is_neutral() {
        let (some, none) = (set(&[(3, 7)]), Extents::new());
        assert_eq!(some.union(&none), some);
        assert_eq!(none.union(&some), some);
        assert_eq!(some.subtract(&none), some);
        assert_eq!(none.subtract(&some), none);
        assert_eq!(some.intersect(&none), none);
    }
}
