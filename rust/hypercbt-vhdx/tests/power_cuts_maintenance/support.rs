//! What a story is, and the disks that it is about.

#![allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "each test file uses its part; a helper of a test may panic"
)]

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_powercut::{History, SimFiles, State};
use hypercbt_vhdx::{
    Guid, Guids, NewKind, NewVhdx, OpenOptions, Opening, Result, VhdxOptions, VirtualDisk,
    WritableVhdx, create_vhdx,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// What was done, and how a disk that lost power then is judged.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) history: History,
    pub(crate) check: Box<Check>,
}

/// Is told after how many operations power went, and the machine that starts then. Says what is wrong with it.
pub(crate) type Check = dyn Fn(usize, &SimFiles) -> std::result::Result<(), String>;

/// A GUID of its own for each number.
pub(crate) fn guid(number: u8) -> Guid {
    Guid([number; 16])
}

/// Those of session `number`, which is less than 60.
pub(crate) fn guids(number: u8) -> Guids {
    let number = number * 4;
    Guids {
        file_write: guid(number + 1),
        data_write: guid(number + 2),
        log: guid(number + 3),
    }
}

pub(crate) fn options(size: u64, block_bytes: u32) -> VhdxOptions {
    VhdxOptions {
        size: ByteLen(size),
        block_bytes,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        disk_id: guid(0xD1),
        file_write_guid: guid(0xF1),
        data_write_guid: guid(0xDA),
    }
}

pub(crate) fn create(files: &SimFiles, path: &str, kind: NewKind, options: VhdxOptions) {
    create_vhdx(files, Path::new(path), &NewVhdx { kind, options }).unwrap();
}

/// A child with blocks of `block_bytes`, of a `DataWriteGuid` of its own.
pub(crate) fn create_child(
    files: &SimFiles,
    path: &str,
    parent: &str,
    block_bytes: u32,
    number: u8,
) {
    let kind = NewKind::Differencing {
        parent: parent.into(),
    };
    let options = VhdxOptions {
        data_write_guid: guid(0xE0 + number),
        ..options(MIB, block_bytes)
    };
    create(files, path, kind, options);
}

pub(crate) fn try_opening(files: &SimFiles, path: &str) -> Result<Opening> {
    let files = Arc::new(files.clone());
    Opening::new(files, Path::new(path), &OpenOptions::default())
}

/// Opens a disk for writing, in session `number`.
pub(crate) fn begin(files: &SimFiles, path: &str, number: u8) -> WritableVhdx {
    let opening = try_opening(files, path).unwrap();
    opening.begin(&guids(number)).unwrap()
}

/// Merges, in session `number` of the parent.
pub(crate) fn merge(
    files: &SimFiles,
    child: WritableVhdx,
    parent: &str,
    number: u8,
) -> Result<WritableVhdx> {
    let files: Arc<dyn hypercbt_file::FileSystem> = Arc::new(files.clone());
    let (parent, options) = (Path::new(parent), OpenOptions::default());
    hypercbt_vhdx::merge(child, &files, parent, &options, &guids(number))
}

pub(crate) fn write(disk: &WritableVhdx, at: u64, len: u64, byte: u8) {
    let bytes = vec![byte; usize::try_from(len).unwrap()];
    disk.write_at(DiskOffset(at), &bytes).unwrap();
}

pub(crate) fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

/// The same files, durable, and nothing done yet.
pub(crate) fn restarted(files: &SimFiles) -> SimFiles {
    SimFiles::from_state(&files.now())
}

pub(crate) fn exists(files: &SimFiles, path: &str) -> bool {
    files
        .now()
        .paths()
        .iter()
        .any(|found| found == Path::new(path))
}

/// Opens a disk for reading, as it was left.
pub(crate) fn open(files: &SimFiles, path: impl AsRef<Path>) -> Result<VirtualDisk> {
    VirtualDisk::open_in(files, path.as_ref(), &OpenOptions::default())
}

/// All bytes of a small disk.
pub(crate) fn content(disk: &VirtualDisk) -> Vec<u8> {
    let mut bytes = vec![0xA5; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// All bytes of a small disk that is open for writing.
pub(crate) fn read_all(disk: &WritableVhdx) -> Vec<u8> {
    let mut bytes = vec![0xA5; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// Says what stands where two disks differ.
pub(crate) fn same(found: &[u8], wanted: &[u8]) -> std::result::Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    if found.len() != wanted.len() {
        return Err(format!("{} bytes, not {}", found.len(), wanted.len()));
    }
    match found
        .iter()
        .zip(wanted)
        .position(|(one, other)| one != other)
    {
        None => Ok(()),
        Some(at) => Err(format!("{} at {at}, not {}", found[at], wanted[at])),
    }
}

pub(crate) fn require(
    holds: bool,
    why: impl FnOnce() -> String,
) -> std::result::Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// The bytes of a file, changed by hand.
pub(crate) fn poke(files: &SimFiles, path: &str, at: u64, bytes: &[u8]) -> SimFiles {
    let mut state: State = files.now();
    let mut file = state.read(Path::new(path)).unwrap();
    let at = usize::try_from(at).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    state.put(path, file);
    SimFiles::from_state(&state)
}
