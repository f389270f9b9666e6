//! A machine with one disk, small enough that every rule shows.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::new_without_default,
    reason = "each test file uses its part; a test that is wrong may panic"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_powercut::{SimFiles, State};
use hypercbt_rct::{DiskIdentity, Options, Result, Stamp, Tracker};

pub mod gate;
pub mod log;
pub mod scenario;

pub const GRAIN: u64 = 512;
pub const UNIT: u64 = 1024;
pub const REGION: u64 = 4096;
/// 70 regions: two sectors of counters. The last grain, unit and region are not whole.
pub const DISK: u64 = 69 * REGION + 700;

pub fn options() -> Options {
    Options {
        grain: ByteLen(GRAIN),
        rct_unit: ByteLen(UNIT),
        mrt_region: ByteLen(REGION),
        ..Options::default()
    }
}

pub fn identity() -> DiskIdentity {
    DiskIdentity {
        disk_id: *b"the disk's own i",
        size: ByteLen(DISK),
    }
}

pub fn stamp(number: u8) -> Stamp {
    Stamp([number; 32])
}

pub fn extent(start: u64, end: u64) -> Extent {
    Extent::between(DiskOffset(start), DiskOffset(end)).unwrap()
}

pub fn set(ranges: &[(u64, u64)]) -> Extents {
    ranges
        .iter()
        .map(|&(start, end)| extent(start, end))
        .collect()
}

/// A write that begins and ends.
pub fn write(tracker: &Tracker, extent: Extent) {
    let ticket = tracker.write_begins(extent).unwrap();
    tracker.write_ends(ticket);
}

/// Files in memory, and the disk's stamp, which only a close changes.
#[derive(Debug)]
pub struct Machine {
    pub files: SimFiles,
    pub disk: PathBuf,
    sessions: AtomicU64,
    stamps: AtomicU64,
}

impl Machine {
    pub fn new() -> Self {
        Self::on(SimFiles::new(), "/disk.vhdx")
    }

    pub fn on(files: SimFiles, disk: impl Into<PathBuf>) -> Self {
        Self {
            files,
            disk: disk.into(),
            sessions: AtomicU64::new(1),
            stamps: AtomicU64::new(1),
        }
    }

    /// A session's GUID, never used before on this machine.
    pub fn session(&self) -> [u8; 16] {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        u128::from(number).to_be_bytes()
    }

    pub fn stamp(&self) -> Stamp {
        stamp(u8::try_from(self.stamps.load(Ordering::Relaxed)).unwrap())
    }

    pub fn try_create(&self, options: &Options, session: [u8; 16]) -> Result<Tracker> {
        let files = Arc::new(self.files.clone());
        let identity = identity();
        Tracker::create(files, &self.disk, &identity, self.stamp(), options, session)
    }

    pub fn create(&self) -> Tracker {
        self.try_create(&options(), self.session()).unwrap()
    }

    pub fn create_in_session(&self, session: u8) -> Tracker {
        self.try_create(&options(), [session; 16]).unwrap()
    }

    pub fn open(&self) -> Result<Tracker> {
        self.open_with(&options())
    }

    pub fn open_with(&self, options: &Options) -> Result<Tracker> {
        self.open_as(&identity(), self.stamp(), options, self.session())
    }

    pub fn open_as(
        &self,
        identity: &DiskIdentity,
        found: Stamp,
        options: &Options,
        session: [u8; 16],
    ) -> Result<Tracker> {
        let files = Arc::new(self.files.clone());
        Tracker::open(files, &self.disk, identity, found, options, session)
    }

    /// A clean stop: the disk's file gets a new stamp, as a VHDX does.
    pub fn close(&self, tracker: Tracker) {
        let number = self.stamps.fetch_add(1, Ordering::Relaxed) + 1;
        let last = stamp(u8::try_from(number).unwrap());
        tracker.expect(last).unwrap();
        tracker.close(last).unwrap();
    }

    pub fn path(&self, suffix: &str) -> PathBuf {
        let mut name = self.disk.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    pub fn read(&self, suffix: &str) -> Vec<u8> {
        self.files.now().read(&self.path(suffix)).unwrap()
    }

    /// The same machine, stopped, its files changed by hand, and started again.
    pub fn changed(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.files.now();
        change(&mut state);
        self.files = SimFiles::from_state(&state);
    }

    pub fn put(&mut self, suffix: &str, bytes: &[u8]) {
        let path = self.path(suffix);
        self.changed(|state| state.put(path, bytes));
    }

    pub fn remove(&self, suffix: &str) {
        use hypercbt_file::FileSystem;
        self.files.remove(&self.path(suffix)).unwrap();
    }

    /// The tracker's files under another name, on a machine that goes on from here.
    pub fn moved_to(&self, disk: &str) -> Self {
        let now = self.files.now();
        let mut state = SimFiles::new().now();
        let moved = Self::on(SimFiles::new(), disk);
        for suffix in [".rct", ".mrt"] {
            state.put(moved.path(suffix), now.read(&self.path(suffix)).unwrap());
        }
        Self {
            files: SimFiles::from_state(&state),
            sessions: AtomicU64::new(self.sessions.load(Ordering::Relaxed)),
            stamps: AtomicU64::new(self.stamps.load(Ordering::Relaxed)),
            disk: Path::new(disk).to_path_buf(),
        }
    }
}
