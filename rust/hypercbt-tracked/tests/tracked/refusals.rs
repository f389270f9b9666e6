//! What is refused, and left as it is.

use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_tracked::{Error, TrackedDisk, Tracking};
use hypercbt_vhdx::NewKind;

use crate::support::{CHECKPOINT, MRT, RCT, machine, open, opened, options, random, write};

#[test]
fn a_second_opener_is_refused_while_the_first_writes() {
    let (files, disk) = opened();
    let second = open(&files, 2);
    assert!(matches!(
        second,
        Err(Error::Disk(hypercbt_vhdx::Error::InUse { .. }))
    ));
    disk.freeze().unwrap();
    assert!(open(&files, 3).is_err());
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    open(&files, 4).unwrap();
}

#[test]
fn a_checkpoints_file_is_not_opened_by_itself() {
    let (files, disk) = opened();
    disk.freeze().unwrap();
    disk.close().unwrap();
    let files: Arc<dyn FileSystem> = Arc::new(files);
    let refused = TrackedDisk::open(files, Path::new(CHECKPOINT), &options(), random(2));
    assert!(matches!(refused, Err(Error::NotABase { .. })));
}

#[test]
fn files_of_the_trackers_names_that_are_not_ours_are_left_alone() {
    for name in [RCT, MRT] {
        let mut state = machine(NewKind::Dynamic).now();
        state.put(name, b"somebody else's".repeat(100));
        let files = SimFiles::from_state(&state);
        let refused = open(&files, 1);
        assert!(
            matches!(
                refused,
                Err(Error::Tracker(hypercbt_rct::Error::NotOurs { .. }))
            ),
            "{name}: {refused:?}"
        );
        assert_eq!(files.now().digest(), state.digest());
    }
}

#[test]
fn a_file_of_the_checkpoints_name_that_is_none_is_left_alone() {
    let mut state = machine(NewKind::Dynamic).now();
    state.put(CHECKPOINT, b"somebody else's".repeat(100));
    let files = SimFiles::from_state(&state);
    assert!(matches!(open(&files, 1), Err(Error::Disk(_))));
    assert_eq!(files.now().digest(), state.digest());
}

#[test]
fn a_file_that_takes_the_checkpoints_name_meanwhile_is_left_alone() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    let foreign = files.create_new(Path::new(CHECKPOINT)).unwrap();
    drop(foreign);
    assert!(disk.freeze().is_err());
    assert_eq!(files.now().read(Path::new(CHECKPOINT)).unwrap(), b"");
    // It cannot be told from a checkpoint that is broken, so nobody goes on beside it.
    assert!(matches!(write(&disk, 0, 2), Err(Error::Stopped { .. })));
    drop(disk);
    files.remove(Path::new(CHECKPOINT)).unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert_eq!(crate::support::read(&disk, 0), 1);
}

#[test]
fn an_id_of_another_disk_is_refused() {
    let (_one, first) = opened();
    let files = machine(NewKind::Dynamic);
    let second = open(&files, 77).unwrap();
    let id = second.seal().unwrap();
    assert!(matches!(
        first.changes_since(&id),
        Err(Error::UnknownId { .. })
    ));
    first.seal().unwrap();
    assert!(matches!(first.forget(&id), Err(Error::UnknownId { .. })));
}
