//! Which chunks of a disk hold anything: the allocation of a disk, seen at chunk size.
//!
//! A chunk is *allocated* if any of its bytes lies in a file, and *zero* otherwise: then it needs
//! no read, no hash and no chunk, claimed or not (design §5.0).

use std::{iter::Peekable, ops::Range};

use hypercbt_extent::{DiskOffset, Extent};
use hypercbt_vhdx::{Place, Segments, VirtualDisk};

use crate::Result;

/// Disk and chunk size: turns positions into chunk numbers and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The length of the disk in bytes.
    pub(crate) disk_bytes: u64,
    /// The size of a chunk in bytes.
    pub(crate) chunk_bytes: u64,
}

impl Grid {
    /// How many chunks the disk has; the last one may end past the disk.
    pub(crate) fn chunks(self) -> u64 {
        self.disk_bytes.div_ceil(self.chunk_bytes)
    }

    /// The chunks that `extent` touches.
    pub(crate) fn touched(self, extent: Extent) -> Range<u64> {
        extent.start().0 / self.chunk_bytes..extent.end().0.div_ceil(self.chunk_bytes)
    }

    /// The bytes of the disk in these chunks, without what lies past its end. `None` without chunks.
    pub(crate) fn extent(self, chunks: &Range<u64>) -> Option<Extent> {
        let end = chunks
            .end
            .checked_mul(self.chunk_bytes)
            .map_or(self.disk_bytes, |end| end.min(self.disk_bytes));
        Extent::between(
            DiskOffset(chunks.start.checked_mul(self.chunk_bytes)?),
            DiskOffset(end),
        )
    }

    /// The number of those bytes.
    pub(crate) fn bytes(self, chunks: &Range<u64>) -> u64 {
        self.extent(chunks).map_or(0, |extent| extent.len().0)
    }
}

/// A run of chunks that are all allocated, or all zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The chunks, never empty.
    pub(crate) chunks: Range<u64>,
    /// Whether they hold anything.
    pub(crate) allocated: bool,
}

/// The stretches of a disk from one chunk to its end: in order, adjacent, alternating.
pub(crate) struct Stretches<'a> {
    runs: Peekable<DataRuns<'a>>,
    next: u64,
    end: u64,
}

/// The stretches of `disk` from chunk `from` on.
pub(crate) fn stretches(disk: &VirtualDisk, grid: Grid, from: u64) -> Result<Stretches<'_>> {
    let end = grid.chunks();
    let segments = match grid.extent(&(from..end)) {
        Some(extent) => Some(disk.segments(extent)?),
        None => None,
    };
    let runs = DataRuns {
        segments,
        grid,
        waiting: None,
    }
    .peekable();
    Ok(Stretches {
        runs,
        next: from,
        end,
    })
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let next_data = self.runs.peek().map_or(self.end, |run| run.start);
        let (chunks, allocated) = if self.next < next_data {
            (self.next..next_data, false)
        } else {
            (self.runs.next()?, true)
        };
        self.next = chunks.end;
        Some(Stretch { chunks, allocated })
    }
}

/// Runs of chunks that hold data: in order, disjoint, not adjacent.
struct DataRuns<'a> {
    segments: Option<Segments<'a>>,
    grid: Grid,
    /// Found behind the last run and not part of it.
    waiting: Option<Range<u64>>,
}

impl Iterator for DataRuns<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let mut run = self.waiting.take();
        for segment in self
            .segments
            .as_mut()?
            .filter(|segment| segment.place != Place::Zero)
        {
            let chunks = self.grid.touched(segment.extent);
            match &mut run {
                None => run = Some(chunks),
                Some(run) if chunks.start <= run.end => run.end = run.end.max(chunks.end),
                Some(_) => {
                    self.waiting = Some(chunks);
                    break;
                }
            }
        }
        run
    }
}
