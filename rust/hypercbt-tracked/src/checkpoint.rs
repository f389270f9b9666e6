//! Freezing a disk, so that its file can be backed up, and thawing it again.
//!
//! ```text
//! freeze   writes are drained · the id is sealed · the leaf is closed: it stops changing, and anybody may read it
//!          · a layer is made over it · the guest goes on in the layer
//! thaw     writes are drained · the leaf is merged into the file below · the leaf's name goes
//! ```
//!
//! Both again and again: each freeze puts a layer on top, each thaw takes the newest away. Reads and writes wait
//! while either runs. A power cut at any moment leaves a folder that tells the state: see
//! [`find`](crate::leaf::find). The tracker stays open all the time, so no other process slips in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypercbt_extent::Extents;
use hypercbt_file::step;
use hypercbt_rct::{RctId, Stamp};
use hypercbt_vhdx::{NewVhdx, Opening, create_vhdx, merge_into};

use crate::leaf::{Leaf, Place};
use crate::names::MAX_CHECKPOINTS;
use crate::seal::{changes_now, seal_on};
use crate::stamps::Stamps;
use crate::{Error, Result, Step, TrackedDisk};

/// What [`TrackedDisk::freeze`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Names this moment: `changes_since` of it tells what changed after it.
    pub id: RctId,
    /// The file that does not change until this checkpoint is thawed.
    pub file: PathBuf,
    /// What had changed at this moment since each id that was asked for, in their order.
    pub changes: Vec<(RctId, Extents)>,
}

