//! The rules of the formats, by the structure that they are about: what a corrupt file breaks.

use std::fmt;

use hypercbt_extent::ByteLen;

use crate::{BlockIndex, FileOffset, Guid};

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
