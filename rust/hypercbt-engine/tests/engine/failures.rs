//! Whatever fails, and whenever: no point that is not whole, nothing lost, and the next run completes.

use std::{
    io::ErrorKind,
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex},
};

use hypercbt_engine::{AuditPolicy, Error, Observer, Phase, Progress, Silent, Wanted, backup};
use hypercbt_extent::Extents;
use hypercbt_repo::{
    CreateOptions, Error as RepoError, Fault, FaultyStorage, LocalStorage, Method, RecordKind,
    Repository, RepositoryId, RestorePoint, RunId, Timestamp, open_object,
};

use crate::support::{CHUNK, DAY, FakeDisk, Lab, changes, chunks, disk, list, noise, stats};

/// A disk, its first point, and changes since.
pub(crate) fn changed() -> (Lab, FakeDisk, RestorePoint, Vec<u8>) {
    let mut lab = Lab::new();
    lab.pack_bytes = 2 * CHUNK;
    let source = FakeDisk::of(&[1, 2, 3, 0, 5, 6, 7, 8]);
    let first = lab.full(&source);
    let before = source.bytes();
    for chunk in [0, 2, 4, 5, 7] {
        source.set(chunk, 100 + chunk);
    }
    lab.now += DAY;
    (lab, source, first, before)
}

pub(crate) fn claimed() -> Extents {
    chunks(&[0, 2, 4, 5, 7])
}

#[test]
fn a_read_that_fails_fails_the_backup_and_leaves_the_older_point_alone() {
    let (mut lab, source, first, before) = changed();
    for wanted in [Wanted::Full, Wanted::Compare, list(claimed(), first.id)] {
        for bad in [0, 2 * CHUNK + 70, 8 * CHUNK - 1] {
            let open = source.open();
            source.file().fails_at = Some(bad);
            let error = lab.run(&open, wanted.clone(), |_| {}).unwrap_err();
            assert!(matches!(error, Error::Disk(_)), "{error:?}");
            source.file().fails_at = None;
            lab.assert_points(&[&first]);
        }
    }
    lab.assert_clean();
    lab.assert_holds(&first, &before);
    let next = lab.compare(&source);
    lab.assert_holds(&next, &source.bytes());
    lab.assert_stored_once();
}

