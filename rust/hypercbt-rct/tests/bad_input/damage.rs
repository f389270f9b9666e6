//! Files that are missing, cut short, rotten, or of a newer format.

use hypercbt_rct::{Error, Lost, Recovered, TrackerFile};

use crate::common::{DISK, Machine, REGION, UNIT, set};
use crate::{crashed, is_foreign, patch, reason};

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
