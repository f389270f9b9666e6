//! Storage that is full or fails: the guest's write is refused before tracking is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::io::ErrorKind;
use std::path::Path;

use common::{Machine, REGION, UNIT, extent, options, set};
use hypercbt_file::FileSystem;
use hypercbt_powercut::{Call, Fault};
use hypercbt_rct::{Error, RctId, Tracker, TrackerCall, TrackerFile};

const FULL: ErrorKind = ErrorKind::StorageFull;
const BROKEN: ErrorKind = ErrorKind::Other;

/// The tracker's session, and so its id, in the names of files that are not whole yet.
const SESSION: u8 = 0x5E;

fn new_tracker(machine: &Machine) -> (Tracker, RctId) {
    let tracker = machine.create_in_session(SESSION);
    let id = tracker.seal().unwrap();
    (tracker, id)
}

/// From now on so many calls fail; each file is opened under the name that it has before it is whole.
fn fail(
    machine: &Machine,
    file: TrackerFile,
    call: Call,
    after: u64,
    times: u64,
    error: ErrorKind,
) {
    let suffix = if file == TrackerFile::Mrt {
        ".mrt"
    } else {
        ".rct"
    };
    let name = format!("{suffix}.{}.new", format!("{SESSION:02x}").repeat(16));
    let path = match call {
        Call::SyncFolder => "/".into(),
        _ => machine.path(&name),
    };
    let path = Some(path);
    machine.files.fail(Fault {
        call,
        path,
        after,
        times,
        error,
    });
}

fn io_kind(error: &Error) -> (TrackerFile, TrackerCall, ErrorKind) {
    match error {
        Error::Io { file, call, source } => (*file, *call, source.kind()),
        other => panic!("{other}"),
    }
}

#[test]
fn a_mark_that_finds_no_room_refuses_the_write_and_the_next_one_works() {
    let machine = Machine::new();
    let (tracker, id) = new_tracker(&machine);
    fail(&machine, TrackerFile::Mrt, Call::Write, 0, 1, FULL);
    let refused = tracker.write_begins(extent(0, 1)).unwrap_err();
    assert_eq!(
        io_kind(&refused),
        (TrackerFile::Mrt, TrackerCall::Write, FULL)
    );
    assert_eq!(tracker.stats().mark_syncs, 0);
    common::write(&tracker, extent(0, 1));
    assert_eq!(tracker.stats().mark_syncs, 1);
    drop(tracker);
    let answer = machine.open().unwrap().changes_since(&id).unwrap();
    assert_eq!(answer, set(&[(0, REGION)]));
}

#[test]
fn after_a_sync_that_failed_the_mrt_file_is_written_anew_with_all_that_was_touched() {
    let machine = Machine::new();
    let (tracker, id) = new_tracker(&machine);
    common::write(&tracker, extent(60 * REGION, 60 * REGION + 1));
    fail(&machine, TrackerFile::Mrt, Call::Sync, 0, 1, BROKEN);
    let refused = tracker.write_begins(extent(0, 1)).unwrap_err();
    assert_eq!(
        io_kind(&refused),
        (TrackerFile::Mrt, TrackerCall::Sync, BROKEN)
    );
    // A region that was marked before is as durable as it was.
    common::write(&tracker, extent(60 * REGION + 1024, 60 * REGION + 1025));
    let other = tracker.seal().unwrap();
    common::write(&tracker, extent(5 * REGION, 5 * REGION + 1));
    drop(tracker);
    let tracker = machine.open().unwrap();
    let answer = tracker.changes_since(&id).unwrap();
    // The refused write is in it too, which is too much and does not matter.
    assert_eq!(
        answer,
        set(&[
            (0, REGION),
            (5 * REGION, 6 * REGION),
            (60 * REGION, 61 * REGION)
        ])
    );
    assert_eq!(
        tracker.changes_since(&other).unwrap(),
        set(&[(5 * REGION, 6 * REGION)])
    );
}

