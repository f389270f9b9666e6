//! Freezing a disk, so that its file can be backed up, and thawing it again.
//!
//! ```text
//! freeze   writes are drained · the id is sealed · the base is closed: it stops changing, and anybody may read it
//!          · a child is made beside it · the guest goes on in the child
//! thaw     writes are drained · the child is merged into the base · the child's name goes
//! ```
//!
//! Reads and writes wait while either runs. A power cut at any moment leaves a folder that tells the state: see
//! [`find`](crate::leaf::find). The tracker stays open all the time, so no other process slips in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypercbt_file::step;
use hypercbt_rct::{RctId, Stamp};
use hypercbt_vhdx::{NewVhdx, Opening, create_vhdx, merge_into};

use crate::leaf::{Leaf, Role};
use crate::{Error, Result, Step, TrackedDisk, names};

/// What [`TrackedDisk::freeze`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Names this moment: `changes_since` of it tells what changed after it.
    pub id: RctId,
    /// The file that does not change until the disk is thawed.
    pub file: PathBuf,
}

/// A checkpoint that a disk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The id that was sealed for it; `None` in a process that did not make it.
    pub id: Option<RctId>,
    /// The file that does not change until the disk is thawed.
    pub file: PathBuf,
    /// The file that the guest writes to.
    pub leaf: PathBuf,
}

/// Why a checkpoint was not made.
struct Failed {
    cause: Error,
    /// Whether what is in the folder may be used as it is.
    may_go_on: bool,
}

impl From<Error> for Failed {
    fn from(cause: Error) -> Self {
        let may_go_on = !cause.is_for_good();
        Self { cause, may_go_on }
    }
}

impl TrackedDisk {
    /// Makes a checkpoint: the base file stops changing, and the guest goes on in a child of it.
    ///
    /// # Errors
    /// [`Error::AlreadyFrozen`]. After any other the disk goes on as it was, which [`frozen`](Self::frozen) tells, or
    /// it is [`Error::Stopped`].
    pub fn freeze(&self) -> Result<Frozen> {
        let mut state = self.alone();
        let leaf = state.leaf()?;
        if leaf.role != Role::Base {
            return Err(Error::AlreadyFrozen {
                checkpoint: leaf.path.clone(),
            });
        }
        let id = self.seal_on(leaf)?;
        let file_write = self.guid();
        let last = match leaf.announce_close(&self.stamps, file_write) {
            Ok(last) => last,
            Err(cause) => {
                self.give_up_id(&id);
                return Err(cause);
            }
        };
        if let Err(cause) = state.take()?.close(&self.stamps, file_write, last) {
            // What a failed sync held back cannot be made durable by a second one.
            return Err(state.stop(Step::Freeze, cause));
        }
        let Failed { cause, may_go_on } = match self.go_on_in_child() {
            Ok(mut child) => {
                child.role = Role::Checkpoint(Some(id.clone()));
                state.put(child);
                let file = self.base.clone();
                return Ok(Frozen { id, file });
            }
            Err(failed) => failed,
        };
        // Whatever the folder says is the disk: the base again, or the child if it was made.
        let Some(mut leaf) = may_go_on.then(|| self.attach().ok()).flatten() else {
            return Err(state.stop(Step::Freeze, cause));
        };
        if leaf.role == Role::Base {
            self.give_up_id(&id);
        } else {
            leaf.role = Role::Checkpoint(Some(id));
        }
        state.put(leaf);
        Err(cause)
    }

    /// Makes a child of the base, which is closed, and opens it.
    fn go_on_in_child(&self) -> Result<Leaf, Failed> {
        self.create_checkpoint()?;
        Ok(self.attach()?)
    }

