//! The map in memory: when each grain of the disk was last touched.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::clock::Clock;
use crate::runs::{Run, Runs};

/// How far a widening must shrink the map before it counts: else the next few writes would ask for one again.
const SHRINK: (usize, usize) = (3, 4);

/// A disk cut into grains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grains {
    pub(crate) grain: ByteLen,
    pub(crate) disk: ByteLen,
}

impl Grains {
    /// The bytes of a run, or none where it lies behind the end of the disk.
    pub(crate) fn extent(self, run: Run) -> Option<Extent> {
        let start = run.start.saturating_mul(self.grain.0);
        let end = run.end.saturating_mul(self.grain.0).min(self.disk.0);
        Extent::between(DiskOffset(start), DiskOffset(end))
    }
}

/// Runs of grains, as fine as the memory allows.
#[derive(Debug)]
pub(crate) struct Map {
    runs: Runs,
    grains: Grains,
    /// What new marks are widened to, in grains; a power of two.
    precision: u64,
}

impl Map {
    pub(crate) fn new(grains: Grains) -> Self {
        Self {
            runs: Runs::default(),
            grains,
            precision: 1,
        }
    }

    /// Notes a touch at this clock; an earlier one than is known changes nothing.
    pub(crate) fn touch(&mut self, extent: Extent, clock: Clock) {
        let grains = extent.cells(self.grains.grain);
        let start = grains.start - grains.start % self.precision;
        let end = grains.end.next_multiple_of(self.precision);
        self.runs.raise(start, end, clock);
    }

    /// At most `limit` runs that end behind this grain, and the grain to go on at, if there may be more.
    pub(crate) fn read(&self, at: u64, limit: usize) -> (Vec<Run>, Option<u64>) {
        let runs: Vec<Run> = self.runs.from(at, limit).collect();
        let more = runs.last().filter(|_| runs.len() == limit);
        let next = more.map(|last| last.end);
        (runs, next)
    }

    /// Forgets touches that no id asks for any more.
    pub(crate) fn drop_up_to(&mut self, clock: Clock) {
        self.runs.drop_up_to(clock);
    }

    /// Tells new touches apart as finely as it can again.
    pub(crate) fn be_precise(&mut self) {
        self.precision = 1;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.runs = Runs::default();
    }

    /// Takes less memory: fills its pieces, and where that is not enough tells only half as much apart.
    /// False if it cannot.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.runs.bytes() == 0 {
            return false;
        }
        let enough = self.runs.bytes() / SHRINK.1 * SHRINK.0;
        self.runs.widen(self.precision);
        if self.runs.bytes() <= enough {
            return true;
        }
        let grains = self.grains.disk.0.div_ceil(self.grains.grain.0);
        if self.precision >= grains {
            return false;
        }
        self.precision *= 2;
        self.runs.widen(self.precision);
        true
    }

    /// What it tells apart now.
    pub(crate) fn precision(&self) -> ByteLen {
        ByteLen(self.grains.grain.0.saturating_mul(self.precision))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.runs.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAIN: u64 = 512;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(DiskOffset(start), DiskOffset(end)).unwrap()
    }

    fn map(disk: u64) -> Map {
        Map::new(Grains {
            grain: ByteLen(GRAIN),
            disk: ByteLen(disk),
        })
    }

    fn touched(map: &Map) -> Vec<Extent> {
        let (runs, next) = map.read(0, 10_000);
        assert_eq!(next, None);
        let extents = runs.into_iter().filter_map(|run| map.grains.extent(run));
        extents.collect()
    }

    #[test]
    fn a_touch_is_widened_to_grains_and_cut_at_the_end_of_the_disk() {
        let mut map = map(1300);
        map.touch(extent(1, 2), Clock(1));
        map.touch(extent(1290, 1300), Clock(1));
        assert_eq!(touched(&map), [extent(0, 512), extent(1024, 1300)]);
    }

    #[test]
    fn shrinking_ends_with_one_run_for_the_whole_disk() {
        let mut map = map(1 << 20);
        for n in 0..1000 {
            map.touch(extent(n * 1024, n * 1024 + 1), Clock(n % 7 + 1));
        }
        let mut precisions = Vec::new();
        while map.shrink() {
            precisions.push(map.precision().0);
            for n in 0..1000 {
                let at = extent(n * 1024, n * 1024 + 1);
                assert!(
                    touched(&map)
                        .iter()
                        .any(|run| run.intersection(at) == Some(at))
                );
            }
        }
        assert!(precisions.is_sorted());
        assert_eq!(touched(&map), [extent(0, 1 << 20)]);
    }

    #[test]
    fn an_empty_map_does_not_shrink() {
        assert!(!map(1 << 20).shrink());
    }

    #[test]
    fn a_map_that_was_read_in_parts_is_the_same() {
        let mut map = map(1 << 20);
        for n in 0..100 {
            map.touch(extent(n * 2048, n * 2048 + 1), Clock(1));
        }
        let (mut parts, mut at) = (Vec::new(), Some(0));
        while let Some(from) = at {
            let (runs, next) = map.read(from, 7);
            parts.extend(runs);
            at = next;
        }
        assert_eq!(parts, map.read(0, 1000).0);
    }
}
