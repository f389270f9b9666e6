//! What is done to a repository before power goes, and what is promised when.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;
use hypercbt_powercut::{Call, Fault, History, SimFiles};
use hypercbt_repo::{
    DamagedPlace, Fence, LocalStorage, Outcome, RecordKind, Repository, RestorePoint, Result, Run,
    RunId, RunState, Storage, Timestamp,
};

use crate::workload::{Disk, PLACE, baseline, begin, create, id, open, run_id, store};

/// What holds from some operation on.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// The repository opens.
    Opens,
    /// This restore point is there.
    Point(u8),
    /// Its baseline too.
    Baseline(u8),
    /// From here on it may go.
    Deleting(u8),
    /// It is gone for good.
    Deleted(u8),
    /// This place is on the damage list.
    Damage(DamagedPlace),
    /// Another process has declared this run dead: its point never comes.
    Fenced(u8),
    /// The lease of this run is closed.
    Closed(u8),
    /// This void stands.
    Void(u8),
    /// An object holds these bytes.
    Object(&'static str, &'static [u8]),
}

/// A history with its promises.
pub(crate) struct Recorded {
    pub(crate) history: History,
    /// With the number of operations after which each was given.
    pub(crate) promises: Vec<(usize, What)>,
    /// What each run that may have committed has backed up.
    pub(crate) disks: BTreeMap<RunId, Disk>,
    /// Runs that did not end themselves: a closed lease of theirs has a proof beside it.
    pub(crate) dead: Vec<u8>,
}

impl Recorded {
    /// After how many operations the last promise was given.
    pub(crate) fn last_promise(&self) -> usize {
        self.promises.last().map_or(0, |(at, _)| *at)
    }
}

/// Writes a history down while it happens.
struct Book {
    files: SimFiles,
    promises: Vec<(usize, What)>,
    disks: BTreeMap<RunId, Disk>,
    newest: Option<(RestorePoint, Disk)>,
    dead: Vec<u8>,
}

impl Book {
    fn new(files: &SimFiles) -> Self {
        Self {
            files: files.clone(),
            promises: Vec::new(),
            disks: BTreeMap::new(),
            newest: None,
            dead: Vec::new(),
        }
    }

    fn promise(&mut self, what: What) {
        self.promises.push((self.files.ops(), what));
    }

    /// One run: full, or an incremental on the newest point.
    fn run(&mut self, repository: &Repository, number: u8, full: bool, disk: Disk) -> Result<()> {
        self.disks.insert(run_id(number), disk);
        let newest = self.newest.take().filter(|_| !full);
        let bases = newest.iter().map(|(point, _)| point.id.0[0]);
        let mut run = begin(repository, number, &bases.collect::<Vec<_>>())?;
        let base = newest.as_ref().map(|(point, disk)| (point, disk));
        let point = run.commit(store(&run, &disk, base)?)?;
        self.promise(What::Point(number));
        run.add_baseline(&baseline(number))?;
        self.promise(What::Baseline(number));
        run.close()?;
        self.newest = Some((point, disk));
        Ok(())
    }

    /// A run that has stored and will never say how it ended.
    fn die(&mut self, repository: &Repository, number: u8) -> Result<(Run, RestorePoint)> {
        let disk = [1, 50, 51, 52];
        self.disks.insert(run_id(number), disk);
        self.dead.push(number);
        let run = begin(repository, number, &[])?;
        let point = store(&run, &disk, None)?;
        Ok((run, point))
    }

    /// Declares a run dead, and promises what is told.
    fn fence(&mut self, repository: &Repository, number: u8) -> Result<Outcome> {
        match repository.fence(run_id(number), Timestamp(1))? {
            Fence::Fenced => {
                self.promise(What::Fenced(number));
                Ok(Outcome::Aborted)
            }
            Fence::Committed => {
                self.promise(What::Point(number));
                Ok(Outcome::Committed)
            }
        }
    }

    fn close_lease(&mut self, repository: &Repository, number: u8, how: Outcome) -> Result<()> {
        repository.close_lease(run_id(number), how)?;
        self.promise(What::Closed(number));
        Ok(())
    }