#[test]
fn while_the_mrt_file_cannot_be_written_anew_each_first_touch_is_refused() {
    let machine = Machine::new();
    let (tracker, id) = new_tracker(&machine);
    fail(&machine, TrackerFile::Mrt, Call::Sync, 0, u64::MAX, BROKEN);
    for _ in 0..3 {
        tracker.write_begins(extent(0, 1)).unwrap_err();
        tracker.seal().unwrap_err();
        tracker.forget(&id).unwrap_err();
        tracker.expect(common::stamp(9)).unwrap_err();
        tracker.flush().unwrap_err();
    }
    assert_eq!(tracker.ids().as_slice(), std::slice::from_ref(&id));
    machine.files.mend();
    common::write(&tracker, extent(0, 1));
    drop(tracker);
    let answer = machine.open().unwrap().changes_since(&id).unwrap();
    assert!(set(&[(0, 1)]).subtract(&answer).is_empty());
}

#[test]
fn an_rct_file_that_cannot_be_written_fails_the_flush_alone_and_the_old_one_stays() {
    let calls = [
        (Call::Create, TrackerCall::Create),
        (Call::Write, TrackerCall::Write),
        (Call::Sync, TrackerCall::Sync),
        (Call::Rename, TrackerCall::Rename),
        (Call::SyncFolder, TrackerCall::SyncFolder),
    ];
    for (call, told) in calls {
        for error in [FULL, BROKEN] {
            let machine = Machine::new();
            let (tracker, id) = new_tracker(&machine);
            common::write(&tracker, extent(0, 1));
            tracker.flush().unwrap();
            let old = machine.read(".rct");
            fail(&machine, TrackerFile::Rct, call, 0, 1, error);
            common::write(&tracker, extent(REGION, REGION + 1));
            let failed = tracker.flush().unwrap_err();
            assert_eq!(io_kind(&failed), (TrackerFile::Rct, told, error));
            if call != Call::SyncFolder {
                assert_eq!(machine.read(".rct"), old);
            }
            assert_eq!(machine.files.now().paths().len(), 2, "nothing is left over");
            common::write(&tracker, extent(2 * REGION, 2 * REGION + 1));
            assert_eq!(
                tracker.stats().rct_writes,
                2,
                "with the one of the creation"
            );
            drop(tracker);
            let answer = machine.open().unwrap().changes_since(&id).unwrap();
            let truth = set(&[(0, 1), (REGION, REGION + 1), (2 * REGION, 2 * REGION + 1)]);
            assert!(truth.subtract(&answer).is_empty(), "{call:?}");
        }
    }
}

#[test]
fn a_flush_that_failed_is_made_good_by_the_next() {
    let machine = Machine::new();
    let (tracker, id) = new_tracker(&machine);
    common::write(&tracker, extent(0, 1));
    fail(&machine, TrackerFile::Rct, Call::Sync, 0, 1, BROKEN);
    tracker.flush().unwrap_err();
    tracker.flush().unwrap();
    drop(tracker);
    let answer = machine.open().unwrap().changes_since(&id).unwrap();
    assert_eq!(answer, set(&[(0, UNIT)]));
}

#[test]
fn a_seal_that_failed_issues_no_id_and_its_counter_is_never_used_again() {
    for (call, after) in [
        (Call::Write, 0),
        (Call::Write, 1),
        (Call::Sync, 0),
        (Call::Sync, 1),
    ] {
        let machine = Machine::new();
        let (tracker, id) = new_tracker(&machine);
        fail(&machine, TrackerFile::Mrt, call, after, 1, BROKEN);
        tracker.seal().unwrap_err();
        assert_eq!(tracker.ids().as_slice(), std::slice::from_ref(&id));
        common::write(&tracker, extent(0, 1));
        assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 512)]));
        let next = tracker.seal().unwrap();
        assert!(next.to_string().ends_with(":00000003"), "{next}");
        drop(tracker);
        assert_eq!(machine.open().unwrap().ids(), [id, next]);
    }
}

