//! One legacy VHD file: opened and checked, and from then on a map from the disk to the file.
//!
//! The format has no log and no versions of its metadata, so a file that was not closed properly cannot be told from
//! one that was. What is read is what Windows would read of it.

mod encode;
mod footer;
mod format;
mod header;
mod layout;
mod locator;
mod map;
mod table;
mod write;

use hypercbt_extent::{ByteLen, DiskOffset};

use crate::Result;
use crate::disk::Kind;
use crate::locator::ParentLocator;
use crate::raw::RawMap;
use crate::segments::{Here, Run};
use crate::source::Source;
use footer::Footer;
use header::Header;
use map::BlockMap;

pub(crate) use footer::{both_ends, is_there, read as read_footer};
pub use write::{VhdKind, VhdOptions, VhdWriter};

/// The facts of an opened file, and where its blocks are.
#[derive(Debug)]
pub(crate) struct Vhd {
    pub(crate) footer: Footer,
    pub(crate) parent: Option<ParentLocator>,
    pub(crate) block_bytes: Option<u32>,
    pub(crate) present_blocks: u64,
    pub(crate) partial_blocks: u64,
    map: Map,
}

#[derive(Debug)]
enum Map {
    Fixed(RawMap),
    Blocks(BlockMap),
}

impl Vhd {
    /// Reads and checks all metadata of a file.
    ///
    /// # Errors
    /// Also for a file that is no VHD at all; [`is_there`] tells.
    pub(crate) fn open(source: &Source) -> Result<Self> {
        let footer = read_footer(source.storage())
            .map_err(|error| source.examine_failed(error))?
            .map_err(|defect| source.blame(defect))?;
        if footer.kind == Kind::Fixed {
            let map = Map::Fixed(RawMap::of_size(footer.size));
            return Ok(Self {
                footer,
                parent: None,
                block_bytes: None,
                present_blocks: 0,
                partial_blocks: 0,
                map,
            });
        }
        let header = header::read(source, &footer)?;
        let parent = if footer.kind == Kind::Differencing {
            Some(locator::read(source, &footer, &header.raw)?)
        } else {
            None
        };
        Self::with_blocks(source, footer, &header, parent)
    }

    fn with_blocks(
        source: &Source,
        footer: Footer,
        header: &Header,
        parent: Option<ParentLocator>,
    ) -> Result<Self> {
        let absent = if parent.is_some() {
            Here::Below
        } else {
            Here::Zero
        };
        let stored = table::load(source, &footer, header)?;
        let present_blocks = stored.len() as u64;
        let (map, partial_blocks) = BlockMap::load(source, header.blocks, absent, stored)?;
        Ok(Self {
            footer,
            parent,
            block_bytes: Some(header.raw.block_bytes.get()),
            present_blocks,
            partial_blocks,
            map: Map::Blocks(map),
        })
    }

    /// The size of the disk.
    pub(crate) fn size(&self) -> ByteLen {
        self.footer.size
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, source: &Source, at: DiskOffset) -> Run {
        match &self.map {
            Map::Fixed(raw) => raw.run_at(source, at),
            Map::Blocks(blocks) => blocks.run_at(at),
        }
    }
}
