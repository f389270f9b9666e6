//! What tracking costs: a write to a place that is marked, a first touch, and an answer on a huge disk.
//!
//! `cargo bench -p hypercbt-rct --bench tracking`. Files are in memory, so a first touch costs its processor time here and
//! not the disk's sync. Each answer is compared with what was written: a wrong answer is not fast.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench that is wrong may stop, and its figures are for people"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_rct::{DiskIdentity, Options, Stamp, Tracker};

const DISK: u64 = 64 << 40;
const CHANGED: u64 = 1_000_000;
/// A run shows each median of so many.
const ROUNDS: usize = 9;

fn tracker(files: Arc<dyn FileSystem>) -> Tracker {
    let identity = DiskIdentity {
        disk_id: [1; 16],
        size: ByteLen(DISK),
    };
    let disk = Path::new("/disk");
    Tracker::create(
        files,
        disk,
        &identity,
        Stamp([1; 32]),
        &Options::default(),
        [1; 16],
    )
    .unwrap()
}

fn grain(number: u64) -> Extent {
    Extent::new(DiskOffset(number * 4096), ByteLen(4096)).unwrap()
}

fn write(tracker: &Tracker, extent: Extent) {
    let ticket = tracker.write_begins(extent).unwrap();
    tracker.write_ends(ticket);
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap()
}

/// Nanoseconds of a pair `write_begins` + `write_ends` to a place that is marked.
fn warm(tracker: &Tracker, extent: Extent) -> f64 {
    const PAIRS: u32 = 200_000;
    write(tracker, extent);
    let syncs = tracker.stats().mark_syncs;
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        (0..PAIRS).for_each(|_| write(tracker, extent));
        started.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
    });
    let median = median(rounds.collect());
    assert_eq!(tracker.stats().mark_syncs, syncs, "all of them were warm");
    median
}

fn main() {
    let tracker = tracker(Arc::new(SimFiles::new()));
    let id = tracker.seal().unwrap();
    println!(
        "warm write_begins + write_ends, empty map: {:.0} ns",
        warm(&tracker, grain(0))
    );

    // A million grains, none beside another, over all of the disk, in order.
    let step = DISK / 4096 / CHANGED;
    let mut truth: Vec<Extent> = vec![grain(0)];
    let started = Instant::now();
    for n in 1..CHANGED {
        let at = grain(n * step);
        write(&tracker, at);
        truth.push(at);
    }
    let seconds = started.elapsed().as_secs_f64();
    let first_touch = seconds * 1e6 / CHANGED as f64;
    println!("first touch of a region, files in memory: {first_touch:.2} µs");
    let truth = Extents::from_unsorted(truth);
    let answers = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        let answer = tracker.changes_since(&id).unwrap();
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        assert_eq!(answer, truth);
        milliseconds
    });
    let answered = median(answers.collect());
    let stats = tracker.stats();
    println!(
        "changes_since, 64 TiB, {} changed extents: {answered:.1} ms, {:.1} MiB of memory, precision {}",
        truth.len(),
        stats.memory_bytes as f64 / f64::from(1 << 20),
        stats.coarsened
    );
    let beside = warm(&tracker, grain(500_000 * step));
    println!("warm write_begins + write_ends, a million runs: {beside:.0} ns");
    let started = Instant::now();
    tracker.flush().unwrap();
    println!(
        "flush of a million runs, files in memory: {:.0} ms",
        started.elapsed().as_secs_f64() * 1e3
    );
    assert!(answered < 100.0, "the target is 100 ms");
}