#[test]
fn a_bad_sector_where_nothing_is_claimed_does_not_fail_a_list() {
    let (mut lab, source, first, _) = changed();
    source.file().fails_at = Some(CHUNK + 5);
    let point = lab.list(&source, claimed(), &first);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_bad_sector_in_the_audit_fails_the_run() {
    let (mut lab, source, first, _) = changed();
    source.file().fails_at = Some(CHUNK + 5);
    let error = lab
        .run(&source.open(), list(claimed(), first.id), |request| {
            request.audit = AuditPolicy::Full;
        })
        .unwrap_err();
    assert!(matches!(error, Error::Disk(_)), "{error:?}");
    assert_eq!(lab.repository.points().unwrap().len(), 1);
}

#[test]
fn a_disk_that_is_written_grows_or_is_touched_while_it_is_read_makes_no_point() {
    type Change = fn(&mut crate::support::File);
    let all: [Change; 3] = [
        |file| file.write(0, &[1]),
        |file| file.set_len(20 * CHUNK),
        |file| file.stamp += 1,
    ];
    for change in all {
        let (mut lab, source, first, before) = changed();
        let open = source.open();
        let mut once = Some(change);
        source.on_read(move |file, _| {
            if let Some(change) = once.take() {
                change(file);
            }
        });
        let error = lab.run(&open, Wanted::Compare, |_| {}).unwrap_err();
        assert!(matches!(error, Error::SourceChanged), "{error:?}");
        lab.assert_points(&[&first]);
        lab.assert_holds(&first, &before);
        lab.assert_clean();
        let next = lab.compare(&source);
        lab.assert_holds(&next, &source.bytes());
        lab.assert_stored_once();
    }
}

#[test]
fn a_disk_that_shrinks_while_it_is_read_makes_no_point() {
    let (mut lab, source, first, _) = changed();
    let open = source.open();
    source.on_read(|file, _| file.set_len(CHUNK));
    let error = lab.run(&open, Wanted::Full, |_| {}).unwrap_err();
    assert!(
        matches!(error, Error::Disk(_) | Error::SourceChanged),
        "{error:?}"
    );
    assert_eq!(lab.repository.points().unwrap(), [first]);
}

/// Runs a list with an audit through a storage that fails as `fault` says at call `at`. How many calls there were.
fn run_with_fault(kind: impl Fn(ErrorKind) -> Fault, at: usize) -> usize {
    let (lab, source, first, before) = changed();
    let faulty = FaultyStorage::failing(lab.storage.clone(), at, kind(ErrorKind::StorageFull));
    let repository = Repository::open(Arc::new(faulty.clone()), "memory").ok();
    let open = source.open();
    let mut request = lab.request(RunId([0x77; 16]), &open, list(claimed(), first.id));
    request.audit = AuditPolicy::DEFAULT;
    let result = repository.map(|repository| backup(&repository, &request, &mut Silent));

    let mut lab = lab.fork();
    let points = lab.repository.points().unwrap();
    match &result {
        Some(Ok(outcome)) => {
            assert_eq!(points[0], outcome.point, "call {at}");
            lab.assert_holds(&outcome.point, &source.bytes());
        }
        Some(Err(error)) => {
            let Error::Repository(RepoError::Storage { source, .. }) = error else {
                panic!("call {at}: {error:?}");
            };
            assert_eq!(source.kind(), ErrorKind::StorageFull, "call {at}");
            assert_eq!(points, std::slice::from_ref(&first), "call {at}");
        }
        None => {}
    }
    lab.assert_holds(&first, &before);
    lab.assert_clean();
    let held = lab.records().len();
    let again = lab.list(&source, claimed(), &first);
    lab.assert_holds(&again, &source.bytes());
    lab.assert_stored_once();
    // What was there already was not counted as new.
    let new_nodes = u64::from(again.disks[0].root != points[0].disks[0].root);
    assert!(lab.records().len() - held <= stats(&again).new_chunks as usize + new_nodes as usize);
    faulty.calls().len()
}

#[test]
fn a_storage_that_fails_once_at_any_call_costs_at_most_that_run() {
    let calls = run_with_fault(Fault::Fail, usize::MAX);
    assert!(calls > 20, "{calls}");
    for at in 0..calls {
        run_with_fault(Fault::Fail, at);
    }
}

#[test]
fn a_storage_that_is_full_from_any_call_on_costs_at_most_that_run() {
    let calls = run_with_fault(Fault::FailFrom, usize::MAX);
    for at in 0..calls {
        run_with_fault(Fault::FailFrom, at);
    }
}

/// Stops the run the first time that it is asked in the phase, and lets go a reader that waits for it.
struct Stopper {
    phase: Phase,
    stopped: Arc<(Mutex<bool>, Condvar)>,
}

impl Observer for Stopper {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        if progress.phase != self.phase {
            return ControlFlow::Continue(());
        }
        let (stopped, told) = &*self.stopped;
        *stopped.lock().unwrap() = true;
        told.notify_all();
        ControlFlow::Break(())
    }
}

/// Holds the `number`-th read of the disk until the run was stopped.
fn stop_at_read(source: &FakeDisk, phase: Phase, number: usize) -> Stopper {
    let stopped = Arc::new((Mutex::new(false), Condvar::new()));
    let waiting = Arc::clone(&stopped);
    let mut reads = 0;
    source.on_read(move |_, _| {
        if reads == number {
            let (stopped, told) = &*waiting;
            let guard = stopped.lock().unwrap();
            drop(told.wait_while(guard, |stopped| !*stopped).unwrap());
        }
        reads += 1;
    });
    Stopper { phase, stopped }
}

fn local() -> (tempfile::TempDir, Lab) {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::create(folder.path().join("repository")).unwrap();
    let options = CreateOptions {
        chunk_bytes: CHUNK as u32,
        id: RepositoryId([7; 16]),
        created: Timestamp(0),
    };
    let repository = Repository::create(Arc::new(storage), "folder", &options).unwrap();
    let mut lab = Lab::around(repository);
    lab.pack_bytes = 2 * CHUNK;
    (folder, lab)
}

