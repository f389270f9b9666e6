//! Programs that nobody here wrote: they read and check the files that we make and change, and write into them, and we
//! write into theirs. Each is asked only what it is known to get right; where one is not installed, its tests say so
//! and pass.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod corpus;
mod programs;
mod qemu;
mod readers;

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::{FileSystem, LocalFiles};
use hypercbt_vhdx::{
    Guid, Guids, NewKind, NewVhdx, OpenOptions, Opening, VhdxOptions, VirtualDisk, WritableVhdx,
    create_vhdx,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn guid(number: u8) -> Guid {
    Guid([number; 16])
}

fn guids(session: u8) -> Guids {
    Guids {
        file_write: guid(session * 4 + 1),
        data_write: guid(session * 4 + 2),
        log: guid(session * 4 + 3),
    }
}

fn create(path: &Path, kind: NewKind, size: u64, block_bytes: u32, sector_bytes: u32) {
    let options = VhdxOptions {
        size: ByteLen(size),
        block_bytes,
        logical_sector_bytes: sector_bytes,
        physical_sector_bytes: 4096,
        disk_id: guid(0xD1),
        file_write_guid: guid(0xF1),
        data_write_guid: guid(0xDA),
    };
    create_vhdx(&LocalFiles, path, &NewVhdx { kind, options }).unwrap();
}

fn create_child(path: &Path, parent: &Path, number: u8) {
    let new = NewVhdx::child_of(parent, guid(0xE0 + number), guid(0xE8 + number));
    create_vhdx(&LocalFiles, path, &new).unwrap();
}

fn begin(path: &Path, session: u8) -> WritableVhdx {
    let opening = Opening::new(Arc::new(LocalFiles), path, &OpenOptions::default());
    opening.unwrap().begin(&guids(session)).unwrap()
}

fn merge(child: &Path, parent: &Path) {
    let files: Arc<dyn FileSystem> = Arc::new(LocalFiles);
    let options = OpenOptions::default();
    let merged = hypercbt_vhdx::merge(begin(child, 3), &files, parent, &options, &guids(4));
    merged.unwrap().close(guid(0xB3)).unwrap();
}

/// Bytes that tell their place and who wrote them, and are never zero.
fn pattern(at: u64, len: u64, salt: u64) -> Vec<u8> {
    let byte = |at: u64| {
        (at.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(salt << 56)
            >> 56) as u8
            | 1
    };
    (at..at + len).map(byte).collect()
}

fn write(disk: &WritableVhdx, at: u64, len: u64, salt: u64) {
    disk.write_at(DiskOffset(at), &pattern(at, len, salt))
        .unwrap();
}

fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

fn read_only(path: &Path) -> VirtualDisk {
    VirtualDisk::open(path, &OpenOptions::default()).unwrap()
}

/// All bytes of a small disk.
fn content(path: &Path) -> Vec<u8> {
    let disk = read_only(path);
    let mut bytes = vec![0xA5; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// Compares without printing megabytes.
fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let differs = found
        .iter()
        .zip(wanted)
        .position(|(one, other)| one != other);
    assert_eq!(differs, None, "{what}");
}
