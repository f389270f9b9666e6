//! Files that are missing, damaged, old, new, or somebody else's: a typed error or too much, never too little.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests are tests too"
)]

#[path = "../common/mod.rs"]
mod common;
mod copies;
mod damage;
mod identity;
mod refusals;

use common::{Machine, REGION, extent, set};
use hypercbt_extent::Extents;
use hypercbt_rct::{Error, Lost, RctId, Result, Tracker, TrackerFile};

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
