//! A virtual disk, whatever it is stored in: one interface over all formats and chains.

use std::fs::File;
use std::path::{Path, PathBuf};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};

use crate::segments::{FileIndex, Segment, Segments};
use crate::stamp::Stamp;
use crate::{Guid, ReadAt, Result};

/// Where the parents of a differencing disk may be looked for, besides the folder of their child.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Files that may be parents, tried before all else. The linkage decides which is whose.
    pub parents: Vec<PathBuf>,
    /// Folders besides the child's own in which a parent may be looked for.
    pub parent_folders: Vec<PathBuf>,
}

/// What a disk file is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A VHDX or AVHDX file.
    Vhdx,
    /// The bytes of the disk and nothing else.
    Raw,
}

impl Format {
    /// The name of the format as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vhdx => "vhdx",
            Self::Raw => "raw",
        }
    }
}

/// How a layer holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A VHDX file with every block allocated.
    Fixed,
    /// A VHDX file that grows.
    Dynamic,
    /// A VHDX file that holds what differs from its parent.
    Differencing,
    /// A raw file.
    Raw,
}

impl Kind {
    /// The name of the kind as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
            Self::Differencing => "differencing",
            Self::Raw => "raw",
        }
    }
}

/// What was found in the log of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogState {
    /// The format has none.
    None,
    /// Nothing to replay: the file was closed properly.
    Clean,
    /// The file was not closed; its log was replayed in memory.
    Replayed {
        /// How many entries.
        entries: u32,
        /// How many sectors of 4 KiB they wrote, zeroed ones included.
        sectors: u64,
    },
}

/// The facts about one file of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The path, as it was opened.
    pub name: String,
    /// What the file is stored as.
    pub format: Format,
    /// How it holds its bytes.
    pub kind: Kind,
    /// The length of the file.
    pub file_bytes: ByteLen,
    /// The size of the virtual disk that this layer was made for.
    pub size: ByteLen,
    /// The size of a payload block.
    pub block_bytes: Option<u32>,
    /// What was found in the log.
    pub log: LogState,
    /// Payload blocks that are in this file, partially present ones included.
    pub present_blocks: u64,
    /// Of those, the partially present ones.
    pub partial_blocks: u64,
    /// How much of the last block lies past the end of the file, and reads as zeros.
    pub missing_tail: ByteLen,
    /// The identity of the virtual disk.
    pub disk_id: Option<Guid>,
    /// Changes with every session that writes to the file.
    pub file_write_guid: Option<Guid>,
    /// Changes with every session that changes what a guest sees.
    pub data_write_guid: Option<Guid>,
    /// The program that made the file, as far as it says so.
    pub creator: Option<String>,
}

/// A virtual disk, opened for reading: a file and all its parents.
///
/// What is where was settled at `open`; [`resolve`](Self::resolve) and [`segments`](Self::segments) do no I/O.
#[derive(Debug)]
pub struct VirtualDisk {
    size: ByteLen,
    layers: Vec<Layer>,
}

impl VirtualDisk {
    /// Opens the disk file at `path` and its parents. What a file is, its content decides.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let _ = (path, options);
        todo!()
    }

    /// Opens the file at `path` as a raw disk, whatever its content looks like.
    pub fn open_raw(path: &Path) -> Result<Self> {
        let _ = path;
        todo!()
    }

    /// Opens a disk from named storages, leaf first, then its parents in order.
    pub fn from_storage(files: Vec<(String, Box<dyn ReadAt>)>) -> Result<Self> {
        let _ = files;
        todo!()
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        self.size
    }

    /// What the leaf is stored as.
    pub fn format(&self) -> Format {
        todo!()
    }

    /// The identity of the virtual disk, if its format has one.
    pub fn disk_id(&self) -> Option<Guid> {
        todo!()
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        todo!()
    }

    /// The sector that the guest should align to.
    pub fn physical_sector_bytes(&self) -> u32 {
        todo!()
    }

    /// The leaf's payload block, if its format has blocks.
    pub fn block_bytes(&self) -> Option<u32> {
        todo!()
    }

    /// The files of the chain, leaf first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Every byte that is in some file; all others are zero.
    pub fn allocated(&self) -> Extents {
        todo!()
    }

    /// Where the bytes of `extent` are, lazily: a partition of it, in order, equal neighbours merged.
    pub fn segments(&self, extent: Extent) -> Result<Segments<'_>> {
        let _ = extent;
        todo!()
    }

    /// Where the bytes of `extent` are: a partition of it, in order, equal neighbours merged.
    pub fn resolve(&self, extent: Extent) -> Result<Vec<Segment>> {
        Ok(self.segments(extent)?.collect())
    }

    /// Fills `buf` with the bytes of the disk from `at` on.
    pub fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        let _ = (at, buf);
        todo!()
    }

    /// Fills `buf` with the bytes of a layer's file from `at` on, as its log has them: reads a `Data` segment.
    pub fn read_file(&self, file: FileIndex, at: crate::FileOffset, buf: &mut [u8]) -> Result<()> {
        let _ = (file, at, buf);
        todo!()
    }

    /// The file of a layer, where a plain read of it gives the truth for every `Data` segment in it.
    pub fn file(&self, file: FileIndex) -> Option<&File> {
        let _ = file;
        todo!()
    }

    /// What tells whether somebody wrote to the files, read anew.
    pub fn stamp(&self) -> Result<Stamp> {
        todo!()
    }
}