    fn close(self) -> Recorded {
        // A promise holds from its operation on; what is being deleted may be gone one later.
        let changes = self.promises.iter().flat_map(|(at, _)| [*at, at + 1]);
        Recorded {
            history: self.files.history().with_promises(changes),
            promises: self.promises,
            disks: self.disks,
            dead: self.dead,
        }
    }
}

/// A repository from its first folder on: a full run, incrementals up to a merge of the index, a delete, a run that is
/// aborted, a damaged chunk that is stored again.
pub(crate) fn runs() -> Recorded {
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    let repository = create(&files).unwrap();
    book.promise(What::Opens);
    // Somebody else has made a folder and was killed before it was synced.
    files
        .create_folder(&Path::new(PLACE).join("point"))
        .unwrap();
    book.run(&repository, 1, true, [1, 2, 0, 3]).unwrap();
    for number in 2..=8 {
        book.run(
            &repository,
            number,
            false,
            [1, 2, 0, 10 + u64::from(number)],
        )
        .unwrap();
    }
    book.promise(What::Deleting(2));
    repository.delete_point(run_id(2)).unwrap();
    book.promise(What::Deleted(2));

    // Another process.
    let repository = open(&files).unwrap();
    let aborted = begin(&repository, 9, &[]).unwrap();
    book.disks.insert(run_id(9), [0; 4]);
    store(&aborted, &[1, 30, 31, 32], None).unwrap();
    aborted.flush().unwrap();
    aborted.abort().unwrap();
    let damaged = id(1).unwrap().0;
    let places = repository
        .view()
        .unwrap()
        .places(RecordKind::Chunk, &[damaged])
        .unwrap();
    let place = places.first().copied().flatten().unwrap();
    let place = DamagedPlace {
        kind: RecordKind::Chunk,
        id: damaged,
        pack: place.pack,
        offset: place.offset,
    };
    repository.add_damage(run_id(99), &[place]).unwrap();
    book.promise(What::Damage(place));
    book.run(&repository, 10, true, [1, 30, 40, 3]).unwrap();
    clean_up_and_void(&mut book);
    book.close()
}

/// Runs whose processes are gone are declared dead, one after it was done; then a host is written to.
fn clean_up_and_void(book: &mut Book) {
    let repository = open(&book.files).unwrap();
    let (run, _) = book.die(&repository, 11).unwrap();
    run.leave_open();
    let (mut run, point) = book.die(&repository, 12).unwrap();
    run.commit(point).unwrap();
    book.promise(What::Point(12));
    run.leave_open();
    let (mut slow, point) = book.die(&repository, 13).unwrap();

    let another = open(&book.files).unwrap();
    for number in [11, 12, 13] {
        let outcome = book.fence(&another, number).unwrap();
        assert_eq!(outcome == Outcome::Committed, number == 12);
        book.close_lease(&another, number, outcome).unwrap();
    }
    another
        .add_void(run_id(98), "vm:1", &[], Timestamp(1))
        .unwrap();
    book.promise(What::Void(98));
    // It wakes up, and is too late.
    slow.commit(point).unwrap_err();
    slow.leave_open();
}

/// A process is killed after so many operations of fencing a dead run and closing its lease. None if it is done before.
fn killed_in_clean_up(after: usize) -> Option<(Book, Repository)> {
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    let repository = create(&files).unwrap();
    book.die(&repository, 1).unwrap().0.leave_open();
    let process = files.killed_after(files.ops() + after);
    let done = open(&process).and_then(|repository| {
        repository.fence(run_id(1), Timestamp(1))?;
        repository.close_lease(run_id(1), Outcome::Aborted)
    });
    done.is_err().then(|| {
        let repository = open(&files).unwrap();
        (book, repository)
    })
}

/// A second process fences the same run.
pub(crate) fn fence_after_fence(after: usize) -> Option<Recorded> {
    let (mut book, repository) = killed_in_clean_up(after)?;
    book.fence(&repository, 1).unwrap();
    Some(book.close())
}

