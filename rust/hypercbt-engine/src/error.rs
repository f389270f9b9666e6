//! Why a backup, a restore or a verification could not be done.

use std::{io, path::PathBuf};

use hypercbt_extent::{ByteLen, Extent};
use hypercbt_repo::PointId;

/// The result of a call into the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the engine stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source disk could not be read.
    #[error("cannot read the disk")]
    Disk(#[from] hypercbt_vhdx::Error),
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] hypercbt_repo::Error),
    /// The source was written to while it was read.
    #[error("the disk file changed while it was read; back up a file that nobody writes to")]
    SourceChanged,
    /// The disk is not the one that the last point of this name holds.
    #[error(
        "{name} was disk {expected} at its last restore point and is disk {found} now; \
         say that it is a new disk if that is meant"
    )]
    AnotherDisk {
        /// The machine.
        name: String,
        /// The id in the last point.
        expected: String,
        /// The id now.
        found: String,
    },
    /// A list of changes is relative to a point that does not fit.
    #[error("the changes are relative to restore point {since}, which {reason}")]
    WrongSince {
        /// The point.
        since: PointId,
        /// What does not fit.
        reason: WrongSince,
    },
    /// A changed extent lies outside the disk.
    #[error("changed extent {extent} is outside the disk of {disk_len} bytes")]
    ChangeOutside {
        /// The extent.
        extent: Extent,
        /// The length of the disk.
        disk_len: ByteLen,
    },
    /// The point has no disk of this number.
    #[error("restore point {point} has no disk {index}")]
    NoSuchDisk {
        /// The point.
        point: PointId,
        /// The number that was asked for.
        index: u32,
    },
    /// A read past the end of a restored disk.
    #[error("extent {at}+{len} is outside the disk of {disk_len} bytes")]
    OutOfRange {
        /// The first byte.
        at: u64,
        /// How many.
        len: u64,
        /// The length of the disk.
        disk_len: u64,
    },
    /// There is a file where the restored disk should go.
    #[error("{path} exists already", path = .path.display())]
    TargetExists {
        /// The file.
        path: PathBuf,
    },
    /// What stands where the restored disk should go is no file that could be replaced.
    #[error("{path} is not a regular file and will not be replaced", path = .path.display())]
    TargetNotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// The restored disk could not be put in its place.
    #[error("cannot {action} {path}", path = .path.display())]
    Target {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The restored disk could not be written.
    #[error("cannot write the restored disk")]
    WriteDisk(#[source] hypercbt_vhdx::Error),
    /// The observer asked to stop.
    #[error("stopped")]
    Cancelled,
    /// An audit found a missed change, and the comparison of the whole disk that this makes necessary was stopped.
    #[error(
        "a missed change was found, and the comparison of the whole disk that it makes necessary was stopped; \
         no restore point was made"
    )]
    WideningStopped,
    /// Two disks of a machine cannot be told from each other.
    #[error(
        "two disks of the machine have the id {disk_id}, and where they hang does not tell which is which"
    )]
    SameDisk {
        /// Their id.
        disk_id: String,
        /// Where the second is said to hang.
        location: Option<String>,
    },
    /// A file of a machine's configuration could not be read.
    #[error("cannot {action} {path}", path = .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of a machine's configuration was written to while it was read.
    #[error("{path} changed while it was read", path = .path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// A restore point cannot hold a file of this name, or holds one already.
    #[error("a restore point cannot hold a file {name:?}{}", if *taken { " twice" } else { "" })]
    FileName {
        /// The name.
        name: String,
        /// Whether it is only that the point has one already.
        taken: bool,
    },
    /// The restore point has no such file.
    #[error("restore point {point} has no file {name:?}")]
    NoSuchFile {
        /// The point.
        point: PointId,
        /// The name that was asked for.
        name: String,
    },
    /// A run was asked for what it cannot do now.
    #[error("the run {turn}")]
    OutOfTurn {
        /// Where it stands.
        turn: Turn,
    },
}

/// Where a run stands that cannot do what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Turn {
    /// A disk or file could not be read, so there is no whole point to be made.
    #[error("has failed and can only be given up")]
    Failed,
    /// Its point is made, and nothing can be added.
    #[error("has made its restore point already")]
    Committed,
    /// There is nothing to make a point of.
    #[error("has read no disk yet")]
    Empty,
    /// It has no point yet.
    #[error("has made no restore point yet")]
    Uncommitted,
}

/// Why a `since` does not fit the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongSince {
    /// The repository has no such point.
    #[error("is not in the repository")]
    Missing,
    /// It is a point of another machine.
    #[error("is of another machine")]
    AnotherMachine,
    /// It holds another disk.
    #[error("holds another disk")]
    AnotherDisk,
    /// It holds a disk of another size, and nothing proves that it is the same one.
    #[error("holds a disk of another size")]
    AnotherSize,
    /// Nothing keeps a collection from taking it away meanwhile.
    #[error("is not among those that the run was begun with")]
    NotLeased,
}
