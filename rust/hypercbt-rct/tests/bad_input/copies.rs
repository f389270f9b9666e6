//! Files that were put back from an older copy, and ids of branches that were given up.

use hypercbt_rct::{Error, Lost, Recovered};

use crate::common::{Machine, REGION, extent, identity, options, set};
use crate::{common, reason};

#[test]
fn tracker_files_from_an_older_copy_are_noticed_by_the_stamp() {
    let machine = Machine::new();
    let tracker = machine.create();
    tracker.seal().unwrap();
    machine.close(tracker);
    let (mrt, rct) = (machine.read(".mrt"), machine.read(".rct"));
    let tracker = machine.open().unwrap();
    common::write(&tracker, extent(0, 1));
    machine.close(tracker);
    let mut restored = machine;
    restored.put(".mrt", &mrt);
    restored.put(".rct", &rct);
    assert!(matches!(reason(restored.open()), Lost::DiskChanged { .. }));
}

#[test]
fn a_mrt_file_that_is_older_than_the_rct_file_is_noticed() {
    let machine = Machine::new();
    let tracker = machine.create();
    tracker.seal().unwrap();
    let older = machine.read(".mrt");
    common::write(&tracker, extent(0, 1));
    tracker.flush().unwrap();
    drop(tracker);
    let mut restored = machine;
    restored.put(".mrt", &older);
    assert_eq!(reason(restored.open()), Lost::FromTheFuture);
}

#[test]
fn an_older_rct_file_hides_nothing() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    let older = machine.read(".rct");
    for n in 0..5 {
        common::write(&tracker, extent(n * REGION, n * REGION + 1));
        tracker.flush().unwrap();
    }
    drop(tracker);
    let mut restored = machine;
    restored.put(".rct", &older);
    let tracker = restored.open().unwrap();
    assert_eq!(tracker.recovered(), Recovered::Coarse { whole_regions: 5 });
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 5 * REGION)]));
}

#[test]
fn an_rct_file_of_a_branch_that_was_given_up_is_left_aside() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    machine.close(tracker);
    // The disk and its files are copied, and both copies go on.
    let (given_up, mut kept) = (
        machine.moved_to("/disk.vhdx"),
        machine.moved_to("/disk.vhdx"),
    );
    let tracker = given_up
        .open_as(&identity(), given_up.stamp(), &options(), [0xA1; 16])
        .unwrap();
    tracker.flush().unwrap();
    drop(tracker);
    let tracker = kept
        .open_as(&identity(), kept.stamp(), &options(), [0xB1; 16])
        .unwrap();
    common::write(&tracker, extent(0, 1));
    tracker.flush().unwrap();
    drop(tracker);
    let foreign = given_up.read(".rct");
    let own = kept.read(".rct");
    assert_eq!(foreign[56..72], own[56..72], "the same unit and clock");
    kept.put(".rct", &foreign);
    let tracker = kept.open().unwrap();
    assert_eq!(tracker.recovered(), Recovered::Coarse { whole_regions: 1 });
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, REGION)]));
}

#[test]
fn an_id_of_a_branch_that_was_given_up_is_unknown() {
    let machine = Machine::new();
    let tracker = machine.create();
    machine.close(tracker);
    let before = machine.moved_to("/disk.vhdx");
    let tracker = machine.open().unwrap();
    let sealed = tracker.seal().unwrap();
    drop(tracker);
    // Back to the state before, as a checkpoint is applied; its sessions have GUIDs of their own.
    let opened = before.open_as(&identity(), before.stamp(), &options(), [0xC1; 16]);
    let tracker = opened.unwrap();
    tracker.seal().unwrap();
    assert!(matches!(
        tracker.changes_since(&sealed),
        Err(Error::UnknownId { .. })
    ));
}

#[test]
fn a_session_that_was_there_before_is_refused() {
    let machine = Machine::new();
    let tracker = machine.try_create(&options(), [5; 16]).unwrap();
    drop(tracker);
    let again = machine.open_as(&identity(), machine.stamp(), &options(), [5; 16]);
    assert!(matches!(again, Err(Error::SessionNotNew)));
}
