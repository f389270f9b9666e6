//! The audit of several disks in one run: what a missed change does to the others, and who may stop it.

use std::ops::ControlFlow;

use hypercbt_engine::{AuditPolicy, Error, Observer, Phase, Progress, Silent, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::Method;

use crate::support::{
    CHUNK, Chain, DAY, FakeDisk, Lab,
    machine::{Machine, PLACES, assert_failed, read},
    rct,
};

/// Counts the bytes of each phase, and does something when one begins.
struct Watch<F: FnMut(Phase)> {
    phases: Vec<Phase>,
    begun: F,
}

impl<F: FnMut(Phase)> Observer for Watch<F> {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.phases.last() != Some(&progress.phase) {
            self.phases.push(progress.phase);
            (self.begun)(progress.phase);
        }
        ControlFlow::Continue(())
    }
}

fn watch<F: FnMut(Phase)>(begun: F) -> Watch<F> {
    Watch {
        phases: Vec::new(),
        begun,
    }
}

#[test]
fn a_missed_change_widens_its_own_disk_and_makes_its_own_disk_suspect() {
    let mut machine = Machine::new(&[1, 2]);
    // The second point read this place of the first disk, which tells nothing of the second.
    machine.disks[0].set(30, 99);
    let second = machine.rct(&mut Silent).unwrap();
    machine.lab.now += DAY;
    machine.lab.audit = AuditPolicy::Full;
    machine.disks[1].set(30, 100);
    machine.disks[1].seal(); // and nobody reports it
    machine.disks[0].set(3, 101);
    machine.first = second.clone();
    let mut watch = watch(|_| {});
    let point = machine.rct(&mut watch).unwrap();
    machine.assert_holds(&point);
    let missed: Vec<_> = point.disks.iter().map(|d| d.stats.missed_chunks).collect();
    assert_eq!(missed, [0, 1]);
    let phases = [
        Phase::Backup,
        Phase::Audit,
        Phase::Backup,
        Phase::Audit,
        Phase::Widen,
    ];
    assert_eq!(watch.phases, phases);
    let suspects = machine.lab.repository.suspects().unwrap();
    let [suspect] = &suspects[..] else {
        panic!("{suspects:?}")
    };
    assert_eq!(Some(&suspect.disk), point.disks[1].disk_id.as_ref());
    assert_eq!(suspect.extents, [(30 * CHUNK, CHUNK)]);
    // The first point read it. The second built on that without a look.
    assert_eq!((suspect.first, suspect.last), (second.id, second.id));
}

#[test]
fn a_point_that_holds_only_the_copy_of_a_disk_is_not_suspect_of_what_the_disk_missed() {
    let mut machine = Machine::new(&[7, 7]);
    let open = machine.disks[0].open();
    machine
        .lab
        .one_disk(&open, rct(Extents::new(), &machine.first), |_| {});
    machine.disks[1].set(30, 100);
    machine.disks[1].seal();
    machine.lab.audit = AuditPolicy::Full;
    let point = machine.rct(&mut Silent).unwrap();
    assert_eq!(point.disks[1].stats.missed_chunks, 1);
    // The first point read the place, and the second holds nothing of this disk.
    assert_eq!(machine.lab.repository.suspects().unwrap(), []);
}

#[test]
fn what_the_layers_cover_is_no_missed_change() {
    let mut machine = Machine::new(&[1]);
    let (frozen, _) = machine.disks[0].open_under(&[(5 * CHUNK, &[7; 512])]);
    let base = machine.lab.one_disk(&frozen, Wanted::Compare, |_| {});
    machine.lab.audit = AuditPolicy::Full;
    let (frozen, bytes) = machine.disks[0].open_under(&[(6 * CHUNK, &[8; 512])]);
    let point = machine
        .lab
        .one_disk(&frozen, rct(Extents::new(), &base), |_| {});
    assert_eq!(point.disks[0].stats.missed_chunks, 0);
    assert_eq!(point.disks[0].method, Method::Rct);
    machine.lab.assert_holds(&point, &bytes);
}

