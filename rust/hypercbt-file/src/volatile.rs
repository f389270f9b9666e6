//! Files of this machine behind a cache that power keeps: who kills the process, or asks for it, cuts the power.
//!
//! A killed process loses nothing that it wrote: the system still has it. For a lab that is too kind. Here bytes and
//! lengths stay in this process's memory until they are synced, so they go with it. Names are made at once: that is
//! one of the states that a cut may leave (`hypercbt-powercut` tries them all).
//!
//! [`VolatileFiles::cut_power`] does the same to one machine of several in a process. From that moment on each call
//! fails, so every thread stops where it is, and what was not synced is dropped with the files. A call that runs already
//! may still end: the power went a moment later for it, and its thread gets no further.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Cached;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hypercbt_extent::ByteLen;

use crate::{DiskFile, Entry, FileOffset, FileSystem, LocalFiles, ReadAt};

const PAGE_BYTES: usize = 4096;

/// The file system of this machine, but what was not synced goes when the process is killed or the power is cut.
///
/// Its clones are the same machine.
#[derive(Debug, Clone, Default)]
pub struct VolatileFiles {
    power: Power,
}

/// Whether a machine still runs.
#[derive(Debug, Clone, Default)]
struct Power(Arc<AtomicBool>);

impl Power {
    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Goes on only where there is power.
    fn check(&self) -> io::Result<()> {
        if self.is_cut() {
            return Err(io::Error::other("the power was cut"));
        }
        Ok(())
    }
}

impl VolatileFiles {
    /// From now on nothing is read or written any more, and what was not synced is gone. Locks are free when the
    /// files are dropped.
    pub fn cut_power(&self) {
        self.power.0.store(true, Ordering::SeqCst);
    }

    fn over(&self, file: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
        VolatileFile::over(file, self.power.clone())
    }
}

/// A file and what was written to it since its last sync.
#[derive(Debug)]
struct VolatileFile {
    file: Arc<dyn DiskFile>,
    cache: Mutex<Cache>,
    power: Power,
}

#[derive(Debug)]
struct Cache {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    len: ByteLen,
}

impl VolatileFile {
    fn over(file: Arc<dyn DiskFile>, power: Power) -> io::Result<Arc<dyn DiskFile>> {
        let pages = BTreeMap::new();
        let len = file.len()?;
        let cache = Mutex::new(Cache { pages, len });
        Ok(Arc::new(Self { file, cache, power }))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as the file has it; behind its end are zeros.
    fn load(&self, page: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let at = page * PAGE_BYTES as u64;
        let inside = self.file.len()?.0.saturating_sub(at);
        let inside = usize::try_from(inside).unwrap_or(usize::MAX);
        let inside = bytes.get_mut(..inside.min(PAGE_BYTES)).unwrap_or_default();
        self.file.read_exact_at(inside, FileOffset(at))?;
        Ok(bytes)
    }

    /// Hands everything to the system.
    fn write_back(&self, cache: &mut Cache) -> io::Result<()> {
        if self.file.len()? != cache.len {
            self.file.set_len(cache.len)?;
        }
        for (page, bytes) in &cache.pages {
            let at = page * PAGE_BYTES as u64;
            let inside = usize::try_from(cache.len.0.saturating_sub(at)).unwrap_or(usize::MAX);
            let inside = bytes.get(..inside.min(PAGE_BYTES)).unwrap_or_default();
            self.file.write_all_at(inside, FileOffset(at))?;
        }
        cache.pages.clear();
        Ok(())
    }
}

/// The pages that `len` bytes from `at` on touch: number, start in the page, length.
fn pages(at: FileOffset, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, mut left) = (at.0, len);
    std::iter::from_fn(move || {
        let from = usize::try_from(at % PAGE_BYTES as u64).unwrap_or_default();
        let len = left.min(PAGE_BYTES - from);
        let page = (at / PAGE_BYTES as u64, from, len);
        at += len as u64;
        left -= len;
        (len > 0).then_some(page)
    })
}

impl ReadAt for VolatileFile {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.power.check()?;
        let cache = self.cache();
        let end = at.0.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > cache.len.0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buf;
        for (page, from, len) in pages(at, rest.len()) {
            let (piece, after) = rest.split_at_mut(len);
            let loaded;
            let bytes = if let Some(bytes) = cache.pages.get(&page) {
                bytes
            } else {
                loaded = self.load(page)?;
                &loaded
            };
            piece.copy_from_slice(bytes.get(from..from + len).unwrap_or_default());
            rest = after;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(self.cache().len)
    }
}

impl DiskFile for VolatileFile {
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()> {
        self.power.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut cache = self.cache();
        let end = at.0.checked_add(bytes.len() as u64);
        let end = end.ok_or(io::ErrorKind::InvalidInput)?;
        let mut rest = bytes;
        for (page, from, len) in pages(at, rest.len()) {
            let (piece, after) = rest.split_at(len);
            let cached = match cache.pages.entry(page) {
                Cached::Occupied(cached) => cached.into_mut(),
                Cached::Vacant(vacant) => vacant.insert(self.load(page)?),
            };
            let place = cached.get_mut(from..from + len).unwrap_or_default();
            place.copy_from_slice(piece);
            rest = after;
        }
        cache.len = ByteLen(end.max(cache.len.0));
        Ok(())
    }

