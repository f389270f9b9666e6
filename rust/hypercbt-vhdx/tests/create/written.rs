//! What was written is what every reader reads.

use std::fs;
use std::thread;

use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_vhdx::{Error, Guid, OpenOptions, Part, Reason, VhdxWriter, VirtualDisk, WriteDisk};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{
    GIB, KIB, MIB, TIB, Write, content, expected, extents, has_qemu, make_raw, make_vhdx, options,
    qemu_img, read_by_qemu, read_file, read_naively, read_ours, text, write_all,
};

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
