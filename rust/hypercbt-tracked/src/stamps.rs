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

/// How long a `FileWriteGuid` is; the `DataWriteGuid` follows it.
const GUID_BYTES: usize = 16;

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

/// The stamp after a header with another `FileWriteGuid`, and nothing changed that a guest sees.
pub(crate) fn with_file_write(stamp: Stamp, file_write: [u8; GUID_BYTES]) -> Stamp {
    let mut bytes = stamp.0;
    if let Some(place) = bytes.first_chunk_mut::<GUID_BYTES>() {
        *place = file_write;
    }
    Stamp(bytes)
}

/// The stamp of a file with these two GUIDs.
pub(crate) fn stamp_of(file_write: [u8; GUID_BYTES], data_write: [u8; GUID_BYTES]) -> Stamp {
    let mut bytes = [0; 2 * GUID_BYTES];
    if let Some(place) = bytes.last_chunk_mut::<GUID_BYTES>() {
        *place = data_write;
    }
    with_file_write(Stamp(bytes), file_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_write_guid_leaves_the_data_write_guid() {
        let stamp = stamp_of([1; 16], [2; 16]);
        assert_eq!(stamp.0[..16], [1; 16]);
        assert_eq!(stamp.0[16..], [2; 16]);
        assert_eq!(with_file_write(stamp, [3; 16]), stamp_of([3; 16], [2; 16]));
    }
}
