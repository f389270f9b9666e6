//! Sealing an epoch and forgetting one.
//!
//! The order of a seal: a new epoch begins in memory, and what is in flight is touched in it; the regions of what is in
//! flight are marked durably; only then the id becomes durable. For once it is, a cut may bring it back, and the
//! bytes in flight may have landed behind it.

use std::ops::Range;

use hypercbt_file::step;

use crate::RctId;
use crate::error::{Error, Result};
use crate::format::MAX_IDS;
use crate::header::KeptId;
use crate::mrt::Mrt;
use crate::sectors::in_order;
use crate::tracker::Tracker;

impl Tracker {
    /// Ends an epoch and gives it an id, which is durable when this returns.
    ///
    /// The disk's own writes are the caller's to make durable: after this has returned, and before anybody relies on
    /// the id. A write that ended before and was not flushed belongs to the sealed content, so its place is not
    /// reported; a cut that undoes it would make the disk differ there from what was sealed. If that flush fails,
    /// [`forget`](Self::forget) the id.
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
}

impl Tracker {
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
        let regions = in_order(regions);
        let clock = self.state().clock;
        mrt.mark(&regions, clock)?;
        self.state().note_marked(&regions);
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
}