fn files(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_run_that_is_stopped_at_any_moment_leaves_no_point_and_nothing_unfinished() {
    let (folder, mut lab) = local();
    let root = folder.path().join("repository");
    // Single chunks between holes: each is a read of its own.
    let source = FakeDisk::new(40 * CHUNK);
    for chunk in (0..40).step_by(2) {
        source.set(chunk, chunk + 1);
    }
    let first = lab.full(&source);
    let before = source.bytes();
    for chunk in (0..20).step_by(2) {
        source.set(chunk, chunk + 100);
    }
    let changed: Vec<u64> = (0..20).step_by(2).collect();
    let moments = [
        (Phase::Backup, 0),
        (Phase::Backup, 4),
        (Phase::Backup, 9),
        (Phase::Audit, 10),
    ]
    .into_iter()
    .chain([
        (Phase::Audit, 15),
        (Phase::Audit, 1_000),
        (Phase::Backup, 1_000),
    ]);
    for (phase, read) in moments {
        let open = source.open();
        let mut stopper = stop_at_read(&source, phase, read);
        let wanted = list(chunks(&changed), first.id);
        let error = lab
            .watched(
                &open,
                wanted,
                |request| request.audit = AuditPolicy::Full,
                &mut stopper,
            )
            .unwrap_err();
        source.on_read(|_, _| {});
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        lab.assert_points(&[&first]);
        assert_eq!(files(&root.join("tmp")), [""; 0], "{phase:?} {read}");
        assert_eq!(
            files(&root.join("lease")).len(),
            files(&root.join("closed")).len()
        );
        lab.assert_stored_once();
    }
    lab.assert_clean();
    lab.assert_holds(&first, &before);
    // Most of it is there already.
    let point = lab.list(&source, chunks(&changed), &first);
    lab.assert_holds(&point, &source.bytes());
    assert!(stats(&point).new_chunks < 5, "{:?}", stats(&point));
    lab.assert_stored_once();
}

#[test]
fn a_failed_run_closes_its_lease_as_aborted() {
    let (mut lab, source, first, _) = changed();
    let open = source.open();
    source.file().fails_at = Some(0);
    lab.run(&open, list(claimed(), first.id), |_| {})
        .unwrap_err();
    let closed = lab.names("closed");
    assert_eq!(closed.len(), 2);
    let outcomes: Vec<bool> = closed
        .iter()
        .map(|name| {
            let bytes = lab.storage.bytes(name).unwrap();
            let (_, payload) = open_object(name, &bytes).unwrap();
            String::from_utf8_lossy(payload).contains("aborted")
        })
        .collect();
    assert_eq!(outcomes.iter().filter(|aborted| **aborted).count(), 1);
}

#[test]
fn two_backups_of_one_name_at_once_both_complete_and_both_restore() {
    for round in 0..4_u8 {
        let lab = Lab::new();
        let one = FakeDisk::of(&[1, 2, 3, 4, 5, 6, 0, 8]);
        let two = FakeDisk::of(&[1, 2, 30, 4, 50, 6, 7, 8]);
        let make = |id: u8, source: &FakeDisk| {
            let open = source.open();
            let request = lab.request(RunId([id; 16]), &open, Wanted::Compare);
            backup(&lab.repository, &request, &mut Silent).unwrap()
        };
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| make(2 * round + 1, &one));
            let second = scope.spawn(|| make(2 * round + 2, &two));
            (first.join().unwrap(), second.join().unwrap())
        });
        assert!(first.unfinished.is_none() && second.unfinished.is_none());
        assert_eq!(lab.repository.points().unwrap().len(), 2);
        lab.assert_holds(&first.point, &one.bytes());
        lab.assert_holds(&second.point, &two.bytes());
        let mut lab = lab;
        lab.assert_clean();
        // And both can be built on.
        for (point, source) in [(first.point, &one), (second.point, &two)] {
            source.set(0, 77);
            let next = lab.list(source, chunks(&[0]), &point);
            lab.assert_holds(&next, &source.bytes());
        }
    }
}

