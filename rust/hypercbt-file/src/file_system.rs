//! Files that are written in place, and their names.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::ByteLen;

use crate::{FileOffset, ReadAt};

/// A file that can be written at any position by many threads at once.
///
/// A sync that failed is never tried again on the same file: the system may have thrown the bytes away and
/// report success the second time. Who gets an error from `sync` writes the file anew, or gives up.
pub trait DiskFile: ReadAt + Debug {
    /// Writes all of `bytes` at `at`; the file grows where that is past its end.
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()>;

    /// Makes the file `len` bytes long. What is new reads as zeros, and takes no room where that can be.
    fn set_len(&self, len: ByteLen) -> io::Result<()>;

    /// Makes the file at least `len` bytes long, and takes the room for what is new where the storage can. What is new
    /// reads as zeros.
    fn reserve(&self, len: ByteLen) -> io::Result<()> {
        self.set_len(self.len()?.max(len))
    }

    /// Returns when all bytes that were written before, and the length, are durable.
    fn sync(&self) -> io::Result<()>;
}

/// Names of files. A name is durable when its folder was synced after it was made or removed.
pub trait FileSystem: Send + Sync + Debug {
    /// Makes an empty file for reading and writing, and locks it as [`FileSystem::open_to_write`] does.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is one.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// As [`FileSystem::create_new`] without the lock, for a file that nobody else will open before it has
    /// another name: some network file systems have no locks.
    fn create_unlocked(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.create_new(path)
    }

    /// Opens a file for reading and writing, and keeps other writers out while it is open.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another holds it open for writing.
    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a regular file for reading only. Folders, pipes and devices are [`io::ErrorKind::InvalidInput`].
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>>;

    /// Gives a file a new name, atomically; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns when all names in the folder are durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns when the name `path` is durable: the folder that it stands in is synced. Some network file systems have
    /// nothing of the kind; a name is as durable there as it gets.
    fn sync_name(&self, path: &Path) -> io::Result<()> {
        match self.sync_folder(folder_of(path)) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            synced => synced,
        }
    }

    /// The names in a folder, in no order. What is neither a folder nor a file is left out.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// What stands under a name. What is no folder counts as a file here.
    fn entry(&self, path: &Path) -> io::Result<Entry>;

    /// Whether two names are known to be of one file.
    fn is_same_file(&self, _one: &Path, _other: &Path) -> bool {
        false
    }
}

/// The folder that the name `path` stands in; a name alone stands in the present one.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last part of the path.
    pub name: std::ffi::OsString,
    /// A folder or a file.
    pub is_folder: bool,
    /// The length of a file.
    pub len: ByteLen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_stands_in_the_present_folder() {
        assert_eq!(folder_of(Path::new("web01.vhdx")), Path::new("."));
        assert_eq!(folder_of(Path::new("/vms/web01.vhdx")), Path::new("/vms"));
    }
}
