//! New, empty disks: what is in the file, what every reader finds, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::LocalFiles;
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_vhdx::{
    Error, Guid, Kind, Mismatch, NewKind, NewVhdx, OpenOptions, Place, RawWriter, Reason,
    VhdxOptions, VhdxWriter, VirtualDisk, WriteDisk, create_vhdx,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

fn options(size: u64, block_bytes: u32, sector_bytes: u32) -> VhdxOptions {
    VhdxOptions {
        size: ByteLen(size),
        block_bytes,
        logical_sector_bytes: sector_bytes,
        physical_sector_bytes: 4096,
        disk_id: Guid([0xD1; 16]),
        file_write_guid: Guid([0xF1; 16]),
        data_write_guid: Guid([0xDA; 16]),
    }
}

fn create(path: &Path, kind: NewKind, options: VhdxOptions) -> hypercbt_vhdx::Result<()> {
    create_vhdx(&LocalFiles, path, &NewVhdx { kind, options })
}

fn open(path: &Path) -> VirtualDisk {
    VirtualDisk::open(path, &OpenOptions::default()).unwrap()
}

/// A disk with some bytes in it.
fn base(folder: &Path, name: &str, sector_bytes: u32) -> PathBuf {
    let path = folder.join(name);
    let written = Extent::new(DiskOffset(3 * MIB), ByteLen(8192)).unwrap();
    let writer = VhdxWriter::create(
        &path,
        &options(64 * MIB, 1 << 20, sector_bytes),
        &written.into(),
    )
    .unwrap();
    writer.write_at(DiskOffset(3 * MIB), &[0x5A; 8192]).unwrap();
    writer.finish().unwrap();
    path
}

fn child(path: &Path, parent: &Path) -> hypercbt_vhdx::Result<()> {
    let new = NewVhdx::child_of(parent, Guid([0xC1; 16]), Guid([0xC2; 16]));
    create_vhdx(&LocalFiles, path, &new)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_disk_is_what_was_asked_for_and_all_zeros_and_nothing_else_is_left_in_the_folder() {
    for (kind, found) in [
        (NewKind::Fixed, Kind::Fixed),
        (NewKind::Dynamic, Kind::Dynamic),
    ] {
        for sector_bytes in [512, 4096] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("disk.vhdx");
            let wanted = options(9 * MIB, 2 << 20, sector_bytes);
            create(&path, kind.clone(), wanted.clone()).unwrap();
            assert_eq!(names(folder.path()), ["disk.vhdx"]);
            let disk = open(&path);
            let layer = &disk.layers()[0];
            assert_eq!((disk.size(), layer.kind), (wanted.size, found));
            assert_eq!(disk.logical_sector_bytes(), sector_bytes);
            assert_eq!(disk.physical_sector_bytes(), 4096);
            assert_eq!(disk.disk_id(), Some(wanted.disk_id));
            assert_eq!(layer.block_bytes, Some(2 << 20));
            assert_eq!(layer.file_write_guid, Some(wanted.file_write_guid));
            assert_eq!(layer.data_write_guid, Some(wanted.data_write_guid));
            let mut bytes = vec![1; 9 << 20];
            disk.read_at(DiskOffset(0), &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_fixed_disk_has_every_block_in_the_file_and_room_for_all_of_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    create(&path, NewKind::Fixed, options(9 * MIB, 2 << 20, 512)).unwrap();
    let disk = open(&path);
    assert_eq!(disk.layers()[0].present_blocks, 5);
    let data = disk.allocated();
    assert_eq!(data.total(), ByteLen(9 * MIB));
    // The last block whole, behind 4 MiB of headers, log, metadata and table.
    let file = fs::metadata(&path).unwrap();
    assert_eq!(file.len(), 14 * MIB);
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let probe = fs::File::create(folder.path().join("probe")).unwrap();
        let none = rustix::fs::FallocateFlags::empty();
        if rustix::fs::fallocate(&probe, none, 0, 4096).is_ok() {
            assert!(file.blocks() * 512 >= 14 * MIB, "{}", file.blocks());
        } else {
            println!("skipped: this file system cannot reserve room");
        }
    }
}

#[test]
fn a_dynamic_disk_of_64_tebibytes_is_a_table_and_nothing_after_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    create(&path, NewKind::Dynamic, options(64 * TIB, 32 << 20, 512)).unwrap();
    assert_eq!(open(&path).allocated().total(), ByteLen(0));
    assert_eq!(fs::metadata(&path).unwrap().len(), 20 * MIB);
}

#[test]
fn a_child_has_the_size_the_sectors_and_the_identity_of_its_parent_and_reads_as_it() {
    for sector_bytes in [512, 4096] {
        let folder = TempDir::new().unwrap();
        let parent = base(folder.path(), "base.vhdx", sector_bytes);
        let path = folder.path().join("leaf.avhdx");
        child(&path, &parent).unwrap();
        let disk = open(&path);
        assert_eq!(disk.layers().len(), 2);
        let layer = &disk.layers()[0];
        assert_eq!(layer.kind, Kind::Differencing);
        assert_eq!(layer.block_bytes, Some(2 << 20));
        assert_eq!(layer.disk_id, Some(Guid([0xD1; 16])));
        assert_eq!(layer.data_write_guid, Some(Guid([0xC2; 16])));
        assert_eq!(disk.size(), ByteLen(64 * MIB));
        assert_eq!(disk.logical_sector_bytes(), sector_bytes);
        let place = disk.resolve(Extent::new(DiskOffset(3 * MIB), ByteLen(8192)).unwrap());
        assert!(matches!(place.unwrap()[0].place, Place::Data { file, .. } if file.0 == 1));
    }
}

#[test]
fn a_child_of_a_child_reads_through_both() {
    let folder = TempDir::new().unwrap();
    let parent = base(folder.path(), "base.vhdx", 512);
    let middle = folder.path().join("middle.avhdx");
    let leaf = folder.path().join("leaf.avhdx");
    child(&middle, &parent).unwrap();
    let new = NewVhdx::child_of(&middle, Guid([0xE1; 16]), Guid([0xE2; 16]));
    create_vhdx(&LocalFiles, &leaf, &new).unwrap();
    let disk = open(&leaf);
    assert_eq!(disk.layers().len(), 3);
    let mut bytes = [0; 3];
    disk.read_at(DiskOffset(3 * MIB), &mut bytes).unwrap();
    assert_eq!(bytes, [0x5A; 3]);
}

#[test]
fn a_child_in_another_folder_finds_a_parent_that_is_allowed() {
    let folder = TempDir::new().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&there).unwrap();
    let parent = base(&there, "base.vhdx", 512);
    let path = here.join("leaf.avhdx");
    child(&path, &parent).unwrap();
    let allowed = OpenOptions {
        parent_folders: vec![there],
        ..OpenOptions::default()
    };
    assert_eq!(
        VirtualDisk::open(&path, &allowed).unwrap().layers().len(),
        2
    );
    let refused = VirtualDisk::open(&path, &OpenOptions::default());
    assert!(matches!(refused, Err(Error::ParentNotFound { .. })));
}

#[test]
fn a_file_that_is_there_is_not_touched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    fs::write(&path, "mine").unwrap();
    let refused = create(&path, NewKind::Dynamic, options(9 * MIB, 2 << 20, 512));
    match refused {
        Err(Error::Create { file, source }) => {
            assert_eq!(
                (file, source.kind()),
                (path.clone(), io::ErrorKind::AlreadyExists)
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["disk.vhdx"]);
}

#[test]
fn impossible_numbers_are_refused_before_anything_is_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.vhdx");
    for (wanted, why) in [
        (options(513, 2 << 20, 512), Reason::DiskSize(513)),
        (options(0, 2 << 20, 512), Reason::DiskSize(0)),
        (options(MIB, 3 << 20, 512), Reason::BlockSize(3 << 20)),
        (options(MIB, 2 << 20, 520), Reason::SectorSize(520)),
    ] {
        let refused = create(&path, NewKind::Fixed, wanted);
        assert!(
            matches!(refused, Err(Error::InvalidOptions { reason, .. }) if reason == why),
            "{why}"
        );
    }
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_cannot_be_a_parent_is_refused_and_leaves_no_child() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("leaf.avhdx");
    let mismatch = |parent: &Path| match child(&path, parent) {
        Err(Error::WrongParent { mismatch, .. }) => mismatch,
        other => panic!("{other:?}"),
    };

    let raw = folder.path().join("disk.raw");
    let nothing = hypercbt_extent::Extents::new();
    RawWriter::create(&raw, ByteLen(MIB), &nothing)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(mismatch(&raw), Mismatch::Format);

    let nameless = folder.path().join("nameless.vhdx");
    let zero = VhdxOptions {
        data_write_guid: Guid::ZERO,
        ..options(MIB, 1 << 20, 512)
    };
    create(&nameless, NewKind::Dynamic, zero).unwrap();
    assert_eq!(mismatch(&nameless), Mismatch::NoIdentity);

    let unfit = base(folder.path(), "a:b.vhdx", 512);
    assert_eq!(mismatch(&unfit), Mismatch::Path);

    let missing = folder.path().join("missing.vhdx");
    assert!(matches!(child(&path, &missing), Err(Error::Open { file, .. }) if file == missing));
    assert!(!path.exists());
}

#[test]
fn whatever_fails_leaves_no_file_behind() {
    let path = Path::new("/disk.vhdx");
    let make = |files: &SimFiles| {
        let (kind, options) = (NewKind::Fixed, options(4 * MIB, 1 << 20, 512));
        create_vhdx(files, path, &NewVhdx { kind, options })
    };
    for (call, calls) in [
        (Call::Create, 1),
        (Call::SetLen, 1),
        (Call::Write, 7),
        (Call::Sync, 3),
        (Call::Remove, 1),
        (Call::SyncFolder, 1),
    ] {
        for after in 0..calls {
            let files = SimFiles::new();
            let error = io::ErrorKind::StorageFull;
            files.fail(Fault {
                call,
                path: None,
                after,
                times: 1,
                error,
            });
            make(&files).unwrap_err();
            assert_eq!(
                files.now().paths(),
                [""; 0].map(PathBuf::from),
                "{call:?} {after}"
            );
        }
        let files = SimFiles::new();
        files.fail(Fault {
            call,
            path: None,
            after: calls,
            times: 1,
            error: io::ErrorKind::Other,
        });
        make(&files).unwrap_or_else(|error| panic!("{call:?} is called more often: {error}"));
    }
}

#[test]
fn where_there_are_no_links_the_file_gets_its_name_all_the_same_but_replaces_none() {
    let path = Path::new("/disk.vhdx");
    let files = SimFiles::new();
    let fault = Fault {
        call: Call::Link,
        path: None,
        after: 0,
        times: 9,
        error: io::ErrorKind::Unsupported,
    };
    files.fail(fault);
    let new = |data: u8| NewVhdx {
        kind: NewKind::Dynamic,
        options: VhdxOptions {
            data_write_guid: Guid([data; 16]),
            ..options(4 * MIB, 1 << 20, 512)
        },
    };
    create_vhdx(&files, path, &new(1)).unwrap();
    create_vhdx(&files, path, &new(2)).unwrap_err();
    assert_eq!(files.now().paths(), [path]);
    let disk = VirtualDisk::open_in(&files, path, &OpenOptions::default()).unwrap();
    assert_eq!(disk.layers()[0].data_write_guid, Some(Guid([1; 16])));
}

#[test]
fn qemu_finds_nothing_wrong_and_the_same_disk() {
    let folder = TempDir::new().unwrap();
    for (name, kind, size) in [
        ("fixed.vhdx", NewKind::Fixed, 9 * MIB),
        ("dynamic.vhdx", NewKind::Dynamic, 9 * MIB),
        ("large.vhdx", NewKind::Dynamic, 5 * TIB + 512),
    ] {
        let path = folder.path().join(name);
        create(&path, kind, options(size, 2 << 20, 512)).unwrap();
        let Ok(check) = Command::new("qemu-img")
            .args(["check", "-f", "vhdx"])
            .arg(&path)
            .output()
        else {
            println!("skipped: no qemu-img here");
            return;
        };
        assert!(check.status.success(), "{name}: {check:?}");
        let info = Command::new("qemu-img")
            .args(["info", "-f", "vhdx", "--output=json"])
            .arg(&path)
            .output()
            .unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(info["virtual-size"], size, "{name}");
    }
}
