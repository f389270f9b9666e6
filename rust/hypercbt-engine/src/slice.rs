//! Which chunks this run's audit reads: the next ones after the cursor, and a few at random.

use std::ops::Range;

use hypercbt_vhdx::VirtualDisk;

use crate::{
    Result,
    allocation::{Grid, stretches},
    audit::RANDOM_CHUNKS,
    claims::Claims,
};

/// What one audit is to read: allocated chunks that nobody claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    /// A few single chunks, sorted, none of them in `rotating`.
    pub(crate) random: Vec<u64>,
    /// From the cursor on, around the end of the disk if need be.
    pub(crate) rotating: Vec<Range<u64>>,
    /// Whether `rotating` is everything there is.
    pub(crate) all: bool,
}

impl Slice {
    /// The next `count` chunks from `cursor` on, and a few others picked by `seed`, out of `unclaimed`.
    pub(crate) fn select(
        disk: &VirtualDisk,
        grid: Grid,
        claims: &Claims,
        cursor: u64,
        count: u64,
        unclaimed: u64,
        seed: u64,
    ) -> Result<Self> {
        let cursor = if cursor < grid.chunks() { cursor } else { 0 };
        let mut rest = count;
        let mut rotating = Vec::new();
        for part in [cursor..grid.chunks(), 0..cursor] {
            take(disk, grid, claims, &part, &mut rest, &mut rotating)?;
        }
        if count >= unclaimed {
            return Ok(Self {
                random: Vec::new(),
                rotating,
                all: true,
            });
        }
        let mut random = at_ranks(disk, grid, claims, &ranks(unclaimed, seed))?;
        random.retain(|chunk| !rotating.iter().any(|range| range.contains(chunk)));
        Ok(Self {
            random,
            rotating,
            all: false,
        })
    }

    /// All of it, in the order of reading: the random ones first, so that no time budget cuts them off.
    pub(crate) fn ranges(&self) -> Vec<Range<u64>> {
        self.random
            .iter()
            .map(|&chunk| chunk..chunk + 1)
            .chain(self.rotating.iter().cloned())
            .collect()
    }

    /// How many chunks the rotation has.
    pub(crate) fn rotating_chunks(&self) -> u64 {
        self.rotating
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// Where the rotation stands after `planned` chunks of [`ranges`](Self::ranges): the next cursor and
    /// the stretches of the disk that were passed.
    pub(crate) fn passed(&self, grid: Grid, cursor: u64, planned: u64) -> (u64, Vec<Range<u64>>) {
        let mut rest = planned.saturating_sub(u64::try_from(self.random.len()).expect("a few"));
        if self.all && rest >= self.rotating_chunks() {
            return (cursor, std::iter::once(0..grid.chunks()).collect());
        }
        let mut next = cursor;
        for range in &self.rotating {
            if rest == 0 {
                break;
            }
            let taken = rest.min(range.end - range.start);
            next = range.start + taken;
            rest -= taken;
        }
        // A cursor at the very end of the disk starts again at 0.
        let wrapped = next < cursor;
        let passed = if wrapped {
            vec![cursor..grid.chunks(), 0..next]
        } else {
            std::iter::once(cursor..next).collect()
        };
        (if next >= grid.chunks() { 0 } else { next }, passed)
    }
}

/// Adds up to `rest` allocated, unclaimed chunks of `part`.
fn take(
    disk: &VirtualDisk,
    grid: Grid,
    claims: &Claims,
    part: &Range<u64>,
    rest: &mut u64,
    taken: &mut Vec<Range<u64>>,
) -> Result<()> {
    if part.is_empty() || *rest == 0 {
        return Ok(());
    }
    for stretch in stretches(disk, grid, part.start)?.filter(|stretch| stretch.allocated) {
        let chunks = stretch.chunks.start..stretch.chunks.end.min(part.end);
        for range in claims.outside(&chunks) {
            let len = (range.end - range.start).min(*rest);
            taken.push(range.start..range.start + len);
            *rest -= len;
            if *rest == 0 {
                return Ok(());
            }
        }
        if stretch.chunks.end >= part.end {
            break;
        }
    }
    Ok(())
}

/// A few different numbers below `unclaimed`, sorted.
fn ranks(unclaimed: u64, seed: u64) -> Vec<u64> {
    let mut ranks: Vec<u64> = (0..RANDOM_CHUNKS.min(unclaimed))
        .map(|number| split_mix(seed.wrapping_add(number)) % unclaimed)
        .collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

/// The output function of `SplitMix64`: a sample needs no cryptography, only to differ from run to run.
fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The allocated, unclaimed chunks with these ranks in order of the disk.
fn at_ranks(disk: &VirtualDisk, grid: Grid, claims: &Claims, ranks: &[u64]) -> Result<Vec<u64>> {
    let mut chunks = Vec::with_capacity(ranks.len());
    let mut ranks = ranks.iter().copied().peekable();
    let mut before = 0;
    for stretch in stretches(disk, grid, 0)?.filter(|stretch| stretch.allocated) {
        if ranks.peek().is_none() {
            break;
        }
        for range in claims.outside(&stretch.chunks) {
            let len = range.end - range.start;
            while let Some(rank) = ranks.next_if(|rank| *rank < before + len) {
                chunks.push(range.start + (rank - before));
            }
            before += len;
        }
    }
    Ok(chunks)
}
