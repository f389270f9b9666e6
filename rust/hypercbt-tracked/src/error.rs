//! Why a tracked disk cannot do what it was asked for.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hypercbt_rct::RctId;

use crate::Lost;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tracked disk cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk's file cannot be opened, read or written.
    #[error(transparent)]
    Disk(#[from] hypercbt_vhdx::Error),
    /// The tracker cannot do its part; a write that it could not mark was not done.
    #[error(transparent)]
    Tracker(hypercbt_rct::Error),
    /// A name or a folder cannot be looked at or made durable.
    #[error("cannot examine {}", path.display())]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The id was sealed before tracking was lost: nobody knows what changed since.
    #[error("what changed since {id} is not known: tracking was lost ({reason})")]
    TrackingLost {
        /// The id that was asked for.
        id: RctId,
        /// Why tracking had to start anew.
        reason: Lost,
    },
    /// The tracker does not know the id: never sealed here, forgotten, or of a branch that was given up.
    #[error("{id} is not an id that is kept for this disk")]
    UnknownId {
        /// The id that was asked for.
        id: RctId,
    },
    /// The file is a checkpoint's; a tracked disk is opened by its base.
    #[error("{} is the file of a checkpoint; open the disk by its base file", file.display())]
    NotABase {
        /// The file.
        file: PathBuf,
    },
    /// The disk has as many checkpoints as it can have.
    #[error("the disk has {limit} checkpoints already, and can have no more")]
    TooManyCheckpoints {
        /// How many it can have.
        limit: usize,
    },
    /// The disk has no checkpoint.
    #[error("the disk is not frozen")]
    NotFrozen,
    /// The disk has a checkpoint.
    #[error("the disk has checkpoints")]
    Frozen,
    /// A merge failed half-way: the newest checkpoint is no more, and has to be thawed to its end.
    #[error("{} was begun to be merged; thaw the disk first", layer.display())]
    MergeUnfinished {
        /// The file that the guest writes to.
        layer: PathBuf,
    },
    /// A file of this name would be taken for one of the disk's own.
    #[error("{} is a name that only files of the disk have", file.display())]
    ReservedName {
        /// The file.
        file: PathBuf,
    },
    /// While the disk was open somebody else wrote to a file of it.
    #[error("{} was written to by somebody else", file.display())]
    ChangedUnderneath {
        /// The file.
        file: PathBuf,
    },
    /// Another thread panicked while it changed which file the guest writes to.
    #[error("the disk is not open any more; open it again")]
    NotOpen,
    /// An earlier step failed in a way after which nothing may be read or written; open the disk again.
    #[error("the disk was stopped when it could not be {step}; open it again")]
    Stopped {
        /// What could not be done.
        step: Step,
        /// Why.
        #[source]
        cause: Arc<Error>,
    },
}

impl Error {
    /// Whether a file could not be made durable: what the system holds of it may be newer than what a power cut
    /// leaves, and no second sync would tell.
    pub(crate) fn is_for_good(&self) -> bool {
        use hypercbt_vhdx::Error::{NoMoreWrites, Sync};
        matches!(self, Self::Disk(Sync { .. } | NoMoreWrites { .. }))
    }
}

/// The steps after whose failure a disk may have to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The checkpoint was made.
    Freeze,
    /// The checkpoint was merged back.
    Thaw,
    /// The disk went back to the checkpoint.
    Discard,
    /// The disk got another size.
    Resize,
    /// The disk was closed.
    Close,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Freeze => "frozen",
            Self::Thaw => "thawed",
            Self::Discard => "reverted",
            Self::Resize => "resized",
            Self::Close => "closed",
        })
    }
}

impl From<hypercbt_rct::Error> for Error {
    fn from(error: hypercbt_rct::Error) -> Self {
        match error {
            hypercbt_rct::Error::UnknownId { id } => Self::UnknownId { id },
            other => Self::Tracker(other),
        }
    }
}
