//! Opening a VHDX for writing: look first, then begin.
//!
//! ```text
//! new      lock; read and check everything, the parents too     nothing is written
//! begin    FileWriteGuid                    before any other change (MS-VHDX 2.2.2)
//!          replay the log; sync; no log     only if the file was not closed
//!          an empty log entry; sync; LogGuid
//! ```
//!
//! A power cut anywhere in it leaves the disk as it was: a log that is replayed once more changes nothing.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use hypercbt_extent::ByteLen;
use hypercbt_file::{FileSystem, step};

use super::WritableVhdx;
use super::flush::Flushes;
use super::free_space::FreeSpace;
use super::headers::Headers;
use super::journal::Journal;
use super::live_file::LiveFile;
use super::map::Map;
use crate::bat::{self, Table};
use crate::chain;
use crate::disk::{Kind, LogState, OpenOptions};
use crate::format::{HEADER_SECTION_BYTES, MIB};
use crate::geometry::Geometry;
use crate::layer::OpenFile;
use crate::region::{self, Regions};
use crate::source::Source;
use crate::space::SpaceMap;
use crate::storage;
use crate::vhdx::{Vhdx, claim_structures};
use crate::{Error, FileOffset, Guid, NotADisk, Reason, Result, VirtualDisk};

/// The random values of one session that writes. Each is new, never zero, and used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guids {
    /// Names the state of the file while it is open.
    pub file_write: Guid,
    /// Names the content of the disk from the first change on.
    pub data_write: Guid,
    /// Names the log of the session.
    pub log: Guid,
}

/// A VHDX that is locked, read and checked, but not yet written.
#[derive(Debug)]
pub struct Opening {
    file: LiveFile,
    headers: Headers,
    /// The file as its log has it.
    source: Source,
    vhdx: Box<Vhdx>,
    parents: Option<VirtualDisk>,
}

