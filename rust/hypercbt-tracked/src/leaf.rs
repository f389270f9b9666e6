//! The file that the guest writes to: found, opened, and one session of it begun.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hypercbt_extent::Extent;
use hypercbt_file::{FileSystem, folder_of, step};
use hypercbt_rct::Stamp;
use hypercbt_vhdx::{Guid, Guids, OpenOptions, Opening, WritableVhdx};

use crate::names::Names;
use crate::options::Random;
use crate::stamps::Stamps;
use crate::{Error, Result};

/// Where a leaf stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// How many files of the disk are below it: so many checkpoints there are.
    pub(crate) depth: usize,
    /// It was begun to be merged: the file below is no longer what it was when it was frozen.
    pub(crate) is_merging: bool,
}

/// A leaf that is locked, read and checked; nothing is written yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) opening: Opening,
    pub(crate) place: Place,
}

/// A leaf that is written to.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) disk: WritableVhdx,
    pub(crate) place: Place,
    /// Whether the tracker has settled on the stamp that says that this session changed the content.
    changed: AtomicBool,
    /// Held by whoever may make the first change.
    first_change: Mutex<()>,
}

/// Finds which file of the disk is the leaf, the one that nothing is over, and locks it.
///
/// The folder is synced first. A process that died may have made or removed a layer's name without making
/// that durable; what the guest is promised from now on relies on the names that are seen now.
pub(crate) fn find(
    files: &Arc<dyn FileSystem>,
    names: &Names,
    options: &OpenOptions,
) -> Result<Found> {
    let folder = folder_of(names.base());
    if !step::left_out("tracked.leaf.folder") {
        let synced = files.sync_folder(folder);
        synced.map_err(|source| files_error(folder, source))?;
    }
    let (mut depth, mut path) = (0, names.base());
    // The highest: where one below it is missing, its reader says so.
    for (layer, name) in names.layers() {
        match files.open_to_read(name) {
            Ok(_) => (depth, path) = (layer, name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(files_error(name, source)),
        }
    }
    let opening = Opening::new(Arc::clone(files), path, options)?;
    let place = Place {
        path: path.to_owned(),
        depth,
        is_merging: depth > 0 && opening.merge_begun(),
    };
    Ok(Found { opening, place })
}

impl Found {
    /// Begins a session: from now on the file is written to.
    pub(crate) fn begin(self, stamps: &Stamps, guids: &Guids) -> Result<Leaf> {
        let found = Stamp(self.opening.stamp());
        stamps.check(&self.place.path, found)?;
        let begun = Stamp(self.opening.begun_stamp(guids));
        let is_late = step::left_out("tracked.begin.expect");
        if !is_late {
            stamps.expect(begun)?;
        }
        let disk = self.opening.begin(guids)?;
        if is_late {
            stamps.expect(begun)?;
        }
        Leaf::new(disk, self.place, stamps)
    }
}

impl Leaf {
    /// A session that was just begun, before its first change.
    pub(crate) fn new(disk: WritableVhdx, place: Place, stamps: &Stamps) -> Result<Self> {
        stamps.settle(&place.path, Stamp(disk.stamp()))?;
        if !step::left_out("tracked.change.expect") {
            stamps.expect(Stamp(disk.coming_stamp()))?;
        }
        Ok(Self {
            changed: AtomicBool::new(disk.stamp() == disk.coming_stamp()),
            first_change: Mutex::new(()),
            disk,
            place,
        })
    }

    /// Does something that changes what the guest sees, after it was announced to the tracker and before the
    /// tracker hears that it is over.
    pub(crate) fn change(
        &self,
        stamps: &Stamps,
        extent: Extent,
        work: impl FnOnce(&WritableVhdx) -> hypercbt_vhdx::Result<()>,
    ) -> Result<()> {
        let tracker = &stamps.tracker;
        if step::left_out("tracked.change.mark_first") {
            work(&self.disk)?;
            let ticket = tracker.write_begins(extent)?;
            tracker.write_ends(ticket);
            return Ok(());
        }
        let ticket = tracker.write_begins(extent)?;
        let done = if self.changed.load(Ordering::Acquire) {
            work(&self.disk).map_err(Error::from)
        } else {
            self.make_first_change(stamps, work)
        };
        // Also what failed may have reached the disk in part.
        tracker.write_ends(ticket);
        done
    }

    /// Changes one at a time until the first of them is settled.
    fn make_first_change(
        &self,
        stamps: &Stamps,
        work: impl FnOnce(&WritableVhdx) -> hypercbt_vhdx::Result<()>,
    ) -> Result<()> {
        let _alone = self
            .first_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let done = work(&self.disk).map_err(Error::from);
        // Also a write that failed may have changed something, but a header that is not durable proves nothing.
        let is_durable = !done.as_ref().is_err_and(Error::is_for_good);
        let stamp = self.disk.stamp();
        if is_durable && stamp == self.disk.coming_stamp() {
            if step::left_out("tracked.change.expect") {
                stamps.expect(Stamp(stamp))?;
            }
            stamps.settle(&self.place.path, Stamp(stamp))?;
            self.changed.store(true, Ordering::Release);
        }
        done
    }

    /// Tells the tracker which stamp the file will carry when it is closed. Nothing is written to the file yet.
    pub(crate) fn announce_close(&self, stamps: &Stamps, file_write: Guid) -> Result<Stamp> {
        let last = Stamp(self.disk.closed_stamp(file_write));
        if !step::left_out("tracked.close.expect") {
            stamps.expect(last)?;
        }
        Ok(last)
    }

    /// Closes the file, as announced.
    pub(crate) fn close(self, stamps: &Stamps, file_write: Guid, last: Stamp) -> Result<()> {
        self.disk.close(file_write)?;
        if step::left_out("tracked.close.expect") {
            stamps.expect(last)?;
        }
        stamps.settle(&self.place.path, last)
    }
}

/// New random values for one session.
pub(crate) fn guids(random: &mut Random) -> Guids {
    Guids {
        file_write: guid(random),
        data_write: guid(random),
        log: guid(random),
    }
}

/// A new random GUID.
pub(crate) fn guid(random: &mut Random) -> Guid {
    Guid::version_4(random())
}

/// An error of a name or a folder.
pub(crate) fn files_error(path: &Path, source: io::Error) -> Error {
    Error::Files {
        path: path.to_owned(),
        source,
    }
}
