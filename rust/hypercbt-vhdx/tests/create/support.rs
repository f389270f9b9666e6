//! What a test writes, and the readers that say what was written.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_vhdx::{
    Guid, OpenOptions, RawWriter, VhdxOptions, VhdxWriter, VirtualDisk, WriteDisk,
};
use tempfile::TempDir;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

pub(crate) fn options(size: u64, block_bytes: u64, sector_bytes: u32) -> VhdxOptions {
    VhdxOptions {
        size: ByteLen(size),
        block_bytes: u32::try_from(block_bytes).unwrap(),
        logical_sector_bytes: sector_bytes,
        physical_sector_bytes: 4096,
        disk_id: Guid([0xD1; 16]),
        file_write_guid: Guid([0xF1; 16]),
        data_write_guid: Guid([0xDA; 16]),
    }
}

/// What a test writes: where, and how many bytes.
pub(crate) type Write = (u64, u64);

pub(crate) fn extents(writes: &[Write]) -> Extents {
    writes
        .iter()
        .filter_map(|(at, len)| Extent::new(DiskOffset(*at), ByteLen(*len)))
        .collect()
}

/// Bytes that tell their place on the disk, and are never zero.
pub(crate) fn content(at: u64, len: u64) -> Vec<u8> {
    (at..at + len)
        .map(|byte| (byte.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1)
        .collect()
}

pub(crate) fn write_all(disk: &impl WriteDisk, writes: &[Write]) {
    for (at, len) in writes {
        disk.write_at(DiskOffset(*at), &content(*at, *len)).unwrap();
    }
}

/// A VHDX with `writes` in it.
pub(crate) fn make_vhdx(folder: &TempDir, options: &VhdxOptions, writes: &[Write]) -> PathBuf {
    let path = folder.path().join("disk.vhdx");
    let disk = VhdxWriter::create(&path, options, &extents(writes)).unwrap();
    write_all(&disk, writes);
    disk.finish().unwrap();
    path
}

/// The same disk, raw.
pub(crate) fn make_raw(folder: &TempDir, size: u64, writes: &[Write]) -> PathBuf {
    let path = folder.path().join("disk.raw");
    let disk = RawWriter::create(&path, ByteLen(size), &extents(writes)).unwrap();
    write_all(&disk, writes);
    disk.finish().unwrap();
    path
}

/// What the disk holds at `at` after `writes`.
pub(crate) fn expected(writes: &[Write], at: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    let window = Extent::new(DiskOffset(at), ByteLen(len)).unwrap();
    for hit in &extents(writes).intersect(&Extents::from(window)) {
        let from = usize::try_from(hit.start().0 - at).unwrap();
        let hit = content(hit.start().0, hit.len().0);
        bytes[from..from + hit.len()].copy_from_slice(&hit);
    }
    bytes
}

pub(crate) fn read_file(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the disk byte by byte, straight from MS-VHDX 2.5, and checks nothing.
pub(crate) fn read_naively(path: &Path, options: &VhdxOptions, at: u64, len: u64) -> Vec<u8> {
    let number = |at| u64::from_le_bytes(read_file(path, at, 8).try_into().unwrap());
    let bat_at = number(192 * KIB + 16 + 16);
    let block_bytes = u64::from(options.block_bytes);
    let chunk_ratio = (1 << 23) * u64::from(options.logical_sector_bytes) / block_bytes;
    let mut bytes = Vec::new();
    let mut from = at;
    while from < at + len {
        let block = from / block_bytes;
        let to = ((block + 1) * block_bytes).min(at + len);
        let entry = number(bat_at + 8 * (block + block / chunk_ratio));
        match entry & 7 {
            6 => {
                let place = entry >> 20 << 20;
                bytes.extend(read_file(path, place + from % block_bytes, to - from));
            }
            _ => bytes.resize(bytes.len() + usize::try_from(to - from).unwrap(), 0),
        }
        from = to;
    }
    bytes
}

/// Reads the disk with our own reader.
pub(crate) fn read_ours(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let disk = VirtualDisk::open(path, &OpenOptions::default()).unwrap();
    let mut bytes = vec![0xEE; usize::try_from(len).unwrap()];
    disk.read_at(DiskOffset(at), &mut bytes).unwrap();
    bytes
}

/// Runs `qemu-img`. `None` if it fails, else what it printed.
pub(crate) fn qemu_img(arguments: &[&str]) -> Option<String> {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    println!("qemu-img {arguments:?}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(printed)
}

pub(crate) fn has_qemu() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        println!("skipped: qemu-img is not installed");
    }
    found
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Has qemu read whole mebibytes of the disk from `at` on.
pub(crate) fn read_by_qemu(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let out = path.with_extension("part");
    let files = [format!("if={}", text(path)), format!("of={}", text(&out))];
    // The count is of the input's blocks, those that are skipped included.
    let range = [
        format!("skip={}", at / MIB),
        format!("count={}", (at + len) / MIB),
    ];
    let [input, output, skip, count] = [&files[0], &files[1], &range[0], &range[1]];
    let how = ["dd", "-f", "vhdx", "-O", "raw", "bs=1048576"];
    qemu_img(&[&how[..], &[input, output, skip, count]].concat()).expect("qemu reads");
    fs::read(out).unwrap()
}