impl Opening {
    /// Locks the file at `path`, reads and checks it and all its parents. Nothing is written.
    ///
    /// # Errors
    /// [`Error::InUse`] if another holds it open for writing.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever opens a disk shares its files, as with the tracker"
    )]
    pub fn new(files: Arc<dyn FileSystem>, path: &Path, options: &OpenOptions) -> Result<Self> {
        let file = files
            .open_to_write(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => Error::InUse {
                    file: path.to_owned(),
                },
                _ => storage::refusal(path, source),
            })?;
        let leaf = OpenFile::open_vhdx(path.to_owned(), Box::new(Arc::clone(&file)))?;
        let file = LiveFile::new(file, path.to_owned());
        let headers = Headers::read(&file)?;
        let mut chain = chain::with_parents(&|path| files.open_to_read(path), leaf, options)?;
        let parents = chain.split_off(1);
        let leaf = chain.pop().and_then(OpenFile::into_vhdx);
        let (source, vhdx) = leaf.ok_or_else(|| Error::NotADisk {
            file: path.to_owned(),
            reason: NotADisk::NoFile,
        })?;
        let parents = if parents.is_empty() {
            None
        } else {
            Some(VirtualDisk::new(parents)?)
        };
        Ok(Self {
            file,
            headers,
            source,
            vhdx,
            parents,
        })
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        self.vhdx.metadata.size
    }

    /// The identity of the virtual disk.
    pub fn disk_id(&self) -> Guid {
        self.vhdx.metadata.disk_id
    }

    /// What names the state of the file: `FileWriteGuid` and `DataWriteGuid` of its header.
    pub fn stamp(&self) -> [u8; 32] {
        self.headers.stamp()
    }

    /// What will name it from [`begin`](Self::begin) on, until the first change that a guest can see.
    pub fn begun_stamp(&self, guids: &Guids) -> [u8; 32] {
        self.headers.stamp_with(guids.file_write)
    }

    /// What a child names this file by.
    pub(super) fn data_write_guid(&self) -> Guid {
        self.headers.current().data_write_guid
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        self.vhdx.metadata.logical_sector_bytes
    }

    /// The sector that the guest should align to.
    pub fn physical_sector_bytes(&self) -> u32 {
        self.vhdx.metadata.physical_sector_bytes
    }

    /// Whether the file holds only what differs from a parent.
    pub fn is_differencing(&self) -> bool {
        self.vhdx.metadata.parent.is_some()
    }

    /// Whether a merge of this file into its parent was begun: the parent may hold some of it already.
    pub fn merge_begun(&self) -> bool {
        let locator = self.vhdx.metadata.parent.as_ref();
        let coming = locator.and_then(|locator| locator.linkage2);
        coming.is_some_and(|coming| !coming.is_zero())
    }

    /// Replays the log if the file was not closed, and opens a log of this session.
    ///
    /// # Errors
    /// The disk is as it was, whatever was written to the file.
    pub fn begin(mut self, guids: &Guids) -> Result<WritableVhdx> {
        if [guids.file_write, guids.data_write, guids.log].contains(&Guid::ZERO) {
            return Err(Error::InvalidOptions {
                file: self.file.path().to_owned(),
                reason: Reason::ZeroGuid,
            });
        }
        if !step::left_out("vhdx.header.file_write") {
            let file_write = guids.file_write;
            self.headers
                .update(&self.file, |header| header.file_write_guid = file_write)?;
        }
        let file_len = self.settle()?;
        let journal = Journal::begin(&self.file, &mut self.headers, guids.log, file_len)?;
        self.into_writable(guids, journal)
    }

    /// Makes the file what its log says, as long as its blocks need, and closes the log. Returns its length.
    fn settle(&mut self) -> Result<ByteLen> {
        let found = self.file.len()?;
        // An older qemu ends a file where the disk ends, inside its last block.
        let blocks_end = self.vhdx.map.readable + self.vhdx.missing_tail.0;
        let needed = self.source.len().0.max(blocks_end);
        let file_len = ByteLen(needed.next_multiple_of(MIB));
        if file_len > found {
            self.file.grow(file_len)?;
        }
        let is_dirty = matches!(self.vhdx.log, LogState::Replayed { .. });
        if is_dirty {
            self.replay()?;
        }
        if (is_dirty || file_len > found) && !step::left_out("vhdx.replay.sync") {
            self.file.sync()?;
        }
        if is_dirty {
            self.headers
                .update(&self.file, |header| header.log_guid = Guid::ZERO)?;
        }
        Ok(file_len)
    }

    /// Writes what the log says in its place.
    fn replay(&self) -> Result<()> {
        let mut buf = vec![0; usize::try_from(MIB).unwrap_or_default()];
        for (at, len) in self.source.overlay().changed() {
            let mut done = 0;
            while done < len.0 {
                let piece = usize::try_from(len.0 - done).unwrap_or(usize::MAX);
                let piece = piece.min(buf.len());
                let at = FileOffset(at.0.saturating_add(done));
                let piece = buf.get_mut(..piece).unwrap_or_default();
                self.source.read(piece, at)?;
                self.file.write(piece, at)?;
                done += piece.len() as u64;
            }
        }
        Ok(())
    }

    /// Reads the structures once more, from a file that now needs no log.
    fn into_writable(self, guids: &Guids, journal: Journal) -> Result<WritableVhdx> {
        let Self {
            file,
            headers,
            vhdx,
            parents,
            ..
        } = self;
        let geometry = Geometry::new(&vhdx.metadata);
        let source = Source::new(file.path().to_owned(), Box::new(file.shared()))?;
        let (regions, table, space) = load(&source, &headers, &geometry)?;
        let map = Map::load(&file, geometry, table)?;
        Ok(WritableVhdx {
            file,
            data_write: guids.data_write,
            is_changed: AtomicBool::new(false),
            bat: RwLock::new(regions.bat),
            metadata: regions.metadata,
            logical_sector_bytes: vhdx.metadata.logical_sector_bytes,
            physical_sector_bytes: vhdx.metadata.physical_sector_bytes,
            disk_id: vhdx.metadata.disk_id,
            frees: vhdx.kind() != Kind::Fixed,
            map: RwLock::new(map),
            space: Mutex::new(space),
            journal: Mutex::new(journal),
            headers: Mutex::new(headers),
            flushes: Flushes::default(),
            unsynced: AtomicBool::new(false),
            block_locks: std::array::from_fn(|_| RwLock::default()),
            bitmap_lock: Mutex::default(),
            parents,
        })
    }
}

/// Reads where everything is, and what is free.
fn load(
    source: &Source,
    headers: &Headers,
    geometry: &Geometry,
) -> Result<(Regions, Table, FreeSpace)> {
    let header = headers.current();
    let regions = region::read(source, header)?;
    let mut space = SpaceMap::new(source.len());
    space.claim(FileOffset(0), ByteLen(HEADER_SECTION_BYTES));
    let table = bat::load(source, regions.bat, geometry, &mut space)?;
    claim_structures(source, &mut space, &regions, header)?;
    let free = FreeSpace::new(source.len(), space.free());
    Ok((regions, table, free))
}
