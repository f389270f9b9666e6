//! The configuration files of a machine in its restore points.

use std::{io::Write, ops::ControlFlow, path::PathBuf};

use hypercbt_engine::{
    Error, MachineRun, Observer, PointDiskReader, Progress, Silent, VerifyScope, Wanted,
};
use hypercbt_repo::{RecordKind, RestorePoint};

use crate::support::{
    CHUNK, Chain, FakeClock, Lab,
    machine::{PLACES, read},
    noise,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A run that has read a disk of one chunk.
fn begun(lab: &mut Lab) -> MachineRun<FakeClock> {
    let disk = Chain::new(1, 1).open();
    let mut run = lab.begin(&[]);
    read(lab, &mut run, &disk, PLACES[0], Wanted::Full).unwrap();
    run
}

fn content(lab: &Lab, point: &RestorePoint, name: &str) -> Result<Vec<u8>, Error> {
    let reader = PointDiskReader::open_file(&lab.repository, point, name)?;
    let mut bytes = vec![0xEE; reader.size() as usize];
    reader.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn files_of_any_length_are_given_back_as_they_were() {
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let mut half = noise(3, CHUNK);
    half.resize(2 * CHUNK as usize + 5, 0);
    let files: [(&str, Vec<u8>); 6] = [
        ("empty.vmgs", Vec::new()),
        ("zeros.vmrs", vec![0; 3 * CHUNK as usize]),
        ("odd.vmcx", noise(1, 12_345)),
        ("whole.bin", noise(2, CHUNK)),
        ("half.bin", half),
        // More than is read at once, and more than one leaf of a tree.
        ("long.bin", noise(4, 70 * CHUNK + 1)),
    ];
    let mut run = begun(&mut lab);
    for (name, bytes) in &files {
        let stored = run
            .store_file(name, &folder.file(name, bytes), &mut Silent)
            .unwrap();
        assert_eq!((&*stored.name, stored.size), (*name, bytes.len() as u64));
    }
    let point = run.commit(None).unwrap();
    assert!(run.close().is_none());
    for (name, bytes) in &files {
        assert!(
            content(&lab, &point, name).unwrap() == *bytes,
            "{name} differs"
        );
    }
    let rootless: Vec<_> = point
        .files
        .iter()
        .filter(|f| f.root.is_none())
        .map(|f| &*f.name)
        .collect();
    assert_eq!(rootless, ["empty.vmgs", "zeros.vmrs"]);
    lab.assert_clean();
    lab.assert_stored_once();
    let error = content(&lab, &point, "other").unwrap_err();
    assert!(matches!(error, Error::NoSuchFile { .. }), "{error:?}");
}

#[test]
fn a_file_that_the_repository_holds_already_is_not_stored_again() {
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let path = folder.file("web01.vmcx", &noise(1, 3 * CHUNK));
    let mut before = Vec::new();
    for _ in 0..2 {
        let mut run = begun(&mut lab);
        run.store_file("web01.vmcx", &path, &mut Silent).unwrap();
        run.commit(None).unwrap();
        before.push(lab.stored("pack"));
    }
    assert_eq!(before[0], before[1]);
}

#[test]
fn damage_to_a_file_is_found_by_verification() {
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let mut run = begun(&mut lab);
    let path = folder.file("web01.vmcx", &noise(1, 100));
    run.store_file("web01.vmcx", &path, &mut Silent).unwrap();
    let point = run.commit(None).unwrap();
    drop(run);
    let mut plain = noise(1, 100);
    plain.resize(CHUNK as usize, 0);
    let id = hypercbt_repo::codec::chunk_id(&plain);
    let records = lab.records();
    let of_file = |(_, entry): &&(_, hypercbt_repo::IndexEntry)| {
        entry.kind == RecordKind::Chunk && entry.id == id.0
    };
    let (pack, entry) = records.iter().find(of_file).unwrap();
    lab.damage(*pack, entry, 60);
    let report = lab.verify(VerifyScope::All);
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(
        (report.damaged[0].lost, &report.damaged[0].points),
        (true, &vec![point.id])
    );
}

#[test]
fn a_name_that_no_point_can_hold_or_that_it_holds_already_is_refused_and_the_run_goes_on() {
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let path = folder.file("x", b"x");
    let mut run = begun(&mut lab);
    run.store_file("web01.vmcx", &path, &mut Silent).unwrap();
    for (name, expected) in [
        ("", false),
        ("a/b", false),
        ("..", false),
        ("WEB01.vmcx", true),
    ] {
        let error = run.store_file(name, &path, &mut Silent).unwrap_err();
        assert!(
            matches!(&error, Error::FileName { taken, .. } if *taken == expected),
            "{name}: {error:?}"
        );
    }
    assert_eq!(run.commit(None).unwrap().files.len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_or_changes_meanwhile_is_not_in_the_point_and_the_run_goes_on() {
    /// Writes to the file when the first part of it was read.
    struct Writer(PathBuf, bool);
    impl Observer for Writer {
        fn progress(&mut self, _: Progress) -> ControlFlow<()> {
            if !std::mem::replace(&mut self.1, true) {
                let file = std::fs::OpenOptions::new().append(true).open(&self.0);
                file.unwrap().write_all(b"more").unwrap();
            }
            ControlFlow::Continue(())
        }
    }
    /// Cuts it.
    struct Cutter(PathBuf);
    impl Observer for Cutter {
        fn progress(&mut self, _: Progress) -> ControlFlow<()> {
            let file = std::fs::OpenOptions::new().write(true).open(&self.0);
            file.unwrap().set_len(CHUNK).unwrap();
            ControlFlow::Continue(())
        }
    }
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let long = folder.file("long", &noise(1, 100 * CHUNK));
    let mut run = begun(&mut lab);
    let absent = folder.0.path().join("absent");
    for not_there in [&absent, folder.0.path()] {
        let error = run.store_file("a", not_there, &mut Silent).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
    }
    let mut writer = Writer(long.clone(), false);
    let error = run.store_file("a", &long, &mut writer).unwrap_err();
    assert!(matches!(error, Error::FileChanged { .. }), "{error:?}");
    let error = run
        .store_file("a", &long, &mut Cutter(long.clone()))
        .unwrap_err();
    assert!(matches!(error, Error::FileChanged { .. }), "{error:?}");
    let point = run.commit(None).unwrap();
    assert_eq!(point.files, []);
    drop(run);
    lab.assert_clean();
}

#[test]
fn an_observer_that_stops_a_file_ends_the_run() {
    struct Stop;
    impl Observer for Stop {
        fn progress(&mut self, _: Progress) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    let (mut lab, folder) = (Lab::new(), Folder::new());
    let mut run = begun(&mut lab);
    let path = folder.file("x", b"x");
    let error = run.store_file("x", &path, &mut Stop).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(matches!(run.commit(None), Err(Error::OutOfTurn { .. })));
}
