//! What the tracker says while it lives and after a clean stop.

mod common;

use std::sync::Arc;

use common::{Machine, REGION, UNIT, extent, set};
use hypercbt_file::LocalFiles;
use hypercbt_rct::{Error, Options, Recovered, Tracker};

#[test]
fn what_was_written_after_a_seal_and_nothing_else_is_reported_in_grains() {
    let tracker = Machine::new().create();
    common::write(&tracker, extent(0, 10));
    let id = tracker.seal().unwrap();
    assert!(tracker.changes_since(&id).unwrap().is_empty());
    common::write(&tracker, extent(5000, 5001));
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(4608, 5120)]));
}

#[test]
fn each_id_has_its_own_answer() {
    let tracker = Machine::new().create();
    let first = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 512));
    let second = tracker.seal().unwrap();
    common::write(&tracker, extent(1024, 1536));
    assert_eq!(
        tracker.changes_since(&first).unwrap(),
        set(&[(0, 512), (1024, 1536)])
    );
    assert_eq!(
        tracker.changes_since(&second).unwrap(),
        set(&[(1024, 1536)])
    );
    assert_eq!(tracker.ids(), [first, second]);
}

#[test]
fn a_write_across_a_seal_is_in_both_epochs() {
    let tracker = Machine::new().create();
    let before = tracker.seal().unwrap();
    let ticket = tracker.write_begins(extent(0, 512)).unwrap();
    let during = tracker.seal().unwrap();
    tracker.write_ends(ticket);
    let after = tracker.seal().unwrap();
    assert_eq!(tracker.changes_since(&before).unwrap(), set(&[(0, 512)]));
    assert_eq!(tracker.changes_since(&during).unwrap(), set(&[(0, 512)]));
    assert!(tracker.changes_since(&after).unwrap().is_empty());
}

#[test]
fn a_write_that_began_before_the_first_seal_is_in_the_first_epoch() {
    let tracker = Machine::new().create();
    let ticket = tracker.write_begins(extent(0, 512)).unwrap();
    let id = tracker.seal().unwrap();
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 512)]));
    tracker.write_ends(ticket);
}

#[test]
fn while_no_id_is_kept_nothing_is_marked() {
    let tracker = Machine::new().create();
    common::write(&tracker, extent(0, 512));
    assert_eq!(tracker.stats().first_touches, 0);
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 512));
    assert_eq!(tracker.stats().first_touches, 1);
    tracker.forget(&id).unwrap();
    common::write(&tracker, extent(REGION, REGION + 1));
    assert_eq!(tracker.stats().first_touches, 1);
}

#[test]
fn a_region_is_marked_once_until_the_next_seal_or_write_back() {
    let tracker = Machine::new().create();
    tracker.seal().unwrap();
    common::write(&tracker, extent(0, 512));
    common::write(&tracker, extent(1024, 2048));
    common::write(&tracker, extent(0, REGION));
    assert_eq!(tracker.stats().mark_syncs, 1);
    tracker.flush().unwrap();
    common::write(&tracker, extent(0, 512));
    common::write(&tracker, extent(0, 512));
    assert_eq!(tracker.stats().mark_syncs, 2);
    tracker.seal().unwrap();
    common::write(&tracker, extent(0, 512));
    common::write(&tracker, extent(0, 512));
    assert_eq!(tracker.stats().mark_syncs, 3);
}

#[test]
fn a_forgotten_id_is_unknown_and_so_is_one_that_never_was() {
    let machine = Machine::new();
    let tracker = machine.create();
    let (first, second) = (tracker.seal().unwrap(), tracker.seal().unwrap());
    common::write(&tracker, extent(0, 512));
    tracker.forget(&first).unwrap();
    let unknown = |id| matches!(tracker.changes_since(id), Err(Error::UnknownId { id: asked }) if asked == *id);
    assert!(unknown(&first));
    assert!(matches!(
        tracker.forget(&first),
        Err(Error::UnknownId { .. })
    ));
    assert_eq!(tracker.changes_since(&second).unwrap(), set(&[(0, 512)]));
    // An id of another session with the same counter: the whole id must match.
    let other = Machine::new().create_in_session(77);
    other.seal().unwrap();
    let foreign = other.seal().unwrap();
    assert_eq!(foreign.to_string()[..5], second.to_string()[..5]);
    assert_eq!(foreign.to_string()[42..], second.to_string()[42..]);
    assert!(unknown(&foreign));
}

#[test]
fn after_a_clean_stop_the_answer_is_as_fine_as_the_rct_file() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(
        &tracker,
        extent(5 * REGION + 3 * UNIT + 7, 5 * REGION + 3 * UNIT + 8),
    );
    machine.close(tracker);
    let tracker = machine.open().unwrap();
    assert_eq!(tracker.recovered(), Recovered::Fine { whole_regions: 0 });
    let at = 5 * REGION + 3 * UNIT;
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(at, at + UNIT)]));
}

