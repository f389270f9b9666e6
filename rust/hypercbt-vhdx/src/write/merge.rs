//! Merging a child into its parent, so that a power cut at any moment leaves a disk that holds everything.
//!
//! A child knows its parent by the parent's `DataWriteGuid`, which the first change of the parent replaces. So the
//! child is told the coming one first, as its second linkage (MS-VHDX 2.6.2.6.3):
//!
//! ```text
//! 1  the child names the parent as it is and as it will be      durable
//! 2  the parent gets the child's size, and all that the child holds: data, and zeros as zeros
//! 3  flush the parent                                           durable: it holds everything alone
//! 4  remove the child, sync its folder
//! ```
//!
//! From 1 to 4 the child reads over the parent as before: where the parent changes, the child holds the same itself.
//! A merge that was cut is begun again from the start.

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{DiskOffset, Extent};
use hypercbt_file::{FileSystem, step};

use super::{Guids, Opening, WritableVhdx, read};
use crate::error::{Defect, Mismatch};
use crate::format::PARENT_LOCATOR_ITEM;
use crate::locator::{self, LINKAGE, LINKAGE2, braced};
use crate::segments::Here;
use crate::{Error, FileOffset, Guid, OpenOptions, Part, Reason, Result};

/// Data is copied in pieces of this size: it bounds the memory.
const PIECE_BYTES: u64 = 1 << 20;

/// A parent that holds, durably, all that its child held. The child's file is still there, and locked.
#[derive(Debug)]
pub struct Merged {
    parent: WritableVhdx,
    child: WritableVhdx,
    files: Arc<dyn FileSystem>,
}

/// Merges `child` into its parent, the file `parent`, and removes the child's file. Returns the parent, which holds
/// everything, durably. See [`merge_into`].
pub fn merge(
    child: WritableVhdx,
    files: &Arc<dyn FileSystem>,
    parent: &Path,
    parent_options: &OpenOptions,
    guids: &Guids,
) -> Result<WritableVhdx> {
    merge_into(child, files, parent, parent_options, guids)?.finish()
}

/// Merges `child` into its parent, the file `parent`, up to the point where the child is no longer needed.
///
/// `parent_options` say where the parent finds its own parents, and `guids` are those of its session. What builds on
/// the child is to be merged into it before; other children of the same parent lose it.
///
/// # Errors
/// [`Error::WrongParent`] if `parent` is not the child's, [`Error::InUse`] if another writes it; nothing was changed
/// then. After any other the child still reads as before over its parent, and the merge can be begun again.
pub fn merge_into(
    child: WritableVhdx,
    files: &Arc<dyn FileSystem>,
    parent: &Path,
    parent_options: &OpenOptions,
    guids: &Guids,
) -> Result<Merged> {
    let opening = Opening::new(Arc::clone(files), parent, parent_options)?;
    check_pair(&child, &opening, parent)?;
    if !step::left_out("vhdx.merge.linkage") {
        child.expect_parent(opening.data_write_guid(), guids.data_write)?;
    }
    let merged = opening.begin(guids)?;
    merged.resize(child.size())?;
    copy(&child, &merged)?;
    if !step::left_out("vhdx.merge.flush") {
        merged.flush()?;
    }
    Ok(Merged {
        parent: merged,
        child,
        files: Arc::clone(files),
    })
}

impl Merged {
    /// What names the state of the parent's file, as [`WritableVhdx::stamp`] says it.
    pub fn stamp(&self) -> [u8; 32] {
        self.parent.stamp()
    }

    /// Removes the child's file, and makes that durable. Returns the parent.
    ///
    /// # Errors
    /// The child may be there or not, and after a power cut too; if it is, it reads as the parent does.
    pub fn finish(self) -> Result<WritableVhdx> {
        let path = self.child.file.path().to_owned();
        drop(self.child); // Windows removes no open file
        remove(&*self.files, &path)?;
        Ok(self.parent)
    }
}

