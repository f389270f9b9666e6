//! Files of somebody else, calls that cannot be served, and what is cleared away.

use std::path::Path;

use hypercbt_extent::ByteLen;
use hypercbt_file::FileSystem;
use hypercbt_rct::{DiskIdentity, Error, Lost, Options, Tracker, TrackerFile};

use crate::common::{DISK, Machine, UNIT, extent, identity, options, set, stamp};
use crate::{common, crashed, is_foreign, reason};

#[test]
fn a_file_that_is_not_ours_is_neither_read_on_nor_written_nor_replaced() {
    let zeros = vec![0; 100_000];
    let contents: [&[u8]; 4] = [b"", b"rct", b"Microsoft's own", &zeros];
    for (suffix, file) in [(".mrt", TrackerFile::Mrt), (".rct", TrackerFile::Rct)] {
        for foreign in contents {
            let (mut machine, ..) = crashed();
            machine.put(suffix, foreign);
            let before = machine.files.now().digest();
            assert!(is_foreign(machine.open(), file));
            assert!(is_foreign(machine.try_create(&options(), [77; 16]), file));
            assert_eq!(machine.read(suffix), foreign);
            assert_eq!(
                machine.files.now().digest(),
                before,
                "nothing else is left either"
            );
        }
        let machine = Machine::new();
        machine.files.create_folder(&machine.path(suffix)).unwrap();
        assert!(is_foreign(machine.open(), file));
        assert!(is_foreign(machine.try_create(&options(), [77; 16]), file));
    }
}

#[test]
fn a_file_that_takes_the_rct_files_name_meanwhile_is_not_replaced() {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    machine.remove(".rct");
    let file = machine.files.create_new(&machine.path(".rct")).unwrap();
    file.write_all_at(b"somebody else's", hypercbt_file::FileOffset(0))
        .unwrap();
    let flushed = tracker.flush();
    assert!(matches!(
        flushed,
        Err(Error::NotOurs {
            file: TrackerFile::Rct
        })
    ));
    assert_eq!(machine.read(".rct"), b"somebody else's");
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(0, 512)]));
    let names: Vec<_> = machine.files.now().paths();
    assert_eq!(
        names,
        [Path::new("/disk.vhdx.mrt"), Path::new("/disk.vhdx.rct")]
    );
}

#[test]
fn a_write_beyond_the_end_is_refused_and_one_up_to_it_is_not() {
    let tracker = Machine::new().create();
    let id = tracker.seal().unwrap();
    let beyond = extent(DISK - 1, DISK + 1);
    match tracker.write_begins(beyond) {
        Err(Error::OutOfRange { extent, disk_len }) => {
            assert_eq!((extent, disk_len), (beyond, ByteLen(DISK)));
        }
        other => panic!("{other:?}"),
    }
    assert!(tracker.changes_since(&id).unwrap().is_empty());
    common::write(&tracker, extent(DISK - 1, DISK));
    let last = DISK - DISK % 512;
    assert_eq!(tracker.changes_since(&id).unwrap(), set(&[(last, DISK)]));
}

#[test]
fn a_second_tracker_of_the_same_disk_is_refused() {
    let machine = Machine::new();
    let first = machine.create();
    let in_use = |opened| {
        matches!(
            opened,
            Err(Error::InUse {
                file: TrackerFile::Mrt
            })
        )
    };
    assert!(in_use(machine.open()));
    assert!(in_use(machine.try_create(&options(), [9; 16])));
    drop(first);
    let second = machine.open().unwrap();
    assert!(in_use(machine.open()));
    drop(second);
    machine.open().unwrap();
}

#[test]
fn tracking_can_start_anew_over_files_of_ours_whatever_their_state() {
    let (mut machine, id, _) = crashed();
    let mut mrt = machine.read(".mrt");
    mrt[100] ^= 1;
    mrt[100 + (32 << 10)] ^= 1;
    machine.put(".mrt", &mrt);
    assert_eq!(reason(machine.open()), Lost::Damaged);
    let tracker = machine.try_create(&options(), [7; 16]).unwrap();
    assert!(tracker.ids().is_empty());
    assert!(matches!(
        tracker.changes_since(&id),
        Err(Error::UnknownId { .. })
    ));
    let new = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    machine.close(tracker);
    let tracker = machine.open().unwrap();
    assert_eq!(tracker.changes_since(&new).unwrap(), set(&[(0, UNIT)]));
}

#[test]
fn what_a_cut_left_unfinished_is_removed_and_what_only_looks_alike_is_not() {
    let (mut machine, ..) = crashed();
    let stray = format!(".mrt.{}.new", "ab".repeat(16));
    machine.put(&stray, b"torn");
    machine.put(".mrt.new", b"another's");
    drop(machine.open().unwrap());
    let names = machine.files.now().paths();
    assert!(!names.contains(&machine.path(&stray)));
    assert!(names.contains(&machine.path(".mrt.new")));
}

#[test]
fn options_that_cannot_work_are_refused() {
    let machine = Machine::new();
    let bad = Options {
        grain: ByteLen(100),
        ..options()
    };
    assert!(matches!(
        machine.try_create(&bad, [1; 16]),
        Err(Error::InvalidOptions { .. })
    ));
    let huge = DiskIdentity {
        size: ByteLen(u64::MAX),
        ..identity()
    };
    let files = std::sync::Arc::new(machine.files.clone());
    let made = Tracker::create(files, &machine.disk, &huge, stamp(1), &options(), [1; 16]);
    assert!(matches!(made, Err(Error::InvalidOptions { .. })));
    assert!(machine.files.now().paths().is_empty());
}
