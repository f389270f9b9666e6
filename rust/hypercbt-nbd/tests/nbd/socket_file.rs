//! The file of a Unix socket: who may open it, and what happens to what stands there already.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use hypercbt_nbd::{Address, Error, Options, Server};

use crate::{memory::MemoryDisk, support::serve_at};

fn at(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

#[test]
fn a_socket_is_its_owners_alone_and_goes_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    serve_at(
        &at(&path),
        Options::default(),
        &MemoryDisk::new(vec![1; 1]),
        |address, _| {
            assert_eq!(address, &at(&path));
            let found = fs::metadata(&path).unwrap();
            assert!(found.file_type().is_socket());
            assert_eq!(found.permissions().mode() & 0o777, 0o600);
            UnixStream::connect(&path).unwrap();
        },
    );
    assert!(!path.exists());
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "dropping a listener leaves its file");
    let _server = Server::bind(&at(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    let first = Server::bind(&at(&path)).unwrap();
    assert!(matches!(Server::bind(&at(&path)), Err(Error::InUse { .. })));
    UnixStream::connect(&path).unwrap();
    drop(first);
    assert!(!path.exists());
}

#[test]
fn any_other_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious.txt");
    fs::write(&file, "data").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [file.as_path(), &link, folder.path()] {
        assert!(matches!(
            Server::bind(&at(path)),
            Err(Error::NotASocket { .. })
        ));
    }
    assert_eq!(fs::read(&file).unwrap(), b"data");
}

#[test]
fn what_has_taken_the_place_of_the_socket_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    let server = Server::bind(&at(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    drop(server);
    assert!(path.exists());
}

#[test]
fn a_path_that_cannot_be_a_socket_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no such folder/disk.sock");
    let long = folder.path().join("x".repeat(120));
    for path in [missing, long] {
        let refused = Server::bind(&at(&path));
        assert!(matches!(refused, Err(Error::Bind { .. })), "{refused:?}");
    }
}
