//! What the tracker knows in memory, under one lock that is never held during I/O.
//!
//! The clock moves only while the caller holds the `.mrt` file too, so whoever holds both sees it stand still.

use std::ops::Range;

use hypercbt_extent::Extent;
use hypercbt_file::step;

use crate::clock::Clock;
use crate::commit::Queue;
use crate::header::KeptId;
use crate::in_flight::InFlight;
use crate::layout::Layout;
use crate::map::Map;
use crate::marked::Marked;
use crate::stats::Stats;
use crate::{Error, RctId, Result};

/// One part in so many of the memory is for the regions that are known to be marked.
const MARKED_SHARE: usize = 8;
/// What one more write may add before the next look at the limit: two pieces of the map.
const RESERVE_BYTES: usize = 8 << 10;

/// Everything but the files.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) layout: Layout,
    limit: usize,
    pub(crate) clock: Clock,
    /// What a touch is noted with: the clock after the last seal. The same for a whole epoch, so that runs join.
    epoch: Clock,
    /// Oldest first.
    kept: Vec<KeptId>,
    /// A seal that has begun, or has failed while its id may be in the file. It counts as kept.
    sealing: Option<Clock>,
    pub(crate) last_counter: u32,
    pub(crate) map: Map,
    pub(crate) marked: Marked,
    pub(crate) in_flight: InFlight,
    pub(crate) queue: Queue,
    pub(crate) stats: Stats,
}

impl State {
    pub(crate) fn new(layout: Layout, map: Map, limit: usize, clock: Clock) -> Self {
        Self {
            layout,
            limit,
            clock,
            epoch: clock,
            kept: Vec::new(),
            sealing: None,
            last_counter: 0,
            map,
            marked: Marked::default(),
            in_flight: InFlight::new(),
            queue: Queue::default(),
            stats: Stats::default(),
        }
    }

    /// Goes on where an earlier session ended.
    pub(crate) fn continue_with(&mut self, kept: Vec<KeptId>, last_counter: u32) {
        self.kept = kept;
        self.last_counter = last_counter;
    }

    /// A later clock than all that were seen in the files.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.epoch = clock;
    }

    /// Whether any id may ever ask for what is touched now.
    pub(crate) fn is_tracking(&self) -> bool {
        !self.kept.is_empty() || self.sealing.is_some()
    }

    pub(crate) fn kept(&self) -> &[KeptId] {
        &self.kept
    }

    pub(crate) fn sealed_at(&self, id: &RctId) -> Result<Clock> {
        let kept = self.kept.iter().find(|kept| kept.id == *id);
        kept.map(|kept| kept.sealed_at)
            .ok_or_else(|| Error::UnknownId { id: id.clone() })
    }

    /// What was touched up to here, nobody asks for. None: nobody asks for anything.
    pub(crate) fn floor(&self) -> Option<Clock> {
        let oldest = self.kept.first().map(|kept| kept.sealed_at);
        oldest.into_iter().chain(self.sealing).min()
    }

    /// Notes a touch in the open epoch.
    pub(crate) fn touch(&mut self, extent: Extent) {
        self.touch_at(extent, self.epoch);
    }

    /// Notes a touch of an earlier time, as a file has it.
    pub(crate) fn touch_at(&mut self, extent: Extent, clock: Clock) {
        self.map.touch(extent, clock);
        self.stay_below_the_limit();
    }

    /// Notes, and counts, that regions are marked durably at the present clock.
    pub(crate) fn note_marked(&mut self, regions: &[Range<u64>]) {
        for range in regions {
            self.marked.insert(range.clone(), self.limit / MARKED_SHARE);
            self.stats.marks_written += range.end - range.start;
        }
        self.stay_below_the_limit();
    }

    fn stay_below_the_limit(&mut self) {
        if self.memory_bytes() + RESERVE_BYTES <= self.limit {
            return;
        }
        // A good part below it, or the next writes would widen the map again.
        while self.memory_bytes() > self.limit / 4 * 3 && self.map.shrink() {}
    }

    /// All that grows with what is tracked.
    pub(crate) fn memory_bytes(&self) -> usize {
        let kept = self.kept.capacity() * size_of::<KeptId>();
        self.map.bytes() + self.marked.bytes() + self.in_flight.bytes() + kept
    }

    /// Begins an epoch: what is touched from now on was touched after the clock that is returned. What is in
    /// flight is in the new epoch too, for its bytes may land after the seal; its regions are returned.
    pub(crate) fn begin_epoch(&mut self) -> (Clock, Vec<Range<u64>>) {
        let sealed_at = self.clock;
        if !step::left_out("rct.seal.clock") {
            self.clock = sealed_at.next();
        }
        self.epoch = self.clock;
        if !step::left_out("rct.seal.first_touches") {
            self.marked.clear();
        }
        if !step::left_out("rct.seal.pending") {
            self.sealing = Some(self.sealing.map_or(sealed_at, |older| older.min(sealed_at)));
        }
        let in_flight: Vec<Extent> = self.in_flight.extents().collect();
        if !step::left_out("rct.seal.in_flight") {
            for extent in &in_flight {
                self.touch(*extent);
            }
        }
        let regions = in_flight.iter().map(|extent| self.layout.regions(*extent));
        (sealed_at, regions.collect())
    }

    /// The id is durable, and no header has one that failed.
    pub(crate) fn keep(&mut self, id: KeptId) {
        self.kept.push(id);
        self.sealing = None;
    }

    /// A header was written that has the kept ids and no other: an id whose seal failed is gone for good.
    pub(crate) fn header_is_settled(&mut self) {
        if self.sealing.take().is_some() {
            self.drop_what_nobody_asks_for();
        }
    }

    /// The id is durably forgotten.
    pub(crate) fn forget(&mut self, id: &RctId) {
        self.kept.retain(|kept| kept.id != *id);
        self.drop_what_nobody_asks_for();
    }

    fn drop_what_nobody_asks_for(&mut self) {
        match self.floor() {
            Some(floor) => self.map.drop_up_to(floor),
            None => self.map.clear(),
        }
        if self.memory_bytes() <= self.limit / 4 {
            self.map.be_precise();
        }
    }

    /// Begins a write-back: what is touched from now on may not be in it, so regions are marked again. Returns the
    /// clock up to which everything is in it.
    pub(crate) fn begin_write_back(&mut self) -> Clock {
        let clock = self.clock;
        if !step::left_out("rct.write_back.clock") {
            self.clock = clock.next();
        }
        if !step::left_out("rct.write_back.first_touches") {
            self.marked.clear();
        }
        clock
    }
}
