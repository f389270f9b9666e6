//! A job: neighbouring chunks that are read together, and what each of them is expected to be.

use std::ops::Range;

use hypercbt_extent::{DiskOffset, Extent};
use hypercbt_repo::ChunkId;
use hypercbt_vhdx::{FileIndex, FileOffset, Place, Segment, VirtualDisk};

use crate::{Result, allocation::Grid};

/// One read of 3 MiB is cheaper than twelve of 256 KiB, and more than this gains nothing.
pub(crate) const JOB_BYTES: u64 = 4 << 20;

/// Neighbouring chunks of a disk.
#[derive(Debug)]
pub(crate) struct Job {
    /// Which window of the plan it belongs to.
    pub(crate) window: u64,
    /// The chunks, never empty, at most [`JOB_BYTES`] or one chunk.
    pub(crate) chunks: Range<u64>,
    /// What the base tree holds there, chunk by chunk. Empty without a base.
    pub(crate) expected: Vec<Option<ChunkId>>,
    /// Where their bytes are.
    segments: Vec<Segment>,
}

impl Job {
    /// Plans the chunks: pure.
    pub(crate) fn plan(
        disk: &VirtualDisk,
        grid: Grid,
        window: u64,
        chunks: Range<u64>,
        expected: Vec<Option<ChunkId>>,
    ) -> Result<Self> {
        let segments = match grid.extent(&chunks) {
            Some(extent) => disk.resolve(extent)?,
            None => Vec::new(),
        };
        Ok(Self {
            window,
            chunks,
            expected,
            segments,
        })
    }

    /// Where the first byte lies that must be read: jobs are read in this order.
    pub(crate) fn file_place(&self) -> Option<(FileIndex, FileOffset)> {
        self.segments
            .iter()
            .find_map(|segment| match segment.place {
                Place::Data { file, at } => Some((file, at)),
                Place::Zero => None,
            })
    }

    /// Fills `buffer` with the chunks, the last one padded with zeros, and returns how many bytes were read.
    pub(crate) fn read(&self, disk: &VirtualDisk, grid: Grid, buffer: &mut Vec<u8>) -> Result<u64> {
        let chunks = self.chunks.end - self.chunks.start;
        let len = usize::try_from(chunks * grid.chunk_bytes).expect("a job fits in memory");
        // The buffer keeps what the last job left; every byte is overwritten below.
        buffer.resize(len, 0);
        let mut rest = buffer.as_mut_slice();
        let mut read_bytes = 0;
        for segment in &self.segments {
            let (part, after) = rest.split_at_mut(to_usize(segment.extent.len().0));
            match segment.place {
                Place::Zero => part.fill(0),
                Place::Data { file, at } => {
                    disk.read_file(file, at, part)?;
                    read_bytes += segment.extent.len().0;
                }
            }
            rest = after;
        }
        rest.fill(0);
        Ok(read_bytes)
    }

    /// The bytes of a chunk that lie in a file, as ranges within the chunk.
    pub(crate) fn present(&self, grid: Grid, chunk: u64) -> Vec<Range<usize>> {
        let Some(extent) = grid.extent(&(chunk..chunk + 1)) else {
            return Vec::new();
        };
        self.segments
            .iter()
            .filter(|segment| segment.place != Place::Zero)
            .filter_map(|segment| segment.extent.intersection(extent))
            .map(|part| within(extent, part))
            .collect()
    }

    /// What the base holds at the `index`-th chunk of the job.
    pub(crate) fn expected_at(&self, index: usize) -> Option<ChunkId> {
        self.expected.get(index).copied().flatten()
    }
}

fn within(whole: Extent, part: Extent) -> Range<usize> {
    let offset = |at: DiskOffset| to_usize(at.0 - whole.start().0);
    offset(part.start())..offset(part.end())
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a part of a job fits in memory")
}

/// Cuts a run of chunks into jobs of at most [`JOB_BYTES`].
pub(crate) fn split(grid: Grid, chunks: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let step = (JOB_BYTES / grid.chunk_bytes).max(1);
    // Jobs start at multiples of their size, so that the same disk is always cut the same way.
    let mut next = chunks.start;
    std::iter::from_fn(move || {
        let start = next;
        next = ((start / step + 1) * step).min(chunks.end);
        (start < chunks.end).then_some(start..next)
    })
}
