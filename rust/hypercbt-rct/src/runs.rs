//! A map from places to the clock of their last touch: sorted runs, in pieces of fixed size.
//!
//! ```text
//! pieces   [ run run run … 128 ] [ run run … ] [ run … ]
//! run      start … end (grains), touched (a clock)
//! ```
//!
//! Runs are disjoint, and neighbours that touch differ in their clocks. A search looks among the pieces first,
//! then inside one; an insertion moves at most one piece's runs and, when a piece is full, the list of pieces.
//! A run costs 24 bytes and its share of a piece that is not full, so a million scattered runs take about 35 MiB.

use std::mem;

use crate::clock::Clock;

/// Runs of one piece. 3 KiB: small enough to move, large enough that a million runs are some 10,000 pieces.
const PIECE_RUNS: usize = 128;
/// What the allocator keeps beside each piece.
const ALLOCATION_BYTES: usize = 16;
/// The memory of one piece with its place in the list.
const PIECE_BYTES: usize = PIECE_RUNS * size_of::<Run>() + ALLOCATION_BYTES + size_of::<Vec<Run>>();

/// Neighbouring grains whose last touch has the same clock. Not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    /// One past the last grain.
    pub(crate) end: u64,
    pub(crate) touched: Clock,
}

impl Run {
    fn new(start: u64, end: u64, touched: Clock) -> Option<Self> {
        (start < end).then_some(Self {
            start,
            end,
            touched,
        })
    }
}

/// Sorted, disjoint runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pieces: Vec<Vec<Run>>,
}

/// Where a run is: which piece, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    piece: usize,
    index: usize,
}

impl Runs {
    /// The heap memory that the runs take.
    pub(crate) fn bytes(&self) -> usize {
        let spare = self.pieces.capacity() - self.pieces.len();
        self.pieces.len() * PIECE_BYTES + spare * size_of::<Vec<Run>>()
    }

    /// Whether one run holds all of these grains with a touch at `touched` or later.
    pub(crate) fn holds(&self, start: u64, end: u64, touched: Clock) -> bool {
        self.get(self.first_after(start))
            .is_some_and(|run| run.start <= start && end <= run.end && run.touched >= touched)
    }

    /// Raises the clock of all grains from `start` to `end` to at least `touched`.
    pub(crate) fn raise(&mut self, start: u64, end: u64, touched: Clock) {
        if self.holds(start, end, touched) {
            return;
        }
        // From the run that ends where we start, up to the one that starts where we end: they may join.
        let from = self.first_after(start.saturating_sub(1));
        let mut new = Joined::default();
        let mut at = start;
        let mut place = from;
        while let Some(run) = self.get(place).filter(|run| run.start <= end) {
            new.push(Run::new(run.start, run.end.min(start), run.touched));
            let (inside_start, inside_end) = (run.start.max(start), run.end.min(end));
            if inside_start < inside_end {
                new.push(Run::new(at, inside_start, touched));
                new.push(Run::new(inside_start, inside_end, run.touched.max(touched)));
                at = inside_end;
            }
            if run.end > end {
                new.push(Run::new(at, end, touched));
                at = end;
                new.push(Run::new(run.start.max(end), run.end, run.touched));
            }
            place = self.after(place);
        }
        new.push(Run::new(at, end, touched));
        self.replace(from, place, new.0);
    }

