//! Many writers at once: marks share syncs, exactly; nothing is missed and nobody waits for ever.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::gate::GatedFiles;
use common::{Machine, REGION, extent, identity, options, set, stamp};
use hypercbt_extent::Extents;
use hypercbt_rct::{RctId, Tracker};

fn gated() -> (GatedFiles, Tracker, RctId) {
    let files = GatedFiles::new();
    let disk = Path::new("/disk.vhdx");
    let made = Tracker::create(
        Arc::new(files.clone()),
        disk,
        &identity(),
        stamp(1),
        &options(),
        [1; 16],
    );
    let tracker = made.unwrap();
    let id = tracker.seal().unwrap();
    (files, tracker, id)
}

/// Returns when so many writers have asked for a mark since the tracker was opened.
fn await_first_touches(tracker: &Tracker, count: u64) {
    while tracker.stats().first_touches < count {
        thread::yield_now();
    }
}

/// One byte in the region of this number.
fn in_region(number: u64) -> hypercbt_extent::Extent {
    extent(number * REGION, number * REGION + 1)
}

#[test]
fn a_lone_writer_has_a_sync_for_each_first_touch() {
    let (files, tracker, _) = gated();
    let before = files.syncs();
    for region in 0..20 {
        common::write(&tracker, in_region(region));
        common::write(&tracker, in_region(region));
    }
    let stats = tracker.stats();
    assert_eq!(
        (stats.first_touches, stats.mark_syncs, stats.marks_written),
        (20, 20, 20)
    );
    assert_eq!(files.syncs() - before, 20);
}

#[test]
fn writers_that_wait_together_share_one_sync() {
    for group in [2u64, 8, 16] {
        let (files, tracker, _) = gated();
        let before = tracker.stats();
        let rounds = 3;
        let syncs = files.syncs();
        for round in 0..rounds {
            // A seal holds the file at the gate; meanwhile a whole group comes to wait.
            files.close();
            thread::scope(|scope| {
                let sealing = scope.spawn(|| tracker.seal().unwrap());
                files.await_a_sync();
                for writer in 0..group {
                    let tracker = &tracker;
                    scope.spawn(move || common::write(tracker, in_region(writer)));
                }
                await_first_touches(&tracker, before.first_touches + (round + 1) * group);
                files.open();
                sealing.join().unwrap();
            });
        }
        let stats = tracker.stats();
        let touches = stats.first_touches - before.first_touches;
        assert_eq!(touches, rounds * group);
        assert_eq!(stats.mark_syncs - before.mark_syncs, touches / group);
        // Besides, each seal has synced both copies of the header.
        assert_eq!(files.syncs() - syncs, touches / group + 2 * rounds);
    }
}

#[test]
fn who_needs_a_region_that_is_being_synced_waits_and_marks_nothing() {
    let (files, tracker, _) = gated();
    let before = files.syncs();
    files.close();
    thread::scope(|scope| {
        scope.spawn(|| common::write(&tracker, in_region(3)));
        files.await_a_sync();
        for _ in 0..5 {
            scope.spawn(|| common::write(&tracker, in_region(3)));
        }
        await_first_touches(&tracker, 6);
        files.open();
    });
    let stats = tracker.stats();
    assert_eq!(
        (stats.first_touches, stats.mark_syncs, stats.marks_written),
        (6, 1, 1)
    );
    assert_eq!(files.syncs() - before, 1);
}

#[test]
fn no_write_begins_before_its_mark_is_synced() {
    let (files, tracker, _) = gated();
    let began = AtomicBool::new(false);
    files.close();
    thread::scope(|scope| {
        scope.spawn(|| {
            common::write(&tracker, in_region(3));
            began.store(true, Ordering::SeqCst);
        });
        files.await_a_sync();
        assert!(!began.load(Ordering::SeqCst));
        files.open();
    });
    assert!(began.load(Ordering::SeqCst));
}

