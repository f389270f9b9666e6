//! Who runs, and how far each came.

use hypercbt_repo::{
    Error, Lease, OpenLease, Outcome, RunOptions, RunState, Storage, Timestamp, open_object,
};

use crate::common::{DISK, in_memory, options, run_id, store};
use crate::vm_state;

fn names_and_states(found: &[OpenLease]) -> Vec<(u8, RunState)> {
    let pairs = found.iter().map(|open| (open.lease.run.0[0], open.state));
    pairs.collect()
}

#[test]
fn a_lease_says_who_runs_and_what_stood_on_the_host() {
    let (storage, repository) = in_memory();
    let run = repository
        .begin(RunOptions {
            owner: Some("backup01 4711 1767225600.25".to_owned()),
            vm: Some(vm_state()),
            machine: "vm:1".to_owned(),
            ..options(1, &[])
        })
        .unwrap();
    let (open, unreadable) = repository.leases().unwrap();
    assert!(unreadable.is_empty());
    let expected = Lease {
        run: run_id(1),
        created: Timestamp(1),
        machine: "vm:1".to_owned(),
        bases: Vec::new(),
        owner: Some("backup01 4711 1767225600.25".to_owned()),
        vm: Some(vm_state()),
    };
    let state = RunState::Open;
    assert_eq!(
        open,
        [OpenLease {
            lease: expected,
            state
        }]
    );
    let name = format!("lease/{}", run_id(1));
    let bytes = storage.bytes(&name).unwrap();
    let (_, payload) = open_object(&name, &bytes).unwrap();
    assert_eq!(
        std::str::from_utf8(payload).unwrap(),
        format!(
            r#"{{"run":"{}","created":"1970-01-01T00:00:00.000001Z","machine":"vm:1","bases":[],"owner":"backup01 4711 1767225600.25","vm":{{"host":"hv01","checkpoints":["Microsoft:A"],"reference_points":["Microsoft:B","Microsoft:C"]}}}}"#,
            run_id(1)
        )
    );
    run.abort().unwrap();
}

#[test]
fn open_leases_are_listed_with_what_stands_under_the_name_of_their_point() {
    let (_, repository) = in_memory();
    // Number 4 is the oldest: the order is that of creation.
    for number in [4, 3, 2, 1] {
        let created = Timestamp(10 - i64::from(number));
        let mut run = repository
            .begin(RunOptions {
                created,
                ..options(number, &[])
            })
            .unwrap();
        let point = store(&run, &DISK).unwrap();
        match number {
            1 => run.leave_open(),
            2 => {
                run.commit(point).unwrap();
                run.leave_open();
            }
            3 => {
                repository.fence(run_id(3), Timestamp(50)).unwrap();
                run.leave_open();
            }
            _ => {
                run.commit(point).unwrap();
                run.close().unwrap();
            }
        }
    }
    let (open, unreadable) = repository.leases().unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(
        names_and_states(&open),
        [
            (3, RunState::Fenced),
            (2, RunState::Committed),
            (1, RunState::Open)
        ]
    );
    let states = [1, 2, 3, 4, 5].map(|number| repository.run_state(run_id(number)).unwrap());
    let expected = [
        Some(RunState::Open),
        Some(RunState::Committed),
        Some(RunState::Fenced),
        Some(RunState::Closed),
        None,
    ];
    assert_eq!(states, expected);
    let outcomes = [1, 4].map(|number| repository.outcome(run_id(number)).unwrap());
    assert_eq!(outcomes, [None, Some(Outcome::Committed)]);
}

#[test]
fn a_dropped_run_is_closed_and_one_that_is_left_open_is_not() {
    let (storage, repository) = in_memory();
    let dropped = repository.begin(options(1, &[])).unwrap();
    drop(dropped);
    let left = repository.begin(options(2, &[])).unwrap();
    store(&left, &DISK).unwrap();
    left.leave_open();
    let (open, _) = repository.leases().unwrap();
    assert_eq!(names_and_states(&open), [(2, RunState::Open)]);
    assert_eq!(storage.list("closed").unwrap().len(), 1);
    assert_eq!(
        repository.outcome(run_id(1)).unwrap(),
        Some(Outcome::Aborted)
    );
}

#[test]
fn a_lease_or_point_that_is_damaged_is_told_beside_the_others() {
    let (storage, repository) = in_memory();
    for number in 1..=3 {
        let mut run = repository.begin(options(number, &[])).unwrap();
        let point = store(&run, &DISK).unwrap();
        run.commit(point).unwrap();
        run.leave_open();
    }
    let flip = |name: &str| {
        let mut bytes = storage.bytes(name).unwrap().to_vec();
        bytes[70] ^= 1;
        storage.overwrite(name, &bytes);
    };
    let damaged = [
        format!("lease/{}", run_id(1)),
        format!("point/{}", run_id(2)),
    ];
    for name in &damaged {
        flip(name);
    }
    let (open, unreadable) = repository.leases().unwrap();
    assert_eq!(names_and_states(&open), [(3, RunState::Committed)]);
    let told: Vec<_> = unreadable
        .iter()
        .map(|error| match error {
            Error::Damaged { name, .. } => name.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(told, damaged);
    // That the lease is there is known all the same.
    let state = repository.run_state(run_id(1)).unwrap();
    assert_eq!(state, Some(RunState::Committed));
    assert!(repository.run_state(run_id(2)).is_err());
    assert!(matches!(
        repository.fence(run_id(2), Timestamp(1)),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn a_lease_under_the_name_of_another_run_is_damaged() {
    let (storage, repository) = in_memory();
    repository.begin(options(1, &[])).unwrap().leave_open();
    let bytes = storage.bytes(&format!("lease/{}", run_id(1))).unwrap();
    storage.overwrite(&format!("lease/{}", run_id(2)), &bytes);
    storage.overwrite("lease/nobody", b"not ours");
    let (open, unreadable) = repository.leases().unwrap();
    assert_eq!(names_and_states(&open), [(1, RunState::Open)]);
    assert!(matches!(&*unreadable, [Error::Damaged { name, .. }] if name.ends_with("0202")));
}

#[test]
fn a_lease_that_cannot_hold_is_not_made_and_no_run_begins() {
    let (storage, repository) = in_memory();
    let refused = [
        RunOptions {
            owner: Some(String::new()),
            ..options(1, &[])
        },
        RunOptions {
            vm: Some(hypercbt_repo::VmState {
                host: String::new(),
                ..vm_state()
            }),
            ..options(1, &[])
        },
    ];
    for options in refused {
        assert!(matches!(
            repository.begin(options),
            Err(Error::Damaged { .. })
        ));
    }
    assert_eq!(storage.list("lease").unwrap(), []);
}
