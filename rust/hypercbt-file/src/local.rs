//! The files of this machine.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hypercbt_extent::{ByteLen, Extents};

use crate::{DiskFile, Entry, FileOffset, FileSystem, ReadAt, holes, room};

/// A file of this machine.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    is_locked: bool,
}

impl LocalFile {
    /// Opens a regular file for reading. Folders, pipes and devices are refused, and never waited for.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_without_waiting(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(file.into())
    }

    /// Keeps other writers out; the lock goes when the file is closed, also by a crash.
    fn locked(file: File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                is_locked: true,
            }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl From<File> for LocalFile {
    fn from(file: File) -> Self {
        Self {
            file,
            is_locked: false,
        }
    }
}

/// A program that another thread is just starting has all our files for a moment, and closing ours would leave the
/// lock with it: the next to open the file would find it in use.
impl Drop for LocalFile {
    fn drop(&mut self) {
        if self.is_locked {
            // Closing the file is the second try.
            let _ = self.file.unlock();
        }
    }
}

impl ReadAt for LocalFile {
    #[cfg(unix)]
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, at.0)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let mut at = at.0;
        while !buf.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, buf, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buf = buf.get_mut(read..).ok_or(io::ErrorKind::InvalidData)?;
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.file.metadata()?.len()))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let len = self.len()?;
        holes::data_extents(&self.file, len, holes::MAX_EXTENTS)
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        let modified = self.file.metadata()?.modified()?;
        let nanoseconds = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()),
            Err(before) => i128::try_from(before.duration().as_nanos()).map(|n| -n),
        };
        Ok(nanoseconds.ok())
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

impl DiskFile for LocalFile {
    #[cfg(unix)]
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, at.0)
    }

    #[cfg(windows)]
    fn write_all_at(&self, mut bytes: &[u8], at: FileOffset) -> io::Result<()> {
        let mut at = at.0;
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.file, bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).ok_or(io::ErrorKind::InvalidData)?;
                    at += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: ByteLen) -> io::Result<()> {
        self.file.set_len(len.0)
    }

    fn reserve(&self, len: ByteLen) -> io::Result<()> {
        match room::reserve(&self.file, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.set_len(self.len()?.max(len))
            }
            done => done,
        }
    }

    /// The length counts as data here: `fdatasync` writes what is needed to read the bytes again.
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalFiles;

impl FileSystem for LocalFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LocalFile::locked(create_new(path)?)?))
    }

    fn create_unlocked(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LocalFile::from(create_new(path)?)))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // Looked at first: opening a pipe for writing would wait, and a device would be written.
        drop(LocalFile::open(path)?);
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Arc::new(LocalFile::locked(file)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(LocalFile::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // What goes meanwhile is not there.
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() || metadata.is_file() => found.push(Entry {
                    name: entry.file_name(),
                    is_folder: metadata.is_dir(),
                    len: ByteLen(metadata.len()),
                }),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(found)
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let metadata = fs::metadata(path)?;
        Ok(Entry {
            name: path.file_name().unwrap_or_default().to_owned(),
            is_folder: metadata.is_dir(),
            len: ByteLen(metadata.len()),
        })
    }

    #[cfg(unix)]
    fn is_same_file(&self, one: &Path, other: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (fs::metadata(one), fs::metadata(other)) {
            (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
            _ => false,
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).open(path)
}

/// Opens for reading; a pipe that nobody writes to must not hold us up before we can refuse it.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
        options.custom_flags(i32::try_from(nonblock).unwrap_or_default());
    }
    options.open(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_for_writing_is_not_opened_for_writing_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let first = LocalFiles.create_new(&path).unwrap();
        let second = LocalFiles.open_to_write(&path).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        assert!(LocalFiles.open_to_read(&path).is_ok());
        drop(first);
        LocalFiles.open_to_write(&path).unwrap();
    }

    #[test]
    fn a_lock_goes_with_the_file_even_while_a_starting_program_has_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let file = LocalFiles.create_new(&path).unwrap();
        let with_the_program = file.as_file().unwrap().try_clone().unwrap();
        drop(file);
        assert!(LocalFiles.open_to_write(&path).is_ok());
        drop(with_the_program);
    }

    #[test]
    fn an_unlocked_file_is_opened_by_another_and_readable_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temporary");
        let file = LocalFiles.create_unlocked(&path).unwrap();
        file.write_all_at(b"x", FileOffset(0)).unwrap();
        LocalFiles.open_to_write(&path).unwrap();
        let again = LocalFiles.create_unlocked(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_name_tells_what_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "123").unwrap();
        let entry = LocalFiles.entry(&one).unwrap();
        assert_eq!((entry.is_folder, entry.len), (false, ByteLen(3)));
        assert_eq!(LocalFiles.list(folder.path()).unwrap(), [entry]);
        assert!(LocalFiles.entry(folder.path()).unwrap().is_folder);
        let absent = LocalFiles.entry(&other).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        fs::copy(&one, &other).unwrap();
        assert!(!LocalFiles.is_same_file(&one, &other));
        fs::remove_file(&other).unwrap();
        LocalFiles.link(&one, &other).unwrap();
        assert_eq!(LocalFiles.is_same_file(&one, &other), cfg!(unix));
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let opened = LocalFiles.open_to_write(folder.path()).unwrap_err();
        assert_eq!(opened.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn reserving_room_never_makes_a_file_shorter_and_changes_no_byte() {
        let folder = tempfile::tempdir().unwrap();
        let file = LocalFiles.create_new(&folder.path().join("f")).unwrap();
        file.write_all_at(b"abc", FileOffset(0)).unwrap();
        file.reserve(ByteLen(2)).unwrap();
        assert_eq!(file.len().unwrap(), ByteLen(3));
        file.reserve(ByteLen(6)).unwrap();
        let mut read = [1; 6];
        file.read_exact_at(&mut read, FileOffset(0)).unwrap();
        assert_eq!(&read, b"abc\0\0\0");
    }

    #[test]
    fn a_file_grows_by_a_write_past_its_end_and_the_gap_is_zero() {
        let folder = tempfile::tempdir().unwrap();
        let file = LocalFiles.create_new(&folder.path().join("f")).unwrap();
        file.write_all_at(b"x", FileOffset(3)).unwrap();
        let mut read = [1; 4];
        file.read_exact_at(&mut read, FileOffset(0)).unwrap();
        assert_eq!((&read, file.len().unwrap()), (b"\0\0\0x", ByteLen(4)));
    }
}
