//! A process that ends in the middle, with a folder as storage: whatever it left, the next one goes on.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{env, path::Path, process::Command, sync::Arc};

use common::*;
use hypercbt_repo::{Fault, FaultyStorage, LocalStorage, Repository};

const DISK: [u64; 5] = [1, 2, 0, 3, 4];
const LATER: [u64; 5] = [1, 20, 0, 3, 40];
const PLACE: &str = "HYPERCBT_TEST_PLACE";
const CALL: &str = "HYPERCBT_TEST_CALL";

fn opened(place: &Path) -> Repository {
    open(LocalStorage::open(place).unwrap())
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
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "a_process_that_is_killed_at_any_call_harms_nothing",
                "--exact",
                "--nocapture",
            ])
            .env(PLACE, &place)
            .env(CALL, call.to_string())
            .output()
            .unwrap();

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
