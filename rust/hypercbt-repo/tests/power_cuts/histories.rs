//! What is done to a repository before power goes, and what is promised when.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;
use hypercbt_powercut::{Call, Fault, History, SimFiles};
use hypercbt_repo::{
    DamagedPlace, LocalStorage, RecordKind, Repository, RestorePoint, Result, RunId, Storage,
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
}

impl Book {
    fn new(files: &SimFiles) -> Self {
        Self {
            files: files.clone(),
            promises: Vec::new(),
            disks: BTreeMap::new(),
            newest: None,
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

    fn close(self) -> Recorded {
        // A promise holds from its operation on; what is being deleted may be gone one later.
        let changes = self.promises.iter().flat_map(|(at, _)| [*at, at + 1]);
        Recorded {
            history: self.files.history().with_promises(changes),
            promises: self.promises,
            disks: self.disks,
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
    book.close()
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
