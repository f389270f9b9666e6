//! A process that ends in the middle, with a folder as storage: whatever it left, the next one goes on.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    env,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use common::*;
use hypercbt_repo::{
    Error, Fault, FaultyStorage, Fence, LocalStorage, Outcome, Repository, RunState, Timestamp,
};

const DISK: [u64; 5] = [1, 2, 0, 3, 4];
const LATER: [u64; 5] = [1, 20, 0, 3, 40];
const PLACE: &str = "HYPERCBT_TEST_PLACE";
const CALL: &str = "HYPERCBT_TEST_CALL";

fn opened(place: &Path) -> Repository {
    open(LocalStorage::open(place).unwrap())
}

/// Starts this test program again as the child of one test, which dies at `call`.
fn again(test: &str, place: &Path, call: usize) -> Output {
    Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(PLACE, place)
        .env(CALL, call.to_string())
        .output()
        .unwrap()
}

/// What the child does: it is this same test, started again with a place and a call to end at.
fn back_up_and_die(place: &Path, call: usize) {
    let storage = LocalStorage::open(place).unwrap();
    let storage = FaultyStorage::failing(storage, call, Fault::Abort { torn: true });
    let repository = Repository::open(Arc::new(storage.clone()), "here").unwrap();
    let base = repository.point(run_id(1)).unwrap();
    backup(&repository, 2, &LATER, &[&base]).unwrap();
    println!("all of its {} calls done", storage.calls().len());
}

#[test]
fn a_process_that_is_killed_at_any_call_harms_nothing() {
    if let (Some(place), Ok(call)) = (env::var_os(PLACE), env::var(CALL)) {
        return back_up_and_die(Path::new(&place), call.parse().unwrap());
    }
    // Every seventh call: each costs a process and three backups on a real disk. `runs.rs` has them all.
    let mut points = [0; 3];
    for call in (2..).step_by(7) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        backup(
            &create(Arc::new(LocalStorage::create(&place).unwrap())),
            1,
            &DISK,
            &[],
        )
        .unwrap();
        let child = again(
            "a_process_that_is_killed_at_any_call_harms_nothing",
            &place,
            call,
        );

        let repository = opened(&place);
        let found = repository.points().unwrap();
        points[found.len()] += 1;
        assert_eq!(
            restore(&repository, found.last().unwrap()).unwrap(),
            bytes(&DISK),
            "call {call}"
        );
        if let [second, _] = &*found {
            assert_eq!(
                restore(&repository, second).unwrap(),
                bytes(&LATER),
                "call {call}"
            );
        }
        assert!(found.len() == 2 || !child.status.success(), "call {call}");
        let third = backup(&repository, 3, &LATER, &[&found[0]]).unwrap();
        assert_eq!(
            restore(&repository, &third).unwrap(),
            bytes(&LATER),
            "call {call}"
        );
        if child.status.success() {
            assert!(
                String::from_utf8_lossy(&child.stdout).contains("calls done"),
                "{child:?}"
            );
            break;
        }
    }
    assert!(points[1] > 3 && points[2] > 1, "{points:?}");
}

/// What the child of the next test does: it fences a run, closes its lease, and writes a void.
fn clean_up_and_die(place: &Path, call: usize) {
    let storage = LocalStorage::open(place).unwrap();
    let storage = FaultyStorage::failing(storage, call, Fault::Abort { torn: true });
    let repository = Repository::open(Arc::new(storage), "here").unwrap();
    clean_up(&repository);
    repository
        .add_void(run_id(90), "vm:1", &[], Timestamp(1))
        .unwrap();
    println!("all done");
}

fn clean_up(repository: &Repository) {
    for open in repository.leases().unwrap().0 {
        let run = open.lease.run;
        let fenced = repository.fence(run, Timestamp(1)).unwrap();
        assert_eq!(fenced, Fence::Fenced);
        repository.close_lease(run, Outcome::Aborted).unwrap();
    }
}

#[test]
fn a_process_that_is_killed_while_it_declares_another_dead_is_followed_by_one_that_does() {
    if let (Some(place), Ok(call)) = (env::var_os(PLACE), env::var(CALL)) {
        return clean_up_and_die(Path::new(&place), call.parse().unwrap());
    }
    let mut states = Vec::new();
    for call in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        let repository = create(Arc::new(LocalStorage::create(&place).unwrap()));
        let older = backup(&repository, 1, &DISK, &[]).unwrap();
        let mut run = repository.begin(options(2, &[&older])).unwrap();
        let point = store(&run, &LATER).unwrap();
        let child = again(
            "a_process_that_is_killed_while_it_declares_another_dead_is_followed_by_one_that_does",
            &place,
            call,
        );

        let found = opened(&place);
        states.push(found.run_state(run_id(2)).unwrap().unwrap());
        clean_up(&found);
        // The run that was declared dead lives, and is too late.
        let late = run.commit(point);
        assert!(matches!(late, Err(Error::Fenced { .. })), "call {call}");
        run.leave_open();
        assert!(found.leases().unwrap().0.is_empty());
        assert!(found.voids().unwrap().1.is_empty(), "call {call}");
        assert_eq!(found.points().unwrap(), std::slice::from_ref(&older));
        assert_eq!(restore(&found, &older).unwrap(), bytes(&DISK));
        assert_eq!(found.damaged_files().unwrap().len(), 0, "call {call}");
        if child.status.success() {
            assert!(String::from_utf8_lossy(&child.stdout).contains("all done"));
            break;
        }
    }
    for state in [RunState::Open, RunState::Fenced, RunState::Closed] {
        assert!(states.contains(&state), "{states:?}");
    }
}
