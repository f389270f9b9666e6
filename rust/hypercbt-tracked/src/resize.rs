//! Giving the disk another size.
//!
//! A power cut leaves the old size or the new one. A tracker believes only a disk of its own size, so in the new one
//! every id is lost, whether the new tracker had started or not.

use std::sync::atomic::Ordering;

use hypercbt_extent::ByteLen;

use crate::{Error, Lost, Result, Step, TrackedDisk, Tracking};

impl TrackedDisk {
    /// Gives the disk another size; durable on return. What is new reads as zeros. Every id is lost.
    ///
    /// # Errors
    /// [`Error::Frozen`]: a disk that has checkpoints keeps its size. [`hypercbt_vhdx::Error::CannotResize`]. After
    /// any other the disk is [`Error::Stopped`], or as it was.
    pub fn resize(&self, size: ByteLen) -> Result<()> {
        let mut state = self.alone();
        let (stamps, leaf) = (state.stamps()?, state.leaf()?);
        let from = leaf.disk.size();
        if leaf.place.depth > 0 {
            return Err(Error::Frozen);
        }
        if size == from {
            return Ok(());
        }
        let file_write = self.guid();
        match leaf.disk.resize(size) {
            Ok(()) => {}
            Err(refused @ hypercbt_vhdx::Error::CannotResize { .. }) => return Err(refused.into()),
            // It may have either size.
            Err(error) => return Err(state.stop(Step::Resize, error.into())),
        }
        let tracking = Tracking::Lost(Lost::Resized { from, to: size });
        let closed = leaf.announce_close(stamps, file_write);
        let closed = closed.and_then(|last| {
            let leaf = state.take()?;
            leaf.close(state.stamps()?, file_write, last)
        });
        let resized = closed.and_then(|()| self.attach_anew(&mut state, tracking));
        self.size.store(size.0, Ordering::Release);
        resized.map_err(|cause| state.stop(Step::Resize, cause))
    }
}
