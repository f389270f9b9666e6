//! A sync failed, and the `.mrt` file that was made anew has the name, but not durably: nothing more may be said to
//! the file that was there before, for nobody will read it again.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::{Machine, REGION, extent, identity, options, stamp};
use hypercbt_extent::{ByteLen, Extents};
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_rct::{DiskIdentity, Error, Lost, Options, RctId, Recovered, Result, Tracker};

const OLD: u8 = 1;
const NEW: u8 = 50;

fn fail(files: &SimFiles, call: Call) {
    files.fail(Fault {
        call,
        path: None,
        after: 0,
        times: 1,
        error: ErrorKind::Other,
    });
}

/// A tracker with an id, whose disk may have the stamp [`OLD`] or [`NEW`].
fn half_renewed(machine: &Machine) -> (Tracker, RctId) {
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    tracker.expect(stamp(NEW)).unwrap();
    common::write(&tracker, extent(0, 1));
    for call in [Call::Sync, Call::SyncFolder] {
        fail(&machine.files, call);
        tracker
            .write_begins(extent(REGION, REGION + 1))
            .unwrap_err();
    }
    (tracker, id)
}

fn open(machine: &Machine, found: u8) -> Result<Tracker> {
    machine.open_as(&identity(), stamp(found), &options(), machine.session())
}

fn is_refused(machine: &Machine, found: u8) -> bool {
    let reason = Lost::DiskChanged {
        found: stamp(found),
    };
    matches!(open(machine, found), Err(Error::TrackingLost { reason: why }) if why == reason)
}

#[test]
fn a_write_back_is_announced_where_it_is_read() {
    let machine = Machine::new();
    let (tracker, _) = half_renewed(&machine);
    tracker.flush().unwrap();
    drop(tracker);
    let recovered = open(&machine, OLD).unwrap().recovered();
    assert_eq!(recovered, Recovered::Fine { whole_regions: 0 });
}

#[test]
fn a_forgotten_id_does_not_come_back() {
    let machine = Machine::new();
    let (tracker, id) = half_renewed(&machine);
    tracker.forget(&id).unwrap();
    drop(tracker);
    assert!(open(&machine, OLD).unwrap().ids().is_empty());
}

#[test]
fn a_stamp_that_is_expected_is_accepted() {
    let machine = Machine::new();
    let (tracker, _) = half_renewed(&machine);
    tracker.expect(stamp(60)).unwrap();
    drop(tracker);
    open(&machine, 60).unwrap();
}

#[test]
fn a_stamp_that_was_settled_is_the_only_one() {
    let machine = Machine::new();
    let (tracker, _) = half_renewed(&machine);
    tracker.settle().unwrap();
    drop(tracker);
    assert!(is_refused(&machine, OLD));
    open(&machine, NEW).unwrap();
}

#[test]
fn a_close_whose_write_back_fails_settles_all_the_same() {
    let machine = Machine::new();
    let (tracker, _) = half_renewed(&machine);
    // The write-back is the first to make the file anew, and fails; the close makes it anew again.
    fail(&machine.files, Call::SyncFolder);
    tracker.close(stamp(NEW)).unwrap_err();
    assert!(is_refused(&machine, OLD));
    open(&machine, NEW).unwrap();
}

#[test]
fn the_new_file_has_all_regions_however_many_runs_they_are() {
    let files = SimFiles::new();
    let identity = DiskIdentity {
        disk_id: [1; 16],
        size: ByteLen(6000 * REGION),
    };
    let options = Options {
        grain: ByteLen(512),
        rct_unit: ByteLen(512),
        mrt_region: ByteLen(REGION),
        ..Options::default()
    };
    let (shared, disk) = (Arc::new(files.clone()), Path::new("/disk"));
    let made = Tracker::create(
        shared.clone(),
        disk,
        &identity,
        stamp(OLD),
        &options,
        [1; 16],
    );
    let tracker = made.unwrap();
    let id = tracker.seal().unwrap();
    let mut places = Vec::new();
    for region in (0..6000).rev() {
        let place = extent(region * REGION, region * REGION + 1);
        common::write(&tracker, place);
        places.push(place);
    }
    let truth = Extents::from_unsorted(places);
    tracker.flush().unwrap();
    fail(&files, Call::Sync);
    let first = extent(0, 1);
    tracker.write_begins(first).unwrap_err();
    common::write(&tracker, first);
    drop(tracker);
    let mut state = files.now();
    state.remove(Path::new("/disk.rct"));
    let files = Arc::new(SimFiles::from_state(&state));
    let opened = Tracker::open(files, disk, &identity, stamp(OLD), &options, [2; 16]);
    let tracker = opened.unwrap();
    assert!(matches!(tracker.recovered(), Recovered::Coarse { .. }));
    let answer = tracker.changes_since(&id).unwrap();
    assert!(truth.subtract(&answer).is_empty());
}
