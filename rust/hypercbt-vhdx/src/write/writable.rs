//! A VHDX that is open for writing: reading it, its names, and closing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::step;

use super::flush::Flushes;
use super::free_space::FreeSpace;
use super::headers::{self, Headers};
use super::journal::Journal;
use super::live_file::LiveFile;
use super::map::Map;
use super::{lock, read};
use crate::region::Region;
use crate::segments::Here;
use crate::{BlockIndex, Error, FileIndex, Guid, Place, Result, Segment, VirtualDisk};

/// A VHDX that is open for writing, by many threads at once.
///
/// Dropping it without [`close`](Self::close) is a power cut: what was flushed is kept.
///
/// Locks are taken in this order: of a block; of the flush, the journal; of the map, the space, the headers.
#[derive(Debug)]
pub struct WritableVhdx {
    pub(super) file: LiveFile,
    pub(super) headers: Mutex<Headers>,
    /// The `DataWriteGuid` from the first change on.
    pub(super) data_write: Guid,
    /// The header has it.
    pub(super) is_changed: AtomicBool,
    /// Where the table is; a disk that grows may need a longer one elsewhere.
    pub(super) bat: RwLock<Region>,
    pub(super) metadata: Region,
    pub(super) logical_sector_bytes: u32,
    pub(super) physical_sector_bytes: u32,
    pub(super) disk_id: Guid,
    /// Blocks that are zero leave the file: not those of a fixed disk.
    pub(super) frees: bool,
    pub(super) map: RwLock<Map>,
    pub(super) space: Mutex<FreeSpace>,
    pub(super) journal: Mutex<Journal>,
    pub(super) flushes: Flushes,
    /// Payload was written since the last sync began.
    pub(super) unsynced: AtomicBool,
    /// Each for the blocks whose number has a certain rest.
    pub(super) block_locks: [RwLock<()>; BLOCK_LOCKS],
    pub(super) bitmap_lock: Mutex<()>,
    /// What lies below a differencing disk.
    pub(super) parents: Option<VirtualDisk>,
}

/// How many locks the blocks share.
pub(super) const BLOCK_LOCKS: usize = 64;

