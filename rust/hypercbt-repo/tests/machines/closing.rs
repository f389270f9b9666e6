//! The lease of a run that is over is closed by others; that of a run that may go on is not.

use std::{io, sync::Arc};

use hypercbt_repo::{
    Error, Fault, FaultyStorage, Fence, LocalStorage, Outcome, Repository, RunState, Storage,
    Timestamp,
};

use crate::common::{
    DISK, LATER, backup, bytes, create, in_memory, open, options, restore, run_id, store,
};

#[test]
fn nobody_closes_the_lease_of_a_run_that_may_go_on() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let is_refused = |outcome| {
        let refused = repository.close_lease(run_id(1), outcome);
        assert!(matches!(refused, Err(Error::RunNotOver { id }) if id == run_id(1)));
    };
    is_refused(Outcome::Aborted);
    is_refused(Outcome::Committed);
    let point = store(&run, &DISK).unwrap();
    run.commit(point).unwrap();
    is_refused(Outcome::Aborted);
    run.leave_open();
    repository
        .close_lease(run_id(1), Outcome::Committed)
        .unwrap();
    assert!(repository.leases().unwrap().0.is_empty());
    assert_eq!(
        repository.outcome(run_id(1)).unwrap(),
        Some(Outcome::Committed)
    );

    let run = repository.begin(options(2, &[])).unwrap();
    repository.fence(run_id(2), Timestamp(1)).unwrap();
    let refused = repository.close_lease(run_id(2), Outcome::Committed);
    assert!(matches!(refused, Err(Error::RunNotOver { .. })));
    run.leave_open();
    for _ in 0..2 {
        // That it was closed before is no error.
        repository.close_lease(run_id(2), Outcome::Aborted).unwrap();
    }
    assert!(repository.leases().unwrap().0.is_empty());
    assert_eq!(
        repository.outcome(run_id(2)).unwrap(),
        Some(Outcome::Aborted)
    );
}

#[test]
fn a_lease_whose_point_was_deleted_is_fenced_and_closed() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let point = store(&run, &DISK).unwrap();
    run.commit(point).unwrap();
    run.leave_open();
    repository.delete_point(run_id(1)).unwrap();
    let [open] = &*repository.leases().unwrap().0 else {
        panic!("one lease")
    };
    assert_eq!(open.state, RunState::Open);
    assert!(
        repository
            .close_lease(run_id(1), Outcome::Committed)
            .is_err()
    );
    let fenced = repository.fence(run_id(1), Timestamp(1)).unwrap();
    assert_eq!(fenced, Fence::Fenced);
    repository.close_lease(run_id(1), Outcome::Aborted).unwrap();
}

#[test]
fn what_a_killed_run_left_unfinished_goes_with_its_lease_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    let storage = LocalStorage::create(&place).unwrap();
    let repository = create(Arc::new(storage));
    let other = LocalStorage::open(&place).unwrap();
    for run in [1, 2] {
        let mut upload = other.begin(&run_id(run).to_string()).unwrap();
        upload.append(b"half a pack").unwrap();
        std::mem::forget(upload); // as a killed process does
        repository.begin(options(run, &[])).unwrap().leave_open();
        repository.fence(run_id(run), Timestamp(1)).unwrap();
    }
    let unfinished = || std::fs::read_dir(place.join("tmp")).unwrap().count();
    assert_eq!(unfinished(), 2);
    repository.close_lease(run_id(1), Outcome::Aborted).unwrap();
    assert_eq!(unfinished(), 1);
    repository.close_lease(run_id(2), Outcome::Aborted).unwrap();
    assert_eq!(unfinished(), 0);
}

/// Cleans up as the next run does: what committed is closed, all else is fenced first.
fn clean_up(repository: &Repository) {
    for open in repository.leases().unwrap().0 {
        let run = open.lease.run;
        let outcome = match repository.fence(run, Timestamp(99)).unwrap() {
            Fence::Fenced => Outcome::Aborted,
            Fence::Committed => Outcome::Committed,
        };
        repository.close_lease(run, outcome).unwrap();
    }
}

#[test]
fn after_a_run_that_ended_at_any_call_its_lease_is_closed_and_all_is_whole() {
    let mut outcomes = [0; 3];
    for call in 0.. {
        let (storage, repository) = in_memory();
        let older = backup(&repository, 1, &DISK, &[]).unwrap();
        let fault = Fault::FailFrom(io::ErrorKind::TimedOut);
        let faulty = FaultyStorage::failing(storage.clone(), call, fault);
        let died = Repository::open(Arc::new(faulty.clone()), "here").and_then(|theirs| {
            let mut run = theirs.begin(options(2, &[&older]))?;
            let point = store(&run, &LATER)?;
            run.commit(point)?;
            run.add_baseline(&crate::baseline(2, &["a"]))?;
            run.close()
        });
        clean_up(&repository);
        let (open, unreadable) = repository.leases().unwrap();
        assert!(open.is_empty() && unreadable.is_empty(), "call {call}");
        let points = repository.points().unwrap();
        assert_eq!(points.last(), Some(&older));
        if let [second, _] = &*points {
            assert_eq!(restore(&repository, second).unwrap(), bytes(&LATER));
        }
        let outcome = repository.outcome(run_id(2)).unwrap();
        let committed = outcome == Some(Outcome::Committed);
        assert_eq!(points.len() == 2, committed, "call {call}");
        outcomes[outcome.map_or(0, |_| 1 + usize::from(committed))] += 1;
        // Nobody wakes up: the run that died cannot commit any more.
        let fenced = repository.fence(run_id(2), Timestamp(100)).unwrap();
        assert_eq!(fenced == Fence::Committed, committed);
        if died.is_ok() {
            break;
        }
    }
    assert!(outcomes.iter().all(|&count| count > 1), "{outcomes:?}");
}

#[test]
fn a_close_that_ended_at_any_call_is_repeated_and_done() {
    for call in 0.. {
        let (storage, repository) = in_memory();
        repository.begin(options(1, &[])).unwrap().leave_open();
        repository.fence(run_id(1), Timestamp(1)).unwrap();
        let fault = Fault::FailFrom(io::ErrorKind::TimedOut);
        let faulty = FaultyStorage::failing(storage.clone(), call, fault);
        let closed = Repository::open(Arc::new(faulty), "here")
            .and_then(|theirs| theirs.close_lease(run_id(1), Outcome::Aborted));
        let state = repository.run_state(run_id(1)).unwrap();
        if closed.is_ok() {
            assert_eq!(state, Some(RunState::Closed));
            return;
        }
        let repository = open(storage);
        repository.close_lease(run_id(1), Outcome::Aborted).unwrap();
        assert!(repository.leases().unwrap().0.is_empty());
    }
}
