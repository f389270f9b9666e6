//! Whatever a chain of VHD files is made of: what is read is what a plain array of bytes holds, and what is resolved
//! is a partition of what was asked for.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too"
)]

mod common;

use common::sparse::SparseFile;
use common::vhd::VhdImage;
use common::{MIB, open, read};
use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::Place;
use proptest::prelude::*;

/// One file of a chain: its blocks, and how each is.
#[derive(Debug, Clone)]
struct Level {
    block_bytes: u64,
    /// Whether it is there, its order in the file, which of its sectors are, and what lies before it.
    blocks: Vec<(bool, u64, u64, u64)>,
}

fn level() -> impl Strategy<Value = Level> {
    let block = (any::<bool>(), any::<u64>(), any::<u64>(), 0..9_u64);
    (
        prop::sample::select(vec![256 << 10, 512 << 10, MIB, 2 * MIB]),
        prop::collection::vec(block, 16),
    )
        .prop_map(|(block_bytes, blocks)| Level {
            block_bytes,
            blocks,
        })
}

/// The byte of a file's payload: different in each file, block and sector, never zero.
fn payload(level: usize, block: u64, sector: u64) -> u8 {
    ((level as u64 * 83 + block * 31 + sector * 7) % 255 + 1) as u8
}

/// Whether a bitmap has a sector: all of them, none, runs of 1 to 64 sectors, or mixed bits in every byte.
fn has_sector(pattern: u64, sector: u64) -> bool {
    match pattern % 5 {
        0 => true,
        1 => false,
        2 | 3 => pattern >> (sector % 61) & 1 == 1,
        _ => pattern >> (sector / 64 % 61) & 1 == 1,
    }
}

/// Builds the file and lays it over `model`, which holds what its parents make of the disk.
fn build(level: &Level, number: usize, size: u64, model: &mut [u8]) -> SparseFile {
    let mut image = if number == 0 {
        VhdImage::dynamic(size, level.block_bytes)
    } else {
        VhdImage::differencing(size, level.block_bytes, [number as u8; 16], "parent.vhd")
    };
    image.footer.id = [number as u8 + 1; 16];
    let count = size.div_ceil(level.block_bytes);
    let mut order: Vec<u64> = (0..count).collect();
    order.sort_by_key(|block| level.blocks[*block as usize].1);
    let sectors = level.block_bytes / 512;
    let mut free = 32;
    for block in order {
        let (there, _, pattern, gap) = level.blocks[block as usize];
        if !there {
            continue;
        }
        let mut bits = vec![0_u8; image.bitmap_bytes() as usize];
        let mut bytes = Vec::new();
        for sector in 0..sectors {
            let own = has_sector(pattern, sector);
            // What lies where the bit is clear is nobody's.
            bytes.extend([payload(number, block, sector); 512]);
            if own {
                bits[sector as usize / 8] |= 0x80 >> (sector % 8);
                let start = ((block * sectors + sector) * 512) as usize;
                if start < model.len() {
                    model[start..start + 512].fill(payload(number, block, sector));
                }
            }
        }
        free += gap;
        image.block(block as usize, free, &bits, &bytes);
        free += image.span();
    }
    image.build()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_reads_as_an_array_of_bytes_does(
        sectors in 1..8 * 1024_u64,
        levels in prop::collection::vec(level(), 1..5),
        requests in prop::collection::vec((any::<u64>(), any::<u64>()), 4),
    ) {
        let size = sectors * 512;
        let mut model = vec![0; size as usize];
        let mut files = Vec::new();
        for (number, level) in levels.iter().enumerate() {
            files.insert(0, build(level, number, size, &mut model));
        }
        let disk = open(files).unwrap();
        prop_assert_eq!(disk.size().0, size);
        prop_assert!(read(&disk, 0, model.len()) == model, "the whole disk differs");
        for (at, len) in requests {
            let at = at % size;
            let len = len % (size - at) + 1;
            let range = at as usize..(at + len) as usize;
            prop_assert!(read(&disk, at, len as usize) == model[range], "{at}+{len} differs");
            let extent = Extent::new(DiskOffset(at), ByteLen(len)).unwrap();
            let mut next = at;
            for segment in &disk.resolve(extent).unwrap() {
                prop_assert_eq!(segment.extent.start().0, next);
                next = segment.extent.end().0;
                if segment.place == Place::Zero {
                    let zero = segment.extent.start().0 as usize..next as usize;
                    prop_assert!(model[zero].iter().all(|byte| *byte == 0));
                }
            }
            prop_assert_eq!(next, at + len);
        }
    }
}
