//! What must hold of a repository after a power cut.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hypercbt_powercut::SimFiles;
use hypercbt_repo::{
    ChunkId, Error, LocalStorage, Outcome, RecordKind, Repository, RestorePoint, RunId, Storage,
    View, tree::TreeReader,
};

use crate::histories::{Recorded, What};
use crate::workload::{Disk, PLACE, begin, chunk, id, open, run_id, store};

/// What runs after a cut are numbered from.
const NEXT: u8 = 200;
/// After so many states there is one: it takes as long as all the rest.
const RUN_EVERY: u128 = 4;
/// What they back up: known chunks, and one that nobody has.
const NEXT_DISK: Disk = [1, 2, 77, 3];

thread_local! {
    /// Chunks and their ids, for there are few.
    static CHUNKS: RefCell<HashMap<u64, Chunk>> = RefCell::default();
}

/// A chunk's id and bytes.
type Chunk = (ChunkId, Arc<Vec<u8>>);

fn known(number: u64) -> Chunk {
    CHUNKS.with_borrow_mut(|chunks| {
        let new = || (id(number).unwrap(), Arc::new(chunk(number)));
        chunks.entry(number).or_insert_with(new).clone()
    })
}

fn wrong<T>(what: &str) -> impl FnOnce(Error) -> Result<T, String> {
    move |error| Err(format!("{what}: {error}, {error:?}"))
}

/// Everything; then one more run, and everything again.
pub(crate) fn check(recorded: &Recorded, at: usize, files: &SimFiles) -> Result<(), String> {
    let promised: Vec<_> = recorded
        .promises
        .iter()
        .filter(|(from, _)| *from <= at)
        .map(|(from, what)| (*from, what))
        .collect();
    let opens = promised
        .iter()
        .any(|(_, what)| matches!(what, What::Opens | What::Point(_)));
    for (_, what) in &promised {
        if let What::Object(name, bytes) = what {
            check_object(files, name, bytes)?;
        }
    }
    let repository = match open(files) {
        Ok(repository) => repository,
        Err(Error::NotARepository { .. }) if !opens => return Ok(()),
        Err(error) => return wrong("does not open")(error),
    };
    let mut disks = recorded.disks.clone();
    let next = (NEXT..=u8::MAX).find(|&number| {
        disks.insert(run_id(number), NEXT_DISK);
        repository
            .storage()
            .len(&format!("lease/{}", run_id(number)))
            .is_err()
    });
    let next = next.ok_or("no number for the next run")?;
    let mut read = BTreeSet::new();
    let points = check_points(&repository, &disks, &mut read)?;
    check_promises(&repository, &promised, at, &points)?;
    check_proofs(&repository, &recorded.dead, &points)?;
    if !files.now().digest().is_multiple_of(RUN_EVERY) {
        return Ok(());
    }
    run_again(&repository, next, &points, &disks).or_else(wrong("the next run"))??;
    let points = check_points(&repository, &disks, &mut read)?;
    if points.contains(&run_id(next)) {
        Ok(())
    } else {
        Err("the next run's point is not there".into())
    }
}

fn check_object(files: &SimFiles, name: &str, bytes: &[u8]) -> Result<(), String> {
    let read = || {
        let storage = LocalStorage::open_on(Arc::new(files.clone()), PLACE).ok()?;
        let mut found = vec![0; bytes.len()];
        storage.read_exact_at(name, &mut found, 0).ok()?;
        (found == bytes).then_some(())
    };
    read().ok_or_else(|| format!("{name} is lost"))
}

/// Whatever is there is whole; chunks are `read` once. Gives the restore points.
fn check_points(
    repository: &Repository,
    disks: &BTreeMap<RunId, Disk>,
    read: &mut BTreeSet<ChunkId>,
) -> Result<BTreeSet<RunId>, String> {
    let (points, damaged) = repository.points_with_damage().or_else(wrong("points"))?;
    let files = repository.damaged_files().or_else(wrong("files"))?;
    if let Some(error) = damaged.into_iter().chain(files).next() {
        return Err(format!("damaged: {error}"));
    }
    let view = repository.view().or_else(wrong("view"))?;
    if let Some(problem) = view.problems().first() {
        return Err(format!("a problem: {problem}"));
    }
    for point in &points {
        let disk = disks.get(&point.id).ok_or("a point of nobody")?;
        check_point(&view, point, disk, read)
            .map_err(|why| format!("point {}: {why}", point.id))?;
        let lease = format!("lease/{}", point.id);
        repository
            .storage()
            .len(&lease)
            .map_err(|error| format!("{lease}: {error}"))?;
    }
    let points: BTreeSet<_> = points.iter().map(|point| point.id).collect();
    let baselines = repository
        .storage()
        .list("baseline")
        .map_err(|error| error.to_string())?;
    for (name, _) in baselines {
        let of = name.rsplit('/').next().and_then(|id| id.parse().ok());
        if of.is_none_or(|of| !points.contains(&of)) {
            return Err(format!("{name} without its point"));
        }
    }
    Ok(points)
}

