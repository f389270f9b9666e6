//! Disks that are not made, and writes that are not done: what was there before is left alone.

use std::fs;
use std::io::ErrorKind;

use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use hypercbt_vhdx::{Error, RawWriter, Reason, VhdxOptions, VhdxWriter, WriteDisk};
use tempfile::TempDir;

use crate::support::{MIB, extents, options, read_naively};

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
