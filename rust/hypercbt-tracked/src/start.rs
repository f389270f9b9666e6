//! Starts the tracker of a disk, or goes on with it.

use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;
use hypercbt_rct::{DiskIdentity, Stamp, Tracker};
use hypercbt_vhdx::Opening;

use crate::options::TrackedOptions;
use crate::{Error, Lost, Result, Tracking};

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
    let opened = Tracker::open(
        Arc::clone(files),
        base,
        &identity(leaf),
        Stamp(leaf.stamp()),
        &options.tracker,
        session,
    );
    let tracking = match opened {
        Ok(tracker) => return Ok((tracker, Tracking::Continued)),
        Err(hypercbt_rct::Error::NotTracked) => Tracking::Started,
        Err(hypercbt_rct::Error::TrackingLost { reason }) => Tracking::Lost(Lost::Found(reason)),
        Err(error) => return Err(Error::from(error)),
    };
    Ok((anew(files, base, leaf, options, session)?, tracking))
}

/// Starts a new tracker beside `base`, whose files replace those of ours that are there.
pub(crate) fn anew(
    files: &Arc<dyn FileSystem>,
    base: &Path,
    leaf: &Opening,
    options: &TrackedOptions,
    session: [u8; 16],
) -> Result<Tracker> {
    let created = Tracker::create(
        Arc::clone(files),
        base,
        &identity(leaf),
        Stamp(leaf.stamp()),
        &options.tracker,
        session,
    );
    Ok(created?)
}

fn identity(leaf: &Opening) -> DiskIdentity {
    DiskIdentity {
        disk_id: leaf.disk_id().0,
        size: leaf.size(),
    }
}