#[test]
fn after_a_crash_only_regions_touched_since_the_write_back_are_whole() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    tracker.flush().unwrap();
    common::write(&tracker, extent(3 * REGION, 3 * REGION + 1));
    drop(tracker);
    let tracker = machine.open().unwrap();
    assert_eq!(tracker.recovered(), Recovered::Fine { whole_regions: 1 });
    assert_eq!(
        tracker.changes_since(&id).unwrap(),
        set(&[(0, UNIT), (3 * REGION, 4 * REGION)])
    );
}

#[test]
fn ids_of_all_sessions_are_answered_in_a_later_one() {
    let machine = Machine::new();
    let tracker = machine.create();
    let first = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    machine.close(tracker);
    let tracker = machine.open().unwrap();
    let second = tracker.seal().unwrap();
    common::write(&tracker, extent(UNIT, UNIT + 1));
    drop(tracker);
    let tracker = machine.open().unwrap();
    assert_eq!(tracker.ids(), [first.clone(), second.clone()]);
    assert_ne!(
        first.to_string()[..41],
        second.to_string()[..41],
        "a GUID each session"
    );
    assert_eq!(tracker.changes_since(&first).unwrap(), set(&[(0, REGION)]));
    assert_eq!(tracker.changes_since(&second).unwrap(), set(&[(0, REGION)]));
    let third = tracker.seal().unwrap();
    assert!(tracker.changes_since(&third).unwrap().is_empty());
}

#[test]
fn the_counter_of_ids_grows_over_sessions_also_when_none_is_kept() {
    let machine = Machine::new();
    let tracker = machine.create();
    for counter in 1..4 {
        let id = tracker.seal().unwrap();
        assert!(id.to_string().ends_with(&format!(":{counter:08x}")));
        tracker.forget(&id).unwrap();
    }
    drop(tracker);
    let id = machine.open().unwrap().seal().unwrap();
    assert!(id.to_string().ends_with(":00000004"), "{id}");
}

#[test]
fn without_the_rct_file_whole_regions_are_reported_and_no_more() {
    let machine = Machine::new();
    let tracker = machine.create();
    common::write(&tracker, extent(9 * REGION, 9 * REGION + 1));
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(REGION, REGION + 1));
    machine.close(tracker);
    machine.remove(".rct");
    let tracker = machine.open().unwrap();
    assert_eq!(tracker.recovered(), Recovered::Coarse { whole_regions: 1 });
    assert_eq!(
        tracker.changes_since(&id).unwrap(),
        set(&[(REGION, 2 * REGION)])
    );
}

#[test]
fn a_handed_over_disk_goes_on_at_the_other_host() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    machine.close(tracker);
    // The other host sees the same files, under another path.
    let other = machine.moved_to("/other/place.vhdx");
    let tracker = other.open().unwrap();
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, UNIT)]));
}

#[test]
fn a_larger_region_than_the_options_say_stays_as_it_was_made() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    drop(tracker);
    let tracker = machine.open_with(&Options::default()).unwrap();
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, REGION)]));
    common::write(&tracker, extent(2 * REGION, 2 * REGION + 1));
    machine.close(tracker);
    let tracker = machine.open().unwrap();
    assert_eq!(
        tracker.changes_since(&id).unwrap(),
        set(&[(0, REGION), (2 * REGION, 3 * REGION)])
    );
}

#[test]
fn as_many_ids_are_kept_as_the_file_holds_and_one_more_is_refused() {
    let machine = Machine::new();
    let tracker = machine.create();
    let mut sealed = 0;
    let limit = loop {
        match tracker.seal() {
            Ok(_) => sealed += 1,
            Err(Error::TooManyIds { limit }) => break limit,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((sealed, tracker.ids().len()), (limit, limit));
    assert!(limit >= 1000);
    drop(tracker);
    let tracker = machine.open().unwrap();
    let oldest = tracker.ids()[0].clone();
    tracker.forget(&oldest).unwrap();
    tracker.seal().unwrap();
    assert_eq!(tracker.ids().len(), limit);
}

#[test]
fn on_the_files_of_this_machine_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.vhdx");
    let files = Arc::new(LocalFiles);
    let (stamp, options, identity) = (common::stamp(1), common::options(), common::identity());
    let made = Tracker::create(files.clone(), &disk, &identity, stamp, &options, [1; 16]);
    let tracker = made.unwrap();
    let open = |session| Tracker::open(files.clone(), &disk, &identity, stamp, &options, session);
    assert!(matches!(open([2; 16]), Err(Error::InUse { .. })));
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    tracker.flush().unwrap();
    common::write(&tracker, extent(60 * REGION, 60 * REGION + 1));
    drop(tracker);
    let tracker = open([2; 16]).unwrap();
    assert_eq!(
        tracker.changes_since(&id).unwrap(),
        set(&[(0, UNIT), (60 * REGION, 61 * REGION)])
    );
    tracker.close(stamp).unwrap();
    let mut names: Vec<_> = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["disk.vhdx.mrt", "disk.vhdx.rct"]);
}

#[test]
fn a_ticket_that_is_dropped_reports_too_much_and_never_too_little() {
    let tracker = Machine::new().create();
    drop(tracker.write_begins(extent(0, 1)).unwrap());
    let id = tracker.seal().unwrap();
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 512)]));
}
