//! What a story is, and the disks that it is about.

use std::path::Path;

use hypercbt_extent::ByteLen;
use hypercbt_powercut::{History, SimFiles, State};
use hypercbt_vhdx::{
    Guid, NewKind, NewVhdx, OpenOptions, Result, VhdxOptions, VirtualDisk, create_vhdx,
};

pub(crate) const MIB: u64 = 1 << 20;

/// What was done, and how a disk that lost power then is judged.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) history: History,
    pub(crate) check: Box<Check>,
}

/// Is told after how many operations power went, and what is then found. Says what is wrong with that.
pub(crate) type Check = dyn Fn(usize, &State) -> std::result::Result<(), String>;

/// A GUID of its own for each number.
pub(crate) fn guid(number: u8) -> Guid {
    Guid([number; 16])
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

/// The same files, durable, and nothing done yet.
pub(crate) fn restarted(files: &SimFiles) -> SimFiles {
    SimFiles::from_state(&files.now())
}

/// Opens a disk for reading, as it was left.
pub(crate) fn open(state: &State, path: &Path) -> Result<VirtualDisk> {
    let files = SimFiles::from_state(state);
    VirtualDisk::open_in(&files, path, &OpenOptions::default())
}

pub(crate) fn require(
    holds: bool,
    why: impl FnOnce() -> String,
) -> std::result::Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
