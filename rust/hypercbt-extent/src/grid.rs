//! A disk cut into equal cells: chunks, blocks, sectors.
//!
//! Cell `n` of a grid is the bytes from `n * grid` up to `(n + 1) * grid`. The grid is any size
//! but zero; it need not be a power of two.

use std::ops::Range;

use crate::{ByteLen, DiskOffset, Extent, Extents};

impl Extents {
    /// All bytes before `end` of every cell that the set touches.
    ///
    /// # Panics
    ///
    /// If `grid` is zero.
    #[must_use]
    pub fn align(&self, grid: ByteLen, end: DiskOffset) -> Self {
        Self::from_normal(
            self.cell_runs(grid)
                .map_while(|run| {
                    Extent::between(
                        cell_start(run.start, grid),
                        cell_start(run.end, grid).min(end),
                    )
                })
                .collect(),
        )
    }

    /// The set in pieces of which none crosses the border of a cell, in order.
    ///
    /// # Panics
    ///
    /// If `grid` is zero.
    pub fn split(&self, grid: ByteLen) -> impl Iterator<Item = Extent> + use<'_> {
        self.iter().flat_map(move |extent| {
            extent.cells(grid).map(move |cell| {
                let start = extent.start().max(cell_start(cell, grid));
                let end = extent.end().min(cell_start(cell + 1, grid));
                Extent::between(start, end).expect("the extent touches each of its cells")
            })
        })
    }

    /// The numbers of the cells that the set touches, ascending, each once.
    ///
    /// # Panics
    ///
    /// If `grid` is zero.
    pub fn cells(&self, grid: ByteLen) -> impl Iterator<Item = u64> + use<'_> {
        self.cell_runs(grid).flatten()
    }

    /// Like [`cells`](Self::cells), as runs of consecutive numbers: ascending, and at least one
    /// untouched cell between two of them.
    ///
    /// # Panics
    ///
    /// If `grid` is zero.
    pub fn cell_runs(&self, grid: ByteLen) -> impl Iterator<Item = Range<u64>> + use<'_> {
        let mut runs = self.iter().map(move |extent| extent.cells(grid)).peekable();
        std::iter::from_fn(move || {
            let mut run = runs.next()?;
            while let Some(next) = runs.next_if(|next| next.start <= run.end) {
                run.end = next.end;
            }
            Some(run)
        })
    }
}

impl Extent {
    /// The numbers of the cells that the extent touches, at least one.
    ///
    /// # Panics
    ///
    /// If `grid` is zero.
    pub fn cells(self, grid: ByteLen) -> Range<u64> {
        assert!(grid.0 > 0, "a grid has cells of at least one byte");
        // Both ends stay below `u64::MAX`, since no extent holds the byte of that number.
        self.start().0 / grid.0..(self.end().0 - 1) / grid.0 + 1
    }
}

/// Where cell `cell` starts, or `u64::MAX` if that is past all disks.
fn cell_start(cell: u64, grid: ByteLen) -> DiskOffset {
    DiskOffset(cell.saturating_mul(grid.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: DiskOffset = DiskOffset(u64::MAX);

    fn set(ranges: &[(u64, u64)]) -> Extents {
        ranges
            .iter()
            .map(|&(start, end)| Extent::between(DiskOffset(start), DiskOffset(end)).unwrap())
            .collect()
    }

    #[test]
    fn alignment_widens_both_ends_and_joins_what_then_touches() {
        let aligned = set(&[(5, 6), (12, 13), (35, 40)]).align(ByteLen(10), FAR);
        assert_eq!(aligned, set(&[(0, 20), (30, 40)]));
    }

    #[test]
    fn alignment_stops_at_the_end_of_the_disk() {
        let aligned = set(&[(5, 6), (21, 22), (60, 61)]).align(ByteLen(10), DiskOffset(25));
        assert_eq!(aligned, set(&[(0, 10), (20, 25)]));
    }

    #[test]
    fn alignment_near_the_largest_number_does_not_overflow() {
        let last = set(&[(u64::MAX - 1, u64::MAX)]);
        assert_eq!(
            last.align(ByteLen(1 << 20), FAR),
            set(&[(0u64.wrapping_sub(1 << 20), u64::MAX)])
        );
        assert_eq!(last.align(ByteLen(u64::MAX), FAR), set(&[(0, u64::MAX)]));
        assert_eq!(last.align(ByteLen(1), FAR), last);
    }

    #[test]
    fn a_grid_need_not_be_a_power_of_two() {
        assert_eq!(set(&[(7, 8)]).align(ByteLen(7), FAR), set(&[(7, 14)]));
    }

    #[test]
    fn pieces_end_where_cells_end() {
        let set = set(&[(5, 25), (30, 31)]);
        let pieces: Vec<_> = set
            .split(ByteLen(10))
            .map(|piece| (piece.start().0, piece.end().0))
            .collect();
        assert_eq!(pieces, [(5, 10), (10, 20), (20, 25), (30, 31)]);
    }

    #[test]
    fn a_cell_that_two_extents_touch_is_named_once() {
        let set = set(&[(1, 2), (8, 12), (35, 36)]);
        assert_eq!(set.cells(ByteLen(10)).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(set.cell_runs(ByteLen(10)).collect::<Vec<_>>(), [0..2, 3..4]);
    }

    #[test]
    #[should_panic(expected = "at least one byte")]
    fn a_grid_of_zero_is_misuse() {
        let _ = set(&[(1, 2)]).align(ByteLen(0), FAR);
    }
}
