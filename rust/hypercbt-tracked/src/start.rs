//! Starts the tracker of a disk, or goes on with it.

use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;
use hypercbt_rct::{DiskIdentity, Lost, Stamp, Tracker};
use hypercbt_vhdx::Opening;

use crate::options::TrackedOptions;
use crate::{Error, Result};

/// Whether the tracker knows what changed before the disk was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// It does, for every id that is kept.
    Continued,
    /// The disk was not tracked before.
    Started,
    /// It does not, and started anew: every older id is refused.
    Lost(Lost),
}

/// Opens the tracker beside `base`, or starts a new one where there is none or the old one cannot be believed.
///
/// # Errors
/// A file of the tracker's name that is not ours is a refusal, never a reason to start anew over it.
pub(crate) fn start(
    files: &Arc<dyn FileSystem>,
    base: &Path,
    leaf: &Opening,
    options: &TrackedOptions,
    session: [u8; 16],
) -> Result<(Tracker, Tracking)> {
    let identity = DiskIdentity {
        disk_id: leaf.disk_id().0,
        size: leaf.size(),
    };
    let found = Stamp(leaf.stamp());
    let opened = Tracker::open(
        Arc::clone(files),
        base,
        &identity,
        found,
        &options.tracker,
        session,
    );
    let tracking = match opened {
        Ok(tracker) => return Ok((tracker, Tracking::Continued)),
        Err(hypercbt_rct::Error::NotTracked) => Tracking::Started,
        Err(hypercbt_rct::Error::TrackingLost { reason }) => Tracking::Lost(reason),
        Err(error) => return Err(Error::from(error)),
    };
    let tracker = Tracker::create(
        Arc::clone(files),
        base,
        &identity,
        found,
        &options.tracker,
        session,
    )?;
    Ok((tracker, tracking))
}
