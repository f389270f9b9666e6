//! How much too much is reported: bytes reported ÷ bytes changed, for three ways to write and three ways to stop.
//!
//! `cargo bench -p hypercbt-rct --bench over_report`. A disk of 1 TiB, 256 MiB written, half of it before the last
//! write-back of the `.rct` file; the default precisions. Each answer holds all that changed.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench that is wrong may stop, and its figures are for people"
)]

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_rct::{DiskIdentity, Options, RctId, Stamp, Tracker};

const DISK: u64 = 1 << 40;
const WRITTEN: u64 = 256 << 20;

const IDENTITY: DiskIdentity = DiskIdentity {
    disk_id: [1; 16],
    size: ByteLen(DISK),
};

/// How the session ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The map in memory, while the process lives.
    Alive,
    CleanStop,
    Cut,
    LostRct,
}

/// The writes of a pattern, of so many bytes each.
fn writes(bytes: u64, is_random: bool) -> Vec<Extent> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let places = (0..WRITTEN / bytes).map(|n| {
        if !is_random {
            return (10 << 30) + n * bytes;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % (DISK / bytes) * bytes
    });
    places
        .map(|at| Extent::new(DiskOffset(at), ByteLen(bytes)).unwrap())
        .collect()
}

fn create(files: &SimFiles) -> Tracker {
    let files = Arc::new(files.clone());
    let stamp = Stamp([1; 32]);
    Tracker::create(
        files,
        Path::new("/disk"),
        &IDENTITY,
        stamp,
        &Options::default(),
        [1; 16],
    )
    .unwrap()
}

fn open(files: &SimFiles) -> Tracker {
    let files = Arc::new(files.clone());
    let stamp = Stamp([1; 32]);
    Tracker::open(
        files,
        Path::new("/disk"),
        &IDENTITY,
        stamp,
        &Options::default(),
        [2; 16],
    )
    .unwrap()
}

fn answer(writes: &[Extent], end: End) -> Extents {
    let files = SimFiles::new();
    let tracker = create(&files);
    let id: RctId = tracker.seal().unwrap();
    for (n, extent) in writes.iter().enumerate() {
        if n == writes.len() / 2 {
            tracker.flush().unwrap();
        }
        let ticket = tracker.write_begins(*extent).unwrap();
        tracker.write_ends(ticket);
    }
    let tracker = match end {
        End::Alive => tracker,
        End::CleanStop => {
            tracker.close(Stamp([1; 32])).unwrap();
            open(&files)
        }
        End::Cut => {
            drop(tracker);
            open(&files)
        }
        End::LostRct => {
            tracker.close(Stamp([1; 32])).unwrap();
            files.remove(Path::new("/disk.rct")).unwrap();
            open(&files)
        }
    };
    tracker.changes_since(&id).unwrap()
}

fn main() {
    println!(
        "{:<18} {:>10} {:>12} {:>10} {:>10}",
        "", "alive", "clean stop", "cut", "lost .rct"
    );
    for (name, bytes, is_random) in [
        ("sequential 1 MiB", 1 << 20, false),
        ("random 64 KiB", 64 << 10, true),
        ("random 4 KiB", 4 << 10, true),
    ] {
        let writes = writes(bytes, is_random);
        let truth = Extents::from_unsorted(writes.clone());
        let ratios = [End::Alive, End::CleanStop, End::Cut, End::LostRct].map(|end| {
            let answer = answer(&writes, end);
            assert!(
                truth.subtract(&answer).is_empty(),
                "{name}, {end:?}: a change is missed"
            );
            answer.total().0 as f64 / truth.total().0 as f64
        });
        let [alive, clean, cut, lost] = ratios.map(|ratio| format!("{ratio:.2}"));
        println!("{name:<18} {alive:>10} {clean:>12} {cut:>10} {lost:>10}");
        assert_eq!(alive, "1.00", "while the process lives the answer is exact");
    }
}
