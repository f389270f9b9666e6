//! Runs and what they leave: commits, fences, baselines, packs and segments.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex},
};

use common::*;
use hypercbt_repo::{
    Baseline, ChunkId, Error, Fence, LocalStorage, MemoryStorage, RecordKind, Repository,
    RunOptions, Storage, Timestamp, codec, pack, tree::Node,
};

#[test]
fn what_is_backed_up_is_restored() {
    let (_, repository) = in_memory();
    let first = backup(&repository, 1, &DISK, &[]).unwrap();
    let second = backup(&repository, 2, &LATER, &[&first]).unwrap();
    assert_eq!(restore(&repository, &first).unwrap(), bytes(&DISK));
    assert_eq!(restore(&repository, &second).unwrap(), bytes(&LATER));
    assert_eq!(repository.points().unwrap(), [second, first]);
}

#[test]
fn a_folder_holds_a_repository_as_well_as_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    let first = backup(
        &create(Arc::new(LocalStorage::create(&place).unwrap())),
        1,
        &DISK,
        &[],
    )
    .unwrap();
    let storage = LocalStorage::open(&place).unwrap();
    assert_eq!(names(&storage, "tmp"), [""; 0]);
    let repository = open(storage);
    assert_eq!(repository.points().unwrap(), std::slice::from_ref(&first));
    assert_eq!(restore(&repository, &first).unwrap(), bytes(&DISK));
    let again = Repository::create(
        Arc::new(LocalStorage::open(&place).unwrap()),
        "here",
        &hypercbt_repo::CreateOptions {
            chunk_bytes: 1 << 20,
            id: repository.id(),
            created: Timestamp(0),
        },
    );
    assert!(matches!(again, Err(Error::AlreadyExists { place }) if place == "here"));
}

#[test]
fn no_config_is_no_repository() {
    let opened = Repository::open(Arc::new(MemoryStorage::new()), "there");
    assert!(matches!(opened, Err(Error::NotARepository { place }) if place == "there"));
}

#[test]
fn a_run_with_nothing_new_writes_no_pack_and_no_segment() {
    let (storage, repository) = in_memory();
    let first = backup(&repository, 1, &DISK, &[]).unwrap();
    let before = (names(&storage, "pack"), names(&storage, "index"));
    let second = backup(&repository, 2, &DISK, &[&first]).unwrap();
    assert_eq!((names(&storage, "pack"), names(&storage, "index")), before);
    assert_eq!(second.disks[0].root, first.disks[0].root);
}

#[test]
fn of_many_threads_one_is_told_to_store_a_chunk() {
    let (_, repository) = in_memory();
    let run = repository.begin(options(1, &[])).unwrap();
    let ids: Vec<_> = (0..40_u8).map(|number| ChunkId([number; 32])).collect();
    let claims: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| run.claim(&ids).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for number in 0..ids.len() {
        assert_eq!(claims.iter().filter(|claim| claim[number]).count(), 1);
    }
}

#[test]
fn threads_that_store_the_same_disk_store_each_chunk_once() {
    let (storage, repository) = in_memory();
    let run = repository.begin(options(1, &[])).unwrap();
    let disk: Vec<u64> = (1..40).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| store(&run, &disk).unwrap());
        }
    });
    run.flush().unwrap();
    let stats = run.stats();
    assert_eq!(stored_chunks(&storage).len(), 39);
    assert_eq!(stats.stored_bytes, 39 * CHUNK as u64);
    assert_eq!(
        (stats.packs, stats.segments),
        (
            names(&storage, "pack").len() as u64,
            names(&storage, "index").len() as u64
        )
    );
    let written = ["pack", "index"]
        .iter()
        .flat_map(|folder| storage.list(folder).unwrap());
    assert_eq!(
        stats.stored_bytes + stats.metadata_bytes,
        written.map(|(_, len)| len).sum::<u64>()
    );
}

#[test]
fn a_run_is_not_committed_while_a_claimed_chunk_is_not_stored() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    assert_eq!(run.claim(&[ChunkId([1; 32])]).unwrap(), [true]);
    let point = store(&run, &DISK).unwrap();
    assert!(matches!(
        run.commit(point),
        Err(Error::Unstored { chunks: 1 })
    ));
    assert_eq!(repository.points().unwrap(), []);
}

#[test]
fn a_point_without_the_root_of_its_disk_is_not_committed() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let mut point = store(&run, &DISK).unwrap();
    point.disks[0].root = Some(hypercbt_repo::NodeId([1; 32]));
    assert!(matches!(run.commit(point), Err(Error::NodeLost { .. })));
    assert_eq!(repository.points().unwrap(), []);
}

