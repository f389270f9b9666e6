//! What can go wrong with a disk file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::{BlockIndex, FileIndex, FileOffset, Guid};

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

/// A structure of a disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The first 8 bytes, `vhdxfile`.
    FileIdentifier,
    /// The two headers.
    Header,
    /// The two region tables.
    RegionTable,
    /// The log.
    Log,
    /// The metadata table and its items.
    Metadata,
    /// The parent locator, a metadata item.
    ParentLocator,
    /// The block allocation table.
    Bat,
    /// A sector bitmap block.
    SectorBitmap,
    /// The footer of a VHD file, and its copy at the start.
    Footer,
    /// The header of a VHD file that is not fixed.
    DynamicHeader,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileIdentifier => "file identifier",
            Self::Header => "header",
            Self::RegionTable => "region table",
            Self::Log => "log",
            Self::Metadata => "metadata",
            Self::ParentLocator => "parent locator",
            Self::Bat => "block allocation table",
            Self::SectorBitmap => "sector bitmap",
            Self::Footer => "footer",
            Self::DynamicHeader => "dynamic header",
        })
    }
}

/// The rule of the format that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file ends inside the structure.
    #[error("the file ends at {file_len}, before {needed}")]
    Truncated {
        /// How long the file is.
        file_len: ByteLen,
        /// How long it has to be.
        needed: ByteLen,
    },
    /// The signature is not the structure's.
    #[error("wrong signature")]
    Signature,
    /// Neither copy has a right signature and checksum.
    #[error("neither copy is valid")]
    NoValidCopy,
    /// A version that this format does not have.
    #[error("unknown version {0}")]
    Version(u16),
    /// A log of an unknown version waits to be replayed.
    #[error("unknown log version {0}")]
    LogVersion(u16),
    /// A place that has to be a multiple of something is not, or lies before the first allowed byte.
    #[error("the place {at}+{len} is misaligned or not allowed")]
    Place {
        /// Where.
        at: FileOffset,
        /// How long.
        len: ByteLen,
    },
    /// Two things lie at one place of the file.
    #[error("two structures overlap at file offset {at}")]
    Overlap {
        /// The first byte of the later one.
        at: FileOffset,
    },
    /// More entries than the structure can have.
    #[error("{0} entries are too many")]
    TooManyEntries(u64),
    /// The same identifier twice.
    #[error("{0} appears twice")]
    Duplicate(Guid),
    /// A thing of this identifier is required but not there.
    #[error("{0} is missing")]
    Missing(Guid),
    /// The writer says that this must be understood, and we do not know it.
    #[error("{0} is required but unknown")]
    UnknownRequired(Guid),
    /// The writer never finished creating the file.
    #[error("the file was not completely created")]
    Unfinished,
    /// Reserved bits or bytes are set.
    #[error("reserved bits are set")]
    ReservedBits,
    /// An item has another length than its kind demands.
    #[error("{item} is {len} bytes long")]
    ItemLength {
        /// The item.
        item: Guid,
        /// Its length.
        len: u32,
    },
    /// Smaller or larger than the format has them, or not a power of two.
    #[error("a block of {0} bytes is not possible")]
    BlockSize(u32),
    /// Neither 512 nor 4096.
    #[error("a sector of {0} bytes is not possible")]
    SectorSize(u32),
    /// Zero, above the format's limit, or not a multiple of the sector.
    #[error("a disk of {0} bytes is not possible")]
    DiskSize(u64),
    /// A table is too short for what it has to hold.
    #[error("{found} bytes are too few, {needed} are needed")]
    TooSmall {
        /// What there is.
        found: u64,
        /// What is needed.
        needed: u64,
    },
    /// A payload block is in a state that the format does not have.
    #[error("block {block} is in the unassigned state {state}")]
    UnassignedState {
        /// The block.
        block: BlockIndex,
        /// Three bits.
        state: u8,
    },
    /// A sector bitmap entry is in a state that the format does not have.
    #[error("sector bitmap {chunk_index} is in the unassigned state {state}")]
    BitmapState {
        /// Which sector bitmap.
        chunk_index: u64,
        /// Three bits.
        state: u8,
    },
    /// A block is partially present, but the disk has no parent.
    #[error("block {0} is partially present in a disk without a parent")]
    PartialWithoutParent(BlockIndex),
    /// A block is partially present, but its sector bitmap is not there.
    #[error("block {0} is partially present without a sector bitmap")]
    PartialWithoutBitmap(BlockIndex),
    /// A block begins before the first MiB or is not wholly in the file.
    #[error("block {block} cannot be at file offset {at}")]
    BlockPlace {
        /// The block.
        block: BlockIndex,
        /// Where the table says that it is.
        at: FileOffset,
    },
    /// The parent locator is of an unknown kind.
    #[error("unknown type {0}")]
    LocatorType(Guid),
    /// A key or value is not where or not what it may be.
    #[error("entry {0} is malformed")]
    LocatorEntry(u16),
    /// A key of the parent locator appears twice.
    #[error("entry {0} repeats a key")]
    LocatorDuplicate(u16),
    /// There is no usable `parent_linkage`.
    #[error("no usable parent linkage")]
    NoParentLinkage,
    /// The log should hold something, but holds no complete sequence.
    #[error("no complete sequence of entries")]
    NoLogSequence,
    /// A log entry changes what a log must not change.
    #[error("an entry writes to file offset {at}")]
    LogTarget {
        /// Where it would write.
        at: FileOffset,
    },
    /// There is no greater number that the next header could have.
    #[error("its sequence number is the greatest possible")]
    NoNextNumber,
    /// A GUID that has to name something is zero.
    #[error("a zero GUID names nothing")]
    ZeroGuid,
    /// The file, or what the log makes of it, is larger than any file that we read.
    #[error("{0} bytes are more than a file may have")]
    FileSize(u64),
    /// The bytes are not those that the checksum was taken of.
    #[error("wrong checksum")]
    Checksum,
    /// Two valid copies say different things, and nothing tells which is right.
    #[error("the two copies contradict each other")]
    Contradiction,
    /// A VHD file is fixed, dynamic or differencing, and nothing else.
    #[error("unknown type {0}")]
    DiskType(u32),
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

/// A broken rule, before it is known which file breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defect {
    pub(crate) part: Part,
    pub(crate) reason: Reason,
}

impl Defect {
    pub(crate) fn new(part: Part, reason: Reason) -> Self {
        Self { part, reason }
    }
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
