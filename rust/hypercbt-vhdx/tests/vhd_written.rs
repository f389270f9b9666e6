//! New VHD files: what was written is what every reader reads, and what is not finished is no disk.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_vhdx::{
    Error, Guid, Kind, OpenOptions, Part, Reason, VhdKind, VhdOptions, VhdWriter, VirtualDisk,
    WriteDisk,
};
use proptest::prelude::*;
use tempfile::TempDir;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const KINDS: [VhdKind; 2] = [VhdKind::Fixed, VhdKind::Dynamic];

type Write = (u64, u64);

fn options(kind: VhdKind, size: u64) -> VhdOptions {
    VhdOptions {
        kind,
        size: ByteLen(size),
        logical_sector_bytes: 512,
        unique_id: Guid([0xD1; 16]),
        seconds_since_2000: 0x2715_AB0A,
    }
}

fn extents(writes: &[Write]) -> Extents {
    let extents = writes
        .iter()
        .filter_map(|(at, len)| Extent::new(DiskOffset(*at), ByteLen(*len)));
    extents.collect()
}

/// Bytes that tell their place on the disk, and are never zero.
fn content(at: u64, len: u64) -> Vec<u8> {
    (at..at + len)
        .map(|byte| (byte.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1)
        .collect()
}

/// What a disk of `size` bytes holds after `writes`.
fn expected(size: u64, writes: &[Write]) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    for (at, len) in writes {
        let from = usize::try_from(*at).unwrap();
        bytes[from..][..usize::try_from(*len).unwrap()].copy_from_slice(&content(*at, *len));
    }
    bytes
}

/// A file with `writes` in it, not finished.
fn start(path: &Path, options: &VhdOptions, writes: &[Write]) -> VhdWriter {
    let disk = VhdWriter::create(path, options, &extents(writes)).unwrap();
    for (at, len) in writes {
        disk.write_at(DiskOffset(*at), &content(*at, *len)).unwrap();
    }
    disk
}

fn make(folder: &TempDir, options: &VhdOptions, writes: &[Write]) -> PathBuf {
    let path = folder.path().join(format!("{:?}.vhd", options.kind));
    start(&path, options, writes).finish().unwrap();
    path
}

fn open(path: &Path) -> hypercbt_vhdx::Result<VirtualDisk> {
    VirtualDisk::open(path, &OpenOptions::default())
}

fn read_all(path: &Path) -> Vec<u8> {
    let disk = open(path).unwrap();
    let mut bytes = vec![0xEE; usize::try_from(disk.size().0).unwrap()];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// Runs a program of another hand. `None`, with a word, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    println!("{program} {arguments:?}: {output:?}");
    Some(output)
}

const DISKS: &[(u64, &[Write])] = &[
    (512, &[(0, 512)]),
    (3 * MIB + 512, &[(0, 512), (3 * MIB, 512)]),
    (
        11 * MIB + 1536,
        &[
            (MIB, 4096),
            (4 * MIB - 512, 3 * MIB),
            (11 * MIB + 512, 1024),
        ],
    ),
    (11 * MIB, &[]),
    (6 * MIB, &[(0, 6 * MIB)]),
];

#[test]
fn we_and_qemu_read_what_was_written() {
    for kind in KINDS {
        for (size, writes) in DISKS {
            let folder = TempDir::new().unwrap();
            let path = make(&folder, &options(kind, *size), writes);
            let wanted = expected(*size, writes);
            assert!(read_all(&path) == wanted, "{kind:?} {size}");
            let raw = folder.path().join("disk.raw");
            fs::write(&raw, &wanted).unwrap();
            let (path, raw) = (path.to_str().unwrap(), raw.to_str().unwrap());
            // This finds two sizes equal if the longer disk ends in zeros.
            let Some(same) = run(
                "qemu-img",
                &["compare", "-f", "vpc", "-F", "raw", path, raw],
            ) else {
                continue;
            };
            assert!(same.status.success(), "{kind:?} {size}");
            let facts = run("qemu-img", &["info", "--output=json", "-f", "vpc", path]).unwrap();
            let facts = String::from_utf8(facts.stdout).unwrap();
            assert!(
                facts.contains(&format!("\"virtual-size\": {size},")),
                "{facts}"
            );
        }
    }
}

