//! Calls that fail because a test wants it.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::name::normal;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `write_all_at`. Some of its sectors may be written all the same.
    Write,
    /// `sync`. Nothing becomes durable, and what was pending is never made durable by a later one.
    Sync,
    /// `set_len`. It may have happened all the same, after a cut.
    SetLen,
    /// `create_new` and `create_folder`. Nothing happens.
    Create,
    /// `rename`. Nothing happens.
    Rename,
    /// `link`. Nothing happens.
    Link,
    /// `remove`. Nothing happens.
    Remove,
    /// `sync_folder`, as [`Call::Sync`].
    SyncFolder,
    /// `read_exact_at`.
    Read,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of call.
    pub call: Call,
    /// The file or folder that the call concerns, by the path it was opened or called with; none: any.
    pub path: Option<PathBuf>,
    /// So many of these calls succeed first.
    pub after: u64,
    /// So many of them fail then.
    pub times: u64,
    /// How: [`io::ErrorKind::StorageFull`] for ENOSPC, [`io::ErrorKind::Other`] for EIO.
    pub error: io::ErrorKind,
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(Fault, Option<OsString>)>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        let path = fault.path.as_deref().map(normal);
        self.0.push((fault, path));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call, and fails it if it is due.
    pub(crate) fn check(&mut self, call: Call, paths: &[&std::ffi::OsStr]) -> io::Result<()> {
        for (fault, path) in &mut self.0 {
            let concerned = path.as_deref().is_none_or(|path| paths.contains(&path));
            if fault.call != call || !concerned || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else {
                fault.times -= 1;
                return Err(fault.error.into());
            }
        }
        Ok(())
    }
}
