//! A repository in a folder.
//!
//! A file is written under `tmp/`, synced, and only then linked to its name: a hard link fails where a name
//! exists, on every system and file system that has hard links, while a rename would replace. After the link
//! the folder is synced, for a name is only durable with its folder. A file whose sync failed is dropped,
//! never synced again: the system may have thrown the bytes away and report success the second time.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Error, Result, Storage, Upload, name::UNFINISHED};

/// What a new file system may hold by itself, and what a creation that was cut off leaves.
const HARMLESS: [&str; 3] = [UNFINISHED, "lost+found", "System Volume Information"];
/// Open files kept for the next read. An open and a close cost more than a read of one record.
const OPEN_FILES: usize = 32;
/// `pack/<xx>/<name>` is the deepest name; a link that leads back up must not send `list` in circles.
const DEEPEST: usize = 3;
const EPERM: i32 = 1;

/// A repository's objects as files in a folder. A clone is the same one.
#[derive(Debug, Clone)]
pub struct LocalStorage {
    root: Arc<Root>,
    open: Arc<Mutex<OpenFiles>>,
}

/// By name; the one used last is in front.
type OpenFiles = VecDeque<(String, Arc<File>)>;

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Folders that are known to be durable.
    folders: Mutex<HashSet<PathBuf>>,
}

impl LocalStorage {
    /// A new folder, or an empty one that exists.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if anything lies in it.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = Error::storage("create", path.display());
        let occupied = (|| {
            if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
                return Ok(true);
            }
            make_root(path)?;
            for entry in fs::read_dir(path)? {
                let entry = entry?.file_name();
                if !HARMLESS.iter().any(|&harmless| entry == harmless) {
                    return Ok(true);
                }
            }
            Ok(false)
        })();
        match occupied {
            Err(source) => Err(failed(source)),
            Ok(true) => Err(Error::AlreadyExists {
                place: path.display().to_string(),
            }),
            Ok(false) => Ok(Self::at(path)),
        }
    }

    /// A folder that exists.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self::at(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::storage("open", path.display())(error))
            }
            _ => Err(Error::NotARepository {
                place: path.display().to_string(),
            }),
        }
    }

    fn at(path: &Path) -> Self {
        let root = Root {
            path: path.to_owned(),
            folders: Mutex::default(),
        };
        Self {
            root: Arc::new(root),
            open: Arc::default(),
        }
    }

    /// The file of an object, opened now or kept from the last time.
    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = {
            let mut open = lock();
            let at = open.iter().position(|(open, _)| open == name);
            at.and_then(|at| open.remove(at)).map(|(_, file)| file)
        };
        let file = match kept {
            Some(file) => file,
            None => Arc::new(File::open(self.root.file(name)?)?),
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
        read_exact_at(&*self.file(name)?, buf, offset)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.root.file(name)?)?.len())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let path = self.root.file(folder)?;
        let mut found = Vec::new();
        list_into(&mut found, &path, folder, DEEPEST)?;
        found.sort_unstable();
        Ok(found)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.file(name)?;
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(open, _)| open != name);
        absent_is_fine(fs::remove_file(path))
    }

    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        check(owner)?;
        let start = format!("{UNFINISHED}/{owner}-");
        for (name, _) in self.list(UNFINISHED)? {
            if name.starts_with(&start) {
                absent_is_fine(fs::remove_file(self.root.file(&name)?))?;
            }
        }
        Ok(())
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
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(parent)?,
        }
        self.folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(folder.to_owned());
        Ok(())
    }
}

/// A file under `tmp/`, which goes when this is dropped.
struct Temporary {
    root: Arc<Root>,
    path: PathBuf,
    file: Option<File>,
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
            match File::create_new(&path) {
                Ok(file) => {
                    return Ok(Self {
                        root,
                        path,
                        file: Some(file),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the synced file its name, if that is free.
    fn link(&mut self, name: &str) -> io::Result<()> {
        let target = self.root.file(name)?;
        if let Some(file) = self.file.take() {
            file.sync_all()?;
        } // and closed: Windows renames and removes only what is closed
        let folder = target.parent().unwrap_or(&self.root.path);
        self.root.make_folder(folder)?;
        match fs::hard_link(&self.path, &target) {
            // NFS repeats a request whose answer was lost, and then finds its own link.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && same_file(&self.path, &target) => {}
            // Linux says so of a file system without hard links; a folder that forbids says EACCES.
            Err(error) if cfg!(unix) && error.raw_os_error() == Some(EPERM) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, error));
            }
            other => other?,
        }
        sync_folder(folder)
    }
}

impl Upload for Temporary {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        file.write_all(bytes)
    }

    fn finish(mut self: Box<Self>, name: &str) -> io::Result<()> {
        match self.link(name) {
            // The same bytes, for the name is their hash; but perhaps not yet durable under it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let target = self.root.file(name)?;
                sync_folder(target.parent().unwrap_or(&self.root.path))
            }
            other => other,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.file = None;
        // What cannot be removed now is removed with the run's other leavings.
        let _ = fs::remove_file(&self.path);
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
    path: &Path,
    folder: &str,
    deepest: usize,
) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = match entry.file_name().to_str() {
            Some(name) if check(name).is_ok() => format!("{folder}/{name}"),
            _ => continue,
        };
        match fs::metadata(entry.path()) {
            Ok(file) if file.is_file() => found.push((name, file.len())),
            Ok(inner) if inner.is_dir() && deepest > 1 => {
                list_into(found, &entry.path(), &name, deepest - 1)?;
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a folder and those above it, durably. Those that exist are somebody else's to sync.
fn make_root(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_root(parent)?;
    fs::create_dir(path)?;
    sync_folder(parent)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buf.is_empty() {
        match file.seek_read(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buf = buf.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?
        .sync_all()
        .map_err(|error| match error.kind() {
            // What Linux says of a file system that does not sync folders, as some network mounts do not.
            io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::Unsupported, error),
            _ => error,
        })
}

/// Windows does not sync folders; NTFS journals the names.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(windows)]
fn same_file(_one: &Path, _other: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests;
