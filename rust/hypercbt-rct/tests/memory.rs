//! The limit of memory: the map coarsens, stays below it, and misses nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{extent, stamp};
use hypercbt_extent::{ByteLen, Extents};
use hypercbt_powercut::SimFiles;
use hypercbt_rct::{DiskIdentity, Options, Tracker};

const LIMIT: u64 = 64 << 10;
const DISK: u64 = 1 << 30;

fn small() -> Options {
    Options {
        grain: ByteLen(512),
        rct_unit: ByteLen(512),
        mrt_region: ByteLen(1 << 20),
        memory_limit: ByteLen(LIMIT),
    }
}

fn tracker(files: &SimFiles) -> Tracker {
    let identity = DiskIdentity {
        disk_id: [1; 16],
        size: ByteLen(DISK),
    };
    let disk = Path::new("/disk");
    let files = Arc::new(files.clone());
    Tracker::create(files, disk, &identity, stamp(1), &small(), [1; 16]).unwrap()
}

/// Grains with a gap between any two, in a mixed order.
fn places(count: u64) -> impl Iterator<Item = hypercbt_extent::Extent> {
    (0..count).map(move |n| {
        let at = (n * 7919 % count) * (DISK / count);
        extent(at, at + 1)
    })
}

#[test]
fn more_changes_than_memory_holds_are_reported_more_coarsely_and_all_of_them() {
    let tracker = tracker(&SimFiles::new());
    let id = tracker.seal().unwrap();
    let mut truth = Vec::new();
    let mut highest = 0;
    for (n, place) in places(20_000).enumerate() {
        common::write(&tracker, place);
        truth.push(place);
        highest = highest.max(tracker.stats().memory_bytes);
        assert!(highest <= LIMIT, "after {n} writes");
        if n % 1_000 == 999 {
            let answer = tracker.changes_since(&id).unwrap();
            assert!(
                Extents::from_unsorted(truth.clone())
                    .subtract(&answer)
                    .is_empty()
            );
        }
    }
    assert!(highest > LIMIT / 2, "it uses what it may: {highest}");
    assert!(tracker.stats().coarsened > ByteLen(512));
}

#[test]
fn a_map_that_has_room_again_is_precise_again() {
    let tracker = tracker(&SimFiles::new());
    let id = tracker.seal().unwrap();
    places(20_000).for_each(|place| common::write(&tracker, place));
    assert!(tracker.stats().coarsened > ByteLen(512));
    let next = tracker.seal().unwrap();
    tracker.forget(&id).unwrap();
    assert_eq!(tracker.stats().coarsened, ByteLen(512));
    common::write(&tracker, extent(1024, 1025));
    let answer = tracker.changes_since(&next).unwrap();
    assert_eq!(answer, common::set(&[(1024, 1536)]));
}

#[test]
fn a_recovery_stays_below_the_limit_too() {
    let files = SimFiles::new();
    let identity = DiskIdentity {
        disk_id: [1; 16],
        size: ByteLen(DISK),
    };
    let disk = Path::new("/disk");
    let roomy = Options {
        memory_limit: ByteLen(16 << 20),
        ..small()
    };
    let shared = Arc::new(files.clone());
    let made = Tracker::create(shared.clone(), disk, &identity, stamp(1), &roomy, [1; 16]);
    let tracker = made.unwrap();
    let id = tracker.seal().unwrap();
    places(20_000).for_each(|place| common::write(&tracker, place));
    let truth = tracker.changes_since(&id).unwrap();
    assert_eq!(truth.len(), 20_000);
    tracker.flush().unwrap();
    drop(tracker);
    let opened = Tracker::open(shared, disk, &identity, stamp(1), &small(), [2; 16]);
    let tracker = opened.unwrap();
    assert!(tracker.stats().memory_bytes <= LIMIT);
    let answer = tracker.changes_since(&id).unwrap();
    assert!(truth.subtract(&answer).is_empty());
}

#[test]
fn a_write_over_the_whole_disk_is_one_run() {
    let tracker = tracker(&SimFiles::new());
    let id = tracker.seal().unwrap();
    places(500).for_each(|place| common::write(&tracker, place));
    common::write(&tracker, extent(0, DISK));
    assert_eq!(tracker.changes_since(&id).unwrap(), extent(0, DISK).into());
    assert!(tracker.stats().memory_bytes < 8 << 10);
}
