use std::fs;

use super::*;

fn storage() -> (tempfile::TempDir, LocalStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::create(folder.path().join("repository")).unwrap();
    (folder, storage)
}

fn unfinished(storage: &LocalStorage) -> usize {
    storage.list(UNFINISHED).unwrap().len()
}

#[test]
fn an_upload_is_seen_only_when_it_is_finished() {
    let (_folder, storage) = storage();
    let mut upload = storage.begin("run").unwrap();
    upload.append(b"one").unwrap();
    assert_eq!(storage.list("pack").unwrap(), []);
    upload.append(b"two").unwrap();
    upload.finish("pack/aa/name").unwrap();
    assert_eq!(
        storage.list("pack").unwrap(),
        [("pack/aa/name".to_owned(), 6)]
    );
    let mut bytes = [0; 4];
    storage
        .read_exact_at("pack/aa/name", &mut bytes, 2)
        .unwrap();
    assert_eq!((&bytes, unfinished(&storage)), (b"etwo", 0));
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let (_folder, storage) = storage();
    storage.begin("run").unwrap().append(b"one").unwrap();
    assert_eq!(unfinished(&storage), 0);
}

#[test]
fn an_upload_of_a_name_that_exists_keeps_what_is_there() {
    let (_folder, storage) = storage();
    storage.create_exclusive("index/a", b"old").unwrap();
    let mut upload = storage.begin("run").unwrap();
    upload.append(b"newer").unwrap();
    upload.finish("index/a").unwrap();
    assert_eq!(
        (storage.len("index/a").unwrap(), unfinished(&storage)),
        (3, 0)
    );
}

#[test]
fn only_the_first_of_two_exclusive_creators_wins() {
    let (_folder, storage) = storage();
    storage.create_exclusive("point/a", b"first").unwrap();
    let second = storage.create_exclusive("point/a", b"second").unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(
        (storage.len("point/a").unwrap(), unfinished(&storage)),
        (5, 0)
    );
}

#[test]
fn of_many_racing_creators_exactly_one_wins() {
    let (_folder, storage) = storage();
    let create = |number: usize| {
        storage
            .create_exclusive("point/a", &[0; 64][..number])
            .is_ok()
    };
    let wins = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || create(number)))
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap().then_some(()))
            .count()
    });
    assert_eq!(wins, 1);
}

#[test]
fn the_leavings_of_one_run_go_and_of_others_stay() {
    let (_folder, storage) = storage();
    for owner in ["a", "ab"] {
        std::mem::forget(storage.begin(owner).unwrap()); // as a killed process does
    }
    storage.remove_unfinished("a").unwrap();
    let left = storage.list(UNFINISHED).unwrap();
    assert!(
        matches!(&*left, [(name, 0)] if name.starts_with("tmp/ab-")),
        "{left:?}"
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_folder, storage) = storage();
    for name in [
        "",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a//b",
        "a/",
        "A",
        "a\\b",
        "c:a",
        "a\0",
        "a.b",
    ] {
        let refused = storage.create_exclusive(name, b"").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        assert_eq!(
            storage.len(name).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            storage.delete(name).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
    assert!(storage.begin("../a").is_err() && storage.remove_unfinished("..").is_err());
}

#[test]
fn missing_objects_and_ranges_past_the_end_are_told_apart() {
    let (_folder, storage) = storage();
    storage.create_exclusive("config", b"0123").unwrap();
    let mut two = [0; 2];
    let past = storage.read_exact_at("config", &mut two, 3).unwrap_err();
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    let missing = storage.read_exact_at("other", &mut two, 0).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        storage.len("other").unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(storage.list("folder").unwrap(), []);
    storage.delete("other").unwrap();
    storage.delete("config").unwrap();
    let gone = storage.read_exact_at("config", &mut two, 0).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

#[test]
fn more_files_are_read_than_are_kept_open() {
    let (_folder, storage) = storage();
    let names: Vec<_> = (0..100).map(|number| format!("index/{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        storage
            .create_exclusive(name, &[u8::try_from(number).unwrap()])
            .unwrap();
    }
    for _ in 0..2 {
        for (number, name) in names.iter().enumerate() {
            let mut byte = [0];
            storage.read_exact_at(name, &mut byte, 0).unwrap();
            assert_eq!(usize::from(byte[0]), number);
        }
    }
    assert!(storage.open.lock().unwrap().len() <= OPEN_FILES);
}

#[test]
fn a_folder_with_files_is_no_place_for_a_new_repository() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    LocalStorage::create(folder.path()).unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(
        LocalStorage::create(folder.path()),
        Err(Error::AlreadyExists { .. })
    ));
}

#[test]
fn folders_above_a_new_repository_are_made_and_a_file_in_the_way_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    LocalStorage::create(folder.path().join("a/b/c")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for below in ["file", "file/a"] {
        let error = LocalStorage::create(folder.path().join(below)).unwrap_err();
        let refused = match below {
            "file" => matches!(error, Error::AlreadyExists { .. }),
            _ => matches!(
                error,
                Error::Storage {
                    action: "create",
                    ..
                }
            ),
        };
        assert!(refused, "{error:?}");
        let error = LocalStorage::open(folder.path().join(below)).unwrap_err();
        assert!(!matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    }
}

#[test]
fn no_folder_is_no_repository() {
    let folder = tempfile::tempdir().unwrap();
    let absent = LocalStorage::open(folder.path().join("absent"));
    assert!(matches!(absent, Err(Error::NotARepository { .. })));
}
