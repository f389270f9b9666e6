//! What can go wrong, by what a caller can do about it.

use std::fmt;
use std::io;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, Extent};

use crate::{Options, RctId, Stamp};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// One of the tracker's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackerFile {
    /// `<disk>.rct`: the map as it was at the last write-back.
    Rct,
    /// `<disk>.mrt`: the coarse map that is written through.
    Mrt,
}

impl fmt::Display for TrackerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rct => ".rct file",
            Self::Mrt => ".mrt file",
        })
    }
}

/// What was asked of a file when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackerCall {
    /// Making a new file.
    Create,
    /// Opening an existing one.
    Open,
    /// Reading.
    Read,
    /// Writing, or setting the length.
    Write,
    /// Making it durable.
    Sync,
    /// Giving it its name.
    Rename,
    /// Making the name durable.
    SyncFolder,
    /// Removing it.
    Remove,
}

impl fmt::Display for TrackerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::SyncFolder => "sync the folder of",
            Self::Remove => "remove",
        })
    }
}

/// Why a tracker does not know, or must not say, what changed.
///
/// `Clone`, since one failed sync is told to every writer whose mark it carried.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, written or made durable. The write that asked for it must not be done.
    #[error("cannot {call} the {file}")]
    Io {
        /// Which file.
        file: TrackerFile,
        /// What was tried.
        call: TrackerCall,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// There are no tracker files beside the disk: it is not tracked yet.
    #[error("the disk is not tracked")]
    NotTracked,
    /// A file of that name is there, and it is not ours. It was not touched.
    #[error("the {file} beside the disk was not made by this program")]
    NotOurs {
        /// Which file.
        file: TrackerFile,
    },
    /// Another process tracks this disk.
    #[error("the {file} is in use")]
    InUse {
        /// Which file.
        file: TrackerFile,
    },
    /// What changed is not known any more: everything may have. Tracking can start anew.
    #[error("change tracking was lost: {reason}")]
    TrackingLost {
        /// Why.
        reason: Lost,
    },
    /// No such id is kept: never issued here, forgotten, or of a branch of the disk that was given up.
    #[error("the RCT id {id} is not known")]
    UnknownId {
        /// The id that was asked for.
        id: RctId,
    },
    /// As many ids are kept as the file holds; forget some.
    #[error("{limit} RCT ids are kept already, which is the limit")]
    TooManyIds {
        /// How many there may be.
        limit: usize,
    },
    /// The extent reaches past the end of the disk.
    #[error("extent {extent} is outside the disk of {disk_len} bytes")]
    OutOfRange {
        /// What was to be written.
        extent: Extent,
        /// The size of the disk.
        disk_len: ByteLen,
    },
    /// The options contradict each other, or would need too large a `.mrt` file for this disk.
    #[error(
        "the tracker's options do not work: grain {}, rct unit {}, mrt region {}, memory limit {}",
        .options.grain, .options.rct_unit, .options.mrt_region, .options.memory_limit
    )]
    InvalidOptions {
        /// The options.
        options: Options,
    },
    /// The session's GUID is that of the session before: an id could be issued twice.
    #[error("the GUID of this session was used before")]
    SessionNotNew,
    /// The stamp was not announced by `expect`, so after a power cut it would be taken for a foreign edit.
    #[error("the stamp {stamp} was not expected")]
    StampNotExpected {
        /// The stamp that the caller gave.
        stamp: Stamp,
    },
    /// More stamps are expected than can be kept; settle one.
    #[error("{limit} stamps are accepted already, which is the limit")]
    TooManyStamps {
        /// How many there may be.
        limit: usize,
    },
}

/// Why tracking was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lost {
    /// The `.mrt` file is gone, the `.rct` file is there.
    Missing,
    /// The `.mrt` file is too short, or neither of its headers is whole.
    Damaged,
    /// The files belong to another disk.
    OtherDisk,
    /// The disk had another size.
    Resized {
        /// The size that was tracked.
        tracked: ByteLen,
        /// The size that it has.
        found: ByteLen,
    },
    /// The disk's file was changed, or replaced, while the tracker was away.
    DiskChanged {
        /// The stamp that the disk's file has.
        found: Stamp,
    },
    /// The `.rct` file is newer than the `.mrt` file, which was therefore restored from an older copy.
    FromTheFuture,
    /// A file has a format that is newer than this program.
    NewerFormat {
        /// Which file.
        file: TrackerFile,
        /// Its format.
        version: u16,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the .mrt file is missing"),
            Self::Damaged => f.write_str("the .mrt file is damaged"),
            Self::OtherDisk => f.write_str("the tracker's files belong to another disk"),
            Self::Resized { tracked, found } => {
                write!(f, "the disk had {tracked} bytes and now has {found}")
            }
            Self::DiskChanged { found } => {
                write!(
                    f,
                    "the disk was changed without the tracker, it is at {found}"
                )
            }
            Self::FromTheFuture => {
                f.write_str("the .mrt file is older than the .rct file beside it")
            }
            Self::NewerFormat { file, version } => {
                write!(
                    f,
                    "the {file} has format {version}, which is newer than this program"
                )
            }
        }
    }
}
