//! The tracker: what a writer of the disk calls, and in which order things become durable.
//!
//! Locks, always taken in this order: `write_back` (one `.rct` write at a time), `mrt` (the file, and the clock),
//! `state` (memory, never held during I/O). A write to a region that is marked takes `state` alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use hypercbt_extent::{ByteLen, Extent, Extents};
use hypercbt_file::step;

use crate::error::{Error, Result};
use crate::header::Header;
use crate::map::Grains;
use crate::mrt::Mrt;
use crate::place::Place;
use crate::sectors::in_order;
use crate::state::State;
use crate::{DiskIdentity, RctId, Recovered, Stats, Ticket};

/// Runs that are looked at under the lock in one go: some microseconds.
pub(crate) const RUNS_AT_ONCE: usize = 4096;

/// Which places of a disk changed since when. All calls are for many threads at once.
///
/// Dropped without [`close`](Self::close) it leaves what a crash leaves: tracking goes on, more coarsely.
#[derive(Debug)]
pub struct Tracker {
    pub(crate) place: Place,
    pub(crate) disk: DiskIdentity,
    /// This session's GUID, in the ids that it issues.
    pub(crate) session: [u8; 16],
    pub(crate) grains: Grains,
    pub(crate) rct_unit: ByteLen,
    pub(crate) recovered: Recovered,
    pub(crate) state: Mutex<State>,
    pub(crate) batch_done: Condvar,
    pub(crate) mrt: Mutex<Mrt>,
    pub(crate) write_back: Mutex<()>,
}

/// A lock whose holder panicked: what it guards is changed in steps that are each whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracker {
    /// Announces a write. When this returns, the write may begin: no cut hides it any more.
    ///
    /// The first write to a region since the last [`flush`](Self::flush) or [`seal`](Self::seal) waits for a
    /// sync, others for nothing. While no id is kept nothing is marked, for nobody can ask.
    ///
    /// # Errors
    /// The caller must not write then.
    pub fn write_begins(&self, extent: Extent) -> Result<Ticket> {
        if extent.end().0 > self.disk.size.0 {
            let disk_len = self.disk.size;
            return Err(Error::OutOfRange { extent, disk_len });
        }
        let mut state = self.state();
        let ticket = state.in_flight.begin(extent);
        if step::left_out("rct.begin.in_flight") {
            state.in_flight.end(&ticket);
        }
        if !state.is_tracking() {
            return Ok(ticket);
        }
        if !step::left_out("rct.begin.memory") {
            state.touch(extent);
        }
        if step::left_out("rct.begin.mark") {
            return Ok(ticket);
        }
        match self.await_marks(state, extent) {
            Ok(()) => Ok(ticket),
            Err(error) => {
                self.write_ends(ticket);
                Err(error)
            }
        }
    }

    /// The write is done, or has failed. Until then its place counts as touched in each epoch that begins.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a ticket is good for one write"
    )]
    pub fn write_ends(&self, ticket: Ticket) {
        self.state().in_flight.end(&ticket);
    }

    /// The places that may have changed since the seal of `id`: all that did, and perhaps more.
    pub fn changes_since(&self, id: &RctId) -> Result<Extents> {
        let mut changed = Vec::new();
        let mut at = Some(0);
        while let Some(from) = at {
            let state = self.state();
            // Asked each time: when the id is forgotten meanwhile, what only it needed may be gone already.
            let sealed_at = state.sealed_at(id)?;
            let (runs, next) = state.map.read(from, RUNS_AT_ONCE);
            let later = runs.into_iter().filter(|run| run.touched > sealed_at);
            changed.extend(later.filter_map(|run| self.grains.extent(run)));
            at = next;
        }
        Ok(Extents::from_unsorted(changed))
    }

    /// The ids that are kept, oldest first.
    pub fn ids(&self) -> Vec<RctId> {
        let state = self.state();
        state.kept().iter().map(|kept| kept.id.clone()).collect()
    }

    /// What was done since the tracker was opened.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        Stats {
            coarsened: state.map.precision(),
            memory_bytes: state.memory_bytes() as u64,
            ..state.stats
        }
    }

    /// What this tracker could build on when it was opened.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }
}

impl Tracker {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn mrt(&self) -> MutexGuard<'_, Mrt> {
        lock(&self.mrt)
    }

    pub(crate) fn wait_for_a_batch<'a>(
        &self,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let woken = self.batch_done.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell_all(&self) {
        self.batch_done.notify_all();
    }

    /// Changes the header, and forgets an id whose seal failed: this header does not have it.
    pub(crate) fn change_header(
        &self,
        mrt: &mut Mrt,
        change: impl FnOnce(&mut Header),
    ) -> Result<()> {
        let clock = self.state().clock;
        mrt.change(|header| {
            header.clock = clock;
            change(header);
        })?;
        self.state().header_is_settled();
        Ok(())
    }

    /// Puts a new file in the place of one whose sync failed: from memory, which has everything.
    pub(crate) fn make_usable(&self, mrt: &mut Mrt) -> Result<()> {
        if mrt.is_usable() {
            return Ok(());
        }
        let clock = self.state().clock;
        let mut at = Some(0);
        mrt.renew(clock, || {
            let state = self.state();
            let (runs, next) = state.map.read(at?, RUNS_AT_ONCE);
            at = next;
            let extents = runs.into_iter().filter_map(|run| self.grains.extent(run));
            let regions = extents.map(|extent| state.layout.regions(extent));
            Some(in_order(regions.collect()))
        })
    }
}