/// A second process finds the run fenced, or its lease closed, and closes it.
pub(crate) fn close_after_fence(after: usize) -> Option<Recorded> {
    let (mut book, repository) = killed_in_clean_up(after)?;
    if repository.run_state(run_id(1)).unwrap() == Some(RunState::Open) {
        book.fence(&repository, 1).unwrap();
    }
    book.close_lease(&repository, 1, Outcome::Aborted).unwrap();
    Some(book.close())
}

/// A process is killed after so many operations of its run. None if it is done before.
fn killed_in_run(after: usize) -> Option<(Book, Repository)> {
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    drop(create(&files).unwrap());
    let process = files.killed_after(files.ops() + after);
    let done = open(&process).and_then(|repository| {
        let (mut run, point) = book.die(&repository, 1)?;
        run.commit(point)?;
        run.close()
    });
    done.is_err().then(|| {
        let repository = open(&files).unwrap();
        (book, repository)
    })
}

/// A second process fences the run, or is told that it is too late.
pub(crate) fn fence_after_commit(after: usize) -> Option<Recorded> {
    let (mut book, repository) = killed_in_run(after)?;
    book.fence(&repository, 1).unwrap();
    Some(book.close())
}

/// A second process finds what the run has made, and closes its lease.
pub(crate) fn close_after_commit(after: usize) -> Option<Recorded> {
    let (mut book, repository) = killed_in_run(after)?;
    let outcome = match repository.run_state(run_id(1)).unwrap() {
        Some(RunState::Committed | RunState::Closed) => Outcome::Committed,
        _ => book.fence(&repository, 1).unwrap(),
    };
    book.close_lease(&repository, 1, outcome).unwrap();
    Some(book.close())
}

/// A process is killed after so many operations of its run, and a second one backs up the same disk. None if it is done before.
pub(crate) fn killed(after: usize) -> Option<Recorded> {
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    drop(create(&files).unwrap());
    let disk = [1, 2, 5, 3];
    let process = files.killed_after(files.ops() + after);
    let done = open(&process).and_then(|repository| book.run(&repository, 1, true, disk));
    if done.is_ok() {
        return None;
    }
    book.promises.clear();
    book.newest = None;
    let repository = open(&files).unwrap();
    book.run(&repository, 2, true, disk).unwrap();
    Some(book.close())
}

/// The folder of restore points could not be synced at the commit, and the commit is tried again.
pub(crate) fn failed_commit() -> Recorded {
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    let repository = create(&files).unwrap();
    let disk = [1, 2, 5, 3];
    book.disks.insert(run_id(1), disk);
    let mut run = begin(&repository, 1, &[]).unwrap();
    let point = store(&run, &disk, None).unwrap();
    files.fail(Fault {
        call: Call::SyncFolder,
        path: Some(Path::new(PLACE).join("point")),
        after: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    run.commit(point.clone()).unwrap_err();
    if run.commit(point).is_ok() {
        book.promise(What::Point(1));
    }
    drop(run);
    book.promise(What::Opens);
    book.close()
}

/// An object of the same name and bytes was linked by a process that was killed before the name was durable.
pub(crate) fn same_upload() -> Recorded {
    const NAME: &str = "index/name";
    let files = SimFiles::new();
    let mut book = Book::new(&files);
    drop(create(&files).unwrap());
    let upload = |files: &SimFiles| -> Result<(), std::io::Error> {
        let storage = LocalStorage::open_on(Arc::new(files.clone()), PLACE).unwrap();
        let mut upload = storage.begin("owner")?;
        upload.append(b"bytes")?;
        upload.finish(NAME)
    };
    // It creates a file and perhaps folders, writes, syncs, links: all but the last sync.
    let mut ops = 0;
    let path = Path::new(PLACE).join(NAME);
    while files.open_to_read(&path).is_err() {
        ops += 1;
        let _ = upload(&files.killed_after(files.ops() + ops)); // killed
    }
    upload(&files).unwrap();
    book.promise(What::Object(NAME, b"bytes"));
    book.close()
}
