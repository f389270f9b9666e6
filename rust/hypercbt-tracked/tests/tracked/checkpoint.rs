//! Freezing and thawing.

use std::path::Path;

use hypercbt_file::FileSystem;
use hypercbt_tracked::{Error, Tracking};
use hypercbt_vhdx::{LogState, NewKind, OpenOptions, VirtualDisk};

use crate::support::{
    BASE, CHECKPOINT, KIB, MIB, content, end, extent, file_content, machine, open, opened, read,
    write,
};

#[test]
fn a_frozen_file_holds_what_the_disk_held_and_the_guest_goes_on() {
    for kind in [NewKind::Dynamic, NewKind::Fixed] {
        let files = machine(kind);
        let disk = open(&files, 1).unwrap();
        write(&disk, 0, 1).unwrap();
        write(&disk, MIB, 2).unwrap();
        let before = content(&disk);
        let frozen = disk.freeze().unwrap();
        assert_eq!(frozen.file, Path::new(BASE));
        write(&disk, 0, 3).unwrap();
        disk.zero(extent(MIB, MIB)).unwrap();
        disk.unmap(extent(2 * MIB, MIB)).unwrap();
        disk.flush().unwrap();
        assert_eq!(file_content(&files, BASE), before);
        assert_eq!(read(&disk, 0), 3);
        assert_eq!(read(&disk, MIB), 0);
    }
}

#[test]
fn a_frozen_file_is_closed_cleanly() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.freeze().unwrap();
    let base = VirtualDisk::open_in(&files, Path::new(BASE), &OpenOptions::default()).unwrap();
    assert_eq!(base.layers()[0].log, LogState::Clean);
    assert!(files.open_to_write(Path::new(BASE)).is_ok());
}

#[test]
fn thawing_puts_everything_back_into_the_base() {
    let (files, disk) = opened();
    for at in [0, MIB, 2 * MIB] {
        write(&disk, at, 1).unwrap();
    }
    disk.freeze().unwrap();
    write(&disk, 0, 2).unwrap();
    disk.zero(extent(MIB, MIB)).unwrap();
    write(&disk, 3 * MIB, 3).unwrap();
    let before = content(&disk);
    disk.thaw().unwrap();
    assert_eq!(content(&disk), before);
    assert_eq!(disk.frozen(), None);
    let there = files.now().paths();
    assert!(!there.iter().any(|path| path == Path::new(CHECKPOINT)));
    disk.close().unwrap();
    assert_eq!(file_content(&files, BASE), before);
}

#[test]
fn what_changed_since_a_checkpoint_is_known_before_and_after_the_thaw() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    let first = disk.freeze().unwrap().id;
    write(&disk, 128 * KIB, 2).unwrap();
    let changed = [extent(128 * KIB, 4 * KIB)];
    assert_eq!(disk.changes_since(&first).unwrap().as_slice(), changed);
    disk.thaw().unwrap();
    assert_eq!(disk.changes_since(&first).unwrap().as_slice(), changed);
    let second = disk.freeze().unwrap().id;
    disk.thaw().unwrap();
    assert!(disk.changes_since(&second).unwrap().is_empty());
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    let coarser = [extent(128 * KIB, 16 * KIB)];
    assert_eq!(disk.changes_since(&first).unwrap().as_slice(), coarser);
    assert!(disk.changes_since(&second).unwrap().is_empty());
}

#[test]
fn a_checkpoint_outlives_the_process_that_made_it() {
    for clean in [true, false] {
        let (files, disk) = opened();
        write(&disk, 0, 1).unwrap();
        let before = content(&disk);
        let id = disk.freeze().unwrap().id;
        write(&disk, 0, 2).unwrap();
        disk.flush().unwrap();
        end(disk, clean);
        let disk = open(&files, 2).unwrap();
        assert_eq!(disk.tracking(), Tracking::Continued);
        let found = disk.frozen().unwrap();
        assert_eq!(
            (found.id, found.leaf.as_path()),
            (None, Path::new(CHECKPOINT))
        );
        assert_eq!(read(&disk, 0), 2);
        assert_eq!(file_content(&files, BASE), before);
        assert!(disk.changes_since(&id).unwrap().total().0 > 0);
        disk.thaw().unwrap();
        assert_eq!(read(&disk, 0), 2);
        disk.close().unwrap();
        assert_ne!(file_content(&files, BASE), before);
    }
}

#[test]
fn thawing_and_reverting_what_is_not_frozen_are_refused() {
    let (_files, disk) = opened();
    for refused in [disk.thaw(), disk.discard()] {
        assert!(matches!(refused, Err(Error::NotFrozen)));
    }
    let frozen = disk.freeze().unwrap();
    assert_eq!(disk.frozen().unwrap().id, Some(frozen.id.clone()));
    // The refusals did nothing.
    assert_eq!(disk.ids().unwrap(), [frozen.id]);
    write(&disk, 0, 1).unwrap();
    disk.thaw().unwrap();
    assert!(matches!(disk.thaw(), Err(Error::NotFrozen)));
    assert_eq!(read(&disk, 0), 1);
}

#[test]
fn a_disk_is_frozen_and_thawed_many_times() {
    let (files, disk) = opened();
    let mut ids = Vec::new();
    for round in 0..5_u8 {
        write(&disk, u64::from(round) * 64 * KIB, round + 1).unwrap();
        ids.push(disk.freeze().unwrap().id);
        write(&disk, MIB + u64::from(round) * 64 * KIB, round + 1).unwrap();
        disk.thaw().unwrap();
    }
    for (round, id) in (0_u64..).zip(&ids) {
        let changed = disk.changes_since(id).unwrap();
        // This round's write in the child, and two of each later round.
        assert_eq!(changed.total().0, (1 + 2 * (4 - round)) * 4 * KIB);
    }
    let before = content(&disk);
    disk.close().unwrap();
    assert_eq!(file_content(&files, BASE), before);
}