    /// Makes the file of a checkpoint; the tracker knows its stamp before it has its name.
    fn create_checkpoint(&self) -> Result<(), Failed> {
        let (file_write, data_write) = (self.guid(), self.guid());
        let mut new = NewVhdx::child_of(&self.base, file_write, data_write);
        new.options.block_bytes = self.options.checkpoint_block_bytes;
        let birth = Stamp(new.stamp());
        let is_late = step::left_out("tracked.freeze.expect");
        if !is_late {
            self.stamps.expect(birth)?;
        }
        let checkpoint = names::checkpoint_of(&self.base)?;
        let created = create_vhdx(&*self.files, &checkpoint, &new);
        if is_late {
            self.stamps.expect(birth)?;
        }
        let Err(error) = created else { return Ok(()) };
        Err(Failed {
            cause: error.into(),
            may_go_on: self.withdraw(&checkpoint, birth),
        })
    }

    /// Removes a child that was made, but whose name could not be made durable: nobody has written to it, and the
    /// guest must not go on in a file that a power cut may take away. Returns whether none of ours is left; the
    /// folder is synced before the guest goes on.
    fn withdraw(&self, checkpoint: &Path, birth: Stamp) -> bool {
        let files = Arc::clone(&self.files);
        match Opening::new(files, checkpoint, &self.options.disk) {
            Ok(made) if Stamp(made.stamp()) == birth => {
                drop(made); // Windows removes no open file
                self.files.remove(checkpoint).is_ok()
            }
            // None, or somebody else's, which is left alone and found when the base is opened again.
            _ => true,
        }
    }

    /// Merges the checkpoint back: the base is the file that the guest writes to again.
    ///
    /// # Errors
    /// [`Error::NotFrozen`]. After any other the guest goes on in the checkpoint, and a later thaw takes the merge up
    /// again; or the disk is [`Error::Stopped`].
    pub fn thaw(&self) -> Result<()> {
        let mut state = self.alone();
        let before = state.leaf()?.role.clone();
        if before == Role::Base {
            return Err(Error::NotFrozen);
        }
        let leaf = state.take()?;
        let Failed { cause, may_go_on } = match self.merge_back(leaf) {
            Ok(base) => {
                state.put(base);
                return Ok(());
            }
            Err(failed) => failed,
        };
        let Some(mut leaf) = may_go_on.then(|| self.attach().ok()).flatten() else {
            return Err(state.stop(Step::Thaw, cause));
        };
        if leaf.role == Role::Checkpoint(None) {
            leaf.role = before;
        }
        state.put(leaf);
        Err(cause)
    }

    /// Merges the child into the base.
    ///
    /// The base's stamp is announced when it holds everything, and before the child's name goes: a base that was left
    /// half merged, because somebody threw the child away, is not taken for ours.
    fn merge_back(&self, child: Leaf) -> Result<Leaf, Failed> {
        let (files, parents) = (&self.files, &self.options.disk);
        let merged = merge_into(child.disk, files, &self.base, parents, &self.guids());
        let merged = merged.map_err(Error::from)?;
        let is_late = step::left_out("tracked.thaw.expect");
        if !is_late {
            self.stamps.expect(Stamp(merged.stamp()))?;
        }
        // The name may have gone, and may be back after a power cut: both stamps stay accepted, and nobody goes on.
        let base = merged.finish().map_err(|error| Failed {
            cause: error.into(),
            may_go_on: false,
        })?;
        if is_late {
            self.stamps.expect(Stamp(base.stamp()))?;
        }
        let base = Leaf::new(base, self.base.clone(), Role::Base, &self.stamps)?;
        Ok(base)
    }

    /// The checkpoint that the disk has, if it is frozen.
    ///
    /// None while a merge waits to be finished: the base no longer holds what it held when it was frozen.
    pub fn frozen(&self) -> Option<Checkpoint> {
        let state = self.shared();
        let leaf = state.leaf().ok()?;
        match &leaf.role {
            Role::Base | Role::Merging => None,
            Role::Checkpoint(id) => Some(Checkpoint {
                id: id.clone(),
                file: self.base.clone(),
                leaf: leaf.path.clone(),
            }),
        }
    }
}
