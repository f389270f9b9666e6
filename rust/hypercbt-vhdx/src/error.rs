//! What can go wrong with a disk file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::{FileIndex, FileOffset, Guid};

mod rule;

pub(crate) use rule::Defect;
pub use rule::{Part, Reason};

/// The result of a call into a disk.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a disk could not be opened, read or written. Every variant names the file, but the two that
/// are about a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened.
    #[error("cannot open {file}", file = .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The length, the time or the headers of the file could not be read.
    #[error("cannot examine {file}", file = .file.display())]
    Examine {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file itself could not be read.
    #[error("cannot read {len} bytes at file offset {at} of {file}", file = .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Where reading began.
        at: FileOffset,
        /// How much was to be read.
        len: ByteLen,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be created or written.
    #[error("cannot write {len} bytes at file offset {at} of {file}", file = .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Where writing began.
        at: FileOffset,
        /// How much was to be written.
        len: ByteLen,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file breaks a rule of the format.
    #[error("the {part} of {file} is corrupt: {reason}", file = .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Which structure.
        part: Part,
        /// Which rule.
        reason: Reason,
    },
    /// The request reaches past the end of the virtual disk.
    #[error("{len} bytes at {at} are outside the disk of {disk_len} bytes")]
    OutOfRange {
        /// Where the request begins.
        at: DiskOffset,
        /// How long it is.
        len: ByteLen,
        /// The size of the disk.
        disk_len: ByteLen,
    },
    /// The file is a disk in a format that this version does not read.
    #[error("{file} is {format}, which is not supported", file = .file.display())]
    UnsupportedFormat {
        /// The file.
        file: PathBuf,
        /// What it is.
        format: Unsupported,
    },
    /// The file cannot be a disk.
    #[error("{file} is not a disk: {reason}", file = .file.display())]
    NotADisk {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: NotADisk,
    },
    /// A differencing disk's parent is nowhere where it may be looked for.
    #[error(
        "the parent of {file} was not found; looked for {tried} (a parent in another folder must be allowed)",
        file = .file.display(), tried = list(.tried)
    )]
    ParentNotFound {
        /// The differencing disk.
        file: PathBuf,
        /// Every place that was looked at, in order.
        tried: Vec<PathBuf>,
    },
    /// The only files that could be the parent of a differencing disk are not.
    #[error("{parent} is not the parent of {file}: {mismatch}", file = .file.display(), parent = .parent.display())]
    WrongParent {
        /// The differencing disk.
        file: PathBuf,
        /// The file that is not its parent.
        parent: PathBuf,
        /// What does not match.
        mismatch: Mismatch,
    },
    /// A disk is among its own ancestors.
    #[error("{file} is among its own parents", file = .file.display())]
    ParentCycle {
        /// The file that was met twice.
        file: PathBuf,
    },
    /// The chain of parents is longer than any real one.
    #[error("the chain of {file} has more than {limit} files", file = .file.display())]
    ChainTooLong {
        /// The leaf.
        file: PathBuf,
        /// The most files that a chain may have.
        limit: usize,
    },
    /// A disk that has no parent was given one.
    #[error("{file} has no parent, but {parent} was given as one", file = .file.display(), parent = .parent.display())]
    UnexpectedParent {
        /// The last disk of the chain.
        file: PathBuf,
        /// What was given as its parent.
        parent: PathBuf,
    },
    /// There is no file of this number in the chain.
    #[error("file {file} of a chain of {files} was asked for", file = .file.0)]
    NoSuchFile {
        /// The number.
        file: FileIndex,
        /// How many there are.
        files: usize,
    },
    /// A disk cannot be made with these numbers.
    #[error("cannot create {file}: {reason}", file = .file.display())]
    InvalidOptions {
        /// The file.
        file: PathBuf,
        /// What is wrong with them.
        reason: Reason,
    },
    /// The file could not be created, or there is no room for it.
    #[error("cannot create {file}", file = .file.display())]
    Create {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was written could not be made durable. The file is lost: syncing again proves nothing.
    #[error("cannot make {file} durable", file = .file.display())]
    Sync {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is open for writing elsewhere.
    #[error("{file} is in use: another holds it open for writing", file = .file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// A write that does not begin and end with a logical sector.
    #[error("{len} bytes at {at} are not whole sectors of {sector_bytes} bytes")]
    Misaligned {
        /// Where the request begins.
        at: DiskOffset,
        /// How long it is.
        len: ByteLen,
        /// What it has to be a multiple of.
        sector_bytes: u32,
    },
    /// Making something durable failed before, so nothing that is written now could be promised to last.
    #[error("{file} takes no more writes: an earlier one could not be made durable", file = .file.display())]
    NoMoreWrites {
        /// The file.
        file: PathBuf,
    },
    /// The disk cannot have another size.
    #[error("cannot give the disk in {file} a size of {size} bytes: {reason}", file = .file.display())]
    CannotResize {
        /// The file.
        file: PathBuf,
        /// The size that was asked for.
        size: ByteLen,
        /// Why not.
        reason: Unresizable,
    },
    /// A file that is no longer needed could not be removed, durably.
    #[error("cannot remove {file}", file = .file.display())]
    Remove {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A write where nothing was announced when the disk was created.
    #[error("nothing was to be written at {extent} of {file}", file = .file.display())]
    NotAllocated {
        /// The file.
        file: PathBuf,
        /// Where on the disk.
        extent: Extent,
    },
}

/// Why two files do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The parent changed since the child was made, or is another disk.
    #[error("its data is {found}, the child was made from {wanted}")]
    Linkage {
        /// The `parent_linkage` of the child; of a VHD file, the parent's unique id.
        wanted: Guid,
        /// The `DataWriteGuid` of the file; of a VHD file, its unique id.
        found: Guid,
    },
    /// Parent and child have different logical sectors.
    #[error("its sectors are {parent} bytes, the child's {child}")]
    SectorSize {
        /// The parent's.
        parent: u32,
        /// The child's.
        child: u32,
    },
    /// Parent and child have different sizes, which VHD files cannot have.
    #[error("its disk has {parent} bytes, the child's {child}")]
    Size {
        /// The parent's.
        parent: ByteLen,
        /// The child's.
        child: ByteLen,
    },
    /// The parent of a VHDX file is a VHDX file, that of a VHD file a VHD file.
    #[error("it is not in the child's format")]
    Format,
    /// The parent's `DataWriteGuid` is zero, by which no child can know it.
    #[error("its data has no identity")]
    NoIdentity,
    /// A child cannot name a file of this path: it is too long, not Unicode, or means another file on Windows.
    #[error("its path cannot be written into a child")]
    Path,
}

impl Mismatch {
    /// Checks that the logical sectors of a child and its parent are the same.
    pub(crate) fn check_sectors(child: u32, parent: u32) -> std::result::Result<(), Self> {
        if child == parent {
            return Ok(());
        }
        Err(Self::SectorSize { parent, child })
    }
}

/// Why a disk cannot have another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresizable {
    /// No disk of the format has that size.
    #[error("{0}")]
    Size(Reason),
    /// What would be cut off is in the file, or in a parent.
    #[error("the block at {at} would be cut off")]
    Used {
        /// The first byte that is.
        at: DiskOffset,
    },
    /// The disk is smaller than its parent, whose data would appear in it.
    #[error("data of the parent at {at} would appear")]
    Parent {
        /// The first byte that would.
        at: DiskOffset,
    },
}

/// A disk that is recognised but not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unsupported {
    /// A legacy VHD by its content, a VHDX by its name or as the caller says.
    Vhd,
    /// A VHDX by its content, a legacy VHD by its name or as the caller says.
    Vhdx,
    /// A VHD Set, whose disk is an `.avhdx` beside it.
    VhdSet,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vhd => "a legacy VHD where a VHDX was expected",
            Self::Vhdx => "a VHDX where a legacy VHD was expected",
            Self::VhdSet => "a VHD Set (its disk is an .avhdx beside it)",
        })
    }
}

/// Why a file cannot be a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotADisk {
    /// A folder, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A raw disk is made of whole sectors.
    #[error("its length of {0} bytes is not a multiple of 512")]
    OddLength(ByteLen),
    /// No file was given at all.
    #[error("no file was given")]
    NoFile,
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
