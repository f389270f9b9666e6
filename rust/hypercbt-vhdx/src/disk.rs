//! A virtual disk, whatever it is stored in: one interface over all formats and chains.

use std::fs::File;
use std::path::{Path, PathBuf};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::FileSystem;

use crate::chain;
use crate::layer::OpenFile;
use crate::segments::{FileIndex, Held, Place, Segment, Segments};
use crate::stamp::Stamp;
use crate::storage;
use crate::{Error, FileOffset, Guid, NotADisk, ReadAt, Result};

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
    /// A legacy VHD or AVHD file.
    Vhd,
    /// The bytes of the disk and nothing else.
    Raw,
}

impl Format {
    /// The name of the format as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::Raw => "raw",
        }
    }
}

/// How a layer holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A VHDX file with every block allocated, or a VHD file without blocks.
    Fixed,
    /// A VHDX or VHD file that grows.
    Dynamic,
    /// A VHDX or VHD file that holds what differs from its parent.
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
    /// How much of the last block lies past the end of the file; the disk ends before that.
    pub missing_tail: ByteLen,
    /// The footer at the end of a VHD file is damaged or missing, and its copy at the start was used.
    pub footer_is_copy: bool,
    /// The identity of the virtual disk; of a VHD file, that of the file.
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
    /// Leaf first; never empty. `layers` are their facts.
    files: Vec<OpenFile>,
    layers: Vec<Layer>,
    size: ByteLen,
    logical_sector_bytes: u32,
    physical_sector_bytes: u32,
}

