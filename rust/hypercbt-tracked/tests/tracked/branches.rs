//! Files that were changed, replaced or thrown away while nobody tracked them.

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::DiskOffset;
use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_tracked::{Error, Lost, TrackedDisk, Tracking};
use hypercbt_vhdx::{Guid, Guids, OpenOptions, Opening};

use crate::support::{
    BASE, CHECKPOINT, KIB, MIB, MRT, RCT, SECTOR, content, end, open, opened, random, read, write,
};

fn is_changed(disk: &TrackedDisk) -> bool {
    matches!(
        disk.tracking(),
        Tracking::Lost(Lost::Found(hypercbt_rct::Lost::DiskChanged { .. }))
    )
}

/// Takes a file back to what it was in an older state of the machine.
fn restore(files: &SimFiles, older: &SimFiles, path: &str) -> SimFiles {
    let mut state = files.now();
    match older.now().read(Path::new(path)) {
        Some(bytes) => state.put(path, bytes),
        None => state.remove(path),
    }
    SimFiles::from_state(&state)
}

fn copy(files: &SimFiles) -> SimFiles {
    SimFiles::from_state(&files.now())
}

#[test]
fn a_child_that_was_thrown_away_takes_its_ids_with_it() {
    for clean in [true, false] {
        let (files, disk) = opened();
        write(&disk, 0, 1).unwrap();
        let before = disk.freeze().unwrap().id;
        write(&disk, 0, 2).unwrap();
        let inside = disk.seal().unwrap();
        end(disk, clean);
        files.remove(Path::new(CHECKPOINT)).unwrap();
        let disk = open(&files, 2).unwrap();
        assert!(is_changed(&disk));
        assert_eq!(read(&disk, 0), 1);
        for id in [before, inside] {
            let refused = disk.changes_since(&id);
            assert!(matches!(refused, Err(Error::TrackingLost { .. })));
        }
    }
}

/// Writes to the base as a program does that knows of no tracker.
fn edit_base(files: &SimFiles) {
    let machine: Arc<dyn FileSystem> = Arc::new(files.clone());
    let opening = Opening::new(machine, Path::new(BASE), &OpenOptions::default()).unwrap();
    let guids = Guids {
        file_write: Guid([1; 16]),
        data_write: Guid([2; 16]),
        log: Guid([3; 16]),
    };
    let editor = opening.begin(&guids).unwrap();
    editor.write_at(DiskOffset(0), &[5; SECTOR]).unwrap();
    editor.close(Guid([4; 16])).unwrap();
}

#[test]
fn an_edit_behind_the_trackers_back_is_noticed() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    disk.close().unwrap();
    edit_base(&files);
    let disk = open(&files, 2).unwrap();
    assert!(is_changed(&disk));
    assert!(matches!(
        disk.changes_since(&id),
        Err(Error::TrackingLost { .. })
    ));
    // From here on it is tracked again.
    let id = disk.seal().unwrap();
    write(&disk, 0, 6).unwrap();
    disk.close().unwrap();
    let disk = open(&files, 3).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert!(!disk.changes_since(&id).unwrap().is_empty());
}

#[test]
fn an_older_copy_of_the_file_is_noticed() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    let older = copy(&files);
    let disk = open(&files, 2).unwrap();
    write(&disk, 0, 2).unwrap();
    disk.close().unwrap();
    let disk = open(&restore(&files, &older, BASE), 3).unwrap();
    assert!(is_changed(&disk));
}

#[test]
fn a_copy_from_before_the_first_change_of_a_session_is_noticed() {
    // The change was made, and an id was sealed that knows of it; then the file is as before.
    let (files, disk) = opened();
    let older = copy(&files);
    write(&disk, 0, 1).unwrap();
    disk.flush().unwrap();
    let id = disk.seal().unwrap();
    drop(disk);
    let disk = open(&restore(&files, &older, BASE), 2).unwrap();
    assert_eq!(read(&disk, 0), 0);
    assert!(is_changed(&disk), "{:?}", disk.tracking());
    assert!(disk.changes_since(&id).is_err());
}

