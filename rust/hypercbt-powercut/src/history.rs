//! What was done to the files, one operation after the other.

use std::sync::Arc;

use crate::cut::Cut;
use crate::state::State;
use crate::volume::{Op, Volume};

/// From so many operations on, the volume is kept: a state needs no more than these done again.
pub(crate) const KEPT_EVERY: usize = 32;

/// What was done since the machine started. A copy is cheap.
#[derive(Debug, Clone)]
pub struct History {
    pub(crate) ops: Arc<Vec<Op>>,
    /// Before operation 0, 32, 64, …
    pub(crate) kept: Arc<Vec<Volume>>,
    /// Where a campaign begins.
    pub(crate) first: usize,
    /// Where what must hold changes; none: with each operation.
    pub(crate) promises: Arc<[usize]>,
}

impl History {
    /// How many operations there are. Power can go after 0, 1, … up to so many of them.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The same history, of which a [`campaign`](crate::campaign) looks only at what power leaves after `ops`
    /// operations or more.
    #[must_use]
    pub fn after(&self, ops: usize) -> Self {
        let first = ops.min(self.len());
        Self {
            first,
            ..self.clone()
        }
    }

    /// The same history, and what must hold after a cut changes only with these operations, each the first of which it holds:
    /// between two of them a [`campaign`](crate::campaign) checks a state once.
    #[must_use]
    pub fn with_promises(&self, from: impl IntoIterator<Item = usize>) -> Self {
        let mut promises: Vec<usize> = from.into_iter().chain([0]).collect();
        promises.sort_unstable();
        Self {
            promises: promises.into(),
            ..self.clone()
        }
    }

    /// One state in which the disk may be if power goes after the first `at` operations. `seed` draws it; 0, 1, 2
    /// and so on are the [extremes](Self::extremes), as long as there are any.
    pub fn state(&self, at: usize, seed: u64) -> State {
        let cut = self.cut(at);
        cut.state(&cut.plan(seed))
    }

    /// The worst: nothing unsynced survives, all does; nothing or all of one file, or of the names; the last
    /// write torn at each border; each change alone lost, each alone kept. At most 192, perhaps equal ones.
    pub fn extremes(&self, at: usize) -> Vec<State> {
        let cut = self.cut(at);
        cut.extremes().iter().map(|plan| cut.state(plan)).collect()
    }

    pub(crate) fn cut(&self, at: usize) -> Cut {
        let at = at.min(self.len());
        // The last kept one; of a history whose length is a multiple, the end is kept with the next operation.
        let kept = (at / KEPT_EVERY).min(self.kept.len() - 1);
        let mut volume = self.kept[kept].clone();
        for number in kept * KEPT_EVERY..at {
            volume.apply(number, &self.ops[number]);
        }
        Cut::new(at, volume)
    }
}
