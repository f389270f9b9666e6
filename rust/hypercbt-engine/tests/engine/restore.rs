//! Out of the repository again: into files, whole or not at all, and at any place without a file.

use std::{ops::ControlFlow, path::Path};

use hypercbt_engine::{
    DiskFormat, Error, Observer, PointDiskReader, Progress, RestoreStats, Silent, Target, Wanted,
};
use hypercbt_extent::{DiskOffset, Extent};
use hypercbt_repo::{Error as RepoError, RecordKind, RestorePoint};
use hypercbt_vhdx::{Guid, OpenOptions, VirtualDisk};
use proptest::prelude::*;

use crate::support::{CHUNK, FakeDisk, Lab, noise, target};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn into(lab: &Lab, point: &RestorePoint, target: Target) -> Result<RestoreStats, Error> {
    lab.restore(point, target, &mut Silent)
}

/// Calls a function at every report, and goes on or not as it says.
struct Watch<F>(F);

impl<F: FnMut(Progress) -> ControlFlow<()>> Observer for Watch<F> {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        (self.0)(progress)
    }
}

fn one_point() -> (Lab, RestorePoint, Vec<u8>, tempfile::TempDir) {
    let mut lab = Lab::new();
    lab.pack_bytes = 2 * CHUNK;
    let source = FakeDisk::of(&[1, 0, 2, 3, 1, 1, 0, 4, 5]);
    let point = lab.full(&source);
    (lab, point, source.bytes(), tempfile::tempdir().unwrap())
}

#[test]
fn a_chunk_that_stands_at_many_places_is_read_once_and_holes_stay_holes() {
    let (lab, point, bytes, folder) = one_point();
    let path = folder.path().join("disk.raw");
    let stats = into(&lab, &point, target(&path, DiskFormat::Raw)).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(names(folder.path()), ["disk.raw"]);
    assert_eq!(stats.disk_bytes, 9 * CHUNK);
    assert_eq!(stats.written_bytes, 7 * CHUNK);
    let stored: u64 = lab
        .records()
        .iter()
        .filter(|(_, entry)| entry.kind == RecordKind::Chunk)
        .map(|(_, entry)| u64::from(entry.stored_len) + 96)
        .sum();
    assert_eq!(stats.read_bytes, stored);
    let read_back = VirtualDisk::open_raw(&path).unwrap();
    assert!(read_back.allocated().total().0 <= 7 * CHUNK);
}

#[test]
fn vhdx_and_raw_hold_the_same_bytes_whatever_the_length_of_the_disk() {
    for len in [512, CHUNK, 3 * CHUNK + 1536, 40 * CHUNK - 512] {
        let source = FakeDisk::new(len);
        source.write(0, &noise(1, 512));
        source.write(len - 512, &noise(2, 512));
        let mut lab = Lab::new();
        let point = lab.full(&source);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.vhdx");
        into(&lab, &point, target(&path, DiskFormat::Vhdx)).unwrap();
        let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(disk.size().0, len);
        assert_eq!(disk.disk_id(), Some(Guid([3; 16]))); // the raw disk had none
        let mut bytes = vec![0xEE; len as usize];
        disk.read_at(DiskOffset(0), &mut bytes).unwrap();
        assert!(bytes == source.bytes(), "{len}");
        assert!(lab.restored(&point).unwrap() == source.bytes(), "{len}");
    }
}

#[test]
fn a_vhdx_keeps_its_identity_and_blocks_unless_it_is_to_be_a_clone() {
    let (mut lab, point, bytes, folder) = one_point();
    let first = folder.path().join("first.vhdx");
    into(&lab, &point, target(&first, DiskFormat::Vhdx)).unwrap();
    let disk = VirtualDisk::open(&first, &OpenOptions::default()).unwrap();
    let point = lab
        .run(&disk, Wanted::Full, |request| {
            request.machine = "file:first".to_owned();
        })
        .unwrap()
        .point;
    for (new_disk_id, expected) in [(false, Guid([3; 16])), (true, Guid([9; 16]))] {
        let path = folder.path().join(format!("{new_disk_id}.vhdx"));
        let mut target = target(&path, DiskFormat::Vhdx);
        target.guids = [Guid([7; 16]), Guid([8; 16]), Guid([9; 16])];
        target.new_disk_id = new_disk_id;
        into(&lab, &point, target).unwrap();
        let copy = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(copy.disk_id(), Some(expected));
        assert_eq!(copy.block_bytes(), disk.block_bytes());
        let mut read = vec![0xEE; bytes.len()];
        copy.read_at(DiskOffset(0), &mut read).unwrap();
        assert!(read == bytes);
    }
}

#[test]
fn a_disk_of_zeros_restores_to_a_hole() {
    let mut lab = Lab::new();
    let point = lab.full(&FakeDisk::new(5 * CHUNK));
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("a.raw", DiskFormat::Raw), ("a.vhdx", DiskFormat::Vhdx)] {
        let path = folder.path().join(name);
        let stats = into(&lab, &point, target(&path, format)).unwrap();
        assert_eq!((stats.written_bytes, stats.read_bytes), (0, 0));
        let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(disk.size().0, 5 * CHUNK);
    }
}

