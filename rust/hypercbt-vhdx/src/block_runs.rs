//! Which blocks of a new file are present, and the how-manieth each is. Pure arithmetic.
//!
//! A disk has up to 67 million blocks, so *runs* of them are kept: the memory follows the extents that are present,
//! not the disk's size.

use std::ops::Range;

use hypercbt_extent::{ByteLen, Extent, Extents};

/// Consecutive present blocks: consecutive on the disk, and in the file too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    blocks: Range<u64>,
    /// How many present blocks lie before this run.
    before: u64,
}

impl Run {
    /// How many present blocks there are up to its end.
    fn through(&self) -> u64 {
        self.before + (self.blocks.end - self.blocks.start)
    }
}

/// The present blocks, in the order of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockRuns {
    block_bytes: ByteLen,
    runs: Vec<Run>,
}

impl BlockRuns {
    /// The blocks that `present` touches.
    pub(crate) fn new(block_bytes: ByteLen, present: &Extents) -> Self {
        let mut before = 0;
        let runs = present.cell_runs(block_bytes).map(|blocks| {
            let run = Run { blocks, before };
            before = run.through();
            run
        });
        Self {
            runs: runs.collect(),
            block_bytes,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.runs.last().map_or(0, Run::through)
    }

    /// The blocks that `extent` touches and the number of the first of them among those that are present; the others
    /// have the next ones. `None` if one is not present.
    pub(crate) fn touched(&self, extent: Extent) -> Option<(Range<u64>, u64)> {
        let blocks = extent.cells(self.block_bytes);
        let after = self
            .runs
            .partition_point(|run| run.blocks.end <= blocks.start);
        let run = self
            .runs
            .get(after)
            .filter(|run| run.blocks.start <= blocks.start && blocks.end <= run.blocks.end)?;
        let number = run.before + (blocks.start - run.blocks.start);
        Some((blocks, number))
    }

    /// Each present block and its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'_> {
        let blocks = self.runs.iter().flat_map(|run| run.blocks.clone());
        blocks.zip(0..)
    }
}
