//! Ids, and what changed since.

use hypercbt_extent::Extents;
use hypercbt_file::step;
use hypercbt_rct::{RctId, Recovered, Stats};

use crate::leaf::Leaf;
use crate::stamps::Stamps;
use crate::{Error, Result, TrackedDisk, Tracking};

/// Seals an id; every write that ended before is durable when it returns.
///
/// Otherwise a power cut could undo a write that the id takes for granted, and nobody would tell.
pub(crate) fn seal_on(stamps: &Stamps, leaf: &Leaf) -> Result<RctId> {
    let id = stamps.tracker.seal()?;
    if !step::left_out("tracked.seal.flush")
        && let Err(error) = leaf.disk.flush()
    {
        stamps.give_up_id(&id);
        return Err(error.into());
    }
    Ok(id)
}

/// What changed up to now since each of these ids that is kept.
pub(crate) fn changes_now(stamps: &Stamps, since: &[RctId]) -> Vec<(RctId, Extents)> {
    let answers = since.iter().filter_map(|id| {
        let changes = stamps.tracker.changes_since(id).ok()?;
        Some((id.clone(), changes))
    });
    answers.collect()
}

impl Stamps {
    /// Forgets an id that nobody was told. If that fails it takes up a place, and does no harm.
    pub(crate) fn give_up_id(&self, id: &RctId) {
        let _unharmed = self.tracker.forget(id);
    }
}

impl TrackedDisk {
    /// Seals an id without a checkpoint: what changed after this call will be told.
    ///
    /// For who knows what the disk holds at that moment, say because the guest is paused.
    pub fn seal(&self) -> Result<RctId> {
        let state = self.shared();
        seal_on(state.stamps()?, state.leaf()?)
    }

    /// Everything that changed since `id` was sealed, and maybe more; never less.
    ///
    /// # Errors
    /// [`Error::TrackingLost`] or [`Error::UnknownId`]: only a comparison of the whole disk helps.
    pub fn changes_since(&self, id: &RctId) -> Result<Extents> {
        let state = self.shared();
        let found = state.stamps()?.tracker.changes_since(id);
        found.map_err(|error| match (Error::from(error), state.tracking) {
            (Error::UnknownId { id }, Tracking::Lost(reason)) => Error::TrackingLost { id, reason },
            (error, _) => error,
        })
    }

    /// Drops an id.
    pub fn forget(&self, id: &RctId) -> Result<()> {
        Ok(self.shared().stamps()?.tracker.forget(id)?)
    }

    /// The ids that are kept, oldest first.
    pub fn ids(&self) -> Result<Vec<RctId>> {
        Ok(self.shared().stamps()?.tracker.ids())
    }

    /// Writes the `.rct` file back now, so that a crash makes less of the answer coarse.
    pub fn flush_tracking(&self) -> Result<()> {
        Ok(self.shared().stamps()?.tracker.flush()?)
    }

    /// What the tracker could build on when it was started.
    pub fn recovered(&self) -> Result<Recovered> {
        Ok(self.shared().stamps()?.tracker.recovered())
    }

    /// What tracking has cost since the tracker was started.
    pub fn tracking_stats(&self) -> Result<Stats> {
        Ok(self.shared().stamps()?.tracker.stats())
    }
}
