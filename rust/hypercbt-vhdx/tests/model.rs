//! Whatever a chain is made of: what is read is what a plain array of bytes holds, and what is resolved is a
//! partition of what was asked for.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too"
)]

mod common;

use common::image::Image;
use common::sparse::SparseFile;
use common::{MIB, open, read};
use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::Place;
use proptest::prelude::*;

/// One file of a chain: its size, its blocks and how each is.
#[derive(Debug, Clone)]
struct Level {
    size_sectors: u64,
    block_mib: u64,
    /// State, order in the file, and which sectors a partial block has.
    blocks: Vec<(u64, u64, u64)>,
}

fn level() -> impl Strategy<Value = Level> {
    let state = prop::sample::select(vec![0_u64, 0, 1, 2, 3, 6, 6, 7, 7]);
    let blocks = prop::collection::vec((state, any::<u64>(), any::<u64>()), 6);
    // Up to 6 MiB, in sectors of 512 bytes that are not all whole blocks.
    (
        1..=6 * 256_u64,
        prop::sample::select(vec![1_u64, 2, 4]),
        blocks,
    )
        .prop_map(|(size, block_mib, blocks)| Level {
            size_sectors: size * 8,
            block_mib,
            blocks,
        })
}

/// The byte of a file's payload: different in each file, block and sector.
fn payload(level: usize, block: u64, sector: u64) -> u8 {
    ((level as u64 * 83 + block * 31 + sector * 7) % 255 + 1) as u8
}

/// Whether a partial block has a sector: runs of 1 to 64 sectors, and single ones.
fn has_sector(pattern: u64, sector: u64) -> bool {
    if pattern.is_multiple_of(3) {
        pattern >> (sector % 61) & 1 == 1
    } else {
        pattern >> (sector / 64 % 61) & 1 == 1
    }
}

/// Builds the file and lays it over `model`, which holds what its parents make of the disk.
fn build(
    level: &Level,
    number: usize,
    base: bool,
    sector_bytes: u64,
    model: Vec<u8>,
) -> (SparseFile, Vec<u8>) {
    let (size, block_bytes) = (level.size_sectors * 512, level.block_mib * MIB);
    let mut model = model;
    model.resize(size as usize, 0);
    let mut image = if base {
        Image::dynamic(size, block_bytes, sector_bytes)
    } else {
        Image::differencing(size, block_bytes, sector_bytes, [4; 16])
    };
    let count = size.div_ceil(block_bytes);
    let mut order: Vec<u64> = (0..count).collect();
    order.sort_by_key(|block| level.blocks[*block as usize].1);
    let first = image.first_free + MIB;
    let mut set = Vec::new();
    for block in 0..count {
        let (state, _, pattern) = level.blocks[block as usize];
        let state = if base && state == 7 { 6 } else { state };
        let place = order.iter().position(|other| *other == block).unwrap() as u64;
        let at = first + place * block_bytes;
        let sectors = block_bytes / sector_bytes;
        for sector in 0..sectors {
            let own = match state {
                0 => continue,
                1..=3 => 0,
                6 => payload(number, block, sector),
                _ if has_sector(pattern, sector) => {
                    set.push(block * sectors + sector);
                    payload(number, block, sector)
                }
                _ => continue,
            };
            let start = ((block * sectors + sector) * sector_bytes) as usize;
            let end = (start + sector_bytes as usize).min(model.len());
            if start < end {
                model[start..end].fill(own);
            }
        }
        if state >= 6 {
            let bytes: Vec<u8> = (0..sectors)
                .flat_map(|sector| vec![payload(number, block, sector); sector_bytes as usize])
                .collect();
            image.block(block, state, at, &bytes);
        } else {
            image.entry(
                block,
                if pattern_is_stale(pattern) {
                    at | state
                } else {
                    state
                },
            );
        }
    }
    if !base {
        image.bitmap(0, first - MIB, set);
    }
    (image.build(), model)
}

fn pattern_is_stale(pattern: u64) -> bool {
    pattern % 2 == 1
}

