//! Whoever is first wins: a run that commits, or somebody who declares it dead.

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
};

use hypercbt_repo::{
    Error, FaultyStorage, Fence, MemoryStorage, Outcome, Repository, RestorePoint, RunState,
    Storage, Timestamp, Upload,
};

use crate::common::{DISK, LATER, backup, bytes, in_memory, open, options, restore, run_id, store};

type Hook = Box<dyn FnOnce() + Send>;

/// Lets somebody else do something right before a chosen call.
#[derive(Clone)]
struct Meanwhile {
    inner: MemoryStorage,
    /// Calls that are still to come before it, and what is done.
    hook: Arc<Mutex<(usize, Option<Hook>)>>,
}

impl Meanwhile {
    fn new(inner: &MemoryStorage) -> Self {
        let hook = Arc::default();
        let inner = inner.clone();
        Self { inner, hook }
    }

    fn before_call(&self, number: usize, hook: Hook) {
        *self.hook.lock().unwrap() = (number, Some(hook));
    }

    /// Whether it was not done so far.
    fn is_pending(&self) -> bool {
        self.hook.lock().unwrap().1.is_some()
    }

    fn call(&self) -> &MemoryStorage {
        let due = {
            let mut hook = self.hook.lock().unwrap();
            let is_due = hook.0 == 0;
            hook.0 = hook.0.saturating_sub(1);
            hook.1.take_if(|_| is_due)
        };
        if let Some(due) = due {
            due();
        }
        &self.inner
    }
}

impl Storage for Meanwhile {
    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.call().create_exclusive(name, bytes)
    }
    fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>> {
        self.call().begin(owner)
    }
    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.call().read_exact_at(name, buf, offset)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.call().len(name)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.call().list(folder)
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        self.call().delete(name)
    }
    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        self.call().remove_unfinished(owner)
    }
}