    /// At most `limit` runs, the first of them cut to begin at or behind `at`.
    pub(crate) fn from(&self, at: u64, limit: usize) -> impl Iterator<Item = Run> + use<'_> {
        let first = self.first_after(at);
        let heads = self.pieces.get(first.piece).into_iter();
        let heads = heads.flat_map(move |piece| piece.iter().skip(first.index));
        let tails = self.pieces.iter().skip(first.piece + 1).flatten();
        heads.chain(tails).take(limit).map(move |run| Run {
            start: run.start.max(at),
            ..*run
        })
    }

    /// Drops all runs whose last touch is at `clock` or earlier.
    pub(crate) fn drop_up_to(&mut self, clock: Clock) {
        self.rebuild(|run, runs| {
            if run.touched > clock {
                runs.push_last(run);
            }
        });
    }

    /// Widens all runs to whole multiples of `unit`, so that those that then meet become one.
    pub(crate) fn widen(&mut self, unit: u64) {
        let mut widening = Widening::new(unit);
        self.rebuild(|run, runs| {
            if let Some(wide) = widening.push(run) {
                runs.push_last(wide);
            }
        });
        if let Some(last) = widening.finish() {
            self.push_last(last);
        }
    }

    /// Hands all runs to `keep` with the new runs to add to, freeing each old piece when it is done.
    fn rebuild(&mut self, mut keep: impl FnMut(Run, &mut Self)) {
        for piece in mem::take(&mut self.pieces) {
            for run in piece {
                keep(run, self);
            }
        }
    }

    /// Adds a run behind all others.
    fn push_last(&mut self, run: Run) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE_RUNS => match piece.last_mut() {
                Some(last) if last.end == run.start && last.touched == run.touched => {
                    last.end = run.end;
                }
                _ => piece.push(run),
            },
            _ => self.pieces.push(full_size(&[run])),
        }
    }

    /// The first run that ends behind `at`.
    fn first_after(&self, at: u64) -> Place {
        let ends_by = |run: &Run| run.end <= at;
        let piece = self
            .pieces
            .partition_point(|piece| piece.last().is_some_and(ends_by));
        let index = self
            .pieces
            .get(piece)
            .map_or(0, |piece| piece.partition_point(ends_by));
        Place { piece, index }
    }

    fn get(&self, place: Place) -> Option<Run> {
        self.pieces.get(place.piece)?.get(place.index).copied()
    }

    /// The place of the next run.
    fn after(&self, place: Place) -> Place {
        let last = self
            .pieces
            .get(place.piece)
            .is_none_or(|piece| place.index + 1 >= piece.len());
        if last {
            Place {
                piece: place.piece + 1,
                index: 0,
            }
        } else {
            Place {
                index: place.index + 1,
                ..place
            }
        }
    }

    /// Puts `new` in the place of the runs from `from` up to `to`.
    fn replace(&mut self, from: Place, to: Place, new: Vec<Run>) {
        // The pieces that change, at least one; behind `to` is what stays of the last of them.
        let end = to.piece + usize::from(to.index > 0);
        let end = end.max(from.piece + 1);
        let kept = if to.piece < end { to.index } else { usize::MAX };
        if let (Some(piece), true) = (self.pieces.get_mut(from.piece), end == from.piece + 1) {
            let kept = kept.min(piece.len());
            if piece.len() - (kept - from.index) + new.len() <= PIECE_RUNS {
                // By far the most frequent: it all happens in one piece, and there is room.
                piece.splice(from.index..kept, new);
                return;
            }
        }
        if from.piece >= self.pieces.len() {
            return new.into_iter().for_each(|run| self.push_last(run));
        }
        let end = end.min(self.pieces.len());
        let head = self
            .pieces
            .get(from.piece)
            .and_then(|piece| piece.get(..from.index));
        let tail = self.pieces.get(end - 1).and_then(|piece| piece.get(kept..));
        let all = [head.unwrap_or_default(), &new, tail.unwrap_or_default()].concat();
        // Who writes in order fills the pieces; else there is room for neighbours.
        let in_order = end == self.pieces.len() && tail.is_none_or(<[Run]>::is_empty);
        let count = all.len().div_ceil(PIECE_RUNS);
        let each = if in_order {
            PIECE_RUNS
        } else {
            all.len().div_ceil(count.max(1)).max(1)
        };
        self.pieces
            .splice(from.piece..end, all.chunks(each).map(full_size));
    }
}

/// A piece of its full size, so that it need not grow and the sum of all is known.
fn full_size(runs: &[Run]) -> Vec<Run> {
    let mut piece = Vec::with_capacity(PIECE_RUNS);
    piece.extend_from_slice(runs);
    piece
}

/// Runs in order, those that touch and are equal made one.
#[derive(Default)]
struct Joined(Vec<Run>);

impl Joined {
    fn push(&mut self, run: Option<Run>) {
        let Some(run) = run else { return };
        match self.0.last_mut() {
            Some(last) if last.end == run.start && last.touched == run.touched => {
                last.end = run.end;
            }
            _ => self.0.push(run),
        }
    }
}

/// Widens runs that come in order to whole multiples of a unit; where two then meet, the later touch counts.
#[derive(Debug)]
pub(crate) struct Widening {
    unit: u64,
    last: Option<Run>,
}

impl Widening {
    pub(crate) fn new(unit: u64) -> Self {
        Self { unit, last: None }
    }

    /// Takes the next run; returns the one before, when nothing can change it any more.
    pub(crate) fn push(&mut self, run: Run) -> Option<Run> {
        let run = Run {
            start: run.start - run.start % self.unit,
            end: run.end.next_multiple_of(self.unit),
            ..run
        };
        let Some(last) = &mut self.last else {
            self.last = Some(run);
            return None;
        };
        if run.start <= last.end && run.touched == last.touched {
            last.end = run.end;
            return None;
        }
        // They share at most what both were widened by; the run does not end before `last` does.
        let (before, behind) = if run.touched > last.touched {
            (
                Run::new(last.start, last.end.min(run.start), last.touched),
                Some(run),
            )
        } else {
            (
                Some(*last),
                Run::new(run.start.max(last.end), run.end, run.touched),
            )
        };
        if let Some(behind) = behind {
            self.last = Some(behind);
            before
        } else {
            None
        }
    }