/// A checkpoint that a disk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The id that was sealed for it; `None` in a process that did not make it, or after tracking was lost.
    pub id: Option<RctId>,
    /// The file that does not change until this checkpoint is thawed.
    pub file: PathBuf,
    /// The file that the guest writes to now.
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
    /// Makes a checkpoint: the leaf stops changing, and the guest goes on in a child of it.
    ///
    /// # Errors
    /// [`Error::TooManyCheckpoints`], [`Error::MergeUnfinished`]. After any other the disk goes on as it was, which
    /// [`checkpoints`](Self::checkpoints) tells, or it is [`Error::Stopped`].
    pub fn freeze(&self) -> Result<Frozen> {
        self.freeze_since(&[])
    }

    /// [`freeze`](Self::freeze), which also tells what had changed at that moment since each of these ids.
    ///
    /// Later nobody can: of a place only the last change is known, and the guest goes on. Ids that are not kept
    /// are left out.
    pub fn freeze_since(&self, since: &[RctId]) -> Result<Frozen> {
        let mut state = self.alone();
        let (stamps, leaf) = (state.stamps()?, state.leaf()?);
        let Place {
            path: file, depth, ..
        } = leaf.place.clone();
        if leaf.place.is_merging {
            return Err(Error::MergeUnfinished { layer: file });
        }
        let Some(layer) = self.names.at(depth + 1) else {
            let limit = MAX_CHECKPOINTS;
            return Err(Error::TooManyCheckpoints { limit });
        };
        let id = seal_on(stamps, leaf)?;
        let changes = changes_now(stamps, since);
        let file_write = self.guid();
        let last = match leaf.announce_close(stamps, file_write) {
            Ok(last) => last,
            Err(cause) => {
                stamps.give_up_id(&id);
                return Err(cause);
            }
        };
        let leaf = state.take()?;
        if let Err(cause) = leaf.close(state.stamps()?, file_write, last) {
            // What a failed sync held back cannot be made durable by a second one.
            return Err(state.stop(Step::Freeze, cause));
        }
        let Failed { cause, may_go_on } = match self.go_on_over(&file, layer, state.stamps()?) {
            Ok(child) => {
                state.put(child);
                state.name_newest(id.clone());
                return Ok(Frozen { id, file, changes });
            }
            Err(failed) => failed,
        };
        // Whatever the folder says is the disk: the old leaf again, or the layer if it was made.
        let attached = may_go_on.then(|| self.attach(state.stamps().ok()?).ok());
        let Some(leaf) = attached.flatten() else {
            return Err(state.stop(Step::Freeze, cause));
        };
        if leaf.place.depth == depth {
            state.stamps()?.give_up_id(&id);
            state.put(leaf);
        } else {
            state.put(leaf);
            state.name_newest(id);
        }
        Err(cause)
    }

    /// Makes a child of `below`, which is closed, and opens it.
    fn go_on_over(&self, below: &Path, layer: &Path, stamps: &Stamps) -> Result<Leaf, Failed> {
        self.create_layer(below, layer, stamps)?;
        Ok(self.attach(stamps)?)
    }

    /// Makes a layer; the tracker knows its stamp before it has its name.
    fn create_layer(&self, below: &Path, layer: &Path, stamps: &Stamps) -> Result<(), Failed> {
        let new = self.new_layer(below);
        let birth = Stamp(new.stamp());
        let is_late = step::left_out("tracked.freeze.expect");
        if !is_late {
            stamps.expect(birth)?;
        }
        let created = create_vhdx(&*self.files, layer, &new);
        if is_late {
            stamps.expect(birth)?;
        }
        let Err(error) = created else { return Ok(()) };
        Err(Failed {
            cause: error.into(),
            may_go_on: self.withdraw(layer, birth),
        })
    }

    /// An empty child of `below`.
    pub(crate) fn new_layer(&self, below: &Path) -> NewVhdx {
        let mut new = NewVhdx::child_of(below, self.guid(), self.guid());
        new.options.block_bytes = self.options.checkpoint_block_bytes;
        new
    }

    /// Removes a child that was made, but whose name could not be made durable: nobody has written to it, and the
    /// guest must not go on in a file that a power cut may take away. Returns whether none of ours is left; the
    /// folder is synced before the guest goes on.
    fn withdraw(&self, layer: &Path, birth: Stamp) -> bool {
        let files = Arc::clone(&self.files);
        match Opening::new(files, layer, &self.options.disk) {
            Ok(made) if Stamp(made.stamp()) == birth => {
                drop(made); // Windows removes no open file
                self.files.remove(layer).is_ok()
            }
            // None, or somebody else's, which is left alone and found when the leaf is opened again.
            _ => true,
        }
    }

    /// Merges the newest checkpoint back: the file below is the one that the guest writes to again.
    ///
    /// # Errors
    /// [`Error::NotFrozen`]. After any other the guest goes on in the layer, and a later thaw takes the merge up
    /// again; or in the file below, if that was all that was left to do, as [`checkpoints`](Self::checkpoints) tells;
    /// or the disk is [`Error::Stopped`].
    pub fn thaw(&self) -> Result<()> {
        let mut state = self.alone();
        let depth = state.leaf()?.place.depth;
        let below = depth.checked_sub(1).ok_or(Error::NotFrozen)?;
        let file = self.names.at(below).ok_or(Error::NotFrozen)?;
        let place = Place {
            path: file.to_owned(),
            depth: below,
            is_merging: false,
        };
        let leaf = state.take()?;
        let Failed { cause, may_go_on } = match self.merge_back(leaf, place, state.stamps()?) {
            Ok(merged) => {
                state.put(merged);
                return Ok(());
            }
            Err(failed) => failed,
        };
        let attached = may_go_on.then(|| self.attach(state.stamps().ok()?).ok());
        let Some(leaf) = attached.flatten() else {
            return Err(state.stop(Step::Thaw, cause));
        };
        state.put(leaf);
        Err(cause)
    }

    /// Merges a layer into the file below it, which is at `place`.
    ///
    /// That file's stamp is announced when it holds everything, and before the layer's name goes: a file that was
    /// left half merged, because somebody threw the layer away, is not taken for ours.
    fn merge_back(&self, layer: Leaf, place: Place, stamps: &Stamps) -> Result<Leaf, Failed> {
        let (files, parents) = (&self.files, &self.options.disk);
        let merged = merge_into(layer.disk, files, &place.path, parents, &self.guids());
        let merged = merged.map_err(Error::from)?;
        let is_late = step::left_out("tracked.thaw.expect");
        if !is_late {
            stamps.expect(Stamp(merged.stamp()))?;
        }
        // The name may have gone, and may be back after a power cut: both stamps stay accepted, and nobody goes on.
        let disk = merged.finish().map_err(|error| Failed {
            cause: error.into(),
            may_go_on: false,
        })?;
        if is_late {
            stamps.expect(Stamp(disk.stamp()))?;
        }
        Ok(Leaf::new(disk, place, stamps)?)
    }

    /// The newest checkpoint that the disk has, if it is frozen.
    pub fn frozen(&self) -> Option<Checkpoint> {
        self.checkpoints().pop()
    }

    /// The checkpoints that the disk has, oldest first.
    ///
    /// Without the newest while its merge waits to be finished: its file no longer holds what it held when it was
    /// frozen. None of a disk that was stopped.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        let state = self.shared();
        let Ok(Leaf { place, .. }) = state.leaf() else {
            return Vec::new();
        };
        let whole = place.depth - usize::from(place.is_merging);
        let ids = state.checkpoint_ids().iter().take(whole).enumerate();
        let checkpoints = ids.filter_map(|(below, id)| {
            Some(Checkpoint {
                id: id.clone(),
                file: self.names.at(below)?.to_owned(),
                leaf: place.path.clone(),
            })
        });
        checkpoints.collect()
    }
}