#[test]
fn a_target_that_exists_is_refused_and_left_alone() {
    let (lab, point, _, folder) = one_point();
    let path = folder.path().join("disk.raw");
    std::fs::write(&path, "precious").unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Vhdx] {
        // At once, and not when all the work is done.
        let mut watch = Watch(|_| panic!("something was restored"));
        let error = lab
            .restore(&point, target(&path, format), &mut watch)
            .unwrap_err();
        assert!(matches!(&error, Error::TargetExists { path: found } if *found == path));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(names(folder.path()), ["disk.raw"]);
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_target_that_exists() {
    let (lab, point, _, folder) = one_point();
    let path = folder.path().join("disk.raw");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    let error = into(&lab, &point, target(&path, DiskFormat::Raw)).unwrap_err();
    assert!(matches!(error, Error::TargetExists { .. }), "{error:?}");
    assert_eq!(names(folder.path()), ["disk.raw"]);
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let (lab, point, _, folder) = one_point();
    let path = folder.path().join("disk.raw");
    let mut watch = Watch(|_| {
        std::fs::write(&path, "somebody else's").unwrap();
        ControlFlow::Continue(())
    });
    let error = lab
        .restore(&point, target(&path, DiskFormat::Raw), &mut watch)
        .unwrap_err();
    assert!(matches!(error, Error::TargetExists { .. }), "{error:?}");
    assert_eq!(names(folder.path()), ["disk.raw"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody else's");
}

#[test]
fn overwriting_replaces_the_file_at_the_end_and_at_once() {
    let (lab, point, bytes, folder) = one_point();
    let path = folder.path().join("disk.raw");
    std::fs::write(&path, "old").unwrap();
    let mut target = target(&path, DiskFormat::Raw);
    target.overwrite = true;
    let mut looks = 0;
    let mut watch = Watch(|_| {
        looks += 1;
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        ControlFlow::Continue(())
    });
    lab.restore(&point, target.clone(), &mut watch).unwrap();
    assert!(looks > 0);
    assert!(std::fs::read(&path).unwrap() == bytes);
    // Where there is nothing to overwrite it is no different.
    std::fs::remove_file(&path).unwrap();
    into(&lab, &point, target).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(names(folder.path()), ["disk.raw"]);
}

#[test]
fn a_restore_that_fails_or_is_stopped_leaves_no_file_and_keeps_the_old_one() {
    let (lab, point, _, folder) = one_point();
    let (pack, entry) = lab
        .records()
        .into_iter()
        .rfind(|(_, entry)| entry.kind == RecordKind::Chunk)
        .unwrap();
    let damaged = lab.fork();
    damaged.damage(pack, &entry, 200);
    for format in [DiskFormat::Raw, DiskFormat::Vhdx] {
        let new = folder.path().join("new");
        let error = into(&damaged, &point, target(&new, format)).unwrap_err();
        assert!(
            matches!(error, Error::Repository(RepoError::ChunkLost { id }) if id.0 == entry.id),
            "{error:?}"
        );
        let mut stop = Watch(|_| ControlFlow::Break(()));
        let error = lab
            .restore(&point, target(&new, format), &mut stop)
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        assert_eq!(names(folder.path()), [""; 0]);

        let old = folder.path().join("old");
        std::fs::write(&old, "old").unwrap();
        let mut over = target(&old, format);
        over.overwrite = true;
        into(&damaged, &point, over.clone()).unwrap_err();
        lab.restore(&point, over, &mut stop).unwrap_err();
        assert_eq!(names(folder.path()), ["old"]);
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        std::fs::remove_file(&old).unwrap();
    }
}

#[test]
fn a_target_that_cannot_be_made_is_a_typed_error_and_leaves_nothing() {
    let (lab, point, _, folder) = one_point();
    let missing = folder.path().join("no/such/folder/disk.raw");
    let error = into(&lab, &point, target(&missing, DiskFormat::Raw)).unwrap_err();
    assert!(matches!(error, Error::WriteDisk(_)), "{error:?}");
    // Larger than any file can be.
    let mut huge = point.clone();
    huge.disks[0].size = i64::MAX as u64 / 512 * 512;
    huge.disks[0].root = None;
    for format in [DiskFormat::Raw, DiskFormat::Vhdx] {
        let path = folder.path().join("huge");
        let error = into(&lab, &huge, target(&path, format)).unwrap_err();
        assert!(matches!(error, Error::WriteDisk(_)), "{error:?}");
    }
    let error = into(&lab, &point, target(Path::new("/"), DiskFormat::Raw)).unwrap_err();
    assert!(
        matches!(error, Error::Target { .. } | Error::TargetExists { .. }),
        "{error:?}"
    );
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_folder_that_goes_away_meanwhile_fails_the_restore() {
    let (lab, point, _, folder) = one_point();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let mut watch = Watch(|_| {
        let _ = std::fs::remove_dir_all(&inside);
        ControlFlow::Continue(())
    });
    let error = lab
        .restore(
            &point,
            target(&inside.join("disk.raw"), DiskFormat::Raw),
            &mut watch,
        )
        .unwrap_err();
    assert!(matches!(error, Error::Target { .. }), "{error:?}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_point_says_that_it_has_no_such_disk() {
    let (lab, point, _, folder) = one_point();
    let mut other = point.clone();
    other.disks[0].index = 1;
    let path = folder.path().join("disk.raw");
    let error = into(&lab, &other, target(&path, DiskFormat::Raw)).unwrap_err();
    assert!(
        matches!(error, Error::NoSuchDisk { point: found, index: 0 } if found == point.id),
        "{error:?}"
    );
    assert!(PointDiskReader::open(&lab.repository, &point, 1).is_err());
}

#[test]
fn reports_never_go_back_and_end_with_everything_done() {
    let (lab, point, _, folder) = one_point();
    let mut seen = Vec::new();
    let mut watch = Watch(|progress: Progress| {
        seen.push((progress.done_bytes, progress.total_bytes));
        ControlFlow::Continue(())
    });
    let path = folder.path().join("disk.raw");
    lab.restore(&point, target(&path, DiskFormat::Raw), &mut watch)
        .unwrap();
    assert_eq!(seen.last(), Some(&(7 * CHUNK, 7 * CHUNK)));
    assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0));
}

#[test]
fn a_read_that_reaches_past_the_end_is_refused_and_an_empty_one_at_the_end_is_not() {
    let (lab, point, bytes, _folder) = one_point();
    let reader = PointDiskReader::open(&lab.repository, &point, 0).unwrap();
    let len = bytes.len() as u64;
    assert_eq!(reader.size(), len);
    let mut two = [0xEE; 2];
    for at in [len - 1, len, len + 1, u64::MAX] {
        let error = reader.read_at(at, &mut two).unwrap_err();
        assert!(
            matches!(error, Error::OutOfRange { at: found, len: 2, disk_len }
                if found == at && disk_len == len),
            "{error:?}"
        );
    }
    assert_eq!(two, [0xEE; 2]);
    reader.read_at(len, &mut []).unwrap();
    reader.read_at(len - 2, &mut two).unwrap();
    assert_eq!(two, bytes[bytes.len() - 2..]);
}

#[test]
fn data_is_where_chunks_are_and_nowhere_else() {
    let (lab, point, _, _folder) = one_point();
    let reader = PointDiskReader::open(&lab.repository, &point, 0).unwrap();
    let data = |from: u64, to: u64| {
        let found = reader.data(Extent::between(DiskOffset(from), DiskOffset(to)).unwrap());
        let rows = |extent: Extent| (extent.start().0, extent.end().0);
        found.unwrap().iter().map(rows).collect::<Vec<_>>()
    };
    let whole = [(0, CHUNK), (2 * CHUNK, 6 * CHUNK), (7 * CHUNK, 9 * CHUNK)];
    assert_eq!(data(0, 9 * CHUNK), whole);
    let cut = [(5, CHUNK), (2 * CHUNK, 2 * CHUNK + 1)];
    assert_eq!(data(5, 2 * CHUNK + 1), cut);
    assert_eq!(data(CHUNK, 2 * CHUNK), []);
}

#[test]
fn many_threads_read_one_point_at_once() {
    let (lab, point, bytes, _folder) = one_point();
    let reader = PointDiskReader::open(&lab.repository, &point, 0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (reader, bytes) = (&reader, &bytes);
            scope.spawn(move || {
                for at in (thread * 777..bytes.len() - 5000).step_by(40_000) {
                    let mut part = vec![0; 5000];
                    reader.read_at(at as u64, &mut part).unwrap();
                    assert!(part == bytes[at..at + 5000]);
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_part_of_a_point_reads_as_the_disk_did(
        reads in proptest::collection::vec((0..5 * CHUNK + 1024, 0..3 * CHUNK), 1..8),
    ) {
        let source = FakeDisk::new(5 * CHUNK + 1024);
        source.write(100 * 512, &noise(1, 2 * CHUNK));
        source.write(5 * CHUNK, &noise(2, 1024));
        let mut lab = Lab::new();
        let point = lab.full(&source);
        let bytes = source.bytes();
        let reader = PointDiskReader::open(&lab.repository, &point, 0).unwrap();
        for (at, len) in reads {
            let end = (at + len).min(bytes.len() as u64);
            let mut part = vec![0xEE; (end - at) as usize];
            reader.read_at(at, &mut part).unwrap();
            prop_assert!(part == bytes[at as usize..end as usize]);
        }
    }
}
