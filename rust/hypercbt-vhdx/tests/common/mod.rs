//! Makes VHDX files in memory, from the specification and not from the crate: what the crate reads is compared with
//! what was asked for here. The fuzz targets use it, too.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "each test file uses its part; a test that is wrong may panic"
)]

pub mod dirty;
pub mod good;
pub mod good_vhd;
pub mod image;
pub mod log;
pub mod segments;
pub mod sparse;
pub mod vhd;
pub mod work;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;
pub const TIB: u64 = 1 << 40;

use hypercbt_vhdx::{ReadAt, Result, VirtualDisk};
use sparse::SparseFile;

/// Opens a chain of files, leaf first.
pub fn open(files: impl IntoIterator<Item = SparseFile>) -> Result<VirtualDisk> {
    let named = files.into_iter().enumerate().map(|(number, file)| {
        let storage: Box<dyn ReadAt> = Box::new(file);
        (format!("file{number}"), storage)
    });
    VirtualDisk::from_storage(named.collect())
}

/// Bytes of the disk.
pub fn read(disk: &VirtualDisk, at: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xA5; len];
    disk.read_at(hypercbt_extent::DiskOffset(at), &mut buf)
        .unwrap();
    buf
}

/// The part and the reason of a refusal, as text that a test can compare.
pub fn refusal(result: Result<VirtualDisk>) -> String {
    match result {
        Err(hypercbt_vhdx::Error::Corrupt { part, reason, .. }) => format!("{part}: {reason}"),
        Err(error) => error.to_string(),
        Ok(_) => "opened".to_owned(),
    }
}