#[test]
fn libvhdi_finds_the_disk_that_was_made() {
    let folder = TempDir::new().unwrap();
    for (kind, name) in [(VhdKind::Fixed, "Fixed"), (VhdKind::Dynamic, "Dynamic")] {
        let path = make(&folder, &options(kind, 11 * MIB + 1536), &[(0, 512)]);
        let Some(info) = run("vhdiinfo", &[path.to_str().unwrap()]) else {
            return;
        };
        let text = String::from_utf8(info.stdout).unwrap();
        assert!(
            info.status.success() && text.contains("(11535872 bytes)"),
            "{text}"
        );
        assert!(text.contains(&format!(": {name}")), "{text}");
    }
}

#[test]
fn our_reader_finds_what_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let writes = [(2 * MIB, 512), (8 * MIB, 512)];
    let disk = open(&make(&folder, &options(VhdKind::Dynamic, 9 * MIB), &writes)).unwrap();
    assert_eq!(disk.format().as_str(), "vhd");
    assert_eq!(
        (disk.size(), disk.disk_id()),
        (ByteLen(9 * MIB), Some(Guid([0xD1; 16])))
    );
    assert_eq!(disk.layers()[0].kind, Kind::Dynamic);
    assert_eq!(
        disk.allocated(),
        extents(&[(2 * MIB, 2 * MIB), (8 * MIB, MIB)])
    );
    let fixed = open(&make(&folder, &options(VhdKind::Fixed, 9 * MIB), &writes)).unwrap();
    assert_eq!(
        (fixed.layers()[0].kind, fixed.size().0),
        (Kind::Fixed, 9 * MIB)
    );
    assert_eq!(fixed.disk_id(), Some(Guid([0xD1; 16])));
}

#[test]
fn all_data_are_aligned_and_a_dynamic_file_is_whole_pages() {
    use hypercbt_vhdx::Place;
    let folder = TempDir::new().unwrap();
    let size = 11 * GIB;
    let writes = [(0, 512), (5 * GIB, 512), (size - 512, 512)];
    let path = make(&folder, &options(VhdKind::Dynamic, size), &writes);
    assert!(fs::metadata(&path).unwrap().len().is_multiple_of(4096));
    let disk = open(&path).unwrap();
    for extent in [0, 5 * GIB, size - 2 * MIB].map(|at| extents(&[(at, 2 * MIB)]).as_slice()[0]) {
        let segments = disk.resolve(extent).unwrap();
        let [segment] = segments.as_slice() else {
            panic!("{segments:?}");
        };
        let Place::Data { at, .. } = segment.place else {
            panic!("{segment:?}");
        };
        assert!(at.0.is_multiple_of(4096), "{at:?}");
    }
}

#[test]
fn the_footers_are_what_windows_writes() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(make(&folder, &options(VhdKind::Dynamic, 4 * MIB), &[])).unwrap();
    let footer = &bytes[bytes.len() - 512..];
    assert_eq!(footer, &bytes[..512]);
    // As in a real file of the same size, but for its id and so its checksum.
    let mut real = Vec::new();
    real.extend(
        b"conectix\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\x02\0\x27\x15\xab\x0awin \0\x0a\0\0Wi2k",
    );
    real.extend([0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0]);
    real.extend([0, 0x78, 4, 0x11, 0, 0, 0, 3]);
    assert_eq!(&footer[..64], &real);
    assert_eq!(&footer[68..84], [0xD1; 16]);
    assert!(footer[84..].iter().all(|byte| *byte == 0));
    let fixed = fs::read(make(&folder, &options(VhdKind::Fixed, 4 * MIB), &[])).unwrap();
    let footer = &fixed[4 << 20..];
    assert_eq!((footer.len(), &footer[16..24]), (512, &[0xFF; 8][..]));
    assert_eq!(footer[63], 2);
}

#[test]
fn what_is_not_finished_is_a_disk_to_nobody() {
    for kind in KINDS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.part");
        let writer = start(&path, &options(kind, 8 * MIB), &[(0, 8 * MIB)]);
        let refused = |path: &Path| {
            matches!(
                open(path),
                Err(Error::Corrupt {
                    part: Part::Footer,
                    reason: Reason::NoValidCopy,
                    ..
                })
            )
        };
        assert!(refused(&path), "{kind:?}");
        let name = path.to_str().unwrap();
        if let Some(info) = run("qemu-img", &["info", "-f", "vpc", name]) {
            assert!(!info.status.success(), "{kind:?}");
        }
        // Of a power cut while it is finished any subset of the last two writes may stay; without both, nothing is.
        writer.finish().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len() - 512;
        bytes[end..].fill(0);
        if kind == VhdKind::Dynamic {
            let copy = bytes[..512].to_vec();
            fs::write(&path, &bytes).unwrap();
            assert!(open(&path).unwrap().layers()[0].footer_is_copy);
            bytes[end..].copy_from_slice(&copy);
            bytes[8..512].fill(0);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(open(&path).unwrap().size().0, 8 * MIB);
            bytes[end..].fill(0);
        } else {
            bytes[end..end + 8].copy_from_slice(b"conectix");
        }
        fs::write(&path, &bytes).unwrap();
        assert!(refused(&path), "{kind:?}");
    }
}