    /// The last run.
    pub(crate) fn finish(self) -> Option<Run> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(grain: u64) -> usize {
        usize::try_from(grain).unwrap()
    }

    fn all(runs: &Runs) -> Vec<(u64, u64, u64)> {
        runs.from(0, usize::MAX)
            .map(|run| (run.start, run.end, run.touched.0))
            .collect()
    }

    fn of(list: &[(u64, u64, u64)]) -> Runs {
        let mut runs = Runs::default();
        for &(start, end, touched) in list {
            runs.raise(start, end, Clock(touched));
        }
        runs
    }

    #[test]
    fn a_later_touch_cuts_an_earlier_run() {
        let runs = of(&[(0, 10, 1), (3, 5, 2)]);
        assert_eq!(all(&runs), [(0, 3, 1), (3, 5, 2), (5, 10, 1)]);
    }

    #[test]
    fn an_earlier_touch_fills_gaps_and_changes_nothing_else() {
        let runs = of(&[(3, 5, 2), (7, 8, 2), (0, 10, 1)]);
        assert_eq!(
            all(&runs),
            [(0, 3, 1), (3, 5, 2), (5, 7, 1), (7, 8, 2), (8, 10, 1)]
        );
    }

    #[test]
    fn equal_neighbours_become_one() {
        assert_eq!(all(&of(&[(0, 2, 1), (4, 6, 1), (2, 4, 1)])), [(0, 6, 1)]);
        assert_eq!(all(&of(&[(4, 6, 1), (2, 4, 1)])), [(2, 6, 1)]);
    }

    #[test]
    fn a_range_over_many_pieces_replaces_them() {
        let mut runs = Runs::default();
        for n in 0..10_000 {
            runs.raise(2 * n, 2 * n + 1, Clock(1));
        }
        assert_eq!(all(&runs).len(), 10_000);
        let full = runs.bytes();
        runs.raise(1, 19_997, Clock(2));
        assert_eq!(all(&runs), [(0, 1, 1), (1, 19_997, 2), (19_998, 19_999, 1)]);
        assert!(runs.bytes() < full / 2);
    }

    #[test]
    fn who_writes_in_order_fills_the_pieces() {
        let mut runs = Runs::default();
        for n in 0..PIECE_RUNS as u64 * 100 {
            runs.raise(2 * n, 2 * n + 1, Clock(1));
        }
        assert_eq!(runs.pieces.len(), 100);
    }

    #[test]
    fn widened_runs_that_meet_keep_the_later_touch() {
        let mut runs = of(&[(0, 1, 1), (5, 6, 2), (9, 10, 1), (17, 18, 3), (40, 41, 3)]);
        runs.widen(8);
        assert_eq!(
            all(&runs),
            [(0, 8, 2), (8, 16, 1), (16, 24, 3), (40, 48, 3)]
        );
    }

    #[test]
    fn runs_from_the_middle_of_one_begin_there() {
        let runs = of(&[(0, 10, 1), (20, 30, 2), (30, 31, 1)]);
        let some: Vec<_> = runs.from(5, 2).map(|run| (run.start, run.end)).collect();
        assert_eq!(some, [(5, 10), (20, 30)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_map_is_what_a_list_of_all_grains_says(
            steps in proptest::collection::vec((0u64..2000, 1u64..60, 1u64..6, 0u8..40), 1..400),
        ) {
            let mut runs = Runs::default();
            let mut model = vec![0u64; 2304];
            for (start, len, touched, what) in steps {
                match what {
                    0 => {
                        runs.drop_up_to(Clock(touched));
                        model.iter_mut().filter(|clock| **clock <= touched).for_each(|clock| *clock = 0);
                    }
                    1 => {
                        let unit = 1 << (touched % 4);
                        runs.widen(unit);
                        for cells in model.chunks_mut(usize::try_from(unit).unwrap()) {
                            let last = cells.iter().copied().max().unwrap();
                            cells.fill(last);
                        }
                    }
                    _ => {
                        // Single grains far apart make many runs, so that pieces fill and split.
                        let len = if len > 20 { 1 } else { len };
                        runs.raise(start, start + len, Clock(touched));
                        for clock in &mut model[index(start)..index(start + len)] {
                            *clock = touched.max(*clock);
                        }
                    }
                }
            }
            let found = all(&runs);
            let mut seen = vec![0u64; model.len()];
            let mut end = 0;
            for &(start, stop, touched) in &found {
                prop_assert!(start >= end && stop > start, "sorted and disjoint: {found:?}");
                end = stop;
                seen[index(start)..index(stop)].fill(touched);
            }
            prop_assert_eq!(seen, model);
            for piece in &runs.pieces {
                prop_assert!(!piece.is_empty() && piece.capacity() == PIECE_RUNS);
            }
        }
    }
}
