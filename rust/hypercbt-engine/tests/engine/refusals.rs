//! Lists and disks that do not belong to the point that they are to be built on: refused, or compared instead.

use std::path::Path;

use hypercbt_engine::{Error, Wanted};
use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use hypercbt_repo::{Method, PointId, RestorePoint, RunId};
use hypercbt_vhdx::{Guid, OpenOptions, VhdxOptions, VhdxWriter, VirtualDisk, WriteDisk};

use crate::support::{CHUNK, FakeDisk, Lab, changes, disk, extent, list, noise};

#[test]
fn a_list_for_a_disk_of_another_size_is_refused_where_nothing_proves_that_it_is_the_same_disk() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.full(&source);
    source.set_len(3 * CHUNK);
    assert_refused(&mut lab, &source, first.id, "holds a disk of another size");
}

fn assert_refused(lab: &mut Lab, source: &FakeDisk, since: PointId, reason: &str) {
    let points = lab.repository.points().unwrap();
    let leases = lab.names("lease");
    let error = lab
        .run(&source.open(), list(Extents::new(), since), |_| {})
        .unwrap_err();
    assert!(
        matches!(error, Error::WrongSince { since: found, reason: found_reason }
            if found == since && found_reason.to_string() == reason),
        "{error:?}"
    );
    assert_eq!(lab.repository.points().unwrap(), points);
    assert_eq!(lab.names("lease"), leases);
    assert_eq!(source.reads(), []);
}

#[test]
fn a_list_since_a_point_that_is_not_there_is_refused_and_never_replaced_by_the_latest() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.full(&source);
    lab.full(&source);
    assert_refused(
        &mut lab,
        &source,
        RunId([0xFF; 16]),
        "is not in the repository",
    );
    lab.repository.delete_point(first.id).unwrap();
    assert_refused(&mut lab, &source, first.id, "is not in the repository");
}

#[test]
fn a_list_since_a_point_of_another_machine_is_refused() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let other = lab
        .run(&source.open(), Wanted::Full, |request| {
            request.machine = "file:other".to_owned();
        })
        .unwrap()
        .point;
    assert_refused(&mut lab, &source, other.id, "is of another machine");
}

#[test]
fn a_list_that_reaches_outside_the_disk_is_refused_and_one_that_ends_with_it_is_not() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.full(&source);
    let outside = changes(&[(0, 1), (2 * CHUNK - 1, 2)]);
    let error = lab
        .run(&source.open(), list(outside, first.id), |_| {})
        .unwrap_err();
    assert!(
        matches!(error, Error::ChangeOutside { extent: found, disk_len }
            if found == extent(2 * CHUNK - 1, 2) && disk_len == ByteLen(2 * CHUNK)),
        "{error:?}"
    );
    assert_eq!(lab.repository.points().unwrap().len(), 1);
    lab.list(&source, changes(&[(2 * CHUNK - 1, 1)]), &first);
}

/// A VHDX with one block of noise at its start.
fn vhdx(path: &Path, id: u8, size: u64, seed: u64) -> VirtualDisk {
    let options = VhdxOptions {
        size: ByteLen(size),
        block_bytes: 1 << 20,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        disk_id: Guid([id; 16]),
        file_write_guid: Guid([0x51; 16]),
        data_write_guid: Guid([seed as u8; 16]),
    };
    let _ = std::fs::remove_file(path);
    let present = changes(&[(0, 4 * CHUNK)]);
    let writer = VhdxWriter::create(path, &options, &present).unwrap();
    writer
        .write_at(DiskOffset(0), &noise(seed, 4 * CHUNK))
        .unwrap();
    writer.finish().unwrap();
    VirtualDisk::open(path, &OpenOptions::default()).unwrap()
}

fn bytes(disk: &VirtualDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size().0 as usize];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

fn one_vhdx(lab: &mut Lab, path: &Path) -> RestorePoint {
    let disk = vhdx(path, 0xA1, 8 << 20, 1);
    lab.run(&disk, Wanted::Full, |_| {}).unwrap().point
}

#[test]
fn a_vhdx_that_changed_its_size_under_a_list_is_compared_and_the_point_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.vhdx");
    let mut lab = Lab::new();
    let first = one_vhdx(&mut lab, &path);
    for size in [16 << 20, 4 << 20] {
        let resized = vhdx(&path, 0xA1, size, 2);
        let point = lab
            .run(&resized, list(Extents::new(), first.id), |_| {})
            .unwrap()
            .point;
        let found = disk(&point);
        assert_eq!(
            (found.method, found.base),
            (Method::Compare, Some(first.id))
        );
        assert_eq!(
            found.fallback_reason.as_deref(),
            Some(&*format!(
                "the disk changed its size from 8388608 to {size} bytes"
            ))
        );
        lab.assert_holds(&point, &bytes(&resized));
    }
}

#[test]
fn a_disk_with_another_identity_is_refused_until_the_caller_says_that_it_is_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.vhdx");
    let mut lab = Lab::new();
    let first = one_vhdx(&mut lab, &path);
    let other = vhdx(&path, 0xB2, 8 << 20, 2);
    for wanted in [
        Wanted::Full,
        Wanted::Compare,
        list(Extents::new(), first.id),
    ] {
        let error = lab.run(&other, wanted, |_| {}).unwrap_err();
        assert!(
            matches!(&error, Error::AnotherDisk { expected, found, .. }
                if *expected == Guid([0xA1; 16]).to_string()
                && *found == Guid([0xB2; 16]).to_string()),
            "{error:?}"
        );
    }
    // The list is relative to the other disk, whatever the caller says.
    let error = lab
        .run(&other, list(Extents::new(), first.id), |request| {
            request.new_disk = true;
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the changes are relative to restore point {}, which holds another disk",
            first.id
        )
    );
    let point = lab
        .run(&other, Wanted::Compare, |request| request.new_disk = true)
        .unwrap()
        .point;
    assert_eq!(disk(&point).base, None);
    lab.assert_holds(&point, &bytes(&other));
    // And from now on it is the disk of this name.
    lab.run(&other, Wanted::Compare, |_| {}).unwrap();
}

#[test]
fn a_raw_file_in_the_place_of_a_vhdx_is_another_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    one_vhdx(&mut lab, &folder.path().join("disk.vhdx"));
    let error = lab
        .run(&FakeDisk::of(&[1]).open(), Wanted::Compare, |_| {})
        .unwrap_err();
    assert!(matches!(error, Error::AnotherDisk { .. }), "{error:?}");
}