impl VirtualDisk {
    /// Opens the disk file at `path` and its parents. What a file is, its content decides; only a file that is
    /// called `.vhdx`, `.avhdx`, `.vhd` or `.avhd` and is none is refused, not taken for something else: what a guest
    /// wrote at the start or the end of its disk may look like anything.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let expected = chain::Expected::by_name(path);
        Self::new(chain::open(&storage::local, path, options, expected)?)
    }

    /// [`open`](Self::open) among the files of any file system.
    pub fn open_in(files: &dyn FileSystem, path: &Path, options: &OpenOptions) -> Result<Self> {
        let expected = chain::Expected::by_name(path);
        let open_file = |path: &Path| files.open_to_read(path);
        Self::new(chain::open(&open_file, path, options, expected)?)
    }

    /// Opens the VHDX file at `path` and its parents. A file that is none is refused, whatever it is called.
    pub fn open_vhdx(path: &Path, options: &OpenOptions) -> Result<Self> {
        let expected = chain::Expected::Vhdx;
        Self::new(chain::open(&storage::local, path, options, expected)?)
    }

    /// Opens the VHD file at `path` and its parents. A file that is none is refused, whatever it is called.
    pub fn open_vhd(path: &Path, options: &OpenOptions) -> Result<Self> {
        let expected = chain::Expected::Vhd;
        Self::new(chain::open(&storage::local, path, options, expected)?)
    }

    /// Opens the file at `path` as a raw disk, whatever its content looks like.
    pub fn open_raw(path: &Path) -> Result<Self> {
        let storage = storage::open(&storage::local, path)?;
        Self::new(vec![OpenFile::open_raw(
            path.to_owned(),
            Box::new(storage),
        )?])
    }

    /// Opens a disk from named storages, leaf first, then its parents in order.
    pub fn from_storage(files: Vec<(String, Box<dyn ReadAt>)>) -> Result<Self> {
        Self::new(chain::from_storage(files)?)
    }

    pub(crate) fn new(files: Vec<OpenFile>) -> Result<Self> {
        let no_file = Error::NotADisk {
            file: PathBuf::new(),
            reason: NotADisk::NoFile,
        };
        let leaf = files.first().ok_or(no_file)?;
        Ok(Self {
            size: leaf.size(),
            logical_sector_bytes: leaf.logical_sector_bytes(),
            physical_sector_bytes: leaf.physical_sector_bytes(),
            layers: files.iter().map(OpenFile::facts).collect(),
            files,
        })
    }

    /// The size of the virtual disk.
    pub fn size(&self) -> ByteLen {
        self.size
    }

    /// What the leaf is stored as.
    pub fn format(&self) -> Format {
        self.layers.first().map_or(Format::Raw, |leaf| leaf.format)
    }

    /// The identity of the virtual disk, if its format has one: what stays as checkpoints come and go.
    ///
    /// All VHDX files of a chain carry the same. VHD files have one each, by which a child knows its parent; the one
    /// that stays is that of the last parent.
    pub fn disk_id(&self) -> Option<Guid> {
        let file = match self.format() {
            Format::Vhd => self.layers.last(),
            _ => self.layers.first(),
        };
        file.and_then(|file| file.disk_id)
    }

    /// The sector that the guest addresses.
    pub fn logical_sector_bytes(&self) -> u32 {
        self.logical_sector_bytes
    }

    /// The sector that the guest should align to.
    pub fn physical_sector_bytes(&self) -> u32 {
        self.physical_sector_bytes
    }

    /// The leaf's payload block, if its format has blocks.
    pub fn block_bytes(&self) -> Option<u32> {
        self.layers.first().and_then(|leaf| leaf.block_bytes)
    }

    /// The files of the chain, leaf first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Every byte that is in some file; all others are zero.
    pub fn allocated(&self) -> Extents {
        let all = Extent::new(DiskOffset(0), self.size);
        let segments = all
            .into_iter()
            .flat_map(|all| Segments::new(&self.files, all));
        let data = segments.filter(|segment| segment.place != Place::Zero);
        data.map(|segment| segment.extent).collect()
    }

    /// What the layers above layer `index` of [`layers`](Self::layers) hold, nearer to the guest: all that a guest
    /// sees there is theirs and not that layer's. Blocks that they declare zero count too, since they hide what lies
    /// below, and so does what lies past the end of a smaller one. Sorted, disjoint.
    ///
    /// No I/O.
    pub fn allocated_above(&self, index: usize) -> Extents {
        self.held_above(index).collect()
    }

    /// [`allocated_above`](Self::allocated_above) lazily: in order, disjoint; neighbours may touch.
    pub fn held_above(&self, index: usize) -> impl Iterator<Item = Extent> {
        let above = self.files.get(..index).unwrap_or(&self.files);
        let all = Extent::new(DiskOffset(0), self.size);
        all.into_iter()
            .flat_map(move |all| Held(Segments::new(above, all)))
    }

    /// Where the bytes of `extent` are, lazily: a partition of it, in order, equal neighbours merged.
    ///
    /// No I/O. What is absent costs nothing, however long it is.
    pub fn segments(&self, extent: Extent) -> Result<Segments<'_>> {
        self.check_range(extent.start(), extent.len())?;
        Ok(Segments::new(&self.files, extent))
    }

    /// Where the bytes of `extent` are: a partition of it, in order, equal neighbours merged.
    pub fn resolve(&self, extent: Extent) -> Result<Vec<Segment>> {
        Ok(self.segments(extent)?.collect())
    }

    /// Fills `buf` with the bytes of the disk from `at` on.
    pub fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        let len = ByteLen(buf.len() as u64);
        self.check_range(at, len)?;
        let Some(extent) = Extent::new(at, len) else {
            return Ok(());
        };
        let mut rest = buf;
        for segment in Segments::new(&self.files, extent) {
            let len = usize::try_from(segment.extent.len().0).unwrap_or(usize::MAX);
            let (piece, after) = rest.split_at_mut(len.min(rest.len()));
            match segment.place {
                Place::Data { file, at } => self.read_file(file, at, piece)?,
                Place::Zero => piece.fill(0),
            }
            rest = after;
        }
        Ok(())
    }

    /// Fills `buf` with the bytes of a layer's file from `at` on, as its log has them: reads a `Data` segment.
    pub fn read_file(&self, file: FileIndex, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let found = self.opened(file);
        found
            .ok_or(Error::NoSuchFile {
                file,
                files: self.files.len(),
            })?
            .source()
            .read(buf, at)
    }

    /// The file of a layer, where a plain read of it gives the truth for every `Data` segment in it.
    pub fn file(&self, file: FileIndex) -> Option<&File> {
        let opened = self.opened(file).filter(|opened| opened.is_plain())?;
        opened.source().storage().as_file()
    }

    /// What tells whether somebody wrote to the files, as it was before anything else was read of them.
    pub fn opened_stamp(&self) -> Stamp {
        Stamp {
            files: self.files.iter().map(OpenFile::opened_stamp).collect(),
        }
    }

    /// What tells whether somebody wrote to the files, read anew.
    pub fn stamp(&self) -> Result<Stamp> {
        let files = self
            .files
            .iter()
            .map(OpenFile::stamp)
            .collect::<Result<_>>()?;
        Ok(Stamp { files })
    }

    fn opened(&self, file: FileIndex) -> Option<&OpenFile> {
        self.files.get(usize::try_from(file.0).ok()?)
    }

    fn check_range(&self, at: DiskOffset, len: ByteLen) -> Result<()> {
        let inside =
            at.0.checked_add(len.0)
                .is_some_and(|end| end <= self.size.0);
        if inside {
            Ok(())
        } else {
            Err(Error::OutOfRange {
                at,
                len,
                disk_len: self.size,
            })
        }
    }
}
