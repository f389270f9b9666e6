//! Files that are missing, damaged, old, new, or somebody else's: a typed error or too much, never too little.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests are tests too"
)]

mod common;

use std::path::Path;

use common::{DISK, Machine, REGION, UNIT, extent, identity, options, set, stamp};
use hypercbt_extent::{ByteLen, Extents};
use hypercbt_file::FileSystem;
use hypercbt_rct::{
    DiskIdentity, Error, Lost, Options, RctId, Recovered, Result, Tracker, TrackerFile,
};

/// A machine whose tracker crashed with changes in two regions: one written back, one only marked.
fn crashed() -> (Machine, RctId, Extents) {
    let machine = Machine::new();
    let tracker = machine.create();
    let id = tracker.seal().unwrap();
    common::write(&tracker, extent(0, 1));
    tracker.flush().unwrap();
    common::write(&tracker, extent(60 * REGION, 60 * REGION + 1));
    drop(tracker);
    let truth = set(&[(0, 1), (60 * REGION, 60 * REGION + 1)]);
    (machine, id, truth)
}

fn reason(opened: Result<Tracker>) -> Lost {
    match opened {
        Err(Error::TrackingLost { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn is_foreign(opened: Result<Tracker>, named: TrackerFile) -> bool {
    matches!(opened, Err(Error::NotOurs { file }) if file == named)
}

/// Changes a byte, and the checksum that stands at `checksum_at` over `checked`.
fn patch(
    bytes: &mut [u8],
    at: usize,
    value: u8,
    checked: std::ops::Range<usize>,
    checksum_at: usize,
) {
    bytes[at] = value;
    let checksum = crc32c::crc32c(&bytes[checked]).to_le_bytes();
    bytes[checksum_at..checksum_at + 4].copy_from_slice(&checksum);
}

#[test]
fn without_any_file_the_disk_is_not_tracked() {
    assert!(matches!(Machine::new().open(), Err(Error::NotTracked)));
}

#[test]
fn without_the_mrt_file_tracking_is_lost() {
    let (machine, ..) = crashed();
    machine.remove(".mrt");
    assert_eq!(reason(machine.open()), Lost::Missing);
}

#[test]
fn a_mrt_file_that_was_cut_short_anywhere_is_lost_or_not_known_as_ours() {
    let (mut machine, ..) = crashed();
    let whole = machine.read(".mrt");
    let lens = (0..1200).step_by(7).chain((1200..whole.len()).step_by(499));
    for len in lens.chain([whole.len() - 1]) {
        machine.put(".mrt", &whole[..len]);
        match machine.open() {
            Err(Error::TrackingLost {
                reason: Lost::Damaged,
            }) => assert!(len >= 8),
            Err(Error::NotOurs { .. }) => assert!(len < 8),
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn one_header_may_rot_without_a_loss_and_both_are_a_loss() {
    let (mut machine, id, _) = crashed();
    let whole = machine.read(".mrt");
    for at in [30, 120, 300, 509, 515, 530] {
        let mut first = whole.clone();
        first[at] ^= 1;
        let mut second = whole.clone();
        second[at + (32 << 10)] ^= 1;
        for bytes in [first, second] {
            machine.put(".mrt", &bytes);
            let answer = machine.open().unwrap().changes_since(&id).unwrap();
            assert_eq!(answer, set(&[(0, UNIT), (60 * REGION, 61 * REGION)]));
        }
        let mut both = whole.clone();
        both[at] ^= 1;
        both[at + (32 << 10)] ^= 1;
        machine.put(".mrt", &both);
        assert_eq!(reason(machine.open()), Lost::Damaged);
        // Then not even the magics say whose it is.
        both[0] ^= 1;
        both[32 << 10] ^= 1;
        machine.put(".mrt", &both);
        assert!(is_foreign(machine.open(), TrackerFile::Mrt));
    }
}

#[test]
fn a_sector_of_the_mrt_file_that_rots_hides_nothing() {
    let (mut machine, id, truth) = crashed();
    let whole = machine.read(".mrt");
    for at in (64 << 10..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        machine.put(".mrt", &bytes);
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        assert!(truth.subtract(&answer).is_empty(), "byte {at}");
    }
    for sector in (64 << 10..whole.len()).step_by(512) {
        let mut bytes = whole.clone();
        bytes[sector..sector + 512].fill(0);
        machine.put(".mrt", &bytes);
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        assert!(truth.subtract(&answer).is_empty(), "sector at {sector}");
    }
}

#[test]
fn two_sectors_of_the_mrt_file_that_rot_together_hide_nothing() {
    let (mut machine, id, truth) = crashed();
    let whole = machine.read(".mrt");
    let sectors: Vec<_> = (64 << 10..whole.len()).step_by(512).collect();
    for (first, second) in sectors
        .iter()
        .flat_map(|first| sectors.iter().map(move |second| (*first, *second)))
    {
        let mut bytes = whole.clone();
        bytes[first..first + 512].fill(0);
        bytes[second + 100] ^= 1;
        machine.put(".mrt", &bytes);
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        assert!(truth.subtract(&answer).is_empty(), "{first} and {second}");
    }
}

#[test]
fn with_the_directory_rotten_in_both_places_a_sector_of_zeros_hides_nothing() {
    let (mut machine, id, truth) = crashed();
    let mut bytes = machine.read(".mrt");
    let len = bytes.len();
    for directory in [64 << 10, len - 512] {
        assert_eq!(&bytes[directory..directory + 4], b"MRTD");
        bytes[directory + 100] ^= 1;
    }
    bytes[(64 << 10) + 512..len - 512].fill(0);
    machine.put(".mrt", &bytes);
    let tracker = machine.open().unwrap();
    let answer = tracker.changes_since(&id).unwrap();
    assert!(truth.subtract(&answer).is_empty());
    // The next session has a directory again.
    let later = tracker.seal().unwrap();
    drop(tracker);
    let tracker = machine.open().unwrap();
    assert!(tracker.changes_since(&later).unwrap().is_empty());
}

#[test]
fn a_rotten_sector_is_whole_again_in_the_next_session_and_no_longer_in_the_way() {
    let (mut machine, id, truth) = crashed();
    let mut bytes = machine.read(".mrt");
    // The second sector of counters: regions 60 to 69.
    let sector = (64 << 10) + 512 + 512;
    bytes[sector + 40] ^= 1;
    machine.put(".mrt", &bytes);
    let tracker = machine.open().unwrap();
    let answer = tracker.changes_since(&id).unwrap();
    assert_eq!(answer, set(&[(0, UNIT), (60 * REGION, DISK)]));
    assert!(truth.subtract(&answer).is_empty());
    let later = tracker.seal().unwrap();
    drop(tracker);
    let tracker = machine.open().unwrap();
    assert!(tracker.changes_since(&later).unwrap().is_empty());
    assert_eq!(tracker.changes_since(&id).unwrap(), answer);
}

#[test]
fn an_rct_file_that_rots_or_was_cut_short_is_left_aside() {
    let (mut machine, id, truth) = crashed();
    let whole = machine.read(".rct");
    for at in (0..whole.len()).step_by(11) {
        let mut bytes = whole.clone();
        bytes[at] ^= 2;
        machine.put(".rct", &bytes);
        let tracker = machine.open().unwrap();
        assert_eq!(
            tracker.recovered(),
            Recovered::Coarse { whole_regions: 2 },
            "byte {at}"
        );
        let answer = tracker.changes_since(&id).unwrap();
        assert!(truth.subtract(&answer).is_empty(), "byte {at}");
    }
    for len in (8..whole.len()).step_by(509) {
        machine.put(".rct", &whole[..len]);
        let answer = machine.open().unwrap().changes_since(&id).unwrap();
        assert_eq!(answer, set(&[(0, REGION), (60 * REGION, 61 * REGION)]));
    }
}

#[test]
fn files_of_a_newer_format_are_lost_and_not_touched() {
    let (mut machine, ..) = crashed();
    let (mrt, rct) = (machine.read(".mrt"), machine.read(".rct"));
    let mut newer = mrt.clone();
    patch(&mut newer, 8, 1, 0..508, 508);
    machine.put(".mrt", &newer);
    let file = TrackerFile::Mrt;
    assert_eq!(
        reason(machine.open()),
        Lost::NewerFormat { file, version: 1 }
    );
    assert_eq!(machine.read(".mrt"), newer);
    machine.put(".mrt", &mrt);
    let mut newer = rct;
    patch(&mut newer, 8, 1, 0..4092, 4092);
    machine.put(".rct", &newer);
    let file = TrackerFile::Rct;
    assert_eq!(
        reason(machine.open()),
        Lost::NewerFormat { file, version: 1 }
    );
    assert_eq!(machine.read(".rct"), newer);
}

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
