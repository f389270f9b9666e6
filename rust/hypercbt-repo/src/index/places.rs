//! What a look-up answers: for each id all of its places.

use crate::Location;

/// One place of an id, as a segment tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedPlace {
    /// The pack, and where in it.
    pub location: Location,
    /// How long the pack was when it was indexed. A pack of another length is not that pack.
    pub pack_len: u64,
}

/// The places of a batch of ids, in the order of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// Where the places of each id end in `places`.
    ends: Vec<u32>,
    places: Vec<IndexedPlace>,
}

/// A place, and the number of the id in the batch.
pub(super) type Found = (u32, IndexedPlace);

impl Places {
    /// Sorts what was found by id number. A place that two segments tell is told once.
    pub(super) fn collect(ids: usize, mut found: Vec<Found>) -> Self {
        // Nearly sorted by place and few: most batches find one place for each id, or none.
        found.sort_unstable();
        found.dedup();
        let mut ends = vec![0_u32; ids];
        for &(id, _) in &found {
            if let Some(count) = ends.get_mut(id as usize) {
                *count += 1;
            }
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        Self {
            ends,
            places: found.into_iter().map(|(_, place)| place).collect(),
        }
    }

    /// All places of the id at this position of the batch, sorted; empty if the index has none.
    #[must_use]
    pub fn of(&self, position: usize) -> &[IndexedPlace] {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = position.checked_sub(1).map_or(0, end);
        self.places.get(start..end(position)).unwrap_or_default()
    }

    /// The places of each id in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[IndexedPlace]> {
        (0..self.ends.len()).map(|position| self.of(position))
    }

    /// How many ids were asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no id was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackName;

    fn place(offset: u32) -> IndexedPlace {
        let location = Location {
            pack: PackName([1; 32]),
            offset,
            stored_len: 9,
        };
        IndexedPlace {
            location,
            pack_len: 100,
        }
    }

    #[test]
    fn places_come_back_by_position_and_only_once() {
        let found = vec![(2, place(5)), (0, place(7)), (2, place(4)), (2, place(5))];
        let places = Places::collect(4, found);
        let expected: [&[_]; 4] = [&[place(7)], &[], &[place(4), place(5)], &[]];
        assert!(places.iter().eq(expected));
        assert_eq!(places.of(4), []);
    }
}
