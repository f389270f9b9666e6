//! New disks: what was written is what is read, by three readers.
//!
//! A reader too simple to be wrong (below), our own, and `qemu-img` where it is installed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_vhdx::{
    Error, Guid, OpenOptions, Part, RawWriter, Reason, VhdxOptions, VhdxWriter, VirtualDisk,
    WriteDisk,
};
use proptest::prelude::*;
use tempfile::TempDir;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn options(size: u64, block_bytes: u64, sector_bytes: u32) -> VhdxOptions {
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
type Write = (u64, u64);

fn extents(writes: &[Write]) -> Extents {
    writes
        .iter()
        .filter_map(|(at, len)| Extent::new(DiskOffset(*at), ByteLen(*len)))
        .collect()
}

/// Bytes that tell their place on the disk, and are never zero.
fn content(at: u64, len: u64) -> Vec<u8> {
    (at..at + len)
        .map(|byte| (byte.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1)
        .collect()
}

fn write_all(disk: &impl WriteDisk, writes: &[Write]) {
    for (at, len) in writes {
        disk.write_at(DiskOffset(*at), &content(*at, *len)).unwrap();
    }
}

/// A VHDX with `writes` in it.
fn make_vhdx(folder: &TempDir, options: &VhdxOptions, writes: &[Write]) -> PathBuf {
    let path = folder.path().join("disk.vhdx");
    let disk = VhdxWriter::create(&path, options, &extents(writes)).unwrap();
    write_all(&disk, writes);
    disk.finish().unwrap();
    path
}

/// The same disk, raw.
fn make_raw(folder: &TempDir, size: u64, writes: &[Write]) -> PathBuf {
    let path = folder.path().join("disk.raw");
    let disk = RawWriter::create(&path, ByteLen(size), &extents(writes)).unwrap();
    write_all(&disk, writes);
    disk.finish().unwrap();
    path
}

/// What the disk holds at `at` after `writes`.
fn expected(writes: &[Write], at: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    let window = Extent::new(DiskOffset(at), ByteLen(len)).unwrap();
    for hit in &extents(writes).intersect(&Extents::from(window)) {
        let from = usize::try_from(hit.start().0 - at).unwrap();
        let hit = content(hit.start().0, hit.len().0);
        bytes[from..from + hit.len()].copy_from_slice(&hit);
    }
    bytes
}

fn read_file(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the disk byte by byte, straight from MS-VHDX 2.5, and checks nothing.
fn read_naively(path: &Path, options: &VhdxOptions, at: u64, len: u64) -> Vec<u8> {
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
fn read_ours(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let disk = VirtualDisk::open(path, &OpenOptions::default()).unwrap();
    let mut bytes = vec![0xEE; usize::try_from(len).unwrap()];
    disk.read_at(DiskOffset(at), &mut bytes).unwrap();
    bytes
}

/// Runs `qemu-img`. `None` if it fails, else what it printed.
fn qemu_img(arguments: &[&str]) -> Option<String> {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    println!("qemu-img {arguments:?}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(printed)
}

fn has_qemu() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        println!("skipped: qemu-img is not installed");
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Has qemu read whole mebibytes of the disk from `at` on.
fn read_by_qemu(path: &Path, at: u64, len: u64) -> Vec<u8> {
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

#[test]
fn qemu_finds_no_error_and_reads_the_same_disk() {
    if !has_qemu() {
        return;
    }
    let disks: &[(u64, u64, &[Write])] = &[
        (3 * MIB + 512, 32 * MIB, &[(0, 512), (3 * MIB, 512)]),
        (512, MIB, &[(0, 512)]),
        (
            11 * MIB + 1536,
            2 * MIB,
            &[
                (MIB, 4096),
                (4 * MIB - 512, 3 * MIB),
                (11 * MIB + 512, 1024),
            ],
        ),
        (11 * MIB, 2 * MIB, &[]),
        (6 * MIB, MIB, &[(0, 6 * MIB)]),
        (300 * MIB, 256 * MIB, &[(270 * MIB, 100)]),
    ];
    for (size, block_bytes, writes) in disks {
        let folder = TempDir::new().unwrap();
        let vhdx = make_vhdx(&folder, &options(*size, *block_bytes, 512), writes);
        let raw = make_raw(&folder, *size, writes);
        let (vhdx, raw) = (text(&vhdx), text(&raw));
        qemu_img(&["check", "-f", "vhdx", vhdx]).expect("no error");
        // This finds two sizes equal if the longer disk ends in zeros.
        qemu_img(&["compare", "-f", "vhdx", "-F", "raw", vhdx, raw]).expect("the same");
        let facts = qemu_img(&["info", "--output=json", "-f", "vhdx", vhdx]).unwrap();
        assert!(
            facts.contains(&format!("\"virtual-size\": {size},")),
            "{facts}"
        );
    }
}

#[test]
fn all_readers_agree_on_both_sides_of_the_4_gib_border() {
    for block_bytes in [MIB, 32 * MIB] {
        let writes = [
            (0, 4096),
            (4 * GIB - 512, 512),
            (4 * GIB, 1024),
            (4 * GIB + 40 * MIB, 512),
        ];
        let options = options(4 * GIB + 48 * MIB, block_bytes, 512);
        let folder = TempDir::new().unwrap();
        let path = make_vhdx(&folder, &options, &writes);
        for (at, len) in [
            (0, MIB),
            (4 * GIB - MIB, 2 * MIB),
            (4 * GIB + 39 * MIB, 2 * MIB),
        ] {
            let wanted = expected(&writes, at, len);
            assert!(
                read_naively(&path, &options, at, len) == wanted,
                "naive, {at}"
            );
            assert!(read_ours(&path, at, len) == wanted, "ours, {at}");
            if has_qemu() {
                assert!(read_by_qemu(&path, at, len) == wanted, "qemu, {at}");
            }
        }
    }
}

#[test]
fn a_disk_with_sectors_of_4096_bytes_is_read_on_both_sides_of_the_32_gib_border() {
    let writes = [
        (0, 4096),
        (32 * GIB - 4096, 8192),
        (32 * GIB + 30 * MIB, 4096),
    ];
    let options = options(32 * GIB + 64 * MIB, MIB, 4096);
    let folder = TempDir::new().unwrap();
    let path = make_vhdx(&folder, &options, &writes);
    for (at, len) in [
        (0, MIB),
        (32 * GIB - MIB, 2 * MIB),
        (32 * GIB + 29 * MIB, 2 * MIB),
    ] {
        let wanted = expected(&writes, at, len);
        assert!(
            read_naively(&path, &options, at, len) == wanted,
            "naive, {at}"
        );
        assert!(read_ours(&path, at, len) == wanted, "ours, {at}");
    }
    let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(disk.logical_sector_bytes(), 4096);
}

#[test]
fn a_mostly_empty_disk_takes_the_room_of_its_present_blocks() {
    let writes = [(10 * GIB + 77 * MIB, 512), (63 * TIB, 512)];
    let folder = TempDir::new().unwrap();
    let path = make_vhdx(&folder, &options(64 * TIB, 32 * MIB, 512), &writes);
    // Headers, log, metadata: 3 MiB; a table of 16.1 MiB, rounded up; two blocks.
    assert_eq!(fs::metadata(&path).unwrap().len(), (3 + 17 + 2 * 32) * MIB);
    for (at, len) in writes {
        assert!(read_ours(&path, at, len) == content(at, len));
    }
    if has_qemu() {
        qemu_img(&["check", "-f", "vhdx", text(&path)]).expect("no error");
    }
}

#[test]
fn our_reader_finds_what_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let writes = [(2 * MIB, 512), (8 * MIB, 512)];
    let path = make_vhdx(&folder, &options(9 * MIB, 2 * MIB, 512), &writes);
    let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(disk.size(), ByteLen(9 * MIB));
    assert_eq!(disk.disk_id(), Some(Guid([0xD1; 16])));
    assert_eq!(disk.block_bytes(), Some(2 << 20));
    assert_eq!(disk.logical_sector_bytes(), 512);
    assert_eq!(disk.physical_sector_bytes(), 4096);
    assert_eq!(
        disk.allocated(),
        extents(&[(2 * MIB, 2 * MIB), (8 * MIB, MIB)])
    );
    assert_eq!(disk.layers()[0].creator.as_deref(), Some("hypercbt 0.1.0"));
    assert_eq!(disk.layers()[0].data_write_guid, Some(Guid([0xDA; 16])));
}

#[test]
fn many_threads_write_one_disk() {
    const PIECE: u64 = 48 * KIB; // does not divide a block, so pieces cross the borders
    let size = 12 * MIB;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    let options = options(size, MIB, 512);
    let disk = VhdxWriter::create(&path, &options, &extents(&[(0, size)])).unwrap();
    thread::scope(|scope| {
        for first in 0..4 {
            let disk = &disk;
            scope.spawn(move || {
                let starts = (0..).map(|turn| (first + 4 * turn) * PIECE);
                let starts = starts.take_while(|at| *at < size);
                let writes: Vec<_> = starts.map(|at| (at, PIECE.min(size - at))).collect();
                write_all(disk, &writes);
            });
        }
    });
    disk.finish().unwrap();
    assert!(read_naively(&path, &options, 0, size) == content(0, size));
}

#[test]
fn an_unfinished_disk_is_a_vhdx_that_every_reader_refuses() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    let disk = VhdxWriter::create(&path, &options(4 * MIB, MIB, 512), &extents(&[(0, 512)]));
    let disk = disk.unwrap();
    disk.write_at(DiskOffset(0), &content(0, 512)).unwrap();
    drop(disk);
    assert_eq!(read_file(&path, 0, 8), b"vhdxfile");
    let opened = VirtualDisk::open(&path, &OpenOptions::default()).map(|_| ());
    assert!(
        matches!(
            opened,
            Err(Error::Corrupt {
                part: Part::Header,
                reason: Reason::NoValidCopy,
                ..
            })
        ),
        "{opened:?}"
    );
    if has_qemu() {
        assert_eq!(qemu_img(&["check", "-f", "vhdx", text(&path)]), None);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_room_for_the_whole_file_is_taken_before_the_first_write() {
    use std::os::unix::fs::MetadataExt;

    let folder = TempDir::new().unwrap();
    let probe = File::create(folder.path().join("probe")).unwrap();
    if rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::empty(), 0, 1).is_err() {
        println!("skipped: this file system cannot reserve room");
        return;
    }
    let path = folder.path().join("disk.vhdx");
    let present = extents(&[(0, 5 * MIB)]);
    let _disk = VhdxWriter::create(&path, &options(8 * MIB, MIB, 512), &present).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!(file.len(), 9 * MIB);
    assert!(file.blocks() * 512 >= 9 * MIB, "{} blocks", file.blocks());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_the_volume_has_no_room_for_is_refused_and_leaves_no_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    let present = extents(&[(0, 64 * TIB)]);
    match VhdxWriter::create(&path, &options(64 * TIB, 32 * MIB, 512), &present) {
        Err(Error::Create { file, source }) => {
            assert_eq!(file, path);
            assert_eq!(source.kind(), ErrorKind::StorageFull);
            assert!(!path.exists());
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => println!("skipped: this volume has room for 64 TiB, or cannot tell"),
    }
}

#[test]
fn numbers_that_the_format_does_not_allow_make_no_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    let refused = |options: VhdxOptions| match VhdxWriter::create(&path, &options, &Extents::new())
    {
        Err(Error::InvalidOptions { file, reason }) => {
            assert_eq!(file, path);
            assert!(!path.exists());
            reason
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(options(0, MIB, 512)), Reason::DiskSize(0));
    assert_eq!(refused(options(512, MIB, 4096)), Reason::DiskSize(512));
    assert_eq!(
        refused(options(512, 3 * MIB, 512)),
        Reason::BlockSize(3 << 20)
    );
    assert_eq!(refused(options(512, MIB, 520)), Reason::SectorSize(520));
    let raw = RawWriter::create(&path, ByteLen(513), &Extents::new());
    assert!(matches!(
        raw,
        Err(Error::InvalidOptions {
            reason: Reason::DiskSize(513),
            ..
        })
    ));
}

#[test]
fn what_is_to_be_written_past_the_end_is_out_of_range_before_anything_is_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let present = extents(&[(0, 512), (MIB, 1024)]);
    let size = MIB + 512;
    let vhdx = VhdxWriter::create(&path, &options(size, MIB, 512), &present);
    assert!(matches!(vhdx, Err(Error::OutOfRange { .. })), "{vhdx:?}");
    let raw = RawWriter::create(&path, ByteLen(size), &present);
    assert!(matches!(raw, Err(Error::OutOfRange { .. })), "{raw:?}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_exists_is_never_touched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, "precious").unwrap();
    let exists = |error: Error| match error {
        Error::Create { source, .. } => source.kind() == ErrorKind::AlreadyExists,
        _ => false,
    };
    let vhdx = VhdxWriter::create(&path, &options(MIB, MIB, 512), &Extents::new());
    assert!(exists(vhdx.unwrap_err()));
    let raw = RawWriter::create(&path, ByteLen(512), &Extents::new());
    assert!(exists(raw.unwrap_err()));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// Writes that must fail, each of them on a disk of 8 MiB with 1 MiB announced at 2 MiB.
fn check_refusals(disk: &impl WriteDisk) {
    let write = |at: u64, len: usize| disk.write_at(DiskOffset(at), &vec![7; len]);
    for (at, len) in [(8 * MIB, 1), (8 * MIB - 1, 2), (u64::MAX, 1), (u64::MAX, 0)] {
        let refused = write(at, len);
        assert!(
            matches!(refused, Err(Error::OutOfRange { .. })),
            "{at}+{len}"
        );
    }
    for (at, len) in [(0, 1), (2 * MIB - 1, 2), (3 * MIB - 1, 2), (MIB, 3 << 20)] {
        let refused = write(at, len);
        assert!(
            matches!(refused, Err(Error::NotAllocated { .. })),
            "{at}+{len}"
        );
    }
    write(8 * MIB, 0).unwrap();
}

#[test]
fn a_write_outside_of_what_was_announced_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let (vhdx, raw) = (folder.path().join("vhdx"), folder.path().join("raw"));
    let present = extents(&[(2 * MIB, MIB)]);

    let options = options(8 * MIB, MIB, 512);
    let disk = VhdxWriter::create(&vhdx, &options, &present).unwrap();
    check_refusals(&disk);
    disk.finish().unwrap();
    assert!(
        read_naively(&vhdx, &options, 0, 8 * MIB)
            .iter()
            .all(|byte| *byte == 0)
    );

    let disk = RawWriter::create(&raw, ByteLen(8 * MIB), &present).unwrap();
    check_refusals(&disk);
    disk.finish().unwrap();
    assert!(fs::read(&raw).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_raw_disk_is_as_long_as_the_disk_and_holds_what_was_written() {
    let folder = TempDir::new().unwrap();
    let writes = [(512, 100), (3 * MIB, 4096), (9 * MIB, 512)];
    let path = make_raw(&folder, 9 * MIB + 512, &writes);
    let bytes = fs::read(path).unwrap();
    assert!(bytes == expected(&writes, 0, 9 * MIB + 512));
}

#[cfg(target_os = "linux")]
#[test]
fn a_raw_disk_has_holes_where_nothing_was_written() {
    use std::os::unix::fs::MetadataExt;

    let folder = TempDir::new().unwrap();
    let path = make_raw(&folder, GIB, &[(512 * MIB, 4096)]);
    let file = fs::metadata(path).unwrap();
    assert_eq!(file.len(), GIB);
    assert!(file.blocks() * 512 < MIB, "{} blocks", file.blocks());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_is_what_is_read(
        sectors in 1..20_000_u64,
        block_mib in prop_oneof![Just(1), Just(2), Just(4)],
        sector_bytes in prop_oneof![Just(512_u32), Just(4096)],
        writes in proptest::collection::vec((any::<u64>(), 1..40_000_u64), 0..6),
    ) {
        // At most 10 MB, whatever the sector.
        let size = (sectors * 512).next_multiple_of(u64::from(sector_bytes));
        let writes: Vec<Write> = writes
            .into_iter()
            .map(|(at, len)| {
                let at = at % size;
                (at, len.min(size - at))
            })
            .collect();
        let options = options(size, block_mib * MIB, sector_bytes);
        let folder = TempDir::new().unwrap();
        let path = make_vhdx(&folder, &options, &writes);
        let wanted = expected(&writes, 0, size);
        prop_assert!(read_naively(&path, &options, 0, size) == wanted);
        prop_assert!(read_ours(&path, 0, size) == wanted);
        prop_assert!(fs::metadata(&path).unwrap().len().is_multiple_of(MIB));
    }
}
