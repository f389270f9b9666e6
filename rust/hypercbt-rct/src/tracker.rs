//! The tracker itself. (The outline; its parts follow.)

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{Extent, Extents};
use hypercbt_file::FileSystem;

use crate::{DiskIdentity, Options, RctId, Recovered, Result, Stamp, Stats};

/// A write that has begun and not ended. Give it to [`Tracker::write_ends`]; one that is dropped counts as in
/// flight for ever, which reports too much and never too little.
#[derive(Debug)]
#[must_use = "a write that never ends is in each later epoch"]
pub struct Ticket {
    _slot: usize,
}

/// Which places of a disk changed since when.
#[derive(Debug)]
pub struct Tracker {}

#[expect(
    unused_variables,
    clippy::needless_pass_by_value,
    reason = "an outline"
)]
impl Tracker {
    /// Starts tracking: makes both files, and replaces those of ours that are there.
    pub fn create(
        files: Arc<dyn FileSystem>,
        disk: &Path,
        identity: &DiskIdentity,
        stamp: Stamp,
        options: &Options,
        session: [u8; 16],
    ) -> Result<Self> {
        todo!()
    }

    /// Goes on with the tracking that the files beside the disk hold.
    pub fn open(
        files: Arc<dyn FileSystem>,
        disk: &Path,
        identity: &DiskIdentity,
        found: Stamp,
        options: &Options,
        session: [u8; 16],
    ) -> Result<Self> {
        todo!()
    }

    /// Announces a write. When this returns, the write may begin: no cut can hide it any more.
    pub fn write_begins(&self, extent: Extent) -> Result<Ticket> {
        todo!()
    }

    /// The write is done, or has failed.
    pub fn write_ends(&self, ticket: Ticket) {
        todo!()
    }

    /// Writes the `.rct` file back now.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }

    /// Ends an epoch; the id that is returned is durable.
    pub fn seal(&self) -> Result<RctId> {
        todo!()
    }

    /// The places that may have changed since the seal of `id`: all that did, and perhaps more.
    pub fn changes_since(&self, id: &RctId) -> Result<Extents> {
        todo!()
    }

    /// Drops an id, durably.
    pub fn forget(&self, id: &RctId) -> Result<()> {
        todo!()
    }

    /// The ids that are kept, oldest first.
    pub fn ids(&self) -> Vec<RctId> {
        todo!()
    }

    /// Durably: from now on the disk's file may carry `coming`, too.
    pub fn expect(&self, coming: Stamp) -> Result<()> {
        todo!()
    }

    /// Durably: the file carries the stamp that was expected last, and no other is accepted any more.
    pub fn settle(&self) -> Result<()> {
        todo!()
    }

    /// Ends the session: the `.rct` file is written, and only the stamp `last` is accepted from now on.
    pub fn close(self, last: Stamp) -> Result<()> {
        todo!()
    }

    /// What was done since the tracker was opened.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// What this tracker could build on when it was opened.
    pub fn recovered(&self) -> Recovered {
        todo!()
    }
}
