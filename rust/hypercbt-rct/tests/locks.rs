//! Who tracks a disk is alone, whatever failed: the lock goes with the name.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::gate::GatedFiles;
use common::{Machine, REGION, extent, identity, options, set, stamp};
use hypercbt_file::FileSystem;
use hypercbt_powercut::{Call, Fault};
use hypercbt_rct::{Error, RctId, Result, Tracker, TrackerFile};

fn new_tracker(machine: &Machine) -> (Tracker, RctId) {
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    (tracker, id)
}

fn is_in_use(opened: &Result<Tracker>) -> bool {
    let file = TrackerFile::Mrt;
    matches!(opened, Err(Error::InUse { file: used }) if *used == file)
}

/// The next write is refused since this call fails once.
fn refused(machine: &Machine, tracker: &Tracker, call: Call) {
    machine.files.fail(Fault {
        call,
        path: None,
        after: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    tracker
        .write_begins(extent(2 * REGION, 2 * REGION + 1))
        .unwrap_err();
    machine.files.mend();
}

/// A second name for the `.mrt` file that is there now, under which it is still found when it was replaced.
fn alias(machine: &Machine, name: &str) {
    let files = &machine.files;
    files.link(&machine.path(".mrt"), Path::new(name)).unwrap();
}

fn is_locked(machine: &Machine, name: &str) -> bool {
    match machine.files.open_to_write(Path::new(name)) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn a_new_file_whose_name_may_not_be_durable_keeps_others_out() {
    for call in [Call::SyncFolder, Call::Rename] {
        let machine = Machine::new();
        let (tracker, id) = new_tracker(&machine);
        refused(&machine, &tracker, Call::Sync);
        for _ in 0..3 {
            refused(&machine, &tracker, call);
            assert!(is_in_use(&machine.open()), "{call:?}");
            assert!(is_in_use(&machine.try_create(&options(), [9; 16])));
        }
        common::write(&tracker, extent(9 * REGION, 9 * REGION + 1));
        assert!(is_in_use(&machine.open()));
        drop(tracker);
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        let truth = set(&[(0, 1), (9 * REGION, 9 * REGION + 1)]);
        assert!(truth.subtract(&answer).is_empty());
    }
}

#[test]
fn the_file_that_was_there_before_stays_locked_and_older_ones_do_not() {
    let machine = Machine::new();
    let (tracker, _) = new_tracker(&machine);
    alias(&machine, "/created");
    drop(tracker);
    let tracker = machine.open().unwrap();
    assert!(is_locked(&machine, "/created"), "at open");
    alias(&machine, "/opened");
    refused(&machine, &tracker, Call::Sync);
    common::write(&tracker, extent(REGION, REGION + 1));
    assert!(is_locked(&machine, "/opened"), "at a renewal");
    assert!(!is_locked(&machine, "/created"));
    alias(&machine, "/renewed");
    refused(&machine, &tracker, Call::Sync);
    refused(&machine, &tracker, Call::SyncFolder);
    assert!(is_locked(&machine, "/renewed"), "at one that failed");
    assert!(!is_locked(&machine, "/opened"));
}

#[test]
fn who_locks_a_file_that_was_replaced_meanwhile_is_told_that_another_tracks_the_disk() {
    let machine = Machine::new();
    let (tracker, _) = new_tracker(&machine);
    alias(&machine, "/old");
    for region in 3..5 {
        refused(&machine, &tracker, Call::Sync);
        common::write(&tracker, extent(region * REGION, region * REGION + 1));
    }
    assert!(!is_locked(&machine, "/old"), "else it need not look");
    let slow = GatedFiles::over(machine.files.clone());
    slow.open_instead(&machine.path(".mrt"), Path::new("/old"));
    let before = machine.files.now().digest();
    let opened = Tracker::open(
        Arc::new(slow),
        &machine.disk,
        &identity(),
        stamp(1),
        &options(),
        [9; 16],
    );
    assert!(is_in_use(&opened));
    assert_eq!(machine.files.now().digest(), before);
}