#[test]
fn an_id_whose_seal_failed_half_way_is_tracked_until_a_header_without_it_is_there() {
    let mut came_back = 0;
    for ops in 0..16 {
        let machine = Machine::new();
        // How much of a failed write is there all the same differs with what was done before.
        (0..ops).for_each(|_| machine.files.sync_folder(Path::new("/")).unwrap());
        let tracker = machine.create_in_session(SESSION);
        // One copy of the header has the id, and then no header is written.
        fail(&machine, TrackerFile::Mrt, Call::Write, 1, 1, BROKEN);
        tracker.seal().unwrap_err();
        fail(&machine, TrackerFile::Mrt, Call::Write, 0, 1, BROKEN);
        tracker.expect(common::stamp(9)).unwrap_err();
        common::write(&tracker, extent(0, 1));
        drop(tracker);
        let tracker = machine.open().unwrap();
        for id in tracker.ids() {
            came_back += 1;
            let answer = tracker.changes_since(&id).unwrap();
            assert_eq!(answer, set(&[(0, REGION)]));
        }
    }
    assert!(came_back > 0);
}

#[test]
fn an_id_that_could_not_be_forgotten_is_still_answered() {
    let machine = Machine::new();
    let (tracker, id) = new_tracker(&machine);
    fail(&machine, TrackerFile::Mrt, Call::Write, 1, 1, BROKEN);
    tracker.forget(&id).unwrap_err();
    common::write(&tracker, extent(0, 1));
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 512)]));
    assert_eq!(tracker.stats().mark_syncs, 1);
}

#[test]
fn a_tracker_that_could_not_be_made_leaves_none_or_a_right_one() {
    for call in [
        Call::Create,
        Call::SetLen,
        Call::Write,
        Call::Sync,
        Call::Rename,
        Call::SyncFolder,
    ] {
        for after in 0..6 {
            let machine = Machine::new();
            machine.files.fail(Fault {
                call,
                path: None,
                after,
                times: 1,
                error: FULL,
            });
            let made = machine.try_create(&options(), [SESSION; 16]);
            machine.files.mend();
            if let Err(error) = made {
                assert_eq!(io_kind(&error).2, FULL);
                match machine.open() {
                    Ok(tracker) => assert!(tracker.ids().is_empty()),
                    Err(error) => assert!(matches!(error, Error::NotTracked), "{error}"),
                }
            }
        }
    }
}

#[test]
fn a_disk_that_cannot_be_opened_for_lack_of_room_loses_nothing() {
    for call in [
        Call::Create,
        Call::SetLen,
        Call::Write,
        Call::Sync,
        Call::Rename,
    ] {
        let machine = Machine::new();
        let (tracker, id) = new_tracker(&machine);
        common::write(&tracker, extent(0, 1));
        drop(tracker);
        machine.files.fail(Fault {
            call,
            path: None,
            after: 0,
            times: 1,
            error: FULL,
        });
        let failed = machine.open().unwrap_err();
        assert_eq!(io_kind(&failed).2, FULL);
        machine.files.mend();
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        assert_eq!(answer, set(&[(0, REGION)]));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_no_answer() {
    for suffix in [".mrt", ".rct"] {
        let machine = Machine::new();
        let (tracker, id) = new_tracker(&machine);
        common::write(&tracker, extent(0, 1));
        drop(tracker);
        let path = Some(machine.path(suffix));
        // The first read is the look whose it is, the second one its header.
        for after in 0..2 {
            machine.files.fail(Fault {
                call: Call::Read,
                path: path.clone(),
                after,
                times: 1,
                error: BROKEN,
            });
            let failed = machine.open().unwrap_err();
            assert_eq!(io_kind(&failed).1, TrackerCall::Read);
            machine.files.mend();
        }
        machine.open().unwrap().changes_since(&id).unwrap();
    }
}
