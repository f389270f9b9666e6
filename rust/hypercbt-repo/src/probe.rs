//! Does a storage keep the promises that a repository rests on?
//!
//! Some network mounts and look-alikes of object stores do not, and nobody notices until two runs meet. So
//! they are tried once, before anything is stored. What is made for it lies under `tmp/`, where nobody reads.

use std::io;

use crate::{Error, RepositoryId, Result, Storage, name::UNFINISHED};

/// Tries every promise of [`Storage`], and removes what it made.
pub(crate) fn probe(storage: &dyn Storage, id: RepositoryId) -> Result<()> {
    let names = [
        format!("{UNFINISHED}/{id}-exclusive"),
        format!("{UNFINISHED}/{id}-upload"),
    ];
    let tried = try_all(storage, id, &names);
    let removed = remove_all(storage, id, &names);
    tried.and(removed)
}

fn try_all(storage: &dyn Storage, id: RepositoryId, names: &[String; 2]) -> Result<()> {
    let [exclusive, upload] = names;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::Unsupported => unsuitable(
            "it does not create files durably and only where none exists (hard links, folders that sync)",
        ),
        _ => Error::storage("create", exclusive)(source),
    };
    storage
        .create_exclusive(exclusive, b"first")
        .map_err(failed)?;
    match storage.create_exclusive(exclusive, b"second") {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
        Ok(()) => return Err(unsuitable("it lets two create the same object")),
    }
    expect(
        storage,
        exclusive,
        b"first",
        "an object that exists can be overwritten",
    )?;

    let mut begun = storage
        .begin(&id.to_string())
        .map_err(Error::storage("create", upload))?;
    for part in [&b"what is "[..], b"written ", b"is read"] {
        begun
            .append(part)
            .map_err(Error::storage("write", upload))?;
    }
    begun.finish(upload).map_err(failed)?;
    expect(
        storage,
        upload,
        b"what is written is read",
        "it does not give back what was written",
    )?;
    let mut middle = [0; 7];
    storage
        .read_exact_at(upload, &mut middle, 8)
        .map_err(Error::storage("read", upload))?;
    if &middle != b"written" {
        return Err(unsuitable("it does not read from the middle of an object"));
    }
    let listed = storage
        .list(UNFINISHED)
        .map_err(Error::storage("list", UNFINISHED))?;
    if !listed.contains(&(exclusive.clone(), 5)) || !listed.contains(&(upload.clone(), 23)) {
        return Err(unsuitable(
            "it does not list what was written, with its length",
        ));
    }
    Ok(())
}

fn remove_all(storage: &dyn Storage, id: RepositoryId, names: &[String; 2]) -> Result<()> {
    for name in names {
        storage
            .delete(name)
            .map_err(Error::storage("delete", name))?;
    }
    storage
        .remove_unfinished(&id.to_string())
        .map_err(Error::storage("delete", UNFINISHED))?;
    let left = storage
        .list(UNFINISHED)
        .map_err(Error::storage("list", UNFINISHED))?;
    if left.iter().any(|(name, _)| names.contains(name)) {
        return Err(unsuitable("it does not remove what is deleted"));
    }
    Ok(())
}

fn expect(storage: &dyn Storage, name: &str, bytes: &[u8], lack: &'static str) -> Result<()> {
    let mut found = vec![0; bytes.len()];
    let len = storage.len(name).map_err(Error::storage("read", name))?;
    match storage.read_exact_at(name, &mut found, 0) {
        Ok(()) if found == bytes && len == bytes.len() as u64 => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(Error::storage("read", name)(error))
        }
        _ => Err(unsuitable(lack)),
    }
}

fn unsuitable(lack: &'static str) -> Error {
    Error::Unsuitable { lack }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStorage, Upload};

    #[derive(Clone, Copy, PartialEq)]
    enum Lie {
        Overwrites,
        NoExclusive,
        HidesFromList,
        LosesTheEnd,
        IgnoresOffset,
        NeverDeletes,
    }

    struct Liar(MemoryStorage, Lie);

    impl Storage for Liar {
        fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>> {
            let inner = self.0.begin(owner)?;
            Ok(if self.1 == Lie::LosesTheEnd {
                Box::new(Forgetful(inner, 0))
            } else {
                inner
            })
        }
        fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            match self.1 {
                Lie::Overwrites => self.0.overwrite(name, bytes),
                Lie::NoExclusive => return Err(io::ErrorKind::Unsupported.into()),
                _ => return self.0.create_exclusive(name, bytes),
            }
            Ok(())
        }
        fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(
                name,
                buf,
                if self.1 == Lie::IgnoresOffset {
                    0
                } else {
                    offset
                },
            )
        }
        fn len(&self, name: &str) -> io::Result<u64> {
            self.0.len(name)
        }
        fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
            let mut listed = self.0.list(folder)?;
            if self.1 == Lie::HidesFromList {
                listed.pop();
            }
            Ok(listed)
        }
        fn delete(&self, name: &str) -> io::Result<()> {
            if self.1 == Lie::NeverDeletes {
                Ok(())
            } else {
                self.0.delete(name)
            }
        }
        fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
            self.0.remove_unfinished(owner)
        }
    }

    struct Forgetful(Box<dyn Upload>, usize);

    impl Upload for Forgetful {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1 += 1;
            if self.1 < 3 {
                self.0.append(bytes)
            } else {
                Ok(())
            }
        }
        fn finish(self: Box<Self>, name: &str) -> io::Result<()> {
            self.0.finish(name)
        }
    }

    fn lack(lie: Lie) -> &'static str {
        match probe(&Liar(MemoryStorage::new(), lie), RepositoryId([1; 16])) {
            Err(Error::Unsuitable { lack }) => lack,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_storage_that_breaks_a_promise_is_refused_by_the_name_of_its_lack() {
        assert_eq!(lack(Lie::Overwrites), "it lets two create the same object");
        assert!(lack(Lie::NoExclusive).contains("hard links"));
        assert_eq!(
            lack(Lie::HidesFromList),
            "it does not list what was written, with its length"
        );
        assert_eq!(
            lack(Lie::LosesTheEnd),
            "it does not give back what was written"
        );
        assert_eq!(
            lack(Lie::IgnoresOffset),
            "it does not read from the middle of an object"
        );
        assert_eq!(
            lack(Lie::NeverDeletes),
            "it does not remove what is deleted"
        );
    }

    #[test]
    fn a_probe_leaves_nothing() {
        let memory = MemoryStorage::new();
        probe(&memory, RepositoryId([1; 16])).unwrap();
        assert_eq!(memory.list(UNFINISHED).unwrap(), []);
        let folder = tempfile::tempdir().unwrap();
        let local = crate::LocalStorage::create(folder.path()).unwrap();
        probe(&local, RepositoryId([1; 16])).unwrap();
        assert_eq!(local.list(UNFINISHED).unwrap(), []);
        crate::LocalStorage::create(folder.path()).unwrap(); // still as good as empty
    }
}