/// The files, leaf first, and the bytes of the disk.
fn chain(levels: &[Level], sector_bytes: u64) -> (Vec<SparseFile>, Vec<u8>) {
    let mut files = Vec::new();
    let mut model = Vec::new();
    for (number, level) in levels.iter().enumerate() {
        let (file, bytes) = build(level, number, number == 0, sector_bytes, model);
        files.insert(0, file);
        model = bytes;
    }
    (files, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_reads_as_an_array_of_bytes_does(
        levels in prop::collection::vec(level(), 1..5),
        large_sectors in any::<bool>(),
        requests in prop::collection::vec((any::<u64>(), any::<u64>()), 4),
    ) {
        let (files, model) = chain(&levels, if large_sectors { 4096 } else { 512 });
        let disk = open(files).unwrap();
        let size = disk.size().0;
        prop_assert_eq!(size, model.len() as u64);
        prop_assert!(read(&disk, 0, model.len()) == model, "the whole disk differs");
        for (at, len) in requests {
            let at = at % size;
            let len = len % (size - at) + 1;
            let range = at as usize..(at + len) as usize;
            prop_assert!(read(&disk, at, len as usize) == model[range], "{at}+{len} differs");
            let extent = Extent::new(DiskOffset(at), ByteLen(len)).unwrap();
            let segments = disk.resolve(extent).unwrap();
            let mut next = at;
            for segment in &segments {
                prop_assert_eq!(segment.extent.start().0, next);
                next = segment.extent.end().0;
            }
            prop_assert_eq!(next, at + len);
            for pair in segments.windows(2) {
                let same = match (pair[0].place, pair[1].place) {
                    (Place::Zero, Place::Zero) => true,
                    (Place::Data { file, at }, Place::Data { file: next_file, at: next_at }) => {
                        file == next_file && at.0 + pair[0].extent.len().0 == next_at.0
                    }
                    _ => false,
                };
                prop_assert!(!same, "two segments that are one: {pair:?}");
            }
            let data: hypercbt_extent::Extents = segments
                .iter()
                .filter(|segment| segment.place != Place::Zero)
                .map(|segment| segment.extent)
                .collect();
            prop_assert_eq!(data, disk.allocated().intersect(&extent.into()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outside_of_what_the_layers_above_hold_a_disk_is_what_the_chain_from_there_on_is(
        levels in prop::collection::vec(level(), 1..5),
        index in any::<prop::sample::Index>(),
    ) {
        let (files, model) = chain(&levels, 512);
        let index = index.index(levels.len());
        let disk = open(files).unwrap();
        let (lower_files, mut expected) = chain(&levels[..levels.len() - index], 512);
        let lower = open(lower_files).unwrap();
        prop_assert!(read(&lower, 0, expected.len()) == expected);
        expected.resize(model.len(), 0);
        let above = disk.allocated_above(index);
        for extent in &above {
            let range = extent.start().0 as usize..extent.end().0 as usize;
            expected[range.clone()].copy_from_slice(&model[range]);
        }
        prop_assert!(expected == model, "{index}: {above:?} is not all");
        prop_assert!(index > 0 || above.is_empty());
    }
}

#[test]
fn a_raw_file_is_read_as_it_is_and_its_holes_are_zeros() {
    let mut file = SparseFile::default();
    file.set_len(3 * MIB);
    file.write(8192, &[7; 100]);
    let disk = open([file]).unwrap();
    assert_eq!(disk.format().as_str(), "raw");
    assert_eq!(
        (disk.logical_sector_bytes(), disk.physical_sector_bytes()),
        (512, 512)
    );
    assert_eq!((disk.block_bytes(), disk.disk_id()), (None, None));
    let data = Extent::new(DiskOffset(8192), ByteLen(4096)).unwrap();
    assert_eq!(disk.allocated().as_slice(), [data]);
    assert_eq!(read(&disk, 8191, 102), [&[0][..], &[7; 100], &[0]].concat());
}

#[test]
fn the_holes_of_a_local_raw_file_are_found() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let mut file = std::fs::File::create(&path).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.seek(SeekFrom::Start(32 * MIB)).unwrap();
    file.write_all(&[7; 512]).unwrap();
    drop(file);
    let disk = hypercbt_vhdx::VirtualDisk::open_raw(&path).unwrap();
    assert_eq!(read(&disk, 32 * MIB, 512), [7; 512]);
    assert_eq!(read(&disk, 32 * MIB - 512, 512), [0; 512]);
    if cfg!(target_os = "linux") {
        assert!(disk.allocated().total().0 < MIB, "{:?}", disk.allocated());
    }
    assert!(disk.file(hypercbt_vhdx::FileIndex(0)).is_some());
}

#[test]
fn a_raw_disk_may_look_like_anything_if_the_caller_says_that_it_is_raw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let mut bytes = vec![0; 1024];
    bytes[..8].copy_from_slice(b"vhdxfile");
    std::fs::write(&path, &bytes).unwrap();
    let options = hypercbt_vhdx::OpenOptions::default();
    assert!(hypercbt_vhdx::VirtualDisk::open(&path, &options).is_err());
    assert_eq!(
        read(
            &hypercbt_vhdx::VirtualDisk::open_raw(&path).unwrap(),
            0,
            1024
        ),
        bytes
    );
}
