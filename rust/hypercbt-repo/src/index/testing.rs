//! Small indexes for the tests.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::{Index, IndexedPlace, PageCache, writer};
use crate::{
    IndexEntry, Location, MemoryStorage, PackName, RecordKind, SegmentName, Storage, Upload,
};

/// A pack as [`writer::write`] takes it.
pub(super) type Pack = (PackName, u64, Vec<IndexEntry>);

pub(super) fn pack_name(number: u8) -> PackName {
    PackName([number; 32])
}

/// An id that looks like one; ids of numbers next to each other are far apart.
pub(super) fn id(number: u32) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

pub(super) fn chunk(number: u32) -> IndexEntry {
    IndexEntry {
        kind: RecordKind::Chunk,
        id: id(number),
        offset: number,
        stored_len: 100,
    }
}

/// One pack with chunks of these numbers.
pub(super) fn pack(number: u8, chunks: impl IntoIterator<Item = u32>) -> Pack {
    (
        pack_name(number),
        1000,
        chunks.into_iter().map(chunk).collect(),
    )
}

pub(super) fn place(pack: u8, number: u32) -> IndexedPlace {
    let location = Location {
        pack: pack_name(pack),
        offset: number,
        stored_len: 100,
    };
    IndexedPlace {
        location,
        pack_len: 1000,
    }
}

pub(super) fn write(storage: &dyn Storage, packs: &[Pack]) -> SegmentName {
    writer::write(storage, "test", packs, 0).unwrap().name
}

pub(super) fn open(storage: &MemoryStorage) -> Index {
    let (index, damaged) = try_open(storage);
    assert!(damaged.is_empty(), "{damaged:?}");
    index
}

pub(super) fn try_open(storage: &MemoryStorage) -> (Index, Vec<crate::Error>) {
    let cache = Arc::new(PageCache::new(1 << 16));
    Index::open(Arc::new(storage.clone()), cache).unwrap()
}

/// What is about to be done.
pub(super) enum Call<'a> {
    Read { at: u64 },
    Len,
    List(&'a mut Vec<(String, u64)>),
}

type Hook = Box<dyn FnMut(Call<'_>) -> bool + Send>;

/// A storage on which something happens in between, once: until the hook returns true.
#[derive(Clone)]
pub(super) struct Hooked {
    storage: MemoryStorage,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Hooked {
    pub(super) fn new(
        storage: &MemoryStorage,
        hook: impl FnMut(Call<'_>) -> bool + Send + 'static,
    ) -> Self {
        let hook: Hook = Box::new(hook);
        Self {
            storage: storage.clone(),
            hook: Arc::new(Mutex::new(Some(hook))),
        }
    }

    pub(super) fn has_fired(&self) -> bool {
        self.hook.lock().unwrap().is_none()
    }

    fn call(&self, call: Call<'_>) {
        let mut hook = self.hook.lock().unwrap();
        if hook.as_mut().is_some_and(|hook| hook(call)) {
            *hook = None;
        }
    }
}

impl Storage for Hooked {
    fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>> {
        self.storage.begin(owner)
    }
    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.storage.create_exclusive(name, bytes)
    }
    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.call(Call::Read { at: offset });
        self.storage.read_exact_at(name, buf, offset)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.call(Call::Len);
        self.storage.len(name)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let mut listed = self.storage.list(folder)?;
        self.call(Call::List(&mut listed));
        Ok(listed)
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        self.storage.delete(name)
    }
    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        self.storage.remove_unfinished(owner)
    }
}
