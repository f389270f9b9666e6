//! One VHDX file: opened and checked, and from then on a map from the disk to the file.
//!
//! The order of opening is the order of trust: the identifier and the headers are read as they are; the log is
//! replayed; everything else is read as the log has it.

use hypercbt_extent::{ByteLen, DiskOffset};
use zerocopy::FromBytes;

use crate::bat::{self, Bat, Block, Table};
use crate::disk::{Kind, LogState};
use crate::format::{FILE_SIGNATURE, FileIdentifier, HEADER_SECTION_BYTES};
use crate::geometry::Geometry;
use crate::header::{self, Header};
use crate::metadata::{self, Metadata};
use crate::region::{self, Regions};
use crate::sector_bitmap::{self, SectorBitmaps, SectorRuns};
use crate::segments::{Here, Run};
use crate::source::Source;
use crate::space::SpaceMap;
use crate::{FileOffset, Part, Reason, Result, log};

/// The facts of an opened file, and where its blocks are.
#[derive(Debug)]
pub(crate) struct Vhdx {
    pub(crate) header: Header,
    pub(crate) metadata: Metadata,
    pub(crate) log: LogState,
    pub(crate) creator: String,
    pub(crate) present_blocks: u64,
    pub(crate) partial_blocks: u64,
    /// How much of the last block lies past the end of the file.
    pub(crate) missing_tail: ByteLen,
    /// Whether a plain read of the file gives the truth for every block.
    pub(crate) plain: bool,
    pub(crate) map: BlockMap,
}

/// Which bytes of the disk are which bytes of the file.
#[derive(Debug)]
pub(crate) struct BlockMap<B = SectorBitmaps> {
    pub(crate) geometry: Geometry,
    pub(crate) bat: Bat,
    pub(crate) bitmaps: B,
    /// Where the bytes of the file end. Blocks may reach past it; there they are zero.
    pub(crate) readable: u64,
}

impl Vhdx {
    /// Reads and checks all metadata of a file, and lays its log over `source`.
    pub(crate) fn open(source: &mut Source) -> Result<Self> {
        let creator = read_identifier(source)?;
        let header = read_header(source)?;
        let (overlay, log) = log::replay(source, &header)?;
        source.set_overlay(overlay);
        source.require(Part::FileIdentifier, 0)?;
        let regions = region::read(source, &header)?;
        let metadata = metadata::read(source, regions.metadata)?;
        let geometry = Geometry::new(&metadata);
        let mut space = SpaceMap::new(source.len());
        let Table {
            mut bat,
            bitmaps,
            present_blocks,
            partial_blocks,
            blocks_end,
        } = bat::load(source, regions.bat, &geometry, &mut space)?;
        let plain = source
            .overlay()
            .changed()
            .all(|(at, len)| !space.is_claimed(at, len));
        claim_structures(source, &mut space, &regions, &header)?;
        let bitmaps = sector_bitmap::load(source, &mut bat, &bitmaps, &geometry)?;
        // Where the log touches no block, its growth of the file has put nothing there either.
        let readable = if plain {
            source.file_len()
        } else {
            source.len()
        }
        .0;
        let missing_tail = ByteLen(blocks_end.saturating_sub(readable));
        let map = BlockMap {
            geometry,
            bat,
            bitmaps,
            readable,
        };
        Ok(Self {
            header,
            metadata,
            log,
            creator,
            present_blocks,
            partial_blocks,
            missing_tail,
            plain,
            map,
        })
    }

    /// How the file holds the disk.
    pub(crate) fn kind(&self) -> Kind {
        if self.metadata.parent.is_some() {
            Kind::Differencing
        } else if self.metadata.leave_blocks_allocated {
            Kind::Fixed
        } else {
            Kind::Dynamic
        }
    }
}

