//! What a later incremental can start from, and what takes that away.

use std::io;

use hypercbt_repo::{
    Error, Fault, FaultyStorage, MemoryStorage, Repository, Storage, Timestamp, Void,
};

use crate::common::{in_memory, open, options, run_id, store};
use crate::{MACHINE, backup, baseline, baseline_disk};

/// Sequence number and disk ids of each baseline, newest first; none may be unreadable.
fn found(repository: &Repository) -> Vec<(u64, Vec<String>)> {
    let (baselines, unreadable) = repository.baselines().unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    let pairs = baselines.into_iter().map(|standing| {
        let disks = standing.baseline.disks.into_iter();
        (standing.sequence, disks.map(|disk| disk.disk_id).collect())
    });
    pairs.collect()
}

fn expected(pairs: &[(u64, &[&str])]) -> Vec<(u64, Vec<String>)> {
    let pairs = pairs.iter().map(|(sequence, disks)| {
        let disks = disks.iter().map(|&disk| disk.to_owned());
        (*sequence, disks.collect())
    });
    pairs.collect()
}

fn flip(storage: &MemoryStorage, name: &str) {
    let mut bytes = storage.bytes(name).unwrap().to_vec();
    bytes[70] ^= 1;
    storage.overwrite(name, &bytes);
}

#[test]
fn baselines_of_points_that_stand_are_listed_newest_first() {
    let (_, repository) = in_memory();
    assert_eq!(found(&repository), []);
    for number in 1..=4 {
        backup(&repository, number, &["a", "b"]).unwrap();
    }
    let mut without = repository.begin(options(5, &[])).unwrap();
    let point = store(&without, &[1]).unwrap();
    without.commit(point).unwrap();
    without.close().unwrap();
    repository.delete_point(run_id(2)).unwrap();
    let both: &[&str] = &["a", "b"];
    assert_eq!(
        found(&repository),
        expected(&[(4, both), (3, both), (1, both)])
    );
    let (baselines, _) = repository.baselines().unwrap();
    assert_eq!(baselines[0].baseline, baseline(4, &["a", "b"]));
    assert_eq!(baselines[0].machine, MACHINE);
}

#[test]
fn a_baseline_or_point_that_is_damaged_is_told_and_hides_no_other() {
    let (storage, repository) = in_memory();
    for number in 1..=3 {
        backup(&repository, number, &["a"]).unwrap();
    }
    flip(&storage, &format!("baseline/{}", run_id(3)));
    flip(&storage, &format!("point/{}", run_id(2)));
    let (baselines, unreadable) = repository.baselines().unwrap();
    let numbers: Vec<_> = baselines.iter().map(|standing| standing.sequence).collect();
    assert_eq!(numbers, [1]);
    assert_eq!(unreadable.len(), 2);
}

#[test]
fn a_void_takes_the_disks_that_it_names_from_every_baseline_that_stands() {
    let (_, repository) = in_memory();
    backup(&repository, 1, &["a", "b"]).unwrap();
    backup(&repository, 2, &["a"]).unwrap();
    let void = repository.add_void(run_id(90), MACHINE, &["A".to_owned()], Timestamp(7));
    let void = void.unwrap();
    let expected_void = Void {
        machine: MACHINE.to_owned(),
        disks: vec!["A".to_owned()],
        created: Timestamp(7),
        sequence: 2,
    };
    assert_eq!(void, expected_void);
    assert_eq!(repository.voids().unwrap().0, [expected_void]);
    // One whose disks are all gone stays: its reference point is still ours.
    assert_eq!(found(&repository), expected(&[(2, &[]), (1, &["b"])]));
    backup(&repository, 3, &["a"]).unwrap();
    assert_eq!(
        found(&repository),
        expected(&[(3, &["a"]), (2, &[]), (1, &["b"])])
    );
    // As it was written; and the point has what it always had.
    assert_eq!(
        repository.baseline(run_id(2)).unwrap(),
        Some(baseline(2, &["a"]))
    );
}

