//! Files of another disk, and a disk that is not what it was.

use hypercbt_extent::ByteLen;
use hypercbt_rct::{DiskIdentity, Error, Lost};

use crate::common::{DISK, Machine, REGION, identity, options, stamp};
use crate::{crashed, reason};

#[test]
fn files_of_another_disk_are_lost() {
    let (machine, ..) = crashed();
    let other = DiskIdentity {
        disk_id: [0xBB; 16],
        ..identity()
    };
    let opened = machine.open_as(&other, machine.stamp(), &options(), machine.session());
    assert_eq!(reason(opened), Lost::OtherDisk);
}

#[test]
fn a_disk_of_another_size_is_lost() {
    let (machine, ..) = crashed();
    for size in [ByteLen(DISK + REGION), ByteLen(DISK - 512)] {
        let other = DiskIdentity { size, ..identity() };
        let opened = machine.open_as(&other, machine.stamp(), &options(), machine.session());
        let tracked = ByteLen(DISK);
        assert_eq!(
            reason(opened),
            Lost::Resized {
                tracked,
                found: size
            }
        );
    }
}

#[test]
fn a_disk_that_was_changed_while_the_tracker_was_away_is_lost() {
    let (machine, ..) = crashed();
    let found = stamp(99);
    let opened = machine.open_as(&identity(), found, &options(), machine.session());
    assert_eq!(reason(opened), Lost::DiskChanged { found });
}

#[test]
fn an_expected_stamp_is_accepted_until_another_is_settled() {
    let (machine, ..) = crashed();
    let opened = |found| machine.open_as(&identity(), found, &options(), machine.session());
    let tracker = machine.open().unwrap();
    tracker.expect(stamp(50)).unwrap();
    drop(tracker);
    // Neither of them is dropped by looking.
    drop(opened(machine.stamp()).unwrap());
    let tracker = machine.open().unwrap();
    tracker.expect(stamp(50)).unwrap();
    drop(tracker);
    let tracker = opened(stamp(50)).unwrap();
    drop(tracker);
    drop(opened(machine.stamp()).unwrap());
    let tracker = machine.open().unwrap();
    tracker.expect(stamp(51)).unwrap();
    tracker.settle().unwrap();
    drop(tracker);
    assert!(matches!(
        reason(opened(machine.stamp())),
        Lost::DiskChanged { .. }
    ));
    assert!(matches!(
        reason(opened(stamp(50))),
        Lost::DiskChanged { .. }
    ));
    opened(stamp(51)).unwrap();
}

#[test]
fn a_stamp_that_is_expected_again_is_the_one_that_is_settled() {
    let machine = Machine::new();
    let opened = |found| machine.open_as(&identity(), found, &options(), machine.session());
    let tracker = machine.create();
    for number in [50, 51, 50] {
        tracker.expect(stamp(number)).unwrap();
    }
    tracker.settle().unwrap();
    drop(tracker);
    assert!(matches!(
        reason(opened(stamp(51))),
        Lost::DiskChanged { .. }
    ));
    opened(stamp(50)).unwrap();
}

#[test]
fn a_stamp_whose_write_failed_may_be_there_after_the_next_session_too() {
    let (machine, ..) = crashed();
    let opened = |found| machine.open_as(&identity(), found, &options(), machine.session());
    let tracker = machine.open().unwrap();
    tracker.expect(stamp(50)).unwrap();
    drop(tracker);
    // The file still has the stamp before, as far as anybody can see.
    for coming in [60, 61] {
        let tracker = opened(machine.stamp()).unwrap();
        tracker.expect(stamp(coming)).unwrap();
        drop(tracker);
    }
    drop(opened(stamp(60)).unwrap());
    drop(opened(stamp(61)).unwrap());
    // What was found last is what a settling means, if nothing is expected after it.
    let tracker = opened(stamp(50)).unwrap();
    tracker.settle().unwrap();
    drop(tracker);
    assert!(matches!(
        reason(opened(stamp(61))),
        Lost::DiskChanged { .. }
    ));
    opened(stamp(50)).unwrap();
}

#[test]
fn stamps_that_sessions_expected_before_they_crashed_never_fill_the_list() {
    let (machine, ..) = crashed();
    let opened = |found| machine.open_as(&identity(), found, &options(), machine.session());
    for number in 10..40 {
        let tracker = opened(machine.stamp()).unwrap();
        tracker.expect(stamp(number)).unwrap();
    }
    drop(opened(stamp(39)).unwrap());
    drop(opened(machine.stamp()).unwrap());
}

#[test]
fn a_stamp_that_nobody_expected_is_not_closed_with() {
    let machine = Machine::new();
    let tracker = machine.create();
    let closed = tracker.close(stamp(9));
    assert!(matches!(closed, Err(Error::StampNotExpected { stamp: found }) if found == stamp(9)));
    machine.open().unwrap();
}

#[test]
fn stamps_that_are_never_settled_are_refused_at_last() {
    let tracker = Machine::new().create();
    let refused = (10..30).find_map(|number| tracker.expect(stamp(number)).err());
    assert!(matches!(refused, Some(Error::TooManyStamps { limit: 8 })));
    tracker.settle().unwrap();
    tracker.expect(stamp(40)).unwrap();
}
