//! Legacy VHD as a target and as a source.

use std::path::Path;

use hypercbt_engine::{DiskFormat, Error, Silent, Wanted};
use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use hypercbt_repo::RestorePoint;
use hypercbt_vhdx::{
    Error as DiskError, Format, Guid, OpenOptions, Reason, VhdKind, VhdxOptions, VhdxWriter,
    VirtualDisk,
};

use crate::support::{CHUNK, FakeDisk, Lab, noise, target};

const VHD: DiskFormat = DiskFormat::Vhd(VhdKind::Dynamic);
const FIXED_VHD: DiskFormat = DiskFormat::Vhd(VhdKind::Fixed);

fn restored(lab: &Lab, point: &RestorePoint, path: &Path, format: DiskFormat) -> VirtualDisk {
    let target = target(path, format);
    lab.restore(point, target, &mut Silent).unwrap();
    VirtualDisk::open(path, &OpenOptions::default()).unwrap()
}

fn content(disk: &VirtualDisk) -> Vec<u8> {
    let mut bytes = vec![0xEE; disk.size().0 as usize];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// A disk that lies in several blocks and ends inside one.
fn source() -> FakeDisk {
    let source = FakeDisk::new((5 << 20) + 1536);
    source.write(0, &noise(1, 512));
    source.write((2 << 20) - 700, &noise(2, 3000));
    source.write((5 << 20) + 1024, &noise(3, 512));
    source
}

#[test]
fn every_format_holds_the_same_bytes_and_so_does_what_is_backed_up_from_it() {
    let source = source();
    let mut lab = Lab::new();
    let mut point = lab.full(&source);
    let folder = tempfile::tempdir().unwrap();
    let formats = [VHD, DiskFormat::Vhdx, FIXED_VHD, DiskFormat::Raw, VHD];
    for (number, format) in formats.into_iter().enumerate() {
        let suffix = match format {
            DiskFormat::Vhdx => "vhdx",
            DiskFormat::Vhd(_) => "vhd",
            DiskFormat::Raw => "raw",
        };
        let path = folder.path().join(format!("{number}.{suffix}"));
        let disk = restored(&lab, &point, &path, format);
        assert_eq!(disk.format().as_str(), suffix);
        assert!(content(&disk) == source.bytes(), "{number}");
        let full = lab.run(&disk, Wanted::Full, |request| {
            request.machine = format!("file:{number}");
        });
        point = full.unwrap().point;
        assert_eq!(point.disks[0].format, suffix);
    }
}

#[test]
fn a_vhd_keeps_its_identity_unless_it_is_to_be_a_clone() {
    let mut lab = Lab::new();
    let point = lab.full(&source());
    let folder = tempfile::tempdir().unwrap();
    // The raw disk had none.
    let first = restored(&lab, &point, &folder.path().join("first.vhd"), VHD);
    assert_eq!(first.disk_id(), Some(Guid([3; 16])));
    let named = |request: &mut hypercbt_engine::BackupRequest<'_>| {
        request.machine = "file:first".to_owned();
    };
    let point = lab.run(&first, Wanted::Full, named).unwrap().point;
    for (new_disk_id, expected) in [(false, Guid([3; 16])), (true, Guid([9; 16]))] {
        let path = folder.path().join(format!("{new_disk_id}.vhd"));
        let mut target = target(&path, FIXED_VHD);
        target.guids = [Guid([7; 16]), Guid([8; 16]), Guid([9; 16])];
        target.new_disk_id = new_disk_id;
        lab.restore(&point, target, &mut Silent).unwrap();
        let copy = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(copy.disk_id(), Some(expected));
        // The next backup of the same name knows it again, or does not.
        let again = lab.run(&copy, Wanted::Compare, named);
        assert_eq!(again.is_ok(), !new_disk_id, "{again:?}");
    }
}

#[test]
fn small_blocks_of_a_vhd_are_not_those_of_a_vhdx() {
    let mut lab = Lab::new();
    let mut point = lab.full(&source());
    point.disks[0].format = Format::Vhd.as_str().to_owned();
    point.disks[0].block_bytes = Some(512 << 10);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.vhdx");
    let disk = restored(&lab, &point, &path, DiskFormat::Vhdx);
    assert_eq!(disk.block_bytes(), Some(32 << 20));
}

fn refused(lab: &Lab, point: &RestorePoint, folder: &Path, format: DiskFormat) -> Reason {
    let target = target(&folder.join("disk.vhd"), format);
    let error = lab.restore(point, target, &mut Silent).unwrap_err();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    match error {
        Error::WriteDisk(DiskError::InvalidOptions { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_vhd_cannot_be_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("sectors.vhdx");
    let options = VhdxOptions {
        size: ByteLen(CHUNK),
        block_bytes: 1 << 20,
        logical_sector_bytes: 4096,
        physical_sector_bytes: 4096,
        disk_id: Guid([1; 16]),
        file_write_guid: Guid([2; 16]),
        data_write_guid: Guid([3; 16]),
    };
    let writer = VhdxWriter::create(&large, &options, &Extents::new()).unwrap();
    writer.finish().unwrap();
    let disk = VirtualDisk::open(&large, &OpenOptions::default()).unwrap();
    let mut lab = Lab::new();
    let point = lab.run(&disk, Wanted::Full, |_| ()).unwrap().point;
    let target = tempfile::tempdir().unwrap();
    for format in [VHD, FIXED_VHD] {
        let reason = refused(&lab, &point, target.path(), format);
        assert_eq!(reason, Reason::SectorSize(4096));
    }
    let size = (2040 << 30) + 512;
    let mut lab = Lab::new();
    let mut point = lab.full(&FakeDisk::new(CHUNK));
    point.disks[0].size = size;
    for format in [VHD, FIXED_VHD] {
        let reason = refused(&lab, &point, target.path(), format);
        assert_eq!(reason, Reason::DiskSize(size));
    }
}