    fn set_len(&self, len: ByteLen) -> io::Result<()> {
        self.power.check()?;
        let mut cache = self.cache();
        if len < cache.len {
            // What is cut off must not come back where the file grows again.
            self.write_back(&mut cache)?;
            self.file.set_len(len)?;
        }
        cache.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.power.check()?;
        let mut cache = self.cache();
        self.write_back(&mut cache)?;
        self.file.sync()
    }
}

impl Drop for VolatileFile {
    /// A file that is closed keeps its bytes, as long as there is power. A killed process does not come here.
    fn drop(&mut self) {
        if self.power.is_cut() {
            return;
        }
        let mut cache = self.cache();
        // As where a system writes back a closed file: nobody is left to be told.
        let _ = self.write_back(&mut cache);
    }
}

impl FileSystem for VolatileFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.power.check()?;
        self.over(LocalFiles.create_new(path)?)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.power.check()?;
        self.over(LocalFiles.open_to_write(path)?)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.power.check()?;
        LocalFiles.open_to_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power.check()?;
        LocalFiles.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power.check()?;
        LocalFiles.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.power.check()?;
        LocalFiles.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.power.check()?;
        LocalFiles.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.power.check()?;
        LocalFiles.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.power.check()?;
        LocalFiles.list(path)
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        self.power.check()?;
        LocalFiles.entry(path)
    }

    fn is_same_file(&self, one: &Path, other: &Path) -> bool {
        LocalFiles.is_same_file(one, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_in_the_file_of_a_killed_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = VolatileFiles::default().create_new(&path).unwrap();
        file.write_all_at(b"durable", FileOffset(4090)).unwrap();
        file.sync().unwrap();
        file.write_all_at(b"lost", FileOffset(4092)).unwrap();
        file.write_all_at(b"lost", FileOffset(20_000)).unwrap();
        let mut seen = [0; 7];
        file.read_exact_at(&mut seen, FileOffset(4090)).unwrap();
        assert_eq!((&seen, file.len().unwrap()), (b"duloste", ByteLen(20_004)));
        std::mem::forget(file); // as a killed process does
        let left = std::fs::read(&path).unwrap();
        assert_eq!(
            (left.len(), left.get(4090..).unwrap()),
            (4097, &b"durable"[..])
        );
    }

    #[test]
    fn a_machine_without_power_keeps_what_was_synced_and_does_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let machine = VolatileFiles::default();
        let file = machine.create_new(&path).unwrap();
        file.write_all_at(b"durable", FileOffset(0)).unwrap();
        file.sync().unwrap();
        file.write_all_at(b"lost", FileOffset(0)).unwrap();
        file.write_all_at(b"lost", FileOffset(5000)).unwrap();
        machine.clone().cut_power();
        let other = folder.path().join("other");
        let refusals = [
            file.write_all_at(b"late", FileOffset(0)),
            file.set_len(ByteLen(0)),
            file.sync(),
            file.read_exact_at(&mut [0], FileOffset(0)),
            machine.rename(&path, &other),
            machine.link(&path, &other),
            machine.remove(&path),
            machine.create_folder(&other),
            machine.sync_folder(folder.path()),
            machine.create_new(&other).map(drop),
            machine.open_to_write(&path).map(drop),
            machine.open_to_read(&path).map(drop),
            machine.list(folder.path()).map(drop),
            machine.entry(&path).map(drop),
        ];
        for (number, refusal) in refusals.iter().enumerate() {
            assert!(refusal.is_err(), "{number}");
        }
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"durable");
        // The lock is free, and another machine runs.
        let another = VolatileFiles::default();
        assert!(another.open_to_write(&path).is_ok());
    }

    #[test]
    fn it_reads_as_what_was_written_through_any_calls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = VolatileFiles::default().create_new(&path).unwrap();
        let mut model = vec![0_u8; 0];
        let mut random = 7_u64;
        for step in 0..2000_u32 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = usize::try_from(random >> 49).unwrap() % 30_000;
            let len = usize::try_from(1 + (random >> 33) % 9000).unwrap();
            match random >> 60 {
                0 => file.sync().unwrap(),
                1 => {
                    file.set_len(ByteLen(at as u64)).unwrap();
                    model.resize(at, 0);
                }
                _ => {
                    let bytes = vec![step.to_le_bytes()[0]; len];
                    file.write_all_at(&bytes, FileOffset(at as u64)).unwrap();
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&bytes);
                }
            }
            let mut seen = vec![1; model.len()];
            file.read_exact_at(&mut seen, FileOffset(0)).unwrap();
            assert_eq!(seen, model);
        }
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), model);
    }
}
