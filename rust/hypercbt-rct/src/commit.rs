//! Marks of many writers share one sync.
//!
//! ```text
//! writer 1   pending ──┐ leads: takes all that is pending, marks, syncs once ── tells all
//! writer 2   pending ──┤ waits
//! writer 3             │        pending ── leads the next batch
//! writer 4   (a region of the batch that is being synced) ── waits, and marks nothing
//! ```
//!
//! A batch succeeds or fails as a whole. When it failed, none of its writers may write, and its regions are not
//! marked: the next writer marks them again.

use std::ops::Range;
use std::sync::{Arc, MutexGuard, OnceLock};

use hypercbt_extent::Extent;

use crate::Result;
use crate::error::Error;
use crate::sectors::in_order;
use crate::state::State;
use crate::tracker::Tracker;

/// How a batch ended.
type Outcome = Arc<OnceLock<std::result::Result<(), Error>>>;

/// Regions that are marked together.
#[derive(Debug, Default)]
struct Batch {
    regions: Vec<Range<u64>>,
    outcome: Outcome,
}

/// Who waits for a mark.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Gathers until somebody leads.
    pending: Option<Batch>,
    /// Being marked and synced now; in order and apart.
    current: Option<Batch>,
    /// Somebody leads, or is about to.
    is_led: bool,
}

impl Queue {
    /// Joins the batches that carry these regions; each of them must succeed before the write begins.
    fn join(&mut self, regions: Vec<Range<u64>>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for range in regions {
            let current = self.current.as_ref().filter(|batch| batch.holds(&range));
            let batch = current.unwrap_or_else(|| {
                let pending = self.pending.get_or_insert_default();
                pending.regions.push(range);
                pending
            });
            if !outcomes
                .iter()
                .any(|known| Arc::ptr_eq(known, &batch.outcome))
            {
                outcomes.push(Arc::clone(&batch.outcome));
            }
        }
        outcomes
    }
}

impl Batch {
    fn holds(&self, regions: &Range<u64>) -> bool {
        let after = self.regions.partition_point(|own| own.end <= regions.start);
        let own = self.regions.get(after);
        own.is_some_and(|own| own.start <= regions.start && regions.end <= own.end)
    }
}

/// The result of all batches, or none while one of them goes on.
fn result_of(outcomes: &[Outcome]) -> Option<Result<()>> {
    let mut result = Ok(());
    for outcome in outcomes {
        let outcome = outcome.get()?;
        result = result.and(outcome.clone());
    }
    Some(result)
}

impl Tracker {
    /// Waits until the regions of `extent` are marked durably. Returns at once if they are.
    pub(crate) fn await_marks<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        extent: Extent,
    ) -> Result<()> {
        let regions = state.layout.regions(extent);
        if state.marked.contains(regions.clone()) {
            return Ok(());
        }
        let missing = state.marked.missing(regions);
        state.stats.first_touches += 1;
        let outcomes = state.queue.join(missing);
        loop {
            if let Some(result) = result_of(&outcomes) {
                return result;
            }
            state = if state.queue.is_led {
                self.wait_for_a_batch(state)
            } else {
                state.queue.is_led = true;
                drop(state);
                self.lead();
                self.state()
            };
        }
    }

    /// Marks all that is pending when the file is free, and tells everybody.
    fn lead(&self) {
        let mut mrt = self.mrt();
        let usable = self.make_usable(&mut mrt);
        let mut state = self.state();
        let Some(mut batch) = state.queue.pending.take() else {
            state.queue.is_led = false;
            return self.tell_all();
        };
        batch.regions = in_order(batch.regions);
        let regions = batch.regions.clone();
        let clock = state.clock;
        state.queue.current = Some(batch);
        drop(state);

        let result = usable.and_then(|()| mrt.mark(&regions, clock));

        let mut state = self.state();
        if result.is_ok() {
            // The clock stood still meanwhile: it moves only under the lock of the file.
            state.note_marked(&regions);
            state.stats.mark_syncs += 1;
        }
        state.queue.is_led = false;
        if let Some(batch) = state.queue.current.take() {
            // Nobody else sets it: there is one leader at a time.
            let _ = batch.outcome.set(result);
        }
        self.tell_all();
    }
}