/// A restore point is what was backed up, and all that it refers to is indexed.
fn check_point(
    view: &View,
    point: &RestorePoint,
    disk: &Disk,
    read: &mut BTreeSet<ChunkId>,
) -> Result<(), String> {
    let root = point.disks.first().and_then(|disk| disk.root);
    let mut found = [None; 4];
    for leaf in TreeReader::new(view, root, 4).leaves(0..4) {
        for (at, id) in leaf.or_else(wrong("tree"))?.present() {
            let place = usize::try_from(at).ok().and_then(|at| found.get_mut(at));
            *place.ok_or("too many chunks")? = Some(id);
        }
    }
    let index = |kind, id| view.index().lookup(kind, &[id]).or_else(wrong("index"));
    if let Some(root) = root
        && index(RecordKind::Node, root.0)?.of(0).is_empty()
    {
        return Err("the root is not indexed".into());
    }
    for (&number, found) in disk.iter().zip(found) {
        if number == 0 {
            if found.is_some() {
                return Err("a chunk in place of zeros".into());
            }
            continue;
        }
        let (id, bytes) = known(number);
        if found != Some(id) {
            return Err(format!("another chunk than {number}"));
        }
        if index(RecordKind::Chunk, id.0)?.of(0).is_empty() {
            return Err(format!("chunk {number} is not indexed"));
        }
        if read.insert(id) && view.chunk(id).or_else(wrong("chunk"))? != *bytes {
            return Err(format!("other bytes in chunk {number}"));
        }
    }
    Ok(())
}

fn check_promises(
    repository: &Repository,
    promised: &[(usize, &What)],
    at: usize,
    points: &BTreeSet<RunId>,
) -> Result<(), String> {
    let goes = |number| {
        let mut all = promised.iter();
        all.any(|&(from, what)| matches!(what, What::Deleting(n) if *n == number && from < at))
    };
    for (_, what) in promised {
        match what {
            What::Point(number) if !goes(*number) && !points.contains(&run_id(*number)) => {
                return Err(format!("point {number} was committed and is lost"));
            }
            What::Baseline(number) if !goes(*number) => {
                let found = repository
                    .baseline(run_id(*number))
                    .or_else(wrong("baseline"))?;
                found.ok_or_else(|| format!("baseline {number} is lost"))?;
            }
            What::Deleted(number) if points.contains(&run_id(*number)) => {
                return Err(format!("point {number} was deleted and is back"));
            }
            What::Fenced(number) if !is_fenced(repository, *number, points) => {
                return Err(format!("run {number} was fenced and is not any more"));
            }
            What::Closed(number) => {
                let outcome = repository
                    .outcome(run_id(*number))
                    .or_else(wrong("closed"))?;
                outcome.ok_or_else(|| format!("the lease of {number} was closed and is open"))?;
            }
            What::Void(number) => {
                let name = format!("void/{}", run_id(*number));
                let stands = repository.storage().len(&name).is_ok();
                let (voids, unreadable) = repository.voids().or_else(wrong("voids"))?;
                if !stands || voids.len() != 1 || !unreadable.is_empty() {
                    return Err(format!("void {number} is lost"));
                }
            }
            What::Damage(place) => {
                let list = repository.damage().or_else(wrong("damage"))?;
                if !list.places().contains(place) {
                    return Err("a place is not on the damage list any more".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_fenced(repository: &Repository, number: u8, points: &BTreeSet<RunId>) -> bool {
    let name = format!("point/{}", run_id(number));
    repository.storage().len(&name).is_ok() && !points.contains(&run_id(number))
}

/// A lease that somebody else has closed has its proof beside it.
fn check_proofs(
    repository: &Repository,
    dead: &[u8],
    points: &BTreeSet<RunId>,
) -> Result<(), String> {
    for &number in dead {
        let outcome = repository
            .outcome(run_id(number))
            .or_else(wrong("closed"))?;
        let proven = match outcome {
            Some(Outcome::Aborted) => is_fenced(repository, number, points),
            Some(Outcome::Committed) => points.contains(&run_id(number)),
            None => true,
        };
        if !proven {
            return Err(format!("the lease of {number} is closed without a proof"));
        }
    }
    Ok(())
}

/// Backs up once more. What restore points have is not stored again.
fn run_again(
    repository: &Repository,
    next: u8,
    points: &BTreeSet<RunId>,
    disks: &BTreeMap<RunId, Disk>,
) -> Result<Result<(), String>, Error> {
    let damage = repository.damage()?;
    let mut run = begin(repository, next, &[])?;
    let stored: BTreeSet<u64> = points
        .iter()
        .filter_map(|point| disks.get(point))
        .flatten()
        .copied()
        .filter(|&number| number != 0)
        .collect();
    for number in stored {
        let (id, _) = known(number);
        // Of those, what is damaged at one place may be known at another.
        let damaged = damage.places().iter().any(|place| place.id == id.0);
        if !damaged && run.claim(&[id])? == [true] {
            return Ok(Err(format!("chunk {number} would be stored twice")));
        }
    }
    let point = store(&run, &NEXT_DISK, None)?;
    run.commit(point)?;
    run.close()?;
    Ok(Ok(()))
}
