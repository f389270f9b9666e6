//! Which chunks differ between two disks, visiting only what differs.

use std::collections::VecDeque;

use super::{
    NodeSource, Place, TreeShape,
    lifted::{Branch, Lifted},
};
use crate::{NodeId, Result};

/// The chunks that differ between two trees, each given as its root and its number of chunks.
///
/// Ascending. What is past the end of the smaller disk counts as zero there. A node that cannot be loaded
/// gives one error; what lies below it is left out, and the rest follows.
pub fn diff(
    source: &dyn NodeSource,
    a: (Option<NodeId>, u64),
    b: (Option<NodeId>, u64),
) -> Diff<'_> {
    let place = TreeShape::new(a.1.max(b.1)).root();
    let roots = (Lifted::tree(a.0, a.1), Lifted::tree(b.0, b.1));
    Diff {
        source,
        chunks: (a.1, b.1),
        stack: vec![(place, roots.0, roots.1)],
        found: VecDeque::new(),
    }
}

/// The chunks that differ. See [`diff`].
pub struct Diff<'a> {
    source: &'a dyn NodeSource,
    chunks: (u64, u64),
    /// Pairs still to be compared, the next one last: at most a node's children a level.
    stack: Vec<(Place, Option<Lifted>, Option<Lifted>)>,
    /// What the last leaf gave: at most 64.
    found: VecDeque<u64>,
}

impl Diff<'_> {
    fn compare(&mut self, place: Place, a: Option<Lifted>, b: Option<Lifted>) -> Result<()> {
        let a = Branch::load(self.source, a, place, self.chunks.0)?;
        let b = Branch::load(self.source, b, place, self.chunks.1)?;
        if place.level() == 0 {
            let differs = |index: &usize| a.chunk(*index) != b.chunk(*index);
            let numbers = (0..place.children()).filter(differs);
            self.found
                .extend(numbers.map(|index| place.child_first(index)));
            return Ok(());
        }
        for index in (0..place.children()).rev() {
            let pair = (a.child(index), b.child(index));
            self.stack.push((place.child(index), pair.0, pair.1));
        }
        Ok(())
    }
}

impl Iterator for Diff<'_> {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.found.pop_front() {
                return Some(Ok(chunk));
            }
            let (place, a, b) = self.stack.pop()?;
            if a == b {
                continue;
            }
            if let Err(error) = self.compare(place, a, b) {
                return Some(Err(error));
            }
        }
    }
}
