//! A repository in a folder.
//!
//! A file is written under `tmp/`, synced, and only then linked to its name: a hard link fails where a name
//! exists, on every system and file system that has hard links, while a rename would replace. After the link
//! the folder is synced, for a name is only durable with its folder. A file whose sync failed is dropped,
//! never synced again: the system may have thrown the bytes away and report success the second time.
//!
//! What another process has made may be seen and not yet be durable: it may have been killed between the link
//! and the sync. Who builds on it syncs its folder too.

use std::{
    collections::{HashSet, VecDeque},
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hypercbt_file::{DiskFile, FileOffset, FileSystem, LocalFiles, ReadAt, folder_of, step};

use crate::{Error, Result, Storage, Upload, name::UNFINISHED};

/// What a new file system may hold by itself, and what a creation that was cut off leaves.
const HARMLESS: [&str; 3] = [UNFINISHED, "lost+found", "System Volume Information"];
/// Open files kept for the next read. An open and a close cost more than a read of one record.
const OPEN_FILES: usize = 32;
/// `pack/<xx>/<name>` is the deepest name; a link that leads back up must not send `list` in circles.
const DEEPEST: usize = 3;
const EPERM: i32 = 1;

/// A repository's objects as files in a folder. A clone is the same one.
#[derive(Clone)]
pub struct LocalStorage {
    root: Arc<Root>,
    open: Arc<Mutex<OpenFiles>>,
}

/// By name; the one used last is in front.
type OpenFiles = VecDeque<(String, Arc<dyn ReadAt>)>;

#[derive(Debug)]
struct Root {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    /// Folders that are known to be durable.
    folders: Mutex<HashSet<PathBuf>>,
}

impl fmt::Debug for LocalStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LocalStorage");
        shown.field("root", &self.root).finish_non_exhaustive()
    }
}

impl LocalStorage {
    /// A new folder, or an empty one that exists.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if anything lies in it.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::create_on(Arc::new(LocalFiles), path)
    }

    /// As [`LocalStorage::create`], on other files than this machine's.
    pub fn create_on(files: Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = Error::storage("create", path.display());
        let occupied = (|| {
            match files.entry(path) {
                Ok(found) if found.is_folder => {}
                Ok(_) => return Ok(true),
                Err(_) => make_root(&*files, path)?,
            }
            let found = files.list(path)?;
            let harmless = |name| HARMLESS.iter().any(|&harmless| name == harmless);
            Ok(!found.iter().all(|entry| harmless(&*entry.name)))
        })();
        match occupied {
            Err(source) => Err(failed(source)),
            Ok(true) => Err(Error::AlreadyExists {
                place: path.display().to_string(),
            }),
            Ok(false) => Ok(Self::at(files, path)),
        }
    }

    /// A folder that exists.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(Arc::new(LocalFiles), path)
    }

    /// As [`LocalStorage::open`], on other files than this machine's.
    pub fn open_on(files: Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match files.entry(path) {
            Ok(found) if found.is_folder => Ok(Self::at(files, path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::storage("open", path.display())(error))
            }
            _ => Err(Error::NotARepository {
                place: path.display().to_string(),
            }),
        }
    }

    fn at(files: Arc<dyn FileSystem>, path: &Path) -> Self {
        let root = Root {
            files,
            path: path.to_owned(),
            folders: Mutex::default(),
        };
        Self {
            root: Arc::new(root),
            open: Arc::default(),
        }
    }

    /// The file of an object, opened now or kept from the last time.
    fn file(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = {
            let mut open = lock();
            let at = open.iter().position(|(open, _)| open == name);
            at.and_then(|at| open.remove(at)).map(|(_, file)| file)
        };
        let file = match kept {
            Some(file) => file,
            None => self.root.files.open_to_read(&self.root.file(name)?)?,
        };
        let mut open = lock();
        open.truncate(OPEN_FILES - 1);
        open.push_front((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }
}

impl Storage for LocalStorage {
    fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>> {
        Ok(Box::new(Temporary::new(Arc::clone(&self.root), owner)?))
    }

    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // The last part of the name is the run's id wherever a run makes one.
        let owner = name.rsplit('/').next().unwrap_or(name);
        let mut file = Temporary::new(Arc::clone(&self.root), owner)?;
        file.append(bytes)?;
        file.link(name)
    }

    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file(name)?.read_exact_at(buf, FileOffset(offset))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.root.files.entry(&self.root.file(name)?)?.len.0)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let path = self.root.file(folder)?;
        let mut found = Vec::new();
        list_into(&mut found, &*self.root.files, &path, folder, DEEPEST)?;
        found.sort_unstable();
        Ok(found)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.file(name)?;
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(open, _)| open != name);
        absent_is_fine(self.root.files.remove(&path))
    }

    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        check(owner)?;
        let start = format!("{UNFINISHED}/{owner}-");
        for (name, _) in self.list(UNFINISHED)? {
            if name.starts_with(&start) {
                absent_is_fine(self.root.files.remove(&self.root.file(&name)?))?;
            }
        }
        Ok(())
    }

    fn settle(&self, name: &str) -> io::Result<()> {
        let path = self.root.file(name)?;
        self.root.settle(path.parent().unwrap_or(&self.root.path))
    }
}

