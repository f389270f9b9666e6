//! What is open of a disk: the leaf with its tracker, or nothing more after a step that failed half-way.

use std::sync::Arc;

use hypercbt_rct::RctId;

use crate::leaf::Leaf;
use crate::stamps::Stamps;
use crate::{Error, Result, Step, Tracking};

/// What is open of a disk.
#[derive(Debug)]
pub(crate) struct State {
    leaf: Option<Leaf>,
    /// None only while another tracker is started, or after that failed.
    stamps: Option<Stamps>,
    pub(crate) tracking: Tracking,
    /// The id of each checkpoint, oldest first; known to the process that made it.
    ids: Vec<Option<RctId>>,
    stopped: Option<(Step, Arc<Error>)>,
}

impl State {
    /// A disk that works.
    pub(crate) fn new(leaf: Leaf, stamps: Stamps, tracking: Tracking) -> Self {
        Self {
            ids: vec![None; leaf.place.depth],
            leaf: Some(leaf),
            stamps: Some(stamps),
            tracking,
            stopped: None,
        }
    }

    /// The leaf, unless the disk was stopped.
    pub(crate) fn leaf(&self) -> Result<&Leaf> {
        self.leaf.as_ref().ok_or_else(|| self.why_stopped())
    }

    /// The tracker, unless the disk was stopped while it had none.
    pub(crate) fn stamps(&self) -> Result<&Stamps> {
        self.stamps.as_ref().ok_or_else(|| self.why_stopped())
    }

    /// Takes the leaf away; [`put`](Self::put) or [`stop`](Self::stop) follows.
    pub(crate) fn take(&mut self) -> Result<Leaf> {
        self.leaf.take().ok_or_else(|| self.why_stopped())
    }

    /// Takes the tracker away; [`track`](Self::track) or [`stop`](Self::stop) follows.
    pub(crate) fn take_stamps(&mut self) -> Result<Stamps> {
        self.stamps.take().ok_or_else(|| self.why_stopped())
    }

    /// The guest goes on with this leaf.
    pub(crate) fn put(&mut self, leaf: Leaf) {
        self.ids.resize(leaf.place.depth, None);
        self.leaf = Some(leaf);
    }

    /// Another tracker starts; it has no ids.
    pub(crate) fn track(&mut self, stamps: Stamps, tracking: Tracking) {
        self.stamps = Some(stamps);
        self.tracking = tracking;
        self.ids.fill(None);
    }

    /// The newest checkpoint was made with this id.
    pub(crate) fn name_newest(&mut self, id: RctId) {
        if let Some(newest) = self.ids.last_mut() {
            *newest = Some(id);
        }
    }

    /// The id of each checkpoint, oldest first.
    pub(crate) fn checkpoint_ids(&self) -> &[Option<RctId>] {
        &self.ids
    }

    /// Nothing is read or written any more.
    pub(crate) fn stop(&mut self, step: Step, cause: Error) -> Error {
        self.leaf = None;
        self.stopped = Some((step, Arc::new(cause)));
        self.why_stopped()
    }

    fn why_stopped(&self) -> Error {
        match &self.stopped {
            Some((step, cause)) => Error::Stopped {
                step: *step,
                cause: Arc::clone(cause),
            },
            // Only if a thread panicked between taking the leaf and putting another.
            None => Error::NotOpen,
        }
    }
}
