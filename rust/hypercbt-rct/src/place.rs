//! Where the tracker's files are, whose they are, and how a new one gets its name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypercbt_file::{DiskFile, FileOffset, FileSystem, ReadAt, folder_of, step};

use crate::error::{Error, Result, TrackerCall, TrackerFile};
use crate::format::{MRT_MAGIC, PAGE_BYTES, RCT_MAGIC, SECTOR_BYTES, SLOT_OFFSETS};

/// Ends the name of a file that is not whole yet.
const UNFINISHED: &str = ".new";

/// What has the name of one of our files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    Ours,
    /// Somebody else's: it is neither written nor replaced nor removed.
    Foreign,
}

/// A disk's folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    files: Arc<dyn FileSystem>,
    disk: PathBuf,
}

/// Says which file an operation failed on.
pub(crate) fn failed(file: TrackerFile, call: TrackerCall) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        file,
        call,
        source: Arc::new(source),
    }
}

impl Place {
    pub(crate) fn new(files: Arc<dyn FileSystem>, disk: &Path) -> Self {
        Self {
            files,
            disk: disk.to_path_buf(),
        }
    }

    /// `<disk>.rct` or `<disk>.mrt`.
    pub(crate) fn path(&self, file: TrackerFile) -> PathBuf {
        self.with_suffix(match file {
            TrackerFile::Rct => ".rct",
            TrackerFile::Mrt => ".mrt",
        })
    }

    /// What has that name now.
    pub(crate) fn presence(&self, file: TrackerFile) -> Result<Presence> {
        let found = match self.files.open_to_read(&self.path(file)) {
            Ok(found) => found,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Ok(Presence::Absent),
                    // A folder, a pipe, a device.
                    io::ErrorKind::InvalidInput => Ok(Presence::Foreign),
                    _ => Err(failed(file, TrackerCall::Open)(error)),
                };
            }
        };
        is_ours(&*found, file)
            .map(|ours| {
                if ours {
                    Presence::Ours
                } else {
                    Presence::Foreign
                }
            })
            .map_err(failed(file, TrackerCall::Read))
    }

    /// As [`presence`](Self::presence), and refuses a foreign file.
    pub(crate) fn is_there(&self, file: TrackerFile) -> Result<bool> {
        match self.presence(file)? {
            Presence::Foreign => Err(Error::NotOurs { file }),
            Presence::Ours => Ok(true),
            Presence::Absent => Ok(false),
        }
    }

    pub(crate) fn open_to_read(&self, file: TrackerFile) -> Result<Arc<dyn ReadAt>> {
        let path = self.path(file);
        let opened = self.files.open_to_read(&path);
        opened.map_err(failed(file, TrackerCall::Open))
    }

    /// Opens a file of ours for writing and keeps other trackers out.
    pub(crate) fn open_to_write(&self, file: TrackerFile) -> Result<Arc<dyn DiskFile>> {
        let opened = self.files.open_to_write(&self.path(file));
        let opened = opened.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::InUse { file },
            _ => failed(file, TrackerCall::Open)(error),
        })?;
        // Looked at again: the one that was looked at before may have been replaced.
        if !is_ours(&*opened, file).map_err(failed(file, TrackerCall::Read))? {
            return Err(Error::NotOurs { file });
        }
        // Locked too late, after a tracker that lives put another in its place: that one has what is true.
        if self.is_replaced(file, &*opened)? {
            return Err(Error::InUse { file });
        }
        Ok(opened)
    }

    /// Whether another file has the name than this one, which is ours and locked: each begins with other headers.
    fn is_replaced(&self, file: TrackerFile, locked: &dyn ReadAt) -> Result<bool> {
        let named = match self.files.open_to_read(&self.path(file)) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed(file, TrackerCall::Open)(error)),
        };
        for at in SLOT_OFFSETS {
            let begin = |found: &dyn ReadAt| {
                let mut bytes = [0; SECTOR_BYTES];
                match found.read_exact_at(&mut bytes, FileOffset(at)) {
                    Ok(()) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                    Err(error) => Err(error),
                }
            };
            let of_locked = begin(locked).map_err(failed(file, TrackerCall::Read))?;
            match begin(&*named) {
                Ok(of_named) if of_named == of_locked => {}
                Ok(_) => return Ok(true),
                // Only where locks forbid to read; there the locks of `holders` must do.
                Err(error) if is_locked(&error) => return Ok(false),
                Err(error) => return Err(failed(file, TrackerCall::Read)(error)),
            }
        }
        Ok(false)
    }

    /// An empty file that will be `file`, under a name that nobody else gives: the tracker's id is in it.
    pub(crate) fn begin(&self, file: TrackerFile, tracker: [u8; 16]) -> Result<Unfinished<'_>> {
        let path = self.unfinished(file, tracker);
        // One that a cut or an error left. The name is ours, whatever it holds.
        match self.files.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(file, TrackerCall::Remove)(error));
            }
            _ => {}
        }
        let made = self.files.create_new(&path);
        let content = made.map_err(failed(file, TrackerCall::Create))?;
        Ok(Unfinished {
            place: self,
            file,
            path,
            content,
            is_named: false,
        })
    }

    /// Removes what cuts left unfinished beside this disk. What cannot be removed now stays for later.
    pub(crate) fn clear_unfinished(&self) {
        let Ok(entries) = self.files.list(self.folder()) else {
            return;
        };
        for entry in entries.iter().filter(|entry| !entry.is_folder) {
            if self.is_unfinished(&entry.name) {
                // It hurts nobody: its name is never looked at again.
                let _ = self.files.remove(&self.folder().join(&entry.name));
            }
        }
    }

    /// Whether `name` is one that [`unfinished`](Self::unfinished) makes, of whichever tracker.
    fn is_unfinished(&self, name: &OsStr) -> bool {
        [TrackerFile::Rct, TrackerFile::Mrt].iter().any(|file| {
            let path = self.path(*file);
            let of_file = path.file_name().unwrap_or_default().as_encoded_bytes();
            let rest = name.as_encoded_bytes().strip_prefix(of_file);
            let id =
                rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(UNFINISHED.as_bytes()));
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            id.is_some_and(|id| id.len() == 32 && id.iter().all(is_digit))
        })
    }

    fn unfinished(&self, file: TrackerFile, tracker: [u8; 16]) -> PathBuf {
        let mut name = self.path(file).into_os_string();
        name.push(format!(
            ".{:032x}{UNFINISHED}",
            u128::from_be_bytes(tracker)
        ));
        name.into()
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name: OsString = self.disk.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn folder(&self) -> &Path {
        folder_of(&self.disk)
    }

    fn sync_name(&self, file: TrackerFile) -> Result<()> {
        let synced = self.files.sync_name(&self.disk);
        synced.map_err(failed(file, TrackerCall::SyncFolder))
    }
}