impl Root {
    fn file(&self, name: &str) -> io::Result<PathBuf> {
        check(name)?;
        Ok(self.path.join(name))
    }

    /// Makes a folder below the root, durably. One that exists may be another process's, not yet synced:
    /// so its parent is synced too, once.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let known = |folder: &Path| {
            let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            folder == self.path || folders.contains(folder)
        };
        if known(folder) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.path);
        self.make_folder(parent)?;
        let left_out = match self.files.create_folder(folder) {
            Ok(()) => step::left_out("repo.folder.sync"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                step::left_out("repo.folder.sync_of_others")
            }
            Err(error) => return Err(error),
        };
        if !left_out {
            self.files.sync_folder(parent)?;
        }
        self.folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(folder.to_owned());
        Ok(())
    }

    /// Makes durable what is seen in a folder, and its own name.
    fn settle(&self, folder: &Path) -> io::Result<()> {
        match self.files.sync_folder(folder) {
            // Nothing is seen.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.make_folder(folder)
    }
}

/// A file under `tmp/`, which goes when this is dropped.
struct Temporary {
    root: Arc<Root>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    len: u64,
}

impl Temporary {
    fn new(root: Arc<Root>, owner: &str) -> io::Result<Self> {
        // Numbers are never used twice by one process, and a run's id by no other.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        check(owner)?;
        let folder = root.path.join(UNFINISHED);
        root.make_folder(&folder)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{owner}-{number}"));
            match root.files.create_unlocked(&path) {
                Ok(file) => {
                    return Ok(Self {
                        root,
                        path,
                        file: Some(file),
                        len: 0,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the file durable, then gives it its name, if that is free, then makes the name durable.
    fn link(&mut self, name: &str) -> io::Result<()> {
        let target = self.root.file(name)?;
        let folder = target.parent().unwrap_or(&self.root.path);
        let file = self.file.take().ok_or(io::ErrorKind::BrokenPipe)?;
        if !step::left_out("repo.file.sync") {
            file.sync()?;
        }
        drop(file); // Windows renames and removes only what is closed
        self.root.make_folder(folder)?;
        self.link_to(&target)?;
        if !step::left_out("repo.name.sync") {
            self.root.files.sync_folder(folder)?;
        }
        Ok(())
    }

    fn link_to(&self, target: &Path) -> io::Result<()> {
        let files = &*self.root.files;
        match files.link(&self.path, target) {
            // NFS repeats a request whose answer was lost, and then finds its own link.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && files.is_same_file(&self.path, target) =>
            {
                Ok(())
            }
            // Linux says so of a file system without hard links; a folder that forbids says EACCES.
            Err(error) if cfg!(unix) && error.raw_os_error() == Some(EPERM) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            other => other,
        }
    }
}

impl Upload for Temporary {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        file.write_all_at(bytes, FileOffset(self.len))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>, name: &str) -> io::Result<()> {
        match self.link(name) {
            // The same bytes, for the name is their hash; but perhaps not yet durable under it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let target = self.root.file(name)?;
                let folder = target.parent().unwrap_or(&self.root.path);
                if step::left_out("repo.finish.sync_of_others") {
                    return Ok(());
                }
                self.root.files.sync_folder(folder)
            }
            other => other,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.file = None;
        // What cannot be removed now is removed with the run's other leavings.
        let _ = self.root.files.remove(&self.path);
    }
}

/// Refuses a name that the format does not use. None that passes leads out of the folder.
fn check(name: &str) -> io::Result<()> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name
        .split('/')
        .all(|part| !part.is_empty() && part.bytes().all(allowed))
    {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name of an object",
        ))
    }
}

/// Adds the files in and below `path`. What has a foreign name, or goes meanwhile, is passed over.
fn list_into(
    found: &mut Vec<(String, u64)>,
    files: &dyn FileSystem,
    path: &Path,
    folder: &str,
    deepest: usize,
) -> io::Result<()> {
    let entries = match files.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let name = match entry.name.to_str() {
            Some(name) if check(name).is_ok() => format!("{folder}/{name}"),
            _ => continue,
        };
        if !entry.is_folder {
            found.push((name, entry.len.0));
        } else if deepest > 1 {
            list_into(found, files, &path.join(&entry.name), &name, deepest - 1)?;
        }
    }
    Ok(())
}

/// Makes a folder and those above it, durably. Those that exist are somebody else's to sync.
fn make_root(files: &dyn FileSystem, path: &Path) -> io::Result<()> {
    if files.entry(path).is_ok_and(|found| found.is_folder) {
        return Ok(());
    }
    let parent = folder_of(path);
    make_root(files, parent)?;
    files.create_folder(path)?;
    if !step::left_out("repo.root.sync") {
        files.sync_folder(parent)?;
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