#[test]
fn a_void_without_disks_takes_all_of_its_machine_and_of_no_other() {
    let (_, repository) = in_memory();
    backup(&repository, 1, &["a", "b"]).unwrap();
    let add = |id, machine: &str| {
        let made = repository.add_void(run_id(id), machine, &[], Timestamp(7));
        made.unwrap()
    };
    add(90, "vm:other");
    assert_eq!(found(&repository), expected(&[(1, &["a", "b"])]));
    add(91, &MACHINE.to_uppercase());
    assert_eq!(found(&repository), expected(&[(1, &[])]));
}

#[test]
fn while_a_void_cannot_be_read_no_disk_has_a_baseline() {
    let (storage, repository) = in_memory();
    backup(&repository, 1, &["a"]).unwrap();
    repository
        .add_void(run_id(90), "vm:other", &[], Timestamp(7))
        .unwrap();
    flip(&storage, &format!("void/{}", run_id(90)));
    let (baselines, unreadable) = repository.baselines().unwrap();
    assert_eq!(baselines.len(), 1);
    assert_eq!(baselines[0].baseline.disks, []);
    assert!(matches!(&*unreadable, [Error::Damaged { name, .. }] if name.starts_with("void/")));
    // It is told by who looks for damage, and a backup can be made all the same.
    assert_eq!(repository.damaged_files().unwrap().len(), 1);
    backup(&repository, 2, &["a"]).unwrap();
}

#[test]
fn a_point_that_comes_after_a_void_is_not_covered_though_the_newest_were_deleted() {
    let (_, repository) = in_memory();
    for number in 1..=3 {
        backup(&repository, number, &["a"]).unwrap();
    }
    repository
        .add_void(run_id(90), MACHINE, &[], Timestamp(7))
        .unwrap();
    for number in 1..=3 {
        repository.delete_point(run_id(number)).unwrap();
    }
    backup(&repository, 4, &["a"]).unwrap();
    assert_eq!(found(&repository), expected(&[(4, &["a"])]));
}

#[test]
fn a_void_is_not_written_while_the_newest_point_may_be_unknown() {
    let (storage, repository) = in_memory();
    backup(&repository, 1, &["a"]).unwrap();
    backup(&repository, 2, &["a"]).unwrap();
    for call in 0.. {
        let fault = Fault::Fail(io::ErrorKind::TimedOut);
        let copy = storage.copy();
        let faulty = FaultyStorage::failing(copy.clone(), call, fault);
        let Ok(theirs) = Repository::open(std::sync::Arc::new(faulty.clone()), "here") else {
            continue;
        };
        let made = theirs.add_void(run_id(90), MACHINE, &[], Timestamp(7));
        if faulty.calls().len() <= call {
            assert_eq!(made.unwrap().sequence, 2);
            return;
        }
        made.unwrap_err();
        assert!(
            open(copy.clone()).voids().unwrap().0.is_empty(),
            "call {call}"
        );
        assert_eq!(copy.list("void").unwrap(), []);
    }
}

#[test]
fn a_disk_stands_in_a_baseline_twice_only_where_it_hangs_in_two_places() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let point = store(&run, &[1]).unwrap();
    run.commit(point).unwrap();
    let mut twice = baseline(1, &[]);
    for locations in [[None, None], [Some("SCSI 0:1"), Some("SCSI 0:1")]] {
        twice.disks = locations.map(|place| baseline_disk("a", place)).to_vec();
        twice.disks[1].disk_id = "A".to_owned();
        assert!(matches!(
            run.add_baseline(&twice),
            Err(Error::Damaged { .. })
        ));
    }
    assert_eq!(repository.baseline(run_id(1)).unwrap(), None);
    let places = [Some("SCSI 0:0"), Some("SCSI 0:1")];
    twice.disks = places.map(|place| baseline_disk("a", place)).to_vec();
    run.add_baseline(&twice).unwrap();
    assert_eq!(repository.baseline(run_id(1)).unwrap(), Some(twice));
    run.close().unwrap();
}