#[test]
fn numbers_that_the_format_does_not_allow_make_no_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhd");
    let refused = |options: VhdOptions| match VhdWriter::create(&path, &options, &Extents::new()) {
        Err(Error::InvalidOptions { file, reason }) => {
            assert_eq!(file, path);
            assert!(!path.exists());
            reason
        }
        other => panic!("{other:?}"),
    };
    for kind in KINDS {
        for size in [0, 511, 513, 2040 * GIB + 512, 64 << 40, u64::MAX] {
            assert_eq!(refused(options(kind, size)), Reason::DiskSize(size));
        }
        let large_sectors = VhdOptions {
            logical_sector_bytes: 4096,
            ..options(kind, 8 * MIB)
        };
        assert_eq!(refused(large_sectors), Reason::SectorSize(4096));
    }
}

#[test]
fn a_file_that_exists_is_never_touched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhd");
    fs::write(&path, "precious").unwrap();
    for kind in KINDS {
        let error = VhdWriter::create(&path, &options(kind, MIB), &Extents::new()).unwrap_err();
        assert!(matches!(error, Error::Create { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}

#[test]
fn a_write_outside_of_what_was_announced_writes_nothing() {
    for kind in KINDS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhd");
        let present = extents(&[(2 * MIB, 2 * MIB)]);
        let disk = VhdWriter::create(&path, &options(kind, 8 * MIB), &present).unwrap();
        let write = |at: u64, len: usize| disk.write_at(DiskOffset(at), &vec![7; len]);
        for (at, len) in [(8 * MIB, 1), (8 * MIB - 1, 2), (u64::MAX, 1), (u64::MAX, 0)] {
            assert!(
                matches!(write(at, len), Err(Error::OutOfRange { .. })),
                "{at}+{len}"
            );
        }
        for (at, len) in [(0, 1), (2 * MIB - 1, 2), (4 * MIB - 1, 2), (MIB, 6 << 20)] {
            assert!(
                matches!(write(at, len), Err(Error::NotAllocated { .. })),
                "{at}+{len}"
            );
        }
        write(8 * MIB, 0).unwrap();
        disk.finish().unwrap();
        assert!(read_all(&path).iter().all(|byte| *byte == 0));
        let past = VhdWriter::create(&folder.path().join("x"), &options(kind, MIB), &present);
        assert!(matches!(past, Err(Error::OutOfRange { .. })));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_room_for_the_whole_file_is_taken_before_the_first_write() {
    use std::os::unix::fs::MetadataExt;

    let folder = TempDir::new().unwrap();
    let probe = fs::File::create(folder.path().join("probe")).unwrap();
    if rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::empty(), 0, 1).is_err() {
        println!("skipped: this file system cannot reserve room");
        return;
    }
    for (kind, len) in [
        (VhdKind::Fixed, 8 * MIB + 512),
        (VhdKind::Dynamic, 2 * MIB + 12 * KIB),
    ] {
        let path = folder.path().join(format!("{kind:?}"));
        let present = extents(&[(0, 512)]);
        let _disk = VhdWriter::create(&path, &options(kind, 8 * MIB), &present).unwrap();
        let file = fs::metadata(&path).unwrap();
        assert_eq!(file.len(), len);
        assert!(file.blocks() * 512 >= len, "{} blocks", file.blocks());
    }
    let path = folder.path().join("large");
    match VhdWriter::create(&path, &options(VhdKind::Fixed, 2040 * GIB), &Extents::new()) {
        Err(Error::Create { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
            assert!(!path.exists());
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => println!("skipped: this volume has room for 2040 GiB, or cannot tell"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read(
        dynamic in any::<bool>(),
        sectors in 1..16_u64 * 2048,
        writes in prop::collection::vec((any::<u64>(), 1..3 * MIB), 0..6),
    ) {
        let kind = KINDS[usize::from(dynamic)];
        let size = sectors * 512;
        let writes: Vec<Write> = writes
            .into_iter()
            .map(|(at, len)| (at % size, len.min(size - at % size)))
            .collect();
        let folder = TempDir::new().unwrap();
        let path = make(&folder, &options(kind, size), &writes);
        prop_assert!(read_all(&path) == expected(size, &writes));
    }
}
