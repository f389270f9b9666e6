//! A repository's objects in memory: for tests, and for callers who want no files.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{Storage, Upload};

/// Objects in memory. A clone shares them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    objects: Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>,
}

impl MemoryStorage {
    /// A storage without objects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage with the same objects, of which neither sees what the other does from now on.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            objects: Arc::new(Mutex::new(self.objects().clone())),
        }
    }

    /// Puts bytes under a name, whatever was there: what damage does.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        self.objects().insert(name.to_owned(), bytes.into());
    }

    /// All the bytes of an object.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Arc<[u8]>> {
        self.objects().get(name).cloned()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.objects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn object(&self, name: &str) -> io::Result<Arc<[u8]>> {
        self.bytes(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryStorage {
    fn begin(&self, _owner: &str) -> io::Result<Box<dyn Upload>> {
        Ok(Box::new(MemoryUpload {
            storage: self.clone(),
            bytes: Vec::new(),
        }))
    }

    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        objects.insert(name.to_owned(), bytes.into());
        Ok(())
    }

    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let object = self.object(name)?;
        let from = usize::try_from(offset).ok();
        let bytes = from.and_then(|from| object.get(from..from.checked_add(buf.len())?));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.object(name).map(|object| object.len() as u64)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let start = format!("{folder}/");
        let objects = self.objects();
        let inside = objects
            .range(start.clone()..)
            .take_while(|(name, _)| name.starts_with(&start));
        Ok(inside
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.objects().remove(name);
        Ok(())
    }

    fn remove_unfinished(&self, _owner: &str) -> io::Result<()> {
        Ok(()) // an upload here has no name until it is finished
    }
}

struct MemoryUpload {
    storage: MemoryStorage,
    bytes: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &str) -> io::Result<()> {
        match self.storage.create_exclusive(name, &self.bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_two_exclusive_creators_wins() {
        let storage = MemoryStorage::new();
        storage.create_exclusive("point/a", b"first").unwrap();
        let second = storage.create_exclusive("point/a", b"second").unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(&*storage.bytes("point/a").unwrap(), b"first");
    }

    #[test]
    fn an_upload_is_seen_only_when_it_is_finished_and_keeps_what_is_there() {
        let storage = MemoryStorage::new();
        let mut upload = storage.begin("run").unwrap();
        upload.append(b"one").unwrap();
        upload.append(b"two").unwrap();
        assert_eq!(storage.list("pack").unwrap(), []);
        upload.finish("pack/a").unwrap();
        storage.begin("run").unwrap().finish("pack/a").unwrap();
        assert_eq!(storage.list("pack").unwrap(), [("pack/a".to_owned(), 6)]);
    }

    #[test]
    fn ranges_past_the_end_and_missing_objects_are_told_apart() {
        let storage = MemoryStorage::new();
        storage.create_exclusive("a/b", b"0123").unwrap();
        let mut two = [0; 2];
        storage.read_exact_at("a/b", &mut two, 2).unwrap();
        assert_eq!(&two, b"23");
        let past = storage.read_exact_at("a/b", &mut two, 3).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        let far = storage
            .read_exact_at("a/b", &mut two, u64::MAX)
            .unwrap_err();
        assert_eq!(far.kind(), io::ErrorKind::UnexpectedEof);
        let missing = storage.read_exact_at("a/c", &mut two, 0).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_lists_its_own_objects_alone() {
        let storage = MemoryStorage::new();
        for name in ["pack/aa/1", "packs/1", "pack", "pack-1", "pack/b"] {
            storage.create_exclusive(name, b"").unwrap();
        }
        let names: Vec<_> = storage
            .list("pack")
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["pack/aa/1", "pack/b"]);
    }
}
