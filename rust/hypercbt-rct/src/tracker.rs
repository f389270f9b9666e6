//! The tracker: what a writer of the disk calls, and in which order things become durable.
//!
//! Locks, always taken in this order: `write_back` (one `.rct` write at a time), `mrt` (the file, and the clock),
//! `state` (memory, never held during I/O). A write to a region that is marked takes `state` alone.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use hypercbt_extent::{ByteLen, Extent, Extents};
use hypercbt_file::step;

use crate::error::{Error, Result, TrackerCall, TrackerFile};
use crate::format::{MAX_IDS, MAX_STAMPS};
use crate::header::{Header, KeptId, RctName};
use crate::map::Grains;
use crate::mrt::Mrt;
use crate::place::{Place, failed};
use crate::runs::Widening;
use crate::snapshot::Writer;
use crate::state::State;
use crate::{DiskIdentity, RctId, Recovered, Stamp, Stats, Ticket};

/// Runs that are looked at under the lock in one go: some microseconds.
const RUNS_AT_ONCE: usize = 4096;

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
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// Writes the `.rct` file back. From now on only what is touched after this is coarse after a cut.
    ///
    /// # Errors
    /// The old `.rct` file stays then, and nothing is missed.
    pub fn flush(&self) -> Result<()> {
        let _one = lock(&self.write_back);
        let mut mrt = self.mrt();
        self.make_usable(&mut mrt)?;
        let clock = self.state().begin_write_back();
        let session = self.session;
        let name = RctName { clock, session };
        let announce = |mrt: &mut Mrt| {
            let there = mrt.rct;
            self.change_header(mrt, |header| header.rct = [there, Some(name)])
        };
        let announced_late = step::left_out("rct.write_back.announce_first");
        if !announced_late && !step::left_out("rct.write_back.announce") {
            announce(&mut mrt)?;
        }
        drop(mrt);
        // Writers go on meanwhile. What they touch may be in this file or not; it is marked at a later clock.
        self.write_rct(name)?;
        let mut mrt = self.mrt();
        if announced_late {
            announce(&mut mrt)?;
        }
        mrt.rct = Some(name);
        self.state().stats.rct_writes += 1;
        Ok(())
    }

    /// Ends an epoch and gives it an id, which is durable when this returns.
    ///
    /// # Errors
    /// The id does not exist then and is never issued; tracking goes on as before.
    pub fn seal(&self) -> Result<RctId> {
        let mut mrt = self.mrt();
        self.make_usable(&mut mrt)?;
        let (kept, in_flight) = self.begin_epoch()?;
        // The bytes of these writes may land behind the boundary, so it is not durable before they are marked.
        if step::left_out("rct.seal.marks_first") {
            self.keep(&mut mrt, &kept)?;
            self.mark_in_flight(&mut mrt, in_flight)?;
        } else {
            self.mark_in_flight(&mut mrt, in_flight)?;
            self.keep(&mut mrt, &kept)?;
        }
        self.state().keep(kept.clone());
        Ok(kept.id)
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

    /// Drops an id, durably. What only it asked for is not tracked any more.
    pub fn forget(&self, id: &RctId) -> Result<()> {
        let mut mrt = self.mrt();
        self.state().sealed_at(id)?;
        self.make_usable(&mut mrt)?;
        // Before memory forgets: as long as the id may come back after a cut, its changes are tracked.
        if !step::left_out("rct.forget.header") {
            self.change_header(&mut mrt, |header| header.kept.retain(|kept| kept.id != *id))?;
        }
        self.state().forget(id);
        Ok(())
    }

    /// The ids that are kept, oldest first.
    pub fn ids(&self) -> Vec<RctId> {
        let state = self.state();
        state.kept().iter().map(|kept| kept.id.clone()).collect()
    }

    /// Durably: from now on the disk's file may carry `coming`, too. Called before it is written there.
    pub fn expect(&self, coming: Stamp) -> Result<()> {
        let mut mrt = self.mrt();
        let accepted = &mrt.header().accepted;
        if accepted.last() == Some(&coming) {
            return Ok(());
        }
        if accepted.len() >= MAX_STAMPS {
            return Err(Error::TooManyStamps { limit: MAX_STAMPS });
        }
        self.make_usable(&mut mrt)?;
        if step::left_out("rct.expect.header") {
            return Ok(());
        }
        self.change_header(&mut mrt, |header| header.accepted.push(coming))
    }

    /// Durably: the file carries the stamp that was expected last, and no other is accepted any more.
    pub fn settle(&self) -> Result<()> {
        let mut mrt = self.mrt();
        match mrt.header().accepted.as_slice() {
            [.., last] if mrt.header().accepted.len() > 1 => {
                let last = *last;
                self.make_usable(&mut mrt)?;
                self.change_header(&mut mrt, |header| header.accepted = vec![last])
            }
            _ => Ok(()),
        }
    }

    /// Ends the session, for a clean stop or for another host: the `.rct` file is written, and of the stamps
    /// only `last`, which was expected and is in the disk's file, is accepted from now on.
    ///
    /// # Errors
    /// Nothing is missed then either; what the next session can tell is as after a crash.
    pub fn close(self, last: Stamp) -> Result<()> {
        if !self.mrt().header().accepted.contains(&last) {
            return Err(Error::StampNotExpected { stamp: last });
        }
        let flushed = self.flush();
        let mut mrt = self.mrt();
        self.make_usable(&mut mrt)?;
        self.change_header(&mut mrt, |header| header.accepted = vec![last])?;
        flushed
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

    /// Gives the next id to the open epoch and begins a new one.
    fn begin_epoch(&self) -> Result<(KeptId, Vec<Range<u64>>)> {
        let mut state = self.state();
        if state.kept().len() >= MAX_IDS {
            return Err(Error::TooManyIds { limit: MAX_IDS });
        }
        // Counted also where the seal fails: no id is issued twice.
        let next = state.last_counter.checked_add(1);
        let counter = next.ok_or(Error::TooManyIds {
            limit: u32::MAX as usize,
        })?;
        state.last_counter = counter;
        let (sealed_at, in_flight) = state.begin_epoch();
        let session = self.session;
        let id = RctId { session, counter };
        Ok((KeptId { id, sealed_at }, in_flight))
    }

    fn mark_in_flight(&self, mrt: &mut Mrt, regions: Vec<Range<u64>>) -> Result<()> {
        if regions.is_empty() || step::left_out("rct.seal.marks") {
            return Ok(());
        }
        let regions = crate::sectors::in_order(regions);
        let clock = self.state().clock;
        mrt.mark(&regions, clock)?;
        let mut state = self.state();
        state.note_marked(&regions);
        state.stats.marks_written += regions
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>();
        Ok(())
    }

    /// Adds an id to the header.
    fn keep(&self, mrt: &mut Mrt, kept: &KeptId) -> Result<()> {
        let clock = self.state().clock;
        mrt.change(|header| {
            header.clock = clock;
            header.last_counter = kept.id.counter;
            header.kept.push(kept.clone());
        })
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
            Some(crate::sectors::in_order(regions.collect()))
        })
    }

    /// Writes the map as it is now under the name of the `.rct` file.
    fn write_rct(&self, name: RctName) -> Result<()> {
        let tracker = self.mrt().header().tracker;
        let unfinished = self.place.begin(TrackerFile::Rct, tracker)?;
        let written = self.write_runs(Writer::new(&*unfinished.content, name), tracker);
        written.map_err(failed(TrackerFile::Rct, TrackerCall::Write))?;
        unfinished.finish()?;
        Ok(())
    }

    fn write_runs(&self, mut writer: Writer<'_>, tracker: [u8; 16]) -> std::io::Result<()> {
        let mut wide = Widening::new(self.rct_unit.0 / self.grains.grain.0);
        let mut at = Some(0);
        while let Some(from) = at {
            let (runs, next) = self.state().map.read(from, RUNS_AT_ONCE);
            at = next;
            for run in runs.into_iter().filter_map(|run| wide.push(run)) {
                self.push_run(&mut writer, run)?;
            }
        }
        if let Some(run) = wide.finish() {
            self.push_run(&mut writer, run)?;
        }
        writer.finish(tracker, &self.disk, self.rct_unit)
    }

    fn push_run(&self, writer: &mut Writer<'_>, run: crate::runs::Run) -> std::io::Result<()> {
        let extent = self.grains.extent(run);
        extent.map_or(Ok(()), |extent| writer.push(extent, run.touched))
    }
}