/// The commit or the fence has won, never both and never none; what stood before is whole.
fn assert_one_won(
    repository: &Repository,
    committed: &Result<RestorePoint, Error>,
    fenced: Fence,
    older: &RestorePoint,
) {
    match (committed, fenced) {
        (Ok(point), Fence::Committed) => {
            assert_eq!(repository.points().unwrap()[0], *point);
            assert_eq!(restore(repository, point).unwrap(), bytes(&LATER));
        }
        (Err(Error::Fenced { id }), Fence::Fenced) => {
            assert_eq!(*id, run_id(2));
            assert_eq!(repository.points().unwrap(), std::slice::from_ref(older));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(restore(repository, older).unwrap(), bytes(&DISK));
}

#[test]
fn a_fence_at_any_call_of_a_commit_either_stops_it_or_finds_it_done() {
    let mut won = [0, 0];
    for call in 0.. {
        let (storage, repository) = in_memory();
        let older = backup(&repository, 1, &DISK, &[]).unwrap();
        let meanwhile = Meanwhile::new(&storage);
        let theirs = open(meanwhile.clone());
        let mut run = theirs.begin(options(2, &[&older])).unwrap();
        let point = store(&run, &LATER).unwrap();
        // Threads write packs: from here on all calls are this one's.
        run.flush().unwrap();
        let fence = Arc::new(Mutex::new(None));
        let (ours, result) = (repository.clone(), Arc::clone(&fence));
        let hook = move || *result.lock().unwrap() = Some(ours.fence(run_id(2), Timestamp(9)));
        meanwhile.before_call(call, Box::new(hook));
        let committed = run.commit(point);
        if meanwhile.is_pending() {
            committed.unwrap();
            break;
        }
        let fenced = fence.lock().unwrap().take().unwrap().unwrap();
        assert_one_won(&repository, &committed, fenced, &older);
        won[usize::from(committed.is_ok())] += 1;
        drop(run);
        // What the loser has stored is known to the next one.
        let next = backup(&repository, 3, &LATER, &[&older]).unwrap();
        assert_eq!(restore(&repository, &next).unwrap(), bytes(&LATER));
        repository.close_lease(run_id(2), Outcome::Aborted).unwrap();
    }
    // Nothing comes after the creation of the point in a commit that succeeds.
    assert!(won[0] > 3 && won[1] == 0, "{won:?}");
}

#[test]
fn a_commit_at_any_call_of_a_fence_either_stops_it_or_is_stopped() {
    let mut won = [0, 0];
    for call in 0.. {
        let (storage, repository) = in_memory();
        let older = backup(&repository, 1, &DISK, &[]).unwrap();
        let mut run = repository.begin(options(2, &[&older])).unwrap();
        let point = store(&run, &LATER).unwrap();
        let meanwhile = Meanwhile::new(&storage);
        let theirs = open(meanwhile.clone());
        let committed = Arc::new(Mutex::new(None));
        let result = Arc::clone(&committed);
        let hook = move || *result.lock().unwrap() = Some((run.commit(point), run));
        meanwhile.before_call(call, Box::new(hook));
        let fenced = theirs.fence(run_id(2), Timestamp(9)).unwrap();
        if meanwhile.is_pending() {
            assert_eq!(fenced, Fence::Fenced);
            break;
        }
        let (committed, _run) = committed.lock().unwrap().take().unwrap();
        assert_one_won(&repository, &committed, fenced, &older);
        won[usize::from(committed.is_ok())] += 1;
    }
    assert!(won[1] > 0, "{won:?}");
}

#[test]
fn of_a_commit_and_a_fence_in_two_threads_exactly_one_wins() {
    for round in 0..32_u64 {
        let (_, repository) = in_memory();
        let older = backup(&repository, 1, &DISK, &[]).unwrap();
        let mut run = repository.begin(options(2, &[&older])).unwrap();
        let point = store(&run, &LATER).unwrap();
        run.flush().unwrap();
        let (committed, fenced) = thread::scope(|scope| {
            let fence = scope.spawn(|| {
                for _ in 0..round * 64 {
                    std::hint::spin_loop();
                }
                repository.fence(run_id(2), Timestamp(9)).unwrap()
            });
            (run.commit(point), fence.join().unwrap())
        });
        assert_one_won(&repository, &committed, fenced, &older);
    }
}

#[test]
fn a_run_that_was_fenced_is_fenced_for_all_who_ask_later() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let point = store(&run, &DISK).unwrap();
    for created in [5, 6] {
        let fenced = repository.fence(run_id(1), Timestamp(created)).unwrap();
        assert_eq!(fenced, Fence::Fenced);
    }
    for _ in 0..2 {
        assert!(matches!(
            run.commit(point.clone()),
            Err(Error::Fenced { .. })
        ));
    }
    let state = repository.run_state(run_id(1)).unwrap();
    assert_eq!(state, Some(RunState::Fenced));
    // It cannot say either that a baseline belongs to its point.
    assert!(matches!(
        run.add_baseline(&crate::baseline(1, &[])),
        Err(Error::PointNotFound { .. })
    ));
    run.abort().unwrap();
    let state = repository.run_state(run_id(1)).unwrap();
    assert_eq!(state, Some(RunState::Closed));
}

#[test]
fn a_fence_whose_storage_fails_says_so_and_can_be_repeated() {
    let (storage, _) = in_memory();
    for call in 0.. {
        let kind = io::ErrorKind::TimedOut;
        let fault = hypercbt_repo::Fault::Fail(kind);
        let faulty = FaultyStorage::failing(storage.clone(), call, fault);
        // Opening it takes some calls, of which one may be the one that fails.
        let Ok(repository) = Repository::open(Arc::new(faulty.clone()), "here") else {
            continue;
        };
        let done = repository.fence(run_id(1), Timestamp(1));
        if faulty.calls().len() <= call {
            assert_eq!(done.unwrap(), Fence::Fenced);
            return;
        }
        assert!(matches!(done, Err(Error::Storage { .. })), "call {call}");
        assert_eq!(
            repository.fence(run_id(1), Timestamp(2)).unwrap(),
            Fence::Fenced
        );
    }
}
