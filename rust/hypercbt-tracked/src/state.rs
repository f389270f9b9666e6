//! What is open of a disk: a leaf, or nothing more after a step that failed half-way.

use std::sync::Arc;

use crate::leaf::Leaf;
use crate::{Error, Result, Step};

/// What is open of a disk.
#[derive(Debug)]
pub(crate) struct State {
    leaf: Option<Leaf>,
    stopped: Option<(Step, Arc<Error>)>,
}

impl State {
    /// A disk that works.
    pub(crate) fn new(leaf: Leaf) -> Self {
        Self {
            leaf: Some(leaf),
            stopped: None,
        }
    }

    /// The leaf, unless the disk was stopped.
    pub(crate) fn leaf(&self) -> Result<&Leaf> {
        self.leaf.as_ref().ok_or_else(|| self.why_stopped())
    }

    /// Takes the leaf away; [`put`](Self::put) or [`stop`](Self::stop) follows.
    pub(crate) fn take(&mut self) -> Result<Leaf> {
        self.leaf.take().ok_or_else(|| self.why_stopped())
    }

    /// The guest goes on with this leaf.
    pub(crate) fn put(&mut self, leaf: Leaf) {
        self.leaf = Some(leaf);
    }

    /// Nothing is read or written any more.
    pub(crate) fn stop(&mut self, step: Step, cause: Error) -> Error {
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