#[test]
fn a_run_id_that_was_used_before_is_refused_and_harms_nothing() {
    let (mut lab, source, first, before) = changed();
    let open = source.open();
    let request = lab.request(first.id, &open, Wanted::Compare);
    let error = backup(&lab.repository, &request, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::Repository(_)), "{error:?}");
    lab.assert_points(&[&first]);
    lab.assert_holds(&first, &before);
    lab.assert_clean();
}

#[test]
fn a_base_whose_tree_turns_out_to_be_damaged_in_the_middle_of_the_run_is_no_base() {
    // More than one window of 128 MiB: chunks of the first are being stored when the planner meets the damage.
    const CHUNKS: u64 = 2_200;
    let source = FakeDisk::new(CHUNKS * CHUNK);
    for chunk in 0..CHUNKS {
        source.write(chunk * CHUNK, &noise(chunk + 1, 512));
    }
    let mut lab = Lab::new();
    lab.workers = 4;
    lab.full(&source);
    let leaf = nodes_in_order(&lab).pop().unwrap();
    lab.damage(leaf.0, &leaf.1, 100);
    for chunk in 0..CHUNKS {
        source.write(chunk * CHUNK, &noise(chunk + 5_000, 512));
    }
    let point = lab.compare(&source);
    assert_eq!(disk(&point).method, Method::Compare);
    assert_eq!(disk(&point).base, None);
    let reason = disk(&point).fallback_reason.clone().unwrap();
    assert!(
        reason.starts_with("the base point is damaged: tree node "),
        "{reason}"
    );
    assert!(lab.content(&point).unwrap() == source.bytes());
    lab.assert_stored_once();
}

/// The leaves of the only tree in the repository, in order of the disk: the builder puts them so, and the root last.
fn nodes_in_order(lab: &Lab) -> Vec<(hypercbt_repo::PackName, hypercbt_repo::IndexEntry)> {
    let mut nodes: Vec<_> = lab
        .records()
        .into_iter()
        .filter(|(_, entry)| entry.kind == RecordKind::Node)
        .collect();
    nodes.sort_by_key(|(pack, entry)| (*pack, entry.offset));
    nodes.pop();
    nodes
}

#[test]
fn a_list_on_a_base_with_a_damaged_tree_compares_and_says_why() {
    let mut lab = Lab::new();
    let source = FakeDisk::new(130 * CHUNK);
    for chunk in 0..130 {
        source.write(chunk * CHUNK, &noise(chunk + 1, 512));
    }
    let first = lab.full(&source);
    let leaf = nodes_in_order(&lab).swap_remove(1);
    lab.damage(leaf.0, &leaf.1, 100);
    source.write(70 * CHUNK, &noise(999, 512));
    source.write(100 * CHUNK, &noise(998, 512)); // nobody says so; a comparison finds it
    let point = lab.list(&source, changes(&[(70 * CHUNK, 512)]), &first);
    assert_eq!(disk(&point).method, Method::Compare);
    assert_eq!(stats(&point).changed_bytes, None);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_list_since_a_point_whose_object_is_damaged_says_so() {
    let (mut lab, source, first, _) = changed();
    lab.flip(&format!("point/{}", first.id), 70);
    let error = lab
        .run(&source.open(), list(claimed(), first.id), |_| {})
        .unwrap_err();
    assert!(
        matches!(error, Error::Repository(RepoError::Damaged { .. })),
        "{error:?}"
    );
    // It is no base for anybody, and no obstacle either.
    let point = lab.compare(&source);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_disk_that_was_written_after_it_was_opened_makes_no_point() {
    let (mut lab, source, first, _) = changed();
    let open = source.open();
    source.set(3, 9); // a hole when it was opened: where its bytes are is not known
    let error = lab.run(&open, Wanted::Compare, |_| {}).unwrap_err();
    assert!(matches!(error, Error::SourceChanged), "{error:?}");
    lab.assert_points(&[&first]);
}
