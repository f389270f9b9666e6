//! Storage that is full or broken: the guest's write fails, and nothing is promised that does not hold.

use std::io::ErrorKind;
use std::path::PathBuf;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_vhdx::Error;

use crate::common::MIB;
use crate::support::{
    Disk, KINDS, Kind, PATH, begin, content, extent, guids, opening, read_only, write,
};

fn fail(files: &SimFiles, call: Call, after: u64, times: u64, error: ErrorKind) {
    files.fail(Fault {
        call,
        path: Some(PathBuf::from(PATH)),
        after,
        times,
        error,
    });
}

#[test]
fn a_full_volume_fails_the_write_and_changes_nothing() {
    for kind in [Kind::Dynamic, Kind::Child] {
        let (files, _) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        write(&disk, 0, &[7; 512]);
        let before = content(&disk);
        fail(&files, Call::SetLen, 0, u64::MAX, ErrorKind::StorageFull);
        let failed = disk.write_at(DiskOffset(MIB), &[8; 512]);
        assert!(matches!(failed, Err(Error::Write { .. })), "{kind:?}");
        assert!(content(&disk) == before);
        write(&disk, 512, &[9; 512]);
        disk.flush().unwrap();
        files.mend();
        write(&disk, MIB, &[8; 512]);
        let after = content(&disk);
        disk.close(guids(2).file_write).unwrap();
        assert!(read_only(&files).unwrap() == after);
    }
}

#[test]
fn a_block_whose_first_write_fails_is_not_there_and_its_room_is_used_again() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 0, &[7; 512]);
    let before = content(&disk);
    fail(&files, Call::Write, 0, 1, ErrorKind::Other);
    disk.write_at(DiskOffset(MIB), &[8; 4096]).unwrap_err();
    assert!(content(&disk) == before);
    let len = files.now().read(PATH.as_ref()).unwrap().len();
    write(&disk, 2 * MIB, &[9; 512]);
    let mut expected = before;
    expected[2 << 20..][..512].fill(9);
    // What the failed write left in the room is not seen.
    assert!(content(&disk) == expected);
    assert_eq!(files.now().read(PATH.as_ref()).unwrap().len(), len);
}

#[test]
fn after_a_failed_sync_nothing_more_is_written_and_reads_go_on() {
    for kind in KINDS {
        for after in 0..2 {
            let (files, _) = Disk::small(kind, 512).build();
            let disk = begin(&files, 1);
            write(&disk, 0, &[7; 512]);
            disk.flush().unwrap();
            let flushed = read_only(&files).unwrap();
            disk.zero(extent(0, MIB)).unwrap();
            write(&disk, MIB, &[8; 512]);
            let seen = content(&disk);
            fail(&files, Call::Sync, after, 1, ErrorKind::Other);
            let failed = disk.flush();
            if kind == Kind::Fixed && after == 1 {
                failed.unwrap(); // nothing was to be logged
                continue;
            }
            assert!(matches!(failed, Err(Error::Sync { .. })), "{kind:?}");
            let ops = files.ops();
            for refused in [
                disk.flush(),
                disk.write_at(DiskOffset(0), &[9; 512]),
                disk.zero(extent(0, 512)),
                disk.unmap(extent(0, MIB)),
            ] {
                assert!(matches!(refused, Err(Error::NoMoreWrites { .. })));
            }
            assert!(content(&disk) == seen);
            assert!(disk.close(guids(2).file_write).is_err());
            assert_eq!(files.ops(), ops, "nothing was written");
            // Nothing that was not durable survives: what was flushed before does.
            let cut = SimFiles::from_state(&files.history().extremes(ops)[0]);
            assert!(read_only(&cut).unwrap() == flushed, "{kind:?}");
        }
    }
}

#[test]
fn after_a_failed_write_of_the_log_nothing_more_is_written() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 0, &[7; 512]);
    fail(&files, Call::Write, 0, 1, ErrorKind::Other);
    assert!(matches!(disk.flush(), Err(Error::Write { .. })));
    assert!(matches!(disk.flush(), Err(Error::NoMoreWrites { .. })));
    drop(disk);
    assert!(begin(&files, 2).flush().is_ok());
}

#[test]
fn an_opening_that_fails_anywhere_leaves_the_disk_as_it_was() {
    let (files, _) = Disk::small(Kind::Child, 512).build();
    let disk = begin(&files, 1);
    write(&disk, MIB, &[8; 512]);
    disk.flush().unwrap();
    drop(disk);
    let dirty = files.now();
    let expected = read_only(&files).unwrap();
    for call in [Call::Write, Call::Sync, Call::SetLen] {
        for after in 0..16 {
            let files = SimFiles::from_state(&dirty);
            fail(&files, call, after, 1, ErrorKind::Other);
            let begun = opening(&files).unwrap().begin(&guids(2));
            drop(begun);
            files.mend();
            assert!(read_only(&files).unwrap() == expected, "{call:?} {after}");
            let disk = begin(&files, 3);
            assert!(content(&disk) == expected, "{call:?} {after}");
        }
    }
}
