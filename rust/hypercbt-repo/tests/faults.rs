//! Runs whose storage fails, at every call, and the order that makes it harmless.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{collections::HashSet, io, sync::Arc};

use common::*;
use hypercbt_repo::{
    Baseline, Call, Error, Fault, FaultyStorage, MemoryStorage, Repository, RunOptions, Storage,
    Timestamp,
    index::{PageCache, Segment},
};

#[test]
fn each_thing_is_durable_before_the_next_is_begun() {
    let (storage, _) = in_memory();
    let recording = FaultyStorage::recording(storage.clone());
    let repository = open(recording.clone());
    let mut run = repository.begin(options(1, &[])).unwrap();
    let point = store(&run, &(1..26).collect::<Vec<_>>()).unwrap();
    run.commit(point).unwrap();
    let baseline = Baseline {
        point: run_id(1),
        created: Timestamp(1),
        reference_point: "point".to_owned(),
        disks: Vec::new(),
    };
    run.add_baseline(&baseline).unwrap();
    run.close().unwrap();

    let calls = recording.calls();
    let at = |action: &str, start: &str| -> Vec<usize> {
        let is = |call: &Call| call.action == action && call.name.starts_with(start);
        calls
            .iter()
            .enumerate()
            .filter(|(_, call)| is(call))
            .map(|(number, _)| number)
            .collect()
    };
    let (lease, point) = (at("create", "lease/"), at("create", "point/"));
    let (baseline, closed) = (at("create", "baseline/"), at("create", "closed/"));
    let packs = at("finish", "pack/");
    // What is written after the point is merged from what was written before.
    let (segments, merged): (Vec<_>, Vec<_>) = at("finish", "index/")
        .into_iter()
        .partition(|&number| number < point[0]);
    assert!(packs.len() > 10 && segments.len() > 5);
    assert_eq!(
        [lease.len(), point.len(), baseline.len(), closed.len()],
        [1; 4]
    );
    assert!(lease[0] < at("begin", "")[0]);
    assert!(packs.iter().all(|&number| number < point[0]));
    assert!(
        merged
            .iter()
            .all(|&number| point[0] < number && number < closed[0])
    );
    assert!(
        packs.iter().all(|pack| pack < segments.last().unwrap()),
        "every pack is indexed"
    );
    assert!(point[0] < baseline[0] && baseline[0] < closed[0]);
    // No segment tells of a pack that was not durable when the segment was begun.
    let shared: Arc<dyn Storage> = Arc::new(storage);
    let mut checked = 0;
    for &number in &segments {
        let name = calls[number]
            .name
            .strip_prefix("index/")
            .unwrap()
            .parse()
            .unwrap();
        let cache = Arc::new(PageCache::new(0));
        let Ok(segment) = Segment::open(Arc::clone(&shared), cache, name) else {
            continue; // merged since
        };
        checked += 1;
        for (pack, _) in segment.packs() {
            let finished = packs
                .iter()
                .find(|&&number| calls[number].name.ends_with(&pack.to_string()));
            assert!(*finished.unwrap() < number);
        }
    }
    assert!(checked > 0);
}

/// Backs up `LATER` on top of `DISK`, with this fault.
fn backup_with(storage: &MemoryStorage, at: usize, fault: Fault) -> (usize, bool) {
    let faulty = FaultyStorage::failing(storage.clone(), at, fault);
    let result = Repository::open(Arc::new(faulty.clone()), "here").and_then(|repository| {
        let base = repository.point(run_id(1))?;
        backup(&repository, 2, &LATER, &[&base])
    });
    (faulty.calls().len(), result.is_ok())
}

#[test]
fn a_run_that_fails_at_any_call_harms_no_older_point_and_leaves_no_half_one() {
    let (before, repository) = in_memory();
    backup(&repository, 1, &DISK, &[]).unwrap();
    let (calls, succeeded) = backup_with(
        &before.copy(),
        usize::MAX,
        Fault::Fail(io::ErrorKind::Other),
    );
    assert!(succeeded && calls > 50, "{calls}");
    let full = io::ErrorKind::StorageFull;
    for at in 0..calls {
        for fault in [Fault::Fail(full), Fault::FailFrom(full)] {
            let storage = before.copy();
            let (_, succeeded) = backup_with(&storage, at, fault);
            let repository = open(storage.clone());
            let (points, unreadable) = repository.points_with_damage().unwrap();
            assert!(unreadable.is_empty(), "{unreadable:?}");
            let first = points.last().unwrap();
            assert_eq!(
                restore(&repository, first).unwrap(),
                bytes(&DISK),
                "{fault:?} at {at}"
            );
            assert!(points.len() == 2 || !succeeded);
            if let [second, _] = &*points {
                assert_eq!(
                    restore(&repository, second).unwrap(),
                    bytes(&LATER),
                    "{fault:?} at {at}"
                );
            }
            let third = backup(&repository, 3, &LATER, &[first]).unwrap();
            assert_eq!(
                restore(&repository, &third).unwrap(),
                bytes(&LATER),
                "{fault:?} at {at}"
            );
            assert_eq!(third.sequence, points.len() as u64 + 1);
        }
    }
}

#[test]
fn an_error_of_the_storage_keeps_its_kind() {
    let (storage, repository) = in_memory();
    backup(&repository, 1, &DISK, &[]).unwrap();
    let (calls, _) = backup_with(
        &storage.copy(),
        usize::MAX,
        Fault::Fail(io::ErrorKind::Other),
    );
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    for at in 0..calls {
        let faulty = FaultyStorage::failing(storage.copy(), at, Fault::FailFrom(kind));
        let result = Repository::open(Arc::new(faulty), "here").and_then(|repository| {
            let base = repository.point(run_id(1))?;
            backup(&repository, 2, &LATER, &[&base])
        });
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Storage { source, .. } if source.kind() == kind),
            "at {at}: {error:?}"
        );
    }
}

#[test]
fn what_a_killed_run_finished_is_not_stored_again() {
    let (before, _) = in_memory();
    let late = RunOptions {
        segment_bytes: u64::MAX,
        ..options(1, &[])
    };
    let killed = |storage: &FaultyStorage<MemoryStorage>| {
        let mut run = open(storage.clone()).begin(late.clone())?;
        let point = store(&run, &DISK)?;
        run.commit(point)
    };
    // Killed at its only segment: there are packs, and no segment tells of them.
    let recording = FaultyStorage::recording(before.copy());
    killed(&recording).unwrap();
    let calls = recording.calls();
    let segment = calls
        .iter()
        .position(|call| call.name.starts_with("index/"))
        .unwrap();
    let storage = before.copy();
    let dead = Fault::FailFrom(io::ErrorKind::BrokenPipe);
    killed(&FaultyStorage::failing(storage.clone(), segment, dead)).unwrap_err();
    assert_eq!(stored_chunks(&storage).len(), 7);
    assert_eq!(names(&storage, "index"), [""; 0]);
    assert_eq!(names(&storage, "closed"), [""; 0]);

    let repository = open(storage.clone());
    let point = backup(&repository, 2, &DISK, &[]).unwrap();
    let stored = stored_chunks(&storage);
    assert_eq!(stored.len(), 7);
    assert_eq!(stored.iter().collect::<HashSet<_>>().len(), 7);
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
}