/// Checks that the parent is the child's, and can hold what the child holds.
fn check_pair(child: &WritableVhdx, parent: &Opening, path: &Path) -> Result<()> {
    let pairs = child.parent_pairs()?;
    let locator = locator::from_pairs(&pairs).map_err(|defect| child.blame(defect))?;
    let sectors = (child.logical_sector_bytes(), parent.logical_sector_bytes());
    locator
        .check(parent.data_write_guid())
        .and_then(|()| Mismatch::check_sectors(sectors.0, sectors.1))
        .map_err(|mismatch| Error::WrongParent {
            file: child.file.path().to_owned(),
            parent: path.to_owned(),
            mismatch,
        })
}

impl WritableVhdx {
    /// Says durably that the parent is the file with the first `DataWriteGuid`, and also the one with the second.
    fn expect_parent(&self, now: Guid, coming: Guid) -> Result<()> {
        let mut pairs = self.parent_pairs()?;
        for (key, guid) in [(LINKAGE, now), (LINKAGE2, coming)] {
            match pairs.iter_mut().find(|(known, _)| known == key) {
                Some((_, value)) => *value = braced(guid),
                None => pairs.push((key.to_owned(), braced(guid))),
            }
        }
        let item = locator::encode(&pairs).ok_or_else(|| {
            let reason = Reason::TooManyEntries(pairs.len() as u64);
            self.blame(Defect::new(Part::ParentLocator, reason))
        })?;
        self.change_metadata(&self.item_patches(PARENT_LOCATOR_ITEM, &item)?)
    }

    /// What the parent locator says, key by key.
    fn parent_pairs(&self) -> Result<Vec<(String, String)>> {
        let item = self.item(PARENT_LOCATOR_ITEM)?;
        locator::pairs(&item).map_err(|defect| self.blame(defect))
    }
}

/// Puts into the parent what the child itself holds, and nothing else.
fn copy(child: &WritableVhdx, parent: &WritableVhdx) -> Result<()> {
    let end = DiskOffset(child.size().0);
    let mut buf = Vec::new();
    let mut at = DiskOffset(0);
    // Zeros of many blocks are one request.
    let mut zeros: Option<Extent> = None;
    while let Some(rest) = Extent::between(at, end) {
        let run = read(&child.map).run_at(at);
        let extent = Extent::between(at, run.end).unwrap_or(rest);
        at = extent.end();
        if run.here == Here::Zero {
            let start = zeros.map_or(extent.start(), Extent::start);
            zeros = Extent::between(start, extent.end());
            continue;
        }
        if let Some(zeros) = zeros.take() {
            parent.zero(zeros)?;
        }
        if let Here::Data(place) = run.here {
            copy_data(child, parent, extent, place, &mut buf)?;
        }
    }
    zeros.map_or(Ok(()), |zeros| parent.zero(zeros))
}

/// Copies the bytes of `extent`, which are in the child's file from `place` on.
fn copy_data(
    child: &WritableVhdx,
    parent: &WritableVhdx,
    extent: Extent,
    place: FileOffset,
    buf: &mut Vec<u8>,
) -> Result<()> {
    let mut done = 0;
    while done < extent.len().0 {
        let len = PIECE_BYTES.min(extent.len().0 - done);
        buf.resize(usize::try_from(len).unwrap_or_default(), 0);
        child
            .file
            .read(buf, FileOffset(place.0.saturating_add(done)))?;
        parent.write_at(DiskOffset(extent.start().0 + done), buf)?;
        done += len;
    }
    Ok(())
}

/// Removes the child, durably: were it back after a cut, what was written since would be hidden by it.
fn remove(files: &dyn FileSystem, path: &Path) -> Result<()> {
    let failed = |source| Error::Remove {
        file: path.to_owned(),
        source,
    };
    files.remove(path).map_err(failed)?;
    if step::left_out("vhdx.merge.sync_folder") {
        return Ok(());
    }
    files.sync_name(path).map_err(failed)
}
