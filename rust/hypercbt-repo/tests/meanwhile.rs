//! Another process backs up and merges the index, or deletes a point, between any two steps of what we do.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{cell::Cell, sync::Arc};

use common::*;
use hypercbt_repo::{
    Error, FaultyStorage, MemoryStorage, Repository, RestorePoint, Result, Storage, pack,
};

/// What the other one backs up: chunks of its own, and some that both have.
const OTHER: [u64; 9] = [1, 50, 51, 3, 52, 53, 54, 7, 70];

/// Backs up something in several packs and segments, and merges what is due.
fn other_run(storage: &MemoryStorage) {
    backup(&open(storage.clone()), 3, &OTHER, &[]).unwrap();
}

/// A repository whose index has at least this many segments: where there would be eight of a level, they are merged.
fn with_segments(count: usize) -> MemoryStorage {
    let (storage, repository) = in_memory();
    backup(&repository, 1, &DISK, &[]).unwrap();
    for number in 100_u8.. {
        if names(&storage, "index").len() >= count {
            break;
        }
        backup(&repository, number, &[u64::from(number)], &[]).unwrap();
    }
    storage
}

/// Does `what` again and again, each time with the other's run before another one of its calls. `check` sees
/// each outcome.
fn at_each_call<T>(
    before: &MemoryStorage,
    what: impl Fn(&Repository) -> Result<T>,
    check: impl Fn(&MemoryStorage, T),
) {
    at_each_call_of(before, other_run, what, |storage, done| {
        check(storage, done.unwrap_or_else(|error| panic!("{error:?}")));
    });
}

/// The same with anything that the other one does, and with any outcome.
fn at_each_call_of<T>(
    before: &MemoryStorage,
    other: impl Fn(&MemoryStorage) + Send + Copy + 'static,
    what: impl Fn(&Repository) -> Result<T>,
    check: impl Fn(&MemoryStorage, Result<T>),
) {
    for at in 0.. {
        let storage = before.copy();
        let by_other = storage.clone();
        let ours = FaultyStorage::interrupted(storage.clone(), at, move || other(&by_other));
        let done = Repository::open(Arc::new(ours.clone()), "here")
            .and_then(|repository| what(&repository));
        if ours.calls().len() <= at {
            assert!(done.is_ok() && at > 10, "{at}");
            return;
        }
        check(&storage, done);
    }
}

fn is_whole(storage: &MemoryStorage, points: usize) {
    let repository = open(storage.clone());
    let (found, unreadable) = repository.points_with_damage().unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(found.len(), points);
    for (id, disk) in [(1, DISK), (2, LATER), (3, OTHER)] {
        let Ok(point) = repository.point(run_id(id)) else {
            continue;
        };
        assert_eq!(restore(&repository, &point).unwrap(), bytes(&disk));
    }
    assert!(repository.damaged_files().unwrap().is_empty());
}

#[test]
fn a_backup_is_whole_whatever_another_one_does_between_its_steps() {
    for segments in [2, 4, 5, 6, 7] {
        let before = with_segments(segments);
        let points = open(before.clone()).points_with_damage().unwrap().0.len();
        at_each_call(
            &before,
            |repository| {
                let base = repository.point(run_id(1))?;
                backup(repository, 2, &LATER, &[&base])
            },
            |storage, _| is_whole(storage, points + 2),
        );
    }
}

#[test]
fn a_restore_is_right_whatever_a_backup_does_between_its_steps() {
    for segments in [2, 6, 7] {
        let before = with_segments(segments);
        at_each_call(
            &before,
            |repository| {
                let point: RestorePoint = repository.point(run_id(1))?;
                restore(repository, &point)
            },
            |_, restored| assert_eq!(restored, bytes(&DISK)),
        );
    }
}

#[test]
fn a_check_finds_nothing_whatever_a_backup_does_between_its_steps() {
    let before = with_segments(7);
    at_each_call(&before, Repository::damaged_files, |_, damaged| {
        assert!(damaged.is_empty(), "{damaged:?}");
    });
}

#[test]
fn what_a_pack_holds_is_told_whatever_a_backup_does_between_its_steps() {
    let before = with_segments(7);
    let pack = open(before.clone()).view().unwrap().packs()[0].0;
    let footer = {
        let (name, len) = before.list("pack").unwrap().swap_remove(0);
        assert!(name.ends_with(&pack.to_string()));
        pack::read_footer(&before, pack, len).unwrap()
    };
    at_each_call(
        &before,
        |repository| repository.view()?.index().entries_of(pack),
        |_, entries| assert_eq!(entries, footer),
    );
}

#[test]
fn a_backup_whose_base_is_deleted_meanwhile_is_whole_or_says_that_it_is_gone() {
    let before = with_segments(7);
    let whole = Cell::new(0);
    at_each_call_of(
        &before,
        |storage| open(storage.clone()).delete_point(run_id(1)).unwrap(),
        |repository| {
            let base = repository.point(run_id(1))?;
            backup(repository, 2, &LATER, &[&base])
        },
        |storage, done| match done {
            Ok(point) => {
                whole.set(whole.get() + 1);
                let repository = open(storage.clone());
                assert_eq!(restore(&repository, &point).unwrap(), bytes(&LATER));
            }
            Err(error) => assert!(matches!(error, Error::PointNotFound { .. }), "{error:?}"),
        },
    );
    assert!(whole.get() > 20);
}
