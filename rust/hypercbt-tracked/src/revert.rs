//! Going back to the newest checkpoint: what the guest did since is dropped.
//!
//! ```text
//! 1  an empty child of the frozen file, under a name that nobody reads      durable
//! 2  the leaf is flushed and let go
//! 3  the new file takes the leaf's name, which replaces the old one         both, or neither
//! 4  the folder is synced · a new tracker starts: every id is lost
//! ```
//!
//! Up to 3 a power cut leaves the disk as it was, with its tracker. From 3 on it leaves one that is reverted, whose leaf
//! has a stamp that the old tracker was never told: an id of the branch that was given up is never believed.

use std::path::PathBuf;

use hypercbt_file::step;
use hypercbt_vhdx::create_vhdx;

use crate::leaf::{Place, files_error};
use crate::state::State;
use crate::{Error, Lost, Result, Step, TrackedDisk, Tracking};

impl TrackedDisk {
    /// Drops what the guest wrote since the newest checkpoint, which stays. Every id is lost.
    ///
    /// # Errors
    /// [`Error::NotFrozen`], [`Error::MergeUnfinished`]. After any other the disk is as it was, or it is
    /// [`Error::Stopped`], and reverted or not when it is opened again.
    pub fn discard(&self) -> Result<()> {
        let mut state = self.alone();
        let place = state.leaf()?.place.clone();
        if place.is_merging {
            return Err(Error::MergeUnfinished { layer: place.path });
        }
        let empty = self.empty_leaf(&place)?;
        // Up to here nothing of the disk was touched.
        if let Err(error) = state.leaf()?.disk.flush() {
            let _litter = self.files.remove(&empty);
            return Err(error.into());
        }
        drop(state.take()); // Windows replaces no open file
        if step::left_out("tracked.discard.at_once") {
            let _gone = self.files.remove(&place.path);
            let _durable = self.files.sync_name(&place.path);
        }
        if let Err(source) = self.files.rename(&empty, &place.path) {
            let _litter = self.files.remove(&empty);
            return Err(self.stay(&mut state, files_error(&place.path, source)));
        }
        let reverted = if step::left_out("tracked.discard.track_anew") {
            self.go_on_tracking(&mut state)
        } else {
            self.attach_anew(&mut state, Tracking::Lost(Lost::Reverted))
        };
        reverted.map_err(|cause| state.stop(Step::Discard, cause))
    }

    /// Makes the file that will take the leaf's place.
    fn empty_leaf(&self, leaf: &Place) -> Result<PathBuf> {
        let below = leaf.depth.checked_sub(1).ok_or(Error::NotFrozen)?;
        let below = self.names.at(below).ok_or(Error::NotFrozen)?;
        let new = self.new_layer(below);
        // As all that is not finished yet: no two attempts have the same name.
        let name = format!(".hypercbt-{}.empty", new.options.file_write_guid);
        let empty = leaf.path.with_file_name(name);
        create_vhdx(&*self.files, &empty, &new)?;
        Ok(empty)
    }

    /// The guest goes on where it was.
    fn stay(&self, state: &mut State, cause: Error) -> Error {
        let attached = state.stamps().and_then(|stamps| self.attach(stamps));
        match attached {
            Ok(leaf) => {
                state.put(leaf);
                cause
            }
            Err(_) => state.stop(Step::Discard, cause),
        }
    }

    /// What must not be: the old tracker answers for a disk whose changes it did not see.
    fn go_on_tracking(&self, state: &mut State) -> Result<()> {
        let found = crate::leaf::find(&self.files, &self.names, &self.options.disk)?;
        let stamps = state.stamps()?;
        stamps.expect(hypercbt_rct::Stamp(found.opening.stamp()))?;
        let leaf = found.begin(stamps, &self.guids())?;
        state.put(leaf);
        Ok(())
    }
}