#[test]
fn a_closed_file_that_is_put_back_as_it_was_open_is_noticed() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.flush().unwrap();
    let older = copy(&files);
    write(&disk, 64 * KIB, 2).unwrap();
    disk.close().unwrap();
    let disk = open(&restore(&files, &older, BASE), 2).unwrap();
    assert!(is_changed(&disk));
}

#[test]
fn tracker_files_of_an_older_state_are_noticed() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    let older = copy(&files);
    let disk = open(&files, 2).unwrap();
    let id = disk.seal().unwrap();
    write(&disk, 0, 2).unwrap();
    disk.close().unwrap();
    let files = restore(&restore(&files, &older, RCT), &older, MRT);
    let disk = open(&files, 3).unwrap();
    assert!(matches!(disk.tracking(), Tracking::Lost(_)));
    assert!(disk.changes_since(&id).is_err());
}

#[test]
fn a_lost_rct_file_makes_the_answer_coarse_and_not_wrong() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    write(&disk, 20 * KIB, 7).unwrap();
    disk.close().unwrap();
    files.remove(Path::new(RCT)).unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    let changed = disk.changes_since(&id).unwrap();
    assert_eq!(changed.total().0, 64 * KIB);
    assert!(changed.contains(DiskOffset(20 * KIB)));
}

#[test]
fn a_base_that_was_written_to_while_it_was_frozen_is_refused() {
    let (files, disk) = opened();
    disk.freeze().unwrap();
    write(&disk, 0, 2).unwrap();
    disk.close().unwrap();
    edit_base(&files);
    let before = files.now().digest();
    let refused = open(&files, 2);
    assert!(matches!(
        refused,
        Err(Error::Disk(hypercbt_vhdx::Error::WrongParent { .. }))
    ));
    assert_eq!(files.now().digest(), before);
}

#[test]
fn what_an_older_copy_of_everything_holds_is_whole() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    let older = copy(&files);
    let machine: Arc<dyn FileSystem> = Arc::new(older);
    let options = crate::support::options();
    let disk = TrackedDisk::open(machine, Path::new(BASE), &options, random(9)).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert!(!disk.changes_since(&id).unwrap().is_empty());
}

#[test]
fn a_child_that_is_thrown_away_in_the_middle_of_its_merge_is_noticed() {
    let mut half_merged = 0;
    for operations in 1..80 {
        let (files, disk) = opened();
        for at in [0, MIB, 2 * MIB] {
            write(&disk, at, 1).unwrap();
        }
        disk.freeze().unwrap();
        for at in [0, MIB, 2 * MIB, 3 * MIB] {
            write(&disk, at, 2).unwrap();
        }
        let id = disk.seal().unwrap();
        let then = content(&disk);
        disk.close().unwrap();

        let doomed: Arc<dyn FileSystem> = Arc::new(files.killed_after(files.ops() + operations));
        let options = crate::support::options();
        let opened = TrackedDisk::open(doomed, Path::new(BASE), &options, random(2));
        if opened.is_ok_and(|disk| disk.thaw().is_ok()) {
            break;
        }
        if files.remove(Path::new(CHECKPOINT)).is_err() {
            continue;
        }
        let disk = open(&files, 3).unwrap();
        let now = content(&disk);
        half_merged += usize::from(now != then && file_differs(&now, 1));
        match disk.changes_since(&id) {
            Err(Error::TrackingLost { .. }) => {}
            Ok(changed) => {
                for (sector, (a, b)) in then.chunks(SECTOR).zip(now.chunks(SECTOR)).enumerate() {
                    let at = DiskOffset((sector * SECTOR) as u64);
                    assert!(a == b || changed.contains(at), "{operations}: {at}");
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(half_merged > 0);
}

/// Whether some sectors that held this byte hold another now.
fn file_differs(now: &[u8], byte: u8) -> bool {
    [0, MIB, 2 * MIB]
        .iter()
        .any(|at| now[usize::try_from(*at).unwrap()] != byte)
}