#[test]
fn a_fenced_run_makes_no_point_and_a_committed_one_is_not_fenced() {
    let (storage, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let point = store(&run, &DISK).unwrap();
    assert_eq!(
        repository.fence(run_id(1), Timestamp(5)).unwrap(),
        Fence::Fenced
    );
    assert_eq!(
        repository.fence(run_id(1), Timestamp(6)).unwrap(),
        Fence::Fenced
    );
    assert!(matches!(run.commit(point), Err(Error::Fenced { id }) if id == run_id(1)));
    run.abort().unwrap();
    assert_eq!(repository.points().unwrap(), []);
    assert!(matches!(
        repository.point(run_id(1)),
        Err(Error::PointNotFound { .. })
    ));

    let second = backup(&repository, 2, &DISK, &[]).unwrap();
    assert_eq!(
        repository.fence(run_id(2), Timestamp(7)).unwrap(),
        Fence::Committed
    );
    assert_eq!(repository.points().unwrap(), [second]);
    assert_eq!(names(&storage, "closed").len(), 2);
}

type Hook = Box<dyn FnOnce() + Send>;

/// Makes a restore point and says that it was there already, as NFS can; and does something once, in the middle
/// of a look into the index.
#[derive(Clone, Default)]
struct Odd {
    inner: MemoryStorage,
    repeats_commits: bool,
    at_next_look: Arc<Mutex<Option<Hook>>>,
}

impl Storage for Odd {
    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.inner.create_exclusive(name, bytes)?;
        if self.repeats_commits && name.starts_with("point/") {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }
    fn begin(&self, owner: &str) -> io::Result<Box<dyn hypercbt_repo::Upload>> {
        self.inner.begin(owner)
    }
    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let hook = name
            .starts_with("index/")
            .then(|| self.at_next_look.lock().unwrap().take());
        if let Some(hook) = hook.flatten() {
            hook();
        }
        self.inner.read_exact_at(name, buf, offset)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.inner.len(name)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.inner.list(folder)
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        self.inner.remove_unfinished(owner)
    }
}

#[test]
fn a_commit_whose_answer_was_lost_and_that_is_repeated_is_a_commit() {
    let storage = Odd {
        repeats_commits: true,
        ..Odd::default()
    };
    let repository = create(Arc::new(storage));
    let point = backup(&repository, 1, &DISK, &[]).unwrap();
    assert_eq!(repository.points().unwrap(), [point]);
}

#[test]
fn a_chunk_that_is_indexed_in_the_middle_of_a_look_up_is_not_stored_twice() {
    let storage = Odd::default();
    let repository = create(Arc::new(storage.clone()));
    backup(&repository, 1, &DISK, &[]).unwrap();
    let run = Arc::new(repository.begin(options(2, &[])).unwrap());
    let [known, new] = [1, 50]
        .map(chunk)
        .map(|bytes| (codec::chunk_id(&bytes), bytes));
    assert_eq!(run.claim(&[new.0]).unwrap(), [true]);

    let (other, id) = (Arc::clone(&run), new.0);
    *storage.at_next_look.lock().unwrap() = Some(Box::new(move || {
        let record = codec::Encoder::new(1).encode_chunk(id, &new.1);
        other.append(vec![record]).unwrap();
        other.flush().unwrap();
    }));
    // The known one makes it read the index; meanwhile the new one leaves what is pending.
    assert_eq!(run.claim(&[known.0, id]).unwrap(), [false, false]);
    assert_eq!(run.stats().segments, 1, "the look was interrupted");
}

#[test]
fn a_baseline_needs_its_restore_point() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let baseline = |number| Baseline {
        point: run_id(number),
        created: Timestamp(1),
        reference_point: "a\"b".to_owned(),
        disks: Vec::new(),
    };
    assert!(matches!(
        run.add_baseline(&baseline(1)),
        Err(Error::PointNotFound { .. })
    ));
    let point = store(&run, &DISK).unwrap();
    run.commit(point).unwrap();
    assert!(matches!(
        run.add_baseline(&baseline(2)),
        Err(Error::PointNotFound { .. })
    ));
    run.add_baseline(&baseline(1)).unwrap();
    run.close().unwrap();
    assert_eq!(repository.baseline(run_id(1)).unwrap(), Some(baseline(1)));
    assert_eq!(repository.baseline(run_id(2)).unwrap(), None);
    repository.delete_point(run_id(1)).unwrap();
    assert_eq!(repository.baseline(run_id(1)).unwrap(), None);
}

#[test]
fn a_run_on_a_base_that_is_not_there_leaves_no_lease() {
    let (storage, repository) = in_memory();
    let first = backup(&repository, 1, &DISK, &[]).unwrap();
    repository.delete_point(first.id).unwrap();
    assert!(matches!(
        repository.begin(options(2, &[&first])),
        Err(Error::PointNotFound { .. })
    ));
    assert_eq!(names(&storage, "lease").len(), 1);
}