impl WritableVhdx {
    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        read(&self.map).size()
    }

    /// The identity of the virtual disk.
    pub fn disk_id(&self) -> Guid {
        self.disk_id
    }

    /// What names the state of the file now: `FileWriteGuid` and `DataWriteGuid` of its header.
    pub fn stamp(&self) -> [u8; 32] {
        lock(&self.headers).stamp()
    }

    /// What will name it from the first change of this session on, or does already.
    pub fn coming_stamp(&self) -> [u8; 32] {
        let file_write = lock(&self.headers).current().file_write_guid;
        headers::stamp(file_write, self.data_write)
    }

    /// What will name it once it is [`close`](Self::close)d with this GUID.
    pub fn closed_stamp(&self, file_write: Guid) -> [u8; 32] {
        lock(&self.headers).stamp_with(file_write)
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        self.logical_sector_bytes
    }

    /// The sector that the guest should align to.
    pub fn physical_sector_bytes(&self) -> u32 {
        self.physical_sector_bytes
    }

    /// Fills `buf` with the bytes of the disk from `at` on.
    pub fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        self.check_range(at, ByteLen(buf.len() as u64))?;
        let mut at = at;
        let mut rest = buf;
        while !rest.is_empty() {
            let index = read(&self.map).geometry().block_of(at);
            // The block keeps its room while it is read.
            let _shared = read(self.block_lock(index));
            let (here, len) = self.run_in_block(at, rest.len());
            let (piece, after) = rest.split_at_mut(len);
            match here {
                Here::Data(place) => self.file.read(piece, place)?,
                Here::Zero => piece.fill(0),
                Here::Below => self.read_below(at, piece)?,
            }
            at = DiskOffset(at.0.saturating_add(len as u64));
            rest = after;
        }
        Ok(())
    }

    /// What is at `at`, and for how many of `len` bytes of the same block.
    fn run_in_block(&self, at: DiskOffset, len: usize) -> (Here, usize) {
        let map = read(&self.map);
        let run = map.run_at(at);
        let geometry = map.geometry();
        let block_end = geometry.start_of(BlockIndex(geometry.block_of(at).0 + 1));
        let end = run.end.min(block_end);
        let same = usize::try_from(end.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
        (run.here, same.min(len))
    }

    /// What the parents hold; past their end are zeros.
    fn read_below(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        let size = self.parents.as_ref().map_or(0, |parents| parents.size().0);
        let inside = usize::try_from(size.saturating_sub(at.0)).unwrap_or(usize::MAX);
        let (inside, past_end) = buf.split_at_mut(inside.min(buf.len()));
        past_end.fill(0);
        match &self.parents {
            Some(parents) if !inside.is_empty() => parents.read_at(at, inside),
            _ => Ok(()),
        }
    }

    /// Where there is data: a partition of `extent`, in order, equal neighbours merged. File 0 is this one, its
    /// parents follow. A place is only good until the next change.
    pub fn segments(&self, extent: Extent) -> Result<Vec<Segment>> {
        self.check_range(extent.start(), extent.len())?;
        let mut found: Vec<Segment> = Vec::new();
        let mut next = Some(extent);
        while let Some(rest) = next {
            let run = read(&self.map).run_at(rest.start());
            let end = run.end.min(rest.end());
            let Some(part) = Extent::between(rest.start(), end) else {
                break;
            };
            match run.here {
                Here::Data(at) => {
                    let file = FileIndex(0);
                    add(&mut found, part, Place::Data { file, at });
                }
                Here::Zero => add(&mut found, part, Place::Zero),
                Here::Below => self.add_below(&mut found, part)?,
            }
            next = Extent::between(end, rest.end());
        }
        Ok(found)
    }

    fn add_below(&self, found: &mut Vec<Segment>, extent: Extent) -> Result<()> {
        let size = DiskOffset(self.parents.as_ref().map_or(0, |parents| parents.size().0));
        let inside = Extent::between(extent.start(), extent.end().min(size));
        if let (Some(parents), Some(inside)) = (&self.parents, inside) {
            for segment in parents.segments(inside)? {
                let place = match segment.place {
                    Place::Data { file, at } => Place::Data {
                        file: FileIndex(file.0.saturating_add(1)),
                        at,
                    },
                    Place::Zero => Place::Zero,
                };
                add(found, segment.extent, place);
            }
        }
        if let Some(past_end) = Extent::between(extent.start().max(size), extent.end()) {
            add(found, past_end, Place::Zero);
        }
        Ok(())
    }

    /// Flushes and closes the log; `file_write` is new and names the closed file.
    ///
    /// # Errors
    /// The file is then as after a power cut: what was flushed is kept.
    pub fn close(self, file_write: Guid) -> Result<()> {
        self.flush()?;
        lock(&self.journal).write_in_place(&self.file)?;
        // The header that forgets the log comes after what the log holds.
        if !step::left_out("vhdx.close.sync") {
            self.file.sync()?;
        }
        lock(&self.headers).update(&self.file, |header| {
            header.file_write_guid = file_write;
            header.log_guid = Guid::ZERO;
        })
    }

    /// Sees to it that the header says that the disk changes, before it does (MS-VHDX 2.2.2).
    pub(super) fn before_change(&self) -> Result<()> {
        self.file.check()?;
        if self.is_changed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut headers = lock(&self.headers);
        let is_new = headers.current().data_write_guid != self.data_write;
        if is_new && !step::left_out("vhdx.header.data_write") {
            headers.update(&self.file, |header| {
                header.data_write_guid = self.data_write;
            })?;
        }
        self.is_changed.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn block_lock(&self, index: BlockIndex) -> &RwLock<()> {
        let rest = usize::try_from(index.0 % BLOCK_LOCKS as u64).unwrap_or_default();
        self.block_locks
            .get(rest)
            .expect("a rest of the number of locks")
    }

    pub(super) fn check_range(&self, at: DiskOffset, len: ByteLen) -> Result<()> {
        let disk_len = self.size();
        let end = at.0.checked_add(len.0);
        if end.is_some_and(|end| end <= disk_len.0) {
            return Ok(());
        }
        Err(Error::OutOfRange { at, len, disk_len })
    }

    /// The extent of a change: on the disk, in whole sectors; `None` if it is empty.
    pub(super) fn checked(&self, at: DiskOffset, len: ByteLen) -> Result<Option<Extent>> {
        self.check_range(at, len)?;
        let sector_bytes = self.logical_sector_bytes;
        let sector = u64::from(sector_bytes);
        if at.0.is_multiple_of(sector) && len.0.is_multiple_of(sector) {
            return Ok(Extent::new(at, len));
        }
        Err(Error::Misaligned {
            at,
            len,
            sector_bytes,
        })
    }
}

/// Adds a piece to a partition, to the last one if it goes on there.
fn add(found: &mut Vec<Segment>, extent: Extent, place: Place) {
    let next = Segment { extent, place };
    let joined = found.last().and_then(|last| last.joined(next));
    match (found.last_mut(), joined) {
        (Some(last), Some(joined)) => *last = joined,
        _ => found.push(next),
    }
}
