//! Ids, and what changed since.

use hypercbt_extent::Extents;
use hypercbt_file::step;
use hypercbt_rct::{RctId, Recovered, Stats};

use crate::leaf::Leaf;
use crate::{Error, Result, TrackedDisk, Tracking};

impl TrackedDisk {
    /// Seals an id without a checkpoint: what changed after this call will be told.
    ///
    /// For who knows what the disk holds at that moment, say because the guest is paused.
    pub fn seal(&self) -> Result<RctId> {
        let state = self.shared();
        self.seal_on(state.leaf()?)
    }

    /// Seals an id; every write that ended before is durable when it returns.
    ///
    /// Otherwise a power cut could undo a write that the id takes for granted, and nobody would tell.
    pub(crate) fn seal_on(&self, leaf: &Leaf) -> Result<RctId> {
        let id = self.stamps.tracker.seal()?;
        if !step::left_out("tracked.seal.flush")
            && let Err(error) = leaf.disk.flush()
        {
            self.give_up_id(&id);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Forgets an id that nobody was told. If that fails it takes up a place, and does no harm.
    pub(crate) fn give_up_id(&self, id: &RctId) {
        let _unharmed = self.stamps.tracker.forget(id);
    }

    /// Everything that changed since `id` was sealed, and maybe more; never less.
    ///
    /// # Errors
    /// [`Error::TrackingLost`] or [`Error::UnknownId`]: only a comparison of the whole disk helps.
    pub fn changes_since(&self, id: &RctId) -> Result<Extents> {
        let found = self.stamps.tracker.changes_since(id);
        found.map_err(|error| match (Error::from(error), self.tracking()) {
            (Error::UnknownId { id }, Tracking::Lost(reason)) => Error::TrackingLost {
                id,
                reason: *reason,
            },
            (error, _) => error,
        })
    }

    /// Drops an id.
    pub fn forget(&self, id: &RctId) -> Result<()> {
        Ok(self.stamps.tracker.forget(id)?)
    }

    /// The ids that are kept, oldest first.
    pub fn ids(&self) -> Vec<RctId> {
        self.stamps.tracker.ids()
    }

    /// Writes the `.rct` file back now, so that a crash makes less of the answer coarse.
    pub fn flush_tracking(&self) -> Result<()> {
        Ok(self.stamps.tracker.flush()?)
    }

    /// What the tracker could build on when the disk was opened.
    pub fn recovered(&self) -> Recovered {
        self.stamps.tracker.recovered()
    }

    /// What tracking has cost so far.
    pub fn tracking_stats(&self) -> Stats {
        self.stamps.tracker.stats()
    }
}
