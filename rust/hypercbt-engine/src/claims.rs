//! Which chunks a pass over the disk reads: turns stretches and claims into windows of jobs.

use std::ops::Range;

use hypercbt_extent::{Extent, Extents};
use hypercbt_repo::ChunkId;
use hypercbt_vhdx::VirtualDisk;

use crate::{
    Result,
    allocation::{Grid, Stretch, Stretches, stretches},
    base_tree::BaseTree,
    job::{self, Job},
    window::Window,
};

/// A window holds about this much to read: enough to sort by place in the file, few enough to remember.
const WINDOW_BYTES: u64 = 128 << 20;

/// A window holds at most this many jobs and ranges of zeros, however small they are.
const WINDOW_ITEMS: usize = 1024;

/// What somebody says must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claims {
    /// Everything.
    All,
    /// These chunks: sorted, disjoint, not adjacent.
    Some(Vec<Range<u64>>),
}

impl Claims {
    /// The chunks that `extents` touch.
    pub(crate) fn touching(grid: Grid, extents: &Extents) -> Self {
        Self::of_sorted(grid, extents.iter())
    }

    /// The chunks that sorted extents touch.
    pub(crate) fn of_sorted(grid: Grid, extents: impl Iterator<Item = Extent>) -> Self {
        let mut chunks: Vec<Range<u64>> = Vec::new();
        for extent in extents {
            let touched = grid.touched(extent);
            match chunks.last_mut() {
                Some(last) if touched.start <= last.end => last.end = last.end.max(touched.end),
                _ => chunks.push(touched),
            }
        }
        Self::Some(chunks)
    }

    /// What either claims.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Some(ranges), Self::Some(others)) => Self::joined(ranges, others),
            _ => Self::All,
        }
    }

    /// These claims and single chunks besides.
    pub(crate) fn with(self, chunks: Vec<u64>) -> Self {
        let ranges = chunks.into_iter().map(|chunk| chunk..chunk + 1);
        self.and(Self::Some(ranges.collect()))
    }

    fn joined(mut ranges: Vec<Range<u64>>, others: Vec<Range<u64>>) -> Self {
        ranges.extend(others);
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let joins = next.start <= range.end;
            if joins {
                range.end = range.end.max(next.end);
            }
            joins
        });
        Self::Some(ranges)
    }

    /// Whether somebody claims this chunk.
    pub(crate) fn contains(&self, chunk: u64) -> bool {
        self.within(&(chunk..chunk + 1)).next().is_some()
    }

    /// The claimed parts of `range`, in order.
    pub(crate) fn within(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let all = matches!(self, Self::All).then(|| range.clone()).into_iter();
        let chunks = match self {
            Self::All => &[][..],
            Self::Some(chunks) => chunks,
        };
        let first = chunks.partition_point(|claim| claim.end <= range.start);
        let range = range.clone();
        let some = chunks
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(move |claim| claim.start < range.end)
            .map(move |claim| claim.start.max(range.start)..claim.end.min(range.end));
        all.chain(some)
    }

    /// The parts of `range` that are not claimed, in order.
    pub(crate) fn outside(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut rest = Vec::new();
        let mut from = range.start;
        for claim in self.within(range) {
            if from < claim.start {
                rest.push(from..claim.start);
            }
            from = claim.end;
        }
        if from < range.end {
            rest.push(from..range.end);
        }
        rest
    }
}

/// What a pass over the whole disk has seen, in chunks and bytes clipped to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Chunks that hold anything.
    pub(crate) allocated: u64,
    /// Of those, chunks that nobody claims.
    pub(crate) unclaimed: u64,
    /// Bytes in allocated chunks.
    pub(crate) allocated_bytes: u64,
    /// Not claimed, not zero in the base, and zero now.
    pub(crate) unmapped_bytes: u64,
}

