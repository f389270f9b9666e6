//! A tracked disk: opening and closing it, and its facts.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hypercbt_extent::ByteLen;
use hypercbt_file::FileSystem;
use hypercbt_rct::Stamp;
use hypercbt_vhdx::{Guid, Guids};

use crate::leaf::{self, Leaf};
use crate::names::Names;
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
    pub(crate) names: Names,
    pub(crate) options: TrackedOptions,
    /// Only a resize changes it.
    pub(crate) size: AtomicU64,
    sector_bytes: u32,
    random: Mutex<RandomSource>,
    /// Whoever reads or writes shares it; whoever changes which file is the leaf has it alone.
    state: RwLock<State>,
}

/// The random source, which has nothing to show.
struct RandomSource(Random);

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
        let names = Names::of(path)?;
        let found = leaf::find(&files, &names, &options.disk)?;
        let (tracker, tracking) = start::start(&files, path, &found.opening, options, random())?;
        let stamps = Stamps::new(tracker, Stamp(found.opening.stamp()));
        let size = AtomicU64::new(found.opening.size().0);
        let sector_bytes = found.opening.logical_sector_bytes();
        let leaf = found.begin(&stamps, &leaf::guids(&mut random))?;
        let is_merging = leaf.place.is_merging;
        let disk = Self {
            files,
            names,
            options: options.clone(),
            size,
            sector_bytes,
            random: Mutex::new(RandomSource(random)),
            state: RwLock::new(State::new(leaf, stamps, tracking)),
        };
        if is_merging {
            disk.thaw()?;
        }
        Ok(disk)
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        ByteLen(self.size.load(Ordering::Acquire))
    }

    /// The sector that the guest addresses: writes are whole ones.
    pub fn logical_sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Whether the tracker knows what changed before the disk was opened; or, if that is later, before it was
    /// reverted or resized.
    pub fn tracking(&self) -> Tracking {
        self.shared().tracking
    }

    /// Closes the disk and its tracker cleanly. Checkpoints stay.
    pub fn close(self) -> Result<()> {
        let file_write = self.guid();
        let state = self.state.into_inner();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let leaf = state.take()?;
        let stamps = state.take_stamps()?;
        let last = leaf.announce_close(&stamps, file_write)?;
        leaf.close(&stamps, file_write, last)?;
        stamps.into_tracker().close(last)?;
        Ok(())
    }

    pub(crate) fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens whichever file is the leaf now.
    pub(crate) fn attach(&self, stamps: &Stamps) -> Result<Leaf> {
        let found = leaf::find(&self.files, &self.names, &self.options.disk)?;
        found.begin(stamps, &self.guids())
    }

    /// Opens whichever file is the leaf now, as if nobody had tracked it before: every id is lost.
    ///
    /// There is always a lock that keeps other processes out: the old tracker's, until the leaf has its own.
    pub(crate) fn attach_anew(&self, state: &mut State, tracking: Tracking) -> Result<()> {
        let found = leaf::find(&self.files, &self.names, &self.options.disk)?;
        drop(state.take_stamps());
        let session = self.random_bytes();
        let base = self.names.base();
        let tracker = start::anew(&self.files, base, &found.opening, &self.options, session)?;
        let stamps = Stamps::new(tracker, Stamp(found.opening.stamp()));
        let leaf = found.begin(&stamps, &self.guids())?;
        state.put(leaf);
        state.track(stamps, tracking);
        Ok(())
    }

    fn random_bytes(&self) -> [u8; 16] {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (random.0)()
    }

    pub(crate) fn guid(&self) -> Guid {
        Guid::version_4(self.random_bytes())
    }

    pub(crate) fn guids(&self) -> Guids {
        Guids {
            file_write: self.guid(),
            data_write: self.guid(),
            log: self.guid(),
        }
    }
}
