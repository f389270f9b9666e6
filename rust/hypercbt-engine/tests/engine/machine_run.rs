//! Several disks in one restore point: each is read on its own terms, and all or none of them are in it.

use std::collections::BTreeSet;

use hypercbt_engine::{DiskRequest, Error, MachineRun, Silent, Turn, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::{BaselineDisk, Lease, Method, Timestamp};
use hypercbt_vhdx::VirtualDisk;

use crate::support::{
    CHUNK, Chain, FakeClock, FakeDisk, Lab, chunks,
    machine::{Machine, PLACES, assert_failed, read, turn},
    rct,
};

#[test]
fn disks_are_read_each_by_its_own_method_and_stand_in_one_point() {
    let mut machine = Machine::new(&[1, 2, 3]);
    machine.disks[0].set(4, 100);
    machine.disks[1].set(5, 101);
    machine.disks[1].resize(48);
    machine.disks[2].set(6, 102);
    let opened: Vec<VirtualDisk> = machine.disks.iter().map(Chain::open).collect();
    let first = machine.first.clone();
    let mut run = machine.lab.begin(&[first.id]);
    for (disk, place) in opened[..2].iter().zip(PLACES) {
        read(
            &machine.lab,
            &mut run,
            disk,
            place,
            rct(chunks(&[4]), &first),
        )
        .unwrap();
    }
    read(&machine.lab, &mut run, &opened[2], PLACES[2], Wanted::Full).unwrap();
    let point = run.commit(Some("crash")).unwrap();
    let found: Vec<_> = point
        .disks
        .iter()
        .map(|disk| (disk.index, disk.method, disk.stats.chunks))
        .collect();
    let expected = [
        (0, Method::Rct, 1),
        (1, Method::Compare, 48),
        (2, Method::Full, 40),
    ];
    assert_eq!(found, expected);
    let reasons: Vec<bool> = point
        .disks
        .iter()
        .map(|d| d.fallback_reason.is_some())
        .collect();
    assert_eq!(reasons, [false, true, false]);
    let places: Vec<_> = point.disks.iter().map(|d| d.location.as_deref()).collect();
    assert_eq!(places, PLACES.map(Some));
    assert_eq!(point.consistency.as_deref(), Some("crash"));
    machine.assert_holds(&point);
    machine.lab.assert_clean();
}

#[test]
fn what_all_disks_store_and_their_metadata_are_all_that_a_run_adds() {
    let mut machine = Machine::new(&[1, 2, 3]);
    let stored = |lab: &Lab| lab.stored("pack") + lab.stored("index");
    let before = stored(&machine.lab);
    for disk in &mut machine.disks {
        disk.set(9, 7);
    }
    let point = machine.rct(&mut Silent).unwrap();
    let counted = point.disks.iter().map(|disk| disk.stats);
    let counted: u64 = counted.map(|s| s.stored_bytes + s.metadata_bytes).sum();
    assert_eq!(counted, stored(&machine.lab) - before);
}

#[test]
fn the_lease_names_the_owner_and_the_bases_and_the_newest_point_of_the_machine_besides() {
    let mut machine = Machine::new(&[1]);
    let second = machine.rct(&mut Silent).unwrap();
    let run = machine.lab.begin(&[machine.first.id]);
    let (open, _) = machine.lab.repository.leases().unwrap();
    let [only] = &open[..] else {
        panic!("{open:?}")
    };
    let Lease {
        run: id,
        owner,
        bases,
        ..
    } = &only.lease;
    assert_eq!((*id, owner.as_deref()), (run.id(), Some("here 1 2")));
    let bases: BTreeSet<_> = bases.iter().map(|base| base.point).collect();
    assert_eq!(bases, BTreeSet::from([machine.first.id, second.id]));
}

#[test]
fn a_run_that_is_let_go_without_a_word_of_its_end_leaves_its_lease_open() {
    let mut machine = Machine::new(&[1]);
    machine.lab.begin(&[]).leave_open();
    assert_eq!(machine.lab.repository.leases().unwrap().0.len(), 1);
    machine.lab.begin(&[]).abort().unwrap();
    assert_eq!(machine.lab.repository.leases().unwrap().0.len(), 1);
}

// Disks that are copies of one file, and so have one id.

#[test]
fn two_disks_of_one_id_are_told_apart_by_where_they_hang() {
    let mut machine = Machine::new(&[7, 7]);
    machine.disks[0].set(4, 100);
    machine.disks[1].set(5, 101);
    let point = machine.rct(&mut Silent).unwrap();
    let methods: Vec<_> = point.disks.iter().map(|disk| disk.method).collect();
    // While the first is read nobody knows of the second; the base knows of both.
    assert_eq!(methods, [Method::Rct, Method::Rct]);
    machine.assert_holds(&point);
}

#[test]
fn a_copy_of_a_disk_at_a_new_place_is_not_taken_for_it() {
    let mut machine = Machine::new(&[7]);
    let copy = Chain::new(7, 40);
    machine.disks.push(copy);
    machine.disks[1].set(5, 101);
    machine.disks[1].seal(); // of a time that the base knows nothing of
    let point = machine.rct(&mut Silent).unwrap();
    let found: Vec<_> = point.disks.iter().map(|disk| disk.method).collect();
    assert_eq!(found, [Method::Rct, Method::Full]);
    machine.assert_holds(&point);
    // And where the base holds two of the id, a third place fits neither.
    let open = machine.disks[1].open();
    let request = machine
        .lab
        .of_machine(&open, "IDE 0:0", rct(Extents::new(), &point));
    let mut run = machine.lab.begin(&[]);
    let disk = run.backup_disk(&request, &mut Silent).unwrap();
    assert_eq!((disk.method, disk.base), (Method::Compare, None));
    let reason = format!(
        "several disks have this id, and none of restore point {} hung here",
        point.id
    );
    assert_eq!(disk.fallback_reason, Some(reason));
}

#[test]
fn a_disk_that_moved_to_another_place_is_known_by_its_id() {
    let mut machine = Machine::new(&[7]);
    machine.disks[0].set(3, 100);
    let (open, changes) = (machine.disks[0].open(), machine.disks[0].seal());
    let request = machine
        .lab
        .of_machine(&open, "IDE 0:0", rct(changes, &machine.first));
    let mut run = machine.lab.begin(&[]);
    let disk = run.backup_disk(&request, &mut Silent).unwrap();
    assert_eq!(disk.method, Method::Rct);
    let point = run.commit(None).unwrap();
    machine.assert_holds(&point);
}

#[test]
fn a_disk_that_was_known_by_an_id_that_turns_out_to_be_anothers_too_ends_the_run() {
    let mut machine = Machine::new(&[7]);
    let (open, copy) = (machine.disks[0].open(), Chain::new(7, 40));
    let copy = copy.open();
    let mut run = machine.lab.begin(&[]);
    // The copy hangs where nothing hung before, and comes first.
    let wanted = || rct(Extents::new(), &machine.first);
    read(&machine.lab, &mut run, &copy, "IDE 0:0", wanted()).unwrap();
    let error = read(&machine.lab, &mut run, &open, "SCSI 0:0", wanted()).unwrap_err();
    assert!(matches!(error, Error::SameDisk { .. }), "{error:?}");
    assert_failed(&mut run);
}

#[test]
fn two_disks_that_nothing_tells_apart_end_the_run() {
    for (one, two) in [
        (Some("SCSI 0:0"), Some("SCSI 0:0")),
        (Some("SCSI 0:0"), None),
        (None, Some("SCSI 0:0")),
        (None, None),
    ] {
        let mut lab = Lab::new();
        let opened = [Chain::new(7, 1), Chain::new(7, 1)].map(|chain| chain.open());
        let mut run = lab.begin(&[]);
        let request = |disk, place: Option<&str>| DiskRequest {
            location: place.map(str::to_owned),
            ..lab.of_machine(disk, "", Wanted::Full)
        };
        run.backup_disk(&request(&opened[0], one), &mut Silent)
            .unwrap();
        let error = run
            .backup_disk(&request(&opened[1], two), &mut Silent)
            .unwrap_err();
        assert!(
            matches!(error, Error::SameDisk { .. }),
            "{one:?} {two:?}: {error:?}"
        );
        assert_failed(&mut run);
    }
}

// The order of a run.

#[test]
fn a_point_is_made_once_and_of_at_least_one_disk() {
    let mut lab = Lab::new();
    let disk = Chain::new(1, 4).open();
    let mut run = lab.begin(&[]);
    assert_eq!(turn(run.commit(None)), Turn::Empty);
    let baseline = |run: &MachineRun<FakeClock>| {
        run.add_baseline(Timestamp(5), "reference".to_owned(), Vec::new())
    };
    assert_eq!(turn(baseline(&run)), Turn::Uncommitted);
    read(&lab, &mut run, &disk, PLACES[0], Wanted::Full).unwrap();
    let point = run.commit(None).unwrap();
    assert_eq!(turn(run.commit(None)), Turn::Committed);
    let late = read(&lab, &mut run, &disk, PLACES[1], Wanted::Full);
    assert_eq!(turn(late), Turn::Committed);
    baseline(&run).unwrap();
    assert!(run.close().is_none());
    lab.assert_points(&[&point]);
}

#[test]
fn a_baseline_says_where_the_next_incremental_starts() {
    let mut machine = Machine::new(&[1]);
    let mut run = machine.lab.begin(&[]);
    let open = machine.disks[0].open();
    read(&machine.lab, &mut run, &open, PLACES[0], Wanted::Compare).unwrap();
    let point = run.commit(None).unwrap();
    let disk = BaselineDisk {
        machine: "vm:1".to_owned(),
        disk_id: point.disks[0].disk_id.clone().unwrap(),
        location: Some(PLACES[0].to_owned()),
        size: 40 * CHUNK,
        rct_id: "rctX:1".to_owned(),
    };
    run.add_baseline(Timestamp(5), "reference".to_owned(), vec![disk.clone()])
        .unwrap();
    let (baselines, _) = machine.lab.repository.baselines().unwrap();
    let [only] = &baselines[..] else {
        panic!("{baselines:?}")
    };
    assert_eq!(
        (only.baseline.point, &only.baseline.disks),
        (point.id, &vec![disk])
    );
}

#[test]
fn a_disk_that_cannot_be_read_leaves_no_point_of_the_others() {
    let mut lab = Lab::new();
    let good = Chain::new(1, 4).open();
    let bad = FakeDisk::of(&[1, 2, 3]);
    bad.file().fails_at = Some(2 * CHUNK);
    let bad = bad.open();
    let mut run = lab.begin(&[]);
    read(&lab, &mut run, &good, PLACES[0], Wanted::Full).unwrap();
    let error = read(&lab, &mut run, &bad, PLACES[1], Wanted::Full).unwrap_err();
    assert!(matches!(error, Error::Disk(_)), "{error:?}");
    assert_failed(&mut run);
    assert_eq!(
        turn(read(&lab, &mut run, &good, PLACES[2], Wanted::Full)),
        Turn::Failed
    );
    run.abort().unwrap();
    lab.assert_points(&[]);
    assert_eq!(lab.repository.leases().unwrap().0, []);
}

#[test]
fn a_disk_that_changes_while_it_is_read_ends_the_run() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let open = source.open();
    source.on_read(|file, _| file.stamp += 1);
    let mut run = lab.begin(&[]);
    let error = read(&lab, &mut run, &open, PLACES[0], Wanted::Full).unwrap_err();
    assert!(matches!(error, Error::SourceChanged), "{error:?}");
    assert_failed(&mut run);
}
