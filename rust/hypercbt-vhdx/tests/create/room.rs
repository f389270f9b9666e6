//! The room that a new disk takes on its volume.

use std::fs::{self, File};
use std::io::ErrorKind;

use hypercbt_vhdx::{Error, VhdxWriter};
use tempfile::TempDir;

use crate::support::{MIB, TIB, extents, options};

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
