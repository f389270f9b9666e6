//! Sector bitmaps: which sectors of a partially present block are in the file (MS-VHDX 2.4).
//!
//! One bitmap of 1 MiB covers 2^23 sectors, least significant bit first; a set bit means "in this file". Only the
//! slices of partially present blocks count: fully present blocks may have clear bits and absent ones set bits.
//! They are loaded when the file is opened, so that resolving stays pure. A slice with all bits set or clear is not
//! kept: its block becomes present or absent.

use std::collections::BTreeMap;

use hypercbt_extent::ByteLen;

use crate::bat::{Bat, Block};
use crate::format::SECTOR_BITMAP_BYTES;
use crate::geometry::Geometry;
use crate::source::Source;
use crate::{BlockIndex, FileOffset, Part, Reason, Result};

/// What knows which sectors of partially present blocks are in the file.
pub(crate) trait SectorRuns {
    /// Whether `sector` of `block` is in the file, and up to which sector (exclusive) all others are alike.
    /// The caller bounds the answer by the end of the block.
    fn run_at(&self, block: BlockIndex, sector: u64) -> (bool, u64);
}

/// The slices of all partially present blocks of a file, by block.
#[derive(Debug, Default)]
pub(crate) struct SectorBitmaps {
    slices: Vec<(BlockIndex, Slice)>,
}

/// How many of a block's sectors are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    All,
    Nothing,
    Some,
}

/// Which sectors of one block are in the file: whichever form is smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Slice {
    /// A bit a sector, as in the file.
    Bits(Box<[u8]>),
    /// The sectors at which the answer changes, and the first sector's.
    Flips { first: bool, flips: Box<[u32]> },
}

impl SectorRuns for SectorBitmaps {
    fn run_at(&self, block: BlockIndex, sector: u64) -> (bool, u64) {
        self.find(block, sector).unwrap_or((false, u64::MAX))
    }
}

impl SectorBitmaps {
    /// The same, or `None` for a block whose bits were not kept.
    pub(crate) fn find(&self, block: BlockIndex, sector: u64) -> Option<(bool, u64)> {
        let found = self
            .slices
            .binary_search_by_key(&block, |(index, _)| *index);
        let (_, slice) = self.slices.get(found.ok()?)?;
        Some(slice.run_at(sector))
    }

    /// Says what `bits` hold of the first `sectors` of `block`, and keeps them if that is neither all nor nothing.
    /// Blocks come in ascending order, or [`settle`](Self::settle) follows.
    pub(crate) fn add(&mut self, block: BlockIndex, bits: &[u8], sectors: u64) -> Held {
        match (bit(bits, 0), run_end(bits, 0) >= sectors) {
            (true, true) => Held::All,
            (false, true) => Held::Nothing,
            (_, false) => {
                self.slices.push((block, Slice::new(bits, sectors)));
                Held::Some
            }
        }
    }

    /// Puts the blocks in order, and gives back the memory that was kept for more.
    pub(crate) fn settle(&mut self) {
        self.slices.sort_unstable_by_key(|(block, _)| *block);
        self.slices.shrink_to_fit();
    }
}

impl Slice {
    fn new(bits: &[u8], sectors: u64) -> Self {
        let first = bit(bits, 0);
        let most = bits.len() / size_of::<u32>();
        let mut flips = Vec::new();
        let mut at = run_end(bits, 0);
        while at < sectors {
            if flips.len() == most {
                return Self::Bits(bits.into());
            }
            flips.push(u32::try_from(at).unwrap_or(u32::MAX));
            at = run_end(bits, at);
        }
        Self::Flips {
            first,
            flips: flips.into(),
        }
    }

    fn run_at(&self, sector: u64) -> (bool, u64) {
        match self {
            Self::Bits(bits) => (bit(bits, sector), run_end(bits, sector)),
            Self::Flips { first, flips } => {
                let before = flips.partition_point(|flip| u64::from(*flip) <= sector);
                let end = flips.get(before).map_or(u64::MAX, |flip| u64::from(*flip));
                (*first ^ (before % 2 == 1), end)
            }
        }
    }
}

/// Whether the bit of `sector` is set.
pub(crate) fn bit(bits: &[u8], sector: u64) -> bool {
    let byte = usize::try_from(sector / 8)
        .ok()
        .and_then(|byte| bits.get(byte));
    byte.is_some_and(|byte| byte >> (sector % 8) & 1 == 1)
}

/// The first sector after `sector` whose bit differs, or the number of bits.
pub(crate) fn run_end(bits: &[u8], sector: u64) -> u64 {
    let uniform = if bit(bits, sector) { 0xFF } else { 0 };
    let mut at = sector + 1;
    let end = bits.len() as u64 * 8;
    while at < end {
        let whole_byte = at.is_multiple_of(8)
            && usize::try_from(at / 8).ok().and_then(|byte| bits.get(byte)) == Some(&uniform);
        if whole_byte {
            at += 8;
        } else if bit(bits, at) == (uniform == 0xFF) {
            at += 1;
        } else {
            return at;
        }
    }
    end
}