#[test]
fn an_audit_that_is_stopped_owes_what_it_did_not_read_on_every_disk() {
    let mut machine = Machine::new(&[1, 2]);
    machine.lab.audit = AuditPolicy::Full;
    let changes: Vec<Extents> = machine.disks.iter_mut().map(Chain::seal).collect();
    let mut run = machine.lab.begin(&[]);
    run.audit_stop().stop();
    for ((chain, place), changes) in machine.disks.iter().zip(PLACES).zip(changes) {
        let open = chain.open();
        read(
            &machine.lab,
            &mut run,
            &open,
            place,
            rct(changes, &machine.first),
        )
        .unwrap();
    }
    let point = run.commit(None).unwrap();
    for disk in &point.disks {
        assert_eq!((disk.stats.audited_bytes, disk.audit.owed_chunks), (0, 40));
        assert_eq!(disk.audit.read, machine.first.disks[0].audit.read);
    }
}

#[test]
fn an_audit_that_is_stopped_in_its_middle_has_read_what_it_has_read() {
    // So much that not all of it is planned before the observer first hears of it.
    const CHUNKS: u64 = 6_000;
    let mut lab = Lab::new();
    let source = FakeDisk::new(CHUNKS * CHUNK);
    for chunk in 0..CHUNKS {
        source.write(chunk * CHUNK, &chunk.to_le_bytes());
    }
    let first = lab.full(&source);
    lab.audit = AuditPolicy::Full;
    let mut run = lab.begin_as("file:disk", &[]).unwrap();
    let (open, stop) = (source.open(), run.audit_stop());
    // Stopped from the thread that reads, in the middle.
    source.on_read(move |_, at| {
        if at >= CHUNKS / 2 * CHUNK {
            stop.stop();
        }
    });
    let wanted = Wanted::List {
        changes: Extents::new(),
        since: first.id,
    };
    read(&lab, &mut run, &open, PLACES[0], wanted).unwrap();
    let disk = &run.commit(None).unwrap().disks[0];
    let cursor = disk.audit.cursor;
    assert!((CHUNKS / 2..CHUNKS).contains(&cursor), "{cursor}");
    assert_eq!(disk.audit.owed_chunks, CHUNKS - cursor);
}

#[test]
fn a_comparison_that_is_stopped_ends_the_run() {
    let mut machine = Machine::new(&[1]);
    machine.lab.audit = AuditPolicy::Full;
    machine.disks[0].set(30, 100);
    for early in [true, false] {
        let mut run = machine.lab.begin(&[]);
        let stop = run.audit_stop();
        let mut watch = watch(|phase| {
            // Before the comparison begins, or when it has.
            if phase == if early { Phase::Audit } else { Phase::Widen } {
                stop.stop();
            }
        });
        let open = machine.disks[0].open();
        let wanted = rct(Extents::new(), &machine.first);
        let request = machine.lab.of_machine(&open, PLACES[0], wanted);
        let error = run.backup_disk(&request, &mut watch).unwrap_err();
        assert!(matches!(error, Error::WideningStopped), "{error:?}");
        assert_eq!(watch.phases.contains(&Phase::Widen), !early);
        assert_failed(&mut run);
        run.abort().unwrap();
    }
    machine.lab.assert_points(&[&machine.first]);
}

#[test]
fn an_observer_that_ends_a_comparison_is_not_taken_for_one_who_has_no_time_for_it() {
    struct Impatient;
    impl Observer for Impatient {
        fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
            match progress.phase {
                Phase::Widen => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut machine = Machine::new(&[1]);
    machine.lab.audit = AuditPolicy::Full;
    machine.disks[0].set(30, 100);
    machine.disks[0].seal();
    let error = machine.rct(&mut Impatient).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}