/// Whether a file begins as ours do. Both kinds say it twice, so that one bad sector does not make them foreign.
fn is_ours(found: &dyn ReadAt, file: TrackerFile) -> io::Result<bool> {
    let (magic, places) = match file {
        TrackerFile::Mrt => (MRT_MAGIC, SLOT_OFFSETS),
        TrackerFile::Rct => (RCT_MAGIC, [0, PAGE_BYTES as u64 - 12]),
    };
    for at in places {
        let mut bytes = [0; 8];
        match found.read_exact_at(&mut bytes, FileOffset(at)) {
            Ok(()) if bytes == magic => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            // A tracker holds it: `open_to_write` will say so.
            Err(error) if is_locked(&error) => return Ok(true),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
    Ok(false)
}

/// Windows refuses reads of what another handle has locked (`ERROR_LOCK_VIOLATION`); elsewhere locks are advice.
fn is_locked(error: &io::Error) -> bool {
    cfg!(windows) && error.raw_os_error() == Some(33)
}

/// A file on its way to its name. Dropped before, it is removed.
#[derive(Debug)]
pub(crate) struct Unfinished<'a> {
    place: &'a Place,
    file: TrackerFile,
    path: PathBuf,
    pub(crate) content: Arc<dyn DiskFile>,
    is_named: bool,
}

impl Unfinished<'_> {
    /// Makes the content durable, gives it the name, and makes that durable. Nothing foreign is replaced.
    ///
    /// Also where it fails, `holders` has in the end each file that may have the name, and the one that had it before:
    /// as long as they are open they are locked.
    pub(crate) fn finish(
        mut self,
        holders: &mut Vec<Arc<dyn DiskFile>>,
    ) -> Result<Arc<dyn DiskFile>> {
        let (file, place) = (self.file, self.place);
        if !step::left_out("rct.file.sync") {
            let synced = self.content.sync();
            synced.map_err(failed(file, TrackerCall::Sync))?;
        }
        place.is_there(file)?;
        let renamed = place.files.rename(&self.path, &place.path(file));
        // One that failed may have been done all the same, unless the old name is still there.
        if renamed.is_ok() || place.files.entry(&self.path).is_err() {
            holders.push(Arc::clone(&self.content));
        }
        renamed.map_err(failed(file, TrackerCall::Rename))?;
        self.is_named = true;
        // All before have no name any more. The last of them stays for who has just opened it, and locks it next.
        holders.drain(..holders.len().saturating_sub(2));
        if !step::left_out("rct.file.name") {
            place.sync_name(file)?;
        }
        Ok(Arc::clone(&self.content))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // What stays is removed when the next one is made, or the tracker opened.
            let _ = self.place.files.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_named_after_the_disk_with_its_suffix() {
        let files = hypercbt_powercut::SimFiles::new();
        let place = Place::new(Arc::new(files), Path::new("/vm/disk.vhdx"));
        assert_eq!(place.path(TrackerFile::Rct), Path::new("/vm/disk.vhdx.rct"));
        assert_eq!(place.path(TrackerFile::Mrt), Path::new("/vm/disk.vhdx.mrt"));
        assert_eq!(
            place.unfinished(TrackerFile::Mrt, [0xAB; 16]),
            Path::new("/vm/disk.vhdx.mrt.abababababababababababababababab.new")
        );
    }

    #[test]
    fn only_names_that_a_tracker_of_this_disk_makes_count_as_left_over() {
        let files = hypercbt_powercut::SimFiles::new();
        let place = Place::new(Arc::new(files), Path::new("/vm/disk.vhdx"));
        let id = "0123456789abcdef0123456789abcdef";
        for (name, ours) in [
            (format!("disk.vhdx.mrt.{id}.new"), true),
            (format!("disk.vhdx.rct.{id}.new"), true),
            (format!("other.vhdx.rct.{id}.new"), false),
            (format!("disk.vhdx.rct.{id}.old"), false),
            (format!("disk.vhdx.rct.{}.new", &id[1..]), false),
            (format!("disk.vhdx.rct.G{}.new", &id[1..]), false),
            ("disk.vhdx.rct.new".into(), false),
            ("disk.vhdx.rct".into(), false),
        ] {
            assert_eq!(place.is_unfinished(OsStr::new(&name)), ours, "{name}");
        }
    }
}