/// The windows of one pass over the whole disk: claimed and allocated chunks are read, zero ones become null.
pub(crate) struct Pass<'a> {
    disk: &'a VirtualDisk,
    grid: Grid,
    claims: &'a Claims,
    base: BaseTree<'a>,
    stretches: Stretches<'a>,
    /// Claimed and allocated, not yet in a window; the next one last.
    waiting: Vec<Range<u64>>,
    number: u64,
    seen: &'a mut Seen,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        disk: &'a VirtualDisk,
        grid: Grid,
        claims: &'a Claims,
        base: BaseTree<'a>,
        seen: &'a mut Seen,
    ) -> Result<Self> {
        let stretches = stretches(disk, grid, 0)?;
        Ok(Self {
            disk,
            grid,
            claims,
            base,
            stretches,
            waiting: Vec::new(),
            number: 0,
            seen,
        })
    }

    fn window(&mut self) -> Result<Option<Window>> {
        let mut window = Window::default();
        let mut bytes = 0;
        while bytes < WINDOW_BYTES && window.jobs.len() + window.zeros.len() < WINDOW_ITEMS {
            if let Some(chunks) = self.next_job() {
                bytes += self.grid.bytes(&chunks);
                let expected = self.base.ids(&chunks)?;
                window.jobs.push(Job::plan(
                    self.disk,
                    self.grid,
                    self.number,
                    chunks,
                    expected,
                )?);
            } else if let Some(stretch) = self.stretches.next() {
                self.take(stretch, &mut window)?;
            } else {
                break;
            }
        }
        self.number += 1;
        Ok((!window.jobs.is_empty() || !window.zeros.is_empty()).then_some(window))
    }

    fn take(&mut self, stretch: Stretch, window: &mut Window) -> Result<()> {
        let Stretch { chunks, allocated } = stretch;
        if !allocated {
            for range in self.claims.outside(&chunks) {
                self.seen.unmapped_bytes += self.base.non_null_bytes(self.grid, &range)?;
            }
            window.zeros.push(chunks);
            return Ok(());
        }
        self.waiting = self.claims.within(&chunks).collect();
        self.waiting.reverse();
        let claimed: u64 = self
            .waiting
            .iter()
            .map(|claim| claim.end - claim.start)
            .sum();
        self.seen.allocated += chunks.end - chunks.start;
        self.seen.unclaimed += chunks.end - chunks.start - claimed;
        self.seen.allocated_bytes += self.grid.bytes(&chunks);
        Ok(())
    }

    fn next_job(&mut self) -> Option<Range<u64>> {
        let claim = self.waiting.last_mut()?;
        let chunks = job::split(self.grid, claim.clone()).next()?;
        claim.start = chunks.end;
        if claim.is_empty() {
            self.waiting.pop();
        }
        Some(chunks)
    }
}

impl Iterator for Pass<'_> {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        self.window().transpose()
    }
}

/// The windows of an audit: these chunks are read, in this order, until the time is over.
pub(crate) struct AuditPass<'a, F> {
    pub(crate) disk: &'a VirtualDisk,
    pub(crate) grid: Grid,
    pub(crate) base: BaseTree<'a>,
    /// What is to be read; each range lies within one stretch.
    pub(crate) ranges: std::iter::Peekable<std::vec::IntoIter<Range<u64>>>,
    /// Whether there is no time for the window of this number, from 0.
    pub(crate) over: F,
    pub(crate) number: u64,
    /// How many chunks were planned, for the cursor.
    pub(crate) planned: &'a mut u64,
}

/// The audit looks at the clock between windows, so they are small.
const AUDIT_WINDOW_BYTES: u64 = 16 << 20;

impl<F: FnMut(u64) -> bool> AuditPass<'_, F> {
    fn window(&mut self) -> Result<Option<Window>> {
        let mut window = Window::default();
        let mut bytes = 0;
        if (self.over)(self.number) {
            return Ok(None);
        }
        while bytes < AUDIT_WINDOW_BYTES {
            let Some(range) = self.ranges.peek_mut() else {
                break;
            };
            let Some(chunks) = job::split(self.grid, range.clone()).next() else {
                break;
            };
            range.start = chunks.end;
            if range.is_empty() {
                self.ranges.next();
            }
            bytes += self.grid.bytes(&chunks);
            *self.planned += chunks.end - chunks.start;
            let expected: Vec<Option<ChunkId>> = self.base.ids(&chunks)?;
            window.jobs.push(Job::plan(
                self.disk,
                self.grid,
                self.number,
                chunks,
                expected,
            )?);
        }
        self.number += 1;
        Ok((!window.jobs.is_empty()).then_some(window))
    }
}

impl<F: FnMut(u64) -> bool> Iterator for AuditPass<'_, F> {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        self.window().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_and_what_lies_outside_them_partition_a_range() {
        let claims = Claims::Some(vec![0..2, 5..6, 9..20]);
        assert_eq!(
            claims.within(&(1..12)).collect::<Vec<_>>(),
            [1..2, 5..6, 9..12]
        );
        assert_eq!(claims.outside(&(1..12)), [2..5, 6..9]);
        assert_eq!(claims.outside(&(20..22)).first(), Some(&(20..22)));
        assert!(Claims::All.outside(&(3..4)).is_empty());
    }

    #[test]
    fn two_claims_claim_what_either_does_once_and_without_seams() {
        let ranges = |ranges: &[Range<u64>]| Claims::Some(ranges.to_vec());
        let both = ranges(&[0..2, 10..20]).and(ranges(&[1..3, 5..6, 20..21]));
        assert_eq!(both, ranges(&[0..3, 5..6, 10..21]));
        assert_eq!(
            both.clone().with(vec![3, 8]),
            ranges(&[0..4, 5..6, 8..9, 10..21])
        );
        assert_eq!(both.and(Claims::All), Claims::All);
    }
}