#[test]
fn when_the_shared_sync_fails_every_writer_of_it_is_refused_and_nobody_hangs() {
    let (files, tracker, id) = gated();
    files.close();
    let refused = thread::scope(|scope| {
        let lone = scope.spawn(|| tracker.write_begins(in_region(9)).is_err());
        files.await_a_sync();
        // These make the next batch, but for the one that needs the region of the first.
        let mut waiting: Vec<_> = (10..17)
            .chain([9])
            .map(|region| {
                let tracker = &tracker;
                scope.spawn(move || tracker.write_begins(in_region(region)).is_err())
            })
            .collect();
        await_first_touches(&tracker, 9);
        // The first batch's sync, and the one of the new file that the second batch makes.
        files.fail(2);
        files.open();
        waiting.push(lone);
        waiting
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(refused, [true; 9]);
    assert_eq!(tracker.stats().mark_syncs, 0);
    common::write(&tracker, in_region(9));
    let answer = tracker.changes_since(&id).unwrap();
    assert!(answer.contains(in_region(9).start()));
}

#[test]
fn a_mark_that_waited_for_a_seal_is_of_the_clock_after_it() {
    let (files, tracker, _) = gated();
    // The seal makes the file anew first, so that it holds the file before the clock moves.
    files.fail(1);
    tracker.write_begins(in_region(1)).unwrap_err();
    files.close();
    let sealed = thread::scope(|scope| {
        let sealing = scope.spawn(|| tracker.seal().unwrap());
        files.await_a_sync();
        scope.spawn(|| common::write(&tracker, in_region(5)));
        await_first_touches(&tracker, 2);
        // It leads now, and waits for the file. Were it to read the clock before, it would do so here.
        for _ in 0..1000 {
            thread::yield_now();
        }
        files.let_one_pass();
        // The seal marks what is in flight, at a new clock. Who comes now is not among it, and joins the one who leads.
        scope.spawn(|| common::write(&tracker, in_region(7)));
        await_first_touches(&tracker, 3);
        files.open();
        sealing.join().unwrap()
    });
    drop(tracker);
    let machine = Machine::on(files.files.clone(), "/disk.vhdx");
    let opened = machine.open_as(&identity(), stamp(1), &options(), [2; 16]);
    let answer = opened.unwrap().changes_since(&sealed).unwrap();
    for region in [5, 7] {
        assert!(answer.contains(in_region(region).start()), "{region}");
    }
}

#[test]
fn a_write_over_two_batches_is_refused_when_the_first_of_them_failed() {
    let (files, tracker, _) = gated();
    let writer = &tracker;
    // Between the two regions that it needs, so that it asks for each by itself.
    common::write(&tracker, in_region(10));
    files.close();
    let refused = thread::scope(|scope| {
        let first = scope.spawn(|| tracker.write_begins(in_region(9)).is_err());
        files.await_a_sync();
        let both = extent(9 * REGION, 12 * REGION);
        let both = scope.spawn(move || writer.write_begins(both).is_err());
        await_first_touches(&tracker, 3);
        files.fail(1);
        files.open();
        [first.join().unwrap(), both.join().unwrap()]
    });
    assert_eq!(refused, [true, true]);
    assert_eq!(tracker.stats().mark_syncs, 2, "the second batch is marked");
}

#[test]
fn what_is_touched_while_the_rct_file_is_written_is_not_lost() {
    let (files, tracker, id) = gated();
    common::write(&tracker, in_region(0));
    files.close();
    thread::scope(|scope| {
        // It waits while it announces the file; the clock has moved on, the map is not read yet.
        let flushing = scope.spawn(|| tracker.flush().unwrap());
        files.await_a_sync();
        scope.spawn(|| common::write(&tracker, in_region(5)));
        await_first_touches(&tracker, 2);
        files.open();
        flushing.join().unwrap();
    });
    drop(tracker);
    let machine = Machine::on(files.files.clone(), "/disk.vhdx");
    let tracker = machine
        .open_as(&identity(), stamp(1), &options(), [2; 16])
        .unwrap();
    let answer = tracker.changes_since(&id).unwrap();
    assert!(
        set(&[(0, 1), (5 * REGION, 5 * REGION + 1)])
            .subtract(&answer)
            .is_empty()
    );
}

#[test]
fn writers_sealers_and_write_backs_side_by_side_miss_nothing() {
    let machine = Machine::new();
    let tracker = machine.create();
    let first = tracker.seal().unwrap();
    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..6u64)
            .map(|writer| {
                let tracker = &tracker;
                scope.spawn(move || {
                    let mut since: Vec<(RctId, Extents)> = Vec::new();
                    let mut all = Extents::new();
                    for n in 0..60u64 {
                        let at = (n * 7919 + writer * 104_729) % (60 * REGION);
                        let place = extent(at, at + 700);
                        let ticket = tracker.write_begins(place).unwrap();
                        for (_, touched) in &mut since {
                            *touched = touched.union(&place.into());
                        }
                        all = all.union(&place.into());
                        if n % 20 == 5 {
                            // This write is in flight across the seal, so it is in the new epoch.
                            since.push((tracker.seal().unwrap(), place.into()));
                        }
                        tracker.write_ends(ticket);
                        if n % 15 == 3 {
                            tracker.flush().unwrap();
                        }
                    }
                    (all, since)
                })
            })
            .collect();
        let joined = writers.into_iter().map(|writer| writer.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    let check = |tracker: &Tracker| {
        for (all, since) in &written {
            let answer = tracker.changes_since(&first).unwrap();
            assert!(all.subtract(&answer).is_empty());
            for (id, touched) in since {
                let answer = tracker.changes_since(id).unwrap();
                assert!(touched.subtract(&answer).is_empty());
            }
        }
    };
    check(&tracker);
    assert_eq!(tracker.ids().len(), 1 + 6 * 3);
    drop(tracker);
    check(&machine.open().unwrap());
}
