//! The layer that an application-consistent checkpoint has over its frozen file.
//!
//! While such a checkpoint is made, the guest's own writers finish what they do *after* the disk was frozen (on
//! Windows: auto-recovery of the shadow copy). What they write belongs to the checkpoint, not to the disk, so it goes
//! into a child of the frozen file that is the checkpoint's alone.

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::DiskOffset;
use hypercbt_vhdx::{Opening, create_vhdx};

use crate::{Error, Result, TrackedDisk};

impl TrackedDisk {
    /// Makes the file `path`, which must not exist: a child of the newest frozen file that holds these writes.
    ///
    /// The guest goes on meanwhile, and sees nothing of it. The file is the caller's: to be removed before the
    /// checkpoint is thawed, which takes its parent away. It lies best in the folder of the disk, where its readers
    /// look for its parent.
    ///
    /// # Errors
    /// [`Error::NotFrozen`], [`Error::MergeUnfinished`], [`Error::ReservedName`]; those of a write. There is no such
    /// file then.
    pub fn add_layer(&self, path: &Path, writes: &[(DiskOffset, &[u8])]) -> Result<()> {
        let state = self.shared();
        let place = &state.leaf()?.place;
        if place.is_merging {
            let layer = place.path.clone();
            return Err(Error::MergeUnfinished { layer });
        }
        let below = place.depth.checked_sub(1).ok_or(Error::NotFrozen)?;
        let frozen = self.names.at(below).ok_or(Error::NotFrozen)?;
        if self.names.include(path) {
            let file = path.to_owned();
            return Err(Error::ReservedName { file });
        }
        create_vhdx(&*self.files, path, &self.new_layer(frozen))?;
        let filled = self.fill_layer(path, writes);
        filled.inspect_err(|_| {
            // What went wrong first is what the caller must hear.
            let _litter = self.files.remove(path);
        })
    }

    fn fill_layer(&self, path: &Path, writes: &[(DiskOffset, &[u8])]) -> Result<()> {
        let opening = Opening::new(Arc::clone(&self.files), path, &self.options.disk)?;
        let layer = opening.begin(&self.guids())?;
        for (at, bytes) in writes {
            layer.write_at(*at, bytes)?;
        }
        Ok(layer.close(self.guid())?)
    }
}
