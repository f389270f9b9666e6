//! Another process backs up the same machine, and merges the index, between any two steps of what the engine does.

use std::sync::Arc;

use hypercbt_engine::{VerifyScope, Wanted};
use hypercbt_repo::{FaultyStorage, MemoryStorage, Repository, RestorePoint};

use crate::failures::{changed, claimed};
use crate::support::{DAY, FakeDisk, Lab, list};

/// As `changed`, and so many more runs that the next segment makes a merge due.
fn ready() -> (Lab, FakeDisk, RestorePoint, Vec<u8>) {
    let (mut lab, source, first, before) = changed();
    let mut other = 200;
    while lab.names("index").len() < 7 {
        other += 1;
        lab.full(&FakeDisk::of(&[other]));
    }
    (lab, source, first, before)
}

/// What the other process does: a disk that shares some chunks, in a segment of its own.
fn come(storage: &MemoryStorage) {
    let repository = Repository::open(Arc::new(storage.clone()), "memory").unwrap();
    let mut lab = Lab::around(repository);
    for _ in 0..1000 {
        lab.id(); // away from the ids of the others
    }
    lab.now = 2 * DAY;
    let source = FakeDisk::of(&[1, 50, 51, 102, 8]);
    let point = lab.run(&source.open(), Wanted::Full, |request| {
        request.new_disk = true;
    });
    lab.assert_holds(&point.unwrap().point, &source.bytes());
}

/// Does something again and again, each time with the other one before another call to the storage.
fn at_each_call(before: &Lab, what: impl Fn(&mut Lab)) {
    for at in 0.. {
        let mut lab = before.fork();
        let storage = lab.storage.clone();
        let ours = FaultyStorage::interrupted(lab.storage.clone(), at, move || come(&storage));
        lab.repository = Repository::open(Arc::new(ours.clone()), "memory").unwrap();
        what(&mut lab);
        if ours.calls().len() <= at {
            assert!(at > 20, "{at}");
            return;
        }
        lab.assert_clean();
    }
}

#[test]
fn verify_finds_nothing_wrong() {
    let (lab, ..) = ready();
    at_each_call(&lab, |lab| {
        let report = lab.verify(VerifyScope::All);
        assert!(
            report.damaged.is_empty() && report.damaged_objects.is_empty(),
            "{report:?}"
        );
        assert!(report.points >= 1);
    });
}

#[test]
fn a_restore_gives_what_was_there() {
    let (lab, _, first, bytes) = ready();
    at_each_call(&lab, |lab| lab.assert_holds(&first, &bytes));
}

#[test]
fn a_backup_by_each_method_holds_what_the_disk_holds() {
    let (lab, source, first, before) = ready();
    for wanted in [Wanted::Full, Wanted::Compare, list(claimed(), first.id)] {
        at_each_call(&lab, |lab| {
            let new = |request: &mut hypercbt_engine::BackupRequest<'_>| request.new_disk = true;
            let point = lab.run(&source.open(), wanted.clone(), new).unwrap().point;
            lab.assert_holds(&point, &source.bytes());
            lab.assert_holds(&first, &before);
        });
    }
}
