//! A small disk on files in memory.

#![allow(dead_code, reason = "each test program uses its part")]

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_rct::Options;
use hypercbt_tracked::{Random, Result, TrackedDisk, TrackedOptions};
use hypercbt_vhdx::{Guid, NewKind, NewVhdx, OpenOptions, VhdxOptions, VirtualDisk, create_vhdx};

pub(crate) const FOLDER: &str = "/vms";
pub(crate) const BASE: &str = "/vms/web01.vhdx";
/// The files of its checkpoints, from the lowest on.
pub(crate) const LAYERS: [&str; 3] = [
    "/vms/web01_9B8F25FC-2323-DCE7-0674-09F50CE3C874.avhdx",
    "/vms/web01_8A9DB107-2F73-11A5-65C8-20EDFC62AC10.avhdx",
    "/vms/web01_F2C49F1E-2599-4BCA-906F-515AF8255245.avhdx",
];
pub(crate) const CHECKPOINT: &str = LAYERS[0];
pub(crate) const RCT: &str = "/vms/web01.vhdx.rct";
pub(crate) const MRT: &str = "/vms/web01.vhdx.mrt";

pub(crate) const SECTOR: usize = 512;
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const DISK_BYTES: u64 = 4 * MIB;

/// A machine with an empty disk that was never tracked, and no history.
pub(crate) fn machine(kind: NewKind) -> SimFiles {
    let files = SimFiles::new();
    files.create_folder(Path::new(FOLDER)).unwrap();
    files.sync_folder(Path::new("/")).unwrap();
    let options = VhdxOptions {
        size: ByteLen(DISK_BYTES),
        block_bytes: 1 << 20,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        disk_id: Guid([0xD1; 16]),
        file_write_guid: Guid([0xF1; 16]),
        data_write_guid: Guid([0xDA; 16]),
    };
    create_vhdx(&files, Path::new(BASE), &NewVhdx { kind, options }).unwrap();
    SimFiles::from_state(&files.now())
}

/// Small precisions, so that a small disk has many regions.
pub(crate) fn options() -> TrackedOptions {
    TrackedOptions {
        tracker: Options {
            grain: ByteLen(4 * KIB),
            rct_unit: ByteLen(16 * KIB),
            mrt_region: ByteLen(64 * KIB),
            ..Options::default()
        },
        checkpoint_block_bytes: 1 << 20,
        ..TrackedOptions::default()
    }
}

/// Random bytes that a run can be repeated with; no two of different seeds are equal.
pub(crate) fn random(seed: u64) -> Random {
    let mut count = 0_u64;
    Box::new(move || {
        count += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&scramble(seed).to_le_bytes());
        bytes[8..].copy_from_slice(&scramble(count ^ seed.rotate_left(32)).to_le_bytes());
        bytes
    })
}

/// One step of splitmix64: every number becomes another that looks random.
pub(crate) fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Opens the disk; each session has its own seed.
pub(crate) fn open(files: &SimFiles, session: u64) -> Result<TrackedDisk> {
    let files: Arc<dyn FileSystem> = Arc::new(files.clone());
    TrackedDisk::open(files, Path::new(BASE), &options(), random(session))
}

/// A machine with an open disk.
pub(crate) fn opened() -> (SimFiles, TrackedDisk) {
    let files = machine(NewKind::Dynamic);
    let disk = open(&files, 1).unwrap();
    (files, disk)
}

/// Ends a session: closes the disk, or leaves it as a process does that dies.
pub(crate) fn end(disk: TrackedDisk, clean: bool) {
    if clean {
        disk.close().unwrap();
    } else {
        drop(disk);
    }
}

pub(crate) fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

pub(crate) fn write(disk: &TrackedDisk, at: u64, byte: u8) -> Result<()> {
    disk.write_at(DiskOffset(at), &[byte; SECTOR])
}

/// The first byte of a sector whose bytes are all the same.
pub(crate) fn read(disk: &TrackedDisk, at: u64) -> u8 {
    let mut bytes = [0; SECTOR];
    disk.read_at(DiskOffset(at), &mut bytes).unwrap();
    assert_eq!(bytes, [bytes[0]; SECTOR]);
    bytes[0]
}

/// What anybody reads in a file of the machine.
pub(crate) fn file_content(files: &SimFiles, path: &str) -> Vec<u8> {
    let disk = VirtualDisk::open_in(files, Path::new(path), &OpenOptions::default()).unwrap();
    let mut bytes = vec![0; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// What the guest reads.
pub(crate) fn content(disk: &TrackedDisk) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}