#[test]
fn an_aborted_run_leaves_what_it_finished_to_the_next_one() {
    let (storage, repository) = in_memory();
    let run = repository.begin(options(1, &[])).unwrap();
    store(&run, &DISK).unwrap();
    run.abort().unwrap();
    assert_eq!(repository.points().unwrap(), []);
    let left = stored_chunks(&storage);
    assert_eq!(left.len(), 6, "six of seven chunks fill packs");
    let point = backup(&repository, 2, &DISK, &[]).unwrap();
    assert_eq!(stored_chunks(&storage).len(), 7);
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
}

#[test]
fn a_run_that_is_dropped_is_aborted_and_its_temporary_files_go() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    let repository = create(Arc::new(LocalStorage::create(&place).unwrap()));
    let run = repository.begin(options(1, &[])).unwrap();
    store(&run, &DISK).unwrap();
    let storage = Arc::clone(repository.storage());
    assert!(!names(&*storage, "tmp").is_empty(), "the open pack");
    drop(run);
    assert_eq!(names(&*storage, "tmp"), [""; 0]);
    assert_eq!(names(&*storage, "closed").len(), 1);
    assert_eq!(names(&*storage, "index").len(), 2);
}

#[test]
fn nodes_that_were_just_put_can_be_read_before_and_after_they_are_packed() {
    let (_, repository) = in_memory();
    let run = repository.begin(options(1, &[])).unwrap();
    let root = store(&run, &DISK).unwrap().disks[0].root.unwrap();
    assert_eq!(codec::node_id(&run.node_bytes(root).unwrap()), root);
    assert_eq!(
        run.view().places(RecordKind::Node, &[root.0]).unwrap(),
        [None]
    );
    run.flush().unwrap();
    assert_eq!(codec::node_id(&run.node_bytes(root).unwrap()), root);
    assert!(run.view().places(RecordKind::Node, &[root.0]).unwrap()[0].is_some());
    run.put_node(root, run.node_bytes(root).unwrap()).unwrap();
    let packs = run.stats().packs;
    run.flush().unwrap();
    assert_eq!(run.stats().packs, packs, "a known node is not stored again");
}

/// The kinds of the records in each pack.
fn kinds(storage: &dyn Storage) -> HashSet<Vec<RecordKind>> {
    let packs = storage.list("pack").unwrap();
    let kinds = packs.iter().map(|(name, len)| {
        let pack = name.rsplit('/').next().unwrap().parse().unwrap();
        let entries = pack::read_footer(storage, pack, *len).unwrap();
        let mut kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
        kinds.dedup();
        kinds
    });
    kinds.collect()
}

#[test]
fn few_nodes_share_the_pack_of_chunks_and_many_have_their_own() {
    let (chunk, node) = (RecordKind::Chunk, RecordKind::Node);
    let large = |number| RunOptions {
        pack_bytes: 64 << 20,
        ..options(number, &[])
    };
    let (storage, repository) = in_memory();
    let run = repository.begin(large(1)).unwrap();
    store(&run, &DISK).unwrap();
    run.flush().unwrap();
    assert_eq!(kinds(&storage), HashSet::from([vec![chunk, node]]));

    let (storage, repository) = in_memory();
    let run = repository.begin(large(1)).unwrap();
    store(&run, &DISK).unwrap();
    let nodes: Vec<_> = (0..150_u8)
        .map(|number| {
            Node::new(1, vec![Some([number; 32]); 256])
                .unwrap()
                .encode()
        })
        .collect();
    for bytes in &nodes {
        run.put_node(codec::node_id(bytes), bytes.clone()).unwrap();
    }
    run.flush().unwrap();
    assert_eq!(kinds(&storage), HashSet::from([vec![chunk], vec![node]]));
    for bytes in &nodes {
        assert_eq!(
            run.view().node_bytes(codec::node_id(bytes)).unwrap(),
            *bytes
        );
    }
}

#[test]
fn segments_are_merged_when_there_are_many() {
    let (storage, repository) = in_memory();
    let mut last = None;
    for number in 1..20_u8 {
        let disk = [u64::from(number) + 100, 7];
        last = Some((backup(&repository, number, &disk, &[]).unwrap(), disk));
    }
    assert!(
        names(&storage, "index").len() < 10,
        "{}",
        names(&storage, "index").len()
    );
    let (point, disk) = last.unwrap();
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&disk));
    assert_eq!(repository.points().unwrap().len(), 19);
    for point in repository.points().unwrap() {
        restore(&repository, &point).unwrap();
    }
}