/// Loads the slices of all partial blocks of `bat`, and turns those blocks that are uniform into what they are.
pub(crate) fn load(
    source: &Source,
    bat: &mut Bat,
    places: &BTreeMap<u64, FileOffset>,
    geometry: &Geometry,
) -> Result<SectorBitmaps> {
    let mut bitmaps = SectorBitmaps::default();
    let ratio = geometry.chunk_ratio();
    for chunk_index in 0..geometry.sector_bitmaps() {
        let blocks = bat.stored_in(chunk_index * ratio..(chunk_index + 1) * ratio);
        let partial = blocks.filter_map(|(index, block)| match block {
            Block::Partial(at) => Some((index, at)),
            _ => None,
        });
        let partial: Vec<(BlockIndex, FileOffset)> = partial.collect();
        load_chunk(source, bat, places, geometry, &partial, &mut bitmaps)?;
    }
    bitmaps.settle();
    Ok(bitmaps)
}

/// Loads the slices of the partial `blocks` of one bitmap, in one read from the first to the last.
fn load_chunk(
    source: &Source,
    bat: &mut Bat,
    places: &BTreeMap<u64, FileOffset>,
    geometry: &Geometry,
    blocks: &[(BlockIndex, FileOffset)],
    bitmaps: &mut SectorBitmaps,
) -> Result<()> {
    let (Some((first, _)), Some((last, _))) = (blocks.first(), blocks.last()) else {
        return Ok(());
    };
    let ratio = geometry.chunk_ratio();
    let Some(bitmap_at) = places.get(&(first.0 / ratio)) else {
        return Err(source.corrupt(Part::Bat, Reason::PartialWithoutBitmap(*first)));
    };
    let slice_bytes = SECTOR_BITMAP_BYTES / ratio;
    let from = first.0 % ratio * slice_bytes;
    let len = (last.0 - first.0 + 1) * slice_bytes;
    let at = FileOffset(bitmap_at.0.saturating_add(from));
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    if !source.is_hole(at, ByteLen(len)) {
        source.read(&mut bytes, at)?;
    }
    for (index, block_at) in blocks {
        let start = usize::try_from((index.0 - first.0) * slice_bytes).unwrap_or_default();
        let end = start + usize::try_from(slice_bytes).unwrap_or_default();
        let bits = bytes.get(start..end).unwrap_or_default();
        let sectors = geometry.sectors_of(*index);
        match bitmaps.add(*index, bits, sectors) {
            Held::All => bat.set(*index, Block::Present(*block_at)),
            Held::Nothing => bat.set(*index, Block::Absent),
            Held::Some => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_least_significant_bit_is_the_first_sector() {
        let bits = [0b0000_0001, 0b1000_0000];
        assert!(bit(&bits, 0));
        assert!(!bit(&bits, 1));
        assert!(!bit(&bits, 7));
        assert!(!bit(&bits, 8));
        assert!(bit(&bits, 15));
    }

    #[test]
    fn a_run_crosses_byte_borders() {
        let bits = [0b1000_0000, 0b0000_0001, 0, 0, 0xFF, 0xFF, 0x01];
        assert_eq!(run_end(&bits, 0), 7);
        assert_eq!(run_end(&bits, 7), 9);
        assert_eq!(run_end(&bits, 9), 32);
        assert_eq!(run_end(&bits, 32), 49);
        assert_eq!(run_end(&bits, 49), 56);
    }

    #[test]
    fn few_changes_are_kept_as_places_and_many_as_bits() {
        let mut bits = [0; 64];
        bits[10] = 0xFF;
        assert_eq!(
            Slice::new(&bits, 512),
            Slice::Flips {
                first: false,
                flips: [80, 88].into()
            }
        );
        assert!(matches!(Slice::new(&[0x55; 64], 512), Slice::Bits(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn both_forms_answer_as_the_bits_do(
            bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 0xFF, 0xFF, 0x80, 0x01, 0x55]), 64),
        ) {
            for slice in [Slice::new(&bytes, 512), Slice::Bits(bytes.clone().into())] {
                for sector in 0..512 {
                    let (here, end) = slice.run_at(sector);
                    prop_assert_eq!(here, bit(&bytes, sector));
                    prop_assert!(end > sector);
                    for same in sector..end.min(512) {
                        prop_assert_eq!(bit(&bytes, same), here);
                    }
                    if end < 512 {
                        prop_assert_ne!(bit(&bytes, end), here);
                    }
                }
            }
        }
    }
}
