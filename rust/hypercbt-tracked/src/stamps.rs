//! Which stamps the file that the guest writes to may carry, told to the tracker before it carries them.
//!
//! The tracker accepts several at once. One session writes three headers that change the stamp; each is announced
//! before it is written, and the older ones are dropped when it is durable:
//!
//! ```text
//!                        accepted            in the file
//! found                  F0 D0               F0 D0
//! begin: expect          F0 D0, F1 D0        F0 D0, then F1 D0   (FileWriteGuid: somebody writes)
//!        settle          F1 D0               F1 D0
//!        expect          F1 D0, F1 D1        F1 D0, then F1 D1   (DataWriteGuid: before the first change)
//! first change: settle   F1 D1               F1 D1
//! close: expect          F1 D1, F2 D1        F1 D1, then F2 D1   (what lies there is not what was open)
//!        settle          F2 D1               F2 D1
//! ```
//!
//! The first change is settled before it ends: else an old copy of the file, taken before it, would still be
//! accepted after ids were sealed that know of the change, and their answers would miss that it is gone.
//!
//! A stamp that is only *found* is never settled on. Its header may have been written by a process that died before
//! it was durable, and the one before may be back after a power cut.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hypercbt_file::step;
use hypercbt_rct::{Stamp, Tracker};

use crate::{Error, Result};

/// The tracker of a disk, and the stamps that it accepts.
#[derive(Debug)]
pub(crate) struct Stamps {
    pub(crate) tracker: Tracker,
    /// In the order in which they were announced.
    accepted: Mutex<Vec<Stamp>>,
}

impl Stamps {
    /// A tracker that was just opened with the stamp that was found.
    pub(crate) fn new(tracker: Tracker, found: Stamp) -> Self {
        let accepted = Mutex::new(vec![found]);
        Self { tracker, accepted }
    }

    /// The tracker alone, to be closed.
    pub(crate) fn into_tracker(self) -> Tracker {
        self.tracker
    }

    /// From now on the file may carry `coming` as well. Durable on return.
    pub(crate) fn expect(&self, coming: Stamp) -> Result<()> {
        let mut accepted = self.accepted();
        if accepted.last() != Some(&coming) {
            self.tracker.expect(coming)?;
            accepted.push(coming);
        }
        Ok(())
    }

    /// Looks whether the file at `path` may carry the stamp that was found there.
    ///
    /// # Errors
    /// [`Error::ChangedUnderneath`] if it may not.
    pub(crate) fn check(&self, path: &Path, found: Stamp) -> Result<()> {
        if self.accepted().contains(&found) {
            return Ok(());
        }
        Err(Error::ChangedUnderneath {
            file: path.to_owned(),
        })
    }

    /// The file at `path` carries `durable`, which was expected last, and will not carry an older one again.
    pub(crate) fn settle(&self, path: &Path, durable: Stamp) -> Result<()> {
        self.check(path, durable)?;
        // The tracker settles on what was expected last.
        self.expect(durable)?;
        let mut accepted = self.accepted();
        if accepted.len() > 1 {
            if !step::left_out("tracked.stamps.settle") {
                self.tracker.settle()?;
            }
            *accepted = vec![durable];
        }
        Ok(())
    }

    fn accepted(&self) -> MutexGuard<'_, Vec<Stamp>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
