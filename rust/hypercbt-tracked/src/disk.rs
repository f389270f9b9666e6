//! A tracked disk: opening and closing it, and its facts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hypercbt_extent::ByteLen;
use hypercbt_file::FileSystem;
use hypercbt_vhdx::{Guid, Guids};

use crate::leaf::{self, Leaf, Role};
use crate::stamps::Stamps;
use crate::state::State;
use crate::{Random, Result, TrackedOptions, Tracking, start};

/// A virtual disk that is written, and never without its tracker.
///
/// Any number of threads may read and write at once. Dropping it without [`close`](Self::close) is a crash: what
/// was flushed is kept, and what changed is known, only less finely.
#[derive(Debug)]
pub struct TrackedDisk {
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) base: PathBuf,
    pub(crate) options: TrackedOptions,
    pub(crate) stamps: Stamps,
    size: ByteLen,
    sector_bytes: u32,
    tracking: Tracking,
    random: Mutex<RandomSource>,
    /// Whoever reads or writes shares it; whoever changes which file is the leaf has it alone.
    state: RwLock<State>,
}

/// The random source, which has nothing to show.
pub(crate) struct RandomSource(Random);

impl std::fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RandomSource")
    }
}

impl TrackedDisk {
    /// Opens the disk whose base file is `path`, and goes on tracking it, or starts to.
    ///
    /// Whatever a crash left is finished first: a checkpoint that was made is there, one that was being merged is
    /// merged to its end.
    ///
    /// # Errors
    /// That of the disk, [`hypercbt_vhdx::Error::InUse`] among them; that of the tracker where a file of its name is
    /// not ours. Tracking that was lost is no error: see [`tracking`](Self::tracking).
    pub fn open(
        files: Arc<dyn FileSystem>,
        path: &Path,
        options: &TrackedOptions,
        mut random: Random,
    ) -> Result<Self> {
        let found = leaf::find(&files, path, &options.disk)?;
        let (tracker, tracking) = start::start(&files, path, &found.opening, options, random())?;
        let stamps = Stamps::new(tracker, hypercbt_rct::Stamp(found.opening.stamp()));
        let size = found.opening.size();
        let sector_bytes = found.opening.logical_sector_bytes();
        let leaf = found.begin(&stamps, &leaf::guids(&mut random))?;
        let merging = leaf.role == Role::Merging;
        let disk = Self {
            files,
            base: path.to_owned(),
            options: options.clone(),
            stamps,
            size,
            sector_bytes,
            tracking,
            random: Mutex::new(RandomSource(random)),
            state: RwLock::new(State::new(leaf)),
        };
        if merging {
            disk.thaw()?;
        }
        Ok(disk)
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        self.size
    }

    /// The sector that the guest addresses: writes are whole ones.
    pub fn logical_sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Whether the tracker knows what changed before the disk was opened.
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// Closes the disk and its tracker cleanly. A checkpoint stays.
    pub fn close(self) -> Result<()> {
        let file_write = self.guid();
        let state = self.state.into_inner();
        let leaf = state.unwrap_or_else(PoisonError::into_inner).take()?;
        let last = leaf.announce_close(&self.stamps, file_write)?;
        leaf.close(&self.stamps, file_write, last)?;
        self.stamps.into_tracker().close(last)?;
        Ok(())
    }

    pub(crate) fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens whichever file is the leaf now.
    pub(crate) fn attach(&self) -> Result<Leaf> {
        let found = leaf::find(&self.files, &self.base, &self.options.disk)?;
        found.begin(&self.stamps, &self.guids())
    }

    pub(crate) fn guid(&self) -> Guid {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        leaf::guid(&mut random.0)
    }

    pub(crate) fn guids(&self) -> Guids {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        leaf::guids(&mut random.0)
    }
}