/// Checks the signature; returns the creator.
fn read_identifier(source: &Source) -> Result<String> {
    source.require(Part::FileIdentifier, HEADER_SECTION_BYTES)?;
    let mut bytes = [0; size_of::<FileIdentifier>()];
    source.read(&mut bytes, FileOffset(0))?;
    match FileIdentifier::ref_from_bytes(&bytes) {
        Ok(identifier) if identifier.signature == FILE_SIGNATURE => Ok(creator(identifier)),
        _ => Err(source.corrupt(Part::FileIdentifier, Reason::Signature)),
    }
}

/// The creator as text that is safe to print: it is only for people, and anybody can write anything into it.
fn creator(identifier: &FileIdentifier) -> String {
    let units = identifier
        .creator
        .iter()
        .map(|unit| unit.get())
        .take_while(|unit| *unit != 0);
    let text = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER));
    text.map(|char| {
        if char.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            char
        }
    })
    .collect()
}

fn read_header(source: &Source) -> Result<Header> {
    let headers =
        header::read_both(source.storage()).map_err(|error| source.examine_failed(error))?;
    let header = header::current(headers).map_err(|defect| source.blame(defect))?;
    if header.log_len.0 > 0 {
        source.require(Part::Log, header.log_end())?;
    }
    Ok(header)
}

/// Checks that no block lies on a region or the log.
pub(crate) fn claim_structures(
    source: &Source,
    space: &mut SpaceMap,
    regions: &Regions,
    header: &Header,
) -> Result<()> {
    let regions = regions.all.iter().map(|region| (region.at, region.len));
    for (at, len) in regions.chain([(header.log_at, header.log_len)]) {
        if !space.claim(at, len) {
            return Err(source.corrupt(Part::Bat, Reason::Overlap { at }));
        }
    }
    Ok(())
}

impl<B: SectorRuns> BlockMap<B> {
    /// The size of the disk that this file was made for.
    pub(crate) fn size(&self) -> ByteLen {
        self.geometry.size()
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, at: DiskOffset) -> Run {
        let index = self.geometry.block_of(at);
        let start = self.geometry.start_of(index);
        let end = self.clip(start.0.saturating_add(self.geometry.block_bytes()));
        match self.bat.get(index) {
            Block::Absent => self.absent_run(at),
            Block::Zero => Run {
                here: Here::Zero,
                end,
            },
            Block::Present(place) => self.data_run(place, at, start, end),
            Block::Partial(place) => {
                let sector_bytes = self.geometry.sector_bytes();
                let (here, until) = self.bitmaps.run_at(index, (at.0 - start.0) / sector_bytes);
                let end = end.min(DiskOffset(
                    start.0.saturating_add(until.saturating_mul(sector_bytes)),
                ));
                if here {
                    self.data_run(place, at, start, end)
                } else {
                    Run {
                        here: Here::Below,
                        end,
                    }
                }
            }
        }
    }

    /// Up to the next block that is in the file.
    fn absent_run(&self, at: DiskOffset) -> Run {
        let here = if self.geometry.is_differencing() {
            Here::Below
        } else {
            Here::Zero
        };
        let end = match self.bat.next_stored(self.geometry.block_of(at)) {
            Some(next) => self.clip(self.geometry.start_of(next).0),
            None => DiskOffset(self.size().0),
        };
        Run { here, end }
    }

    /// Data of the block that is at `place` and begins at `start` of the disk; zeros past the end of the file.
    fn data_run(
        &self,
        place: FileOffset,
        at: DiskOffset,
        start: DiskOffset,
        end: DiskOffset,
    ) -> Run {
        let file_at = place.0.saturating_add(at.0 - start.0);
        if file_at >= self.readable {
            return Run {
                here: Here::Zero,
                end,
            };
        }
        let readable_end = at.0.saturating_add(self.readable - file_at);
        Run {
            here: Here::Data(FileOffset(file_at)),
            end: end.min(DiskOffset(readable_end)),
        }
    }

    fn clip(&self, end: u64) -> DiskOffset {
        DiskOffset(end.min(self.size().0))
    }
}
