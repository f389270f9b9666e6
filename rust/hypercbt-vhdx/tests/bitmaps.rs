//! Blocks of differencing disks: which sectors are of the file, and which of its parent.

mod common;

use common::image::Image;
use common::segments::{data, extent, resolve, zero};
use common::{GIB, MIB, open, read, refusal};
use hypercbt_vhdx::VirtualDisk;

/// A child of 8 MiB in blocks of 1 MiB over a parent that is 0xPP everywhere.
fn over_parent(change: impl FnOnce(&mut Image)) -> hypercbt_vhdx::Result<VirtualDisk> {
    let mut parent = Image::dynamic(8 * MIB, 8 * MIB, 512);
    parent.block(0, 6, 4 * MIB, &vec![b'P'; 8 << 20]);
    let mut child = Image::differencing(8 * MIB, MIB, 512, [4; 16]);
    change(&mut child);
    open([child.build(), parent.build()])
}

#[test]
fn a_zero_unmapped_or_undefined_block_hides_the_parent() {
    for state in 1..4 {
        for place in [0, 30 * MIB] {
            let disk = over_parent(|child| child.entry(1, place | state)).unwrap();
            assert_eq!(read(&disk, MIB - 1, 2), [b'P', 0], "{state}");
            assert_eq!(read(&disk, 2 * MIB - 1, 2), [0, b'P']);
        }
    }
}

#[test]
fn an_absent_block_shows_the_parent_even_with_stale_bits_or_without_any_bitmap() {
    let disk = over_parent(|child| {
        child.entry(1, 30 * MIB);
        child.bitmap(0, 4 * MIB, 0..4096);
    })
    .unwrap();
    assert_eq!(resolve(&disk), [data(0, 8 * MIB, 1, 4 * MIB)]);
    let disk = over_parent(|_| ()).unwrap();
    assert_eq!(resolve(&disk), [data(0, 8 * MIB, 1, 4 * MIB)]);
}

#[test]
fn a_fully_present_block_counts_whole_even_with_clear_bits() {
    let disk = over_parent(|child| {
        child.bitmap(0, 4 * MIB, []);
        child.block(1, 6, 5 * MIB, b"child");
    })
    .unwrap();
    let expected = [
        data(0, MIB, 1, 4 * MIB),
        data(MIB, MIB, 0, 5 * MIB),
        data(2 * MIB, 6 * MIB, 1, 6 * MIB),
    ];
    assert_eq!(resolve(&disk), expected);
}

#[test]
fn the_bits_of_a_partial_block_choose_between_file_and_parent_least_significant_first() {
    // Block 1 begins at sector 2048 of the chunk. Bits 7, 8 and 16 of the block, and its last.
    let bits = [7, 8, 16, 2047];
    let disk = over_parent(|child| {
        child.bitmap(0, 4 * MIB, bits.map(|bit| 2048 + bit));
        child.block(1, 7, 5 * MIB, &vec![b'C'; 1 << 20]);
    })
    .unwrap();
    let bytes = read(&disk, MIB, 1 << 20);
    for (sector, bytes) in bytes.chunks(512).enumerate() {
        let expected = if bits.contains(&(sector as u64)) {
            b'C'
        } else {
            b'P'
        };
        assert!(bytes.iter().all(|byte| *byte == expected), "{sector}");
    }
    assert_eq!(disk.layers()[0].partial_blocks, 1);
    let first = disk.resolve(extent(MIB, 10 * 512)).unwrap();
    assert_eq!(first.len(), 3);
    assert_eq!(first[1], data(MIB + 7 * 512, 1024, 0, 5 * MIB + 7 * 512));
}

#[test]
fn a_partial_block_with_all_bits_set_or_clear_is_one_segment() {
    let disk = over_parent(|child| {
        child.bitmap(0, 4 * MIB, 2048..4096);
        child.block(1, 7, 5 * MIB, b"child");
        child.block(2, 7, 6 * MIB, b"hidden");
    })
    .unwrap();
    let expected = [
        data(0, MIB, 1, 4 * MIB),
        data(MIB, MIB, 0, 5 * MIB),
        data(2 * MIB, 6 * MIB, 1, 6 * MIB),
    ];
    assert_eq!(resolve(&disk), expected);
}

#[test]
fn a_partial_block_needs_its_bitmap() {
    let refused = refusal(over_parent(|child| child.block(1, 7, 5 * MIB, b"child")));
    assert_eq!(
        refused,
        "block allocation table: block 1 is partially present without a sector bitmap"
    );
}

#[test]
fn a_bitmap_is_present_inside_the_file_and_on_nothing_else() {
    for (raw, reason) in [
        (
            (4 * MIB) | 1,
            "block allocation table: sector bitmap 0 is in the unassigned state 1",
        ),
        (
            (4 * MIB) | 7,
            "block allocation table: sector bitmap 0 is in the unassigned state 7",
        ),
        (
            (4 * MIB) | 6 | 8,
            "block allocation table: reserved bits are set",
        ),
        (
            6,
            "sector bitmap: the place 0+1048576 is misaligned or not allowed",
        ),
        (
            (8 * MIB) | 6,
            "sector bitmap: the place 8388608+1048576 is misaligned or not allowed",
        ),
        (
            (5 * MIB) | 6,
            "block allocation table: two structures overlap at file offset 5242880",
        ),
        (
            (3 * MIB) | 6,
            "block allocation table: two structures overlap at file offset 3145728",
        ),
    ] {
        let refused = refusal(over_parent(|child| {
            child.bitmap_entry(0, raw);
            child.block(1, 6, 5 * MIB, b"child");
            child.len = Some(8 * MIB);
        }));
        assert_eq!(refused, reason);
    }
}

#[test]
fn each_chunk_has_its_own_bitmap_with_sectors_of_4096_bytes_too() {
    for (sector_bytes, chunk) in [(512, 4 * GIB), (4096, 32 * GIB)] {
        let size = 2 * chunk + 2 * MIB;
        let mut parent = Image::dynamic(size, 32 * MIB, sector_bytes);
        parent.block(chunk / (32 * MIB), 6, 20 * MIB, &[b'P'; 8192]);
        let mut child = Image::differencing(size, 2 * MIB, sector_bytes, [4; 16]);
        let ratio = child.ratio();
        child.bitmap(1, 10 * MIB, [1]);
        child.bitmap(2, 11 * MIB, [0]);
        child.block(ratio, 7, 12 * MIB, &[b'C'; 16384]);
        child.block(2 * ratio, 7, 14 * MIB, &[b'D'; 16384]);
        let disk = open([child.build(), parent.build()]).unwrap();
        let len = usize::try_from(sector_bytes).unwrap();
        let bytes = read(&disk, chunk, 3 * len);
        assert!(bytes[..len].iter().all(|byte| *byte == b'P'));
        assert!(bytes[len..2 * len].iter().all(|byte| *byte == b'C'));
        let third = if 3 * len <= 8192 { b'P' } else { 0 };
        assert!(bytes[2 * len..].iter().all(|byte| *byte == third));
        let bytes = read(&disk, 2 * chunk, 2 * len);
        assert!(bytes[..len].iter().all(|byte| *byte == b'D'));
        assert!(bytes[len..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn entries_of_blocks_that_the_disk_does_not_have_are_ignored() {
    let disk = over_parent(|child| child.entry(8, (4 * MIB) | 5)).unwrap();
    assert_eq!(resolve(&disk).len(), 1);
}

#[test]
fn a_child_larger_than_its_parent_reads_zeros_past_the_parents_end() {
    let mut parent = Image::dynamic(3 * MIB, 2 * MIB, 512);
    parent.block(0, 6, 4 * MIB, &vec![b'P'; 2 << 20]);
    parent.block(1, 6, 6 * MIB, &vec![b'P'; 2 << 20]);
    let child = Image::differencing(8 * MIB, MIB, 512, [4; 16]);
    let disk = open([child.build(), parent.build()]).unwrap();
    assert_eq!(
        resolve(&disk),
        [data(0, 3 * MIB, 1, 4 * MIB), zero(3 * MIB, 5 * MIB)]
    );
}

#[test]
fn a_child_smaller_than_its_parent_ends_where_it_ends() {
    let mut parent = Image::dynamic(8 * MIB, 8 * MIB, 512);
    parent.block(0, 6, 4 * MIB, b"parent");
    let disk = open([
        Image::differencing(3 * MIB, MIB, 512, [4; 16]).build(),
        parent.build(),
    ])
    .unwrap();
    assert_eq!(resolve(&disk), [data(0, 3 * MIB, 1, 4 * MIB)]);
}

#[test]
fn what_a_smaller_disk_in_the_middle_hides_stays_hidden() {
    let mut base = Image::dynamic(8 * MIB, 8 * MIB, 512);
    base.block(0, 6, 4 * MIB, &vec![b'B'; 8 << 20]);
    let middle = Image::differencing(3 * MIB, MIB, 512, [4; 16]);
    let leaf = Image::differencing(8 * MIB, MIB, 512, [4; 16]);
    let disk = open([leaf.build(), middle.build(), base.build()]).unwrap();
    assert_eq!(
        resolve(&disk),
        [data(0, 3 * MIB, 2, 4 * MIB), zero(3 * MIB, 5 * MIB)]
    );
}

#[test]
fn what_the_layers_above_hold_are_their_blocks_sectors_and_zeros_and_what_a_smaller_one_hides() {
    let mut base = Image::dynamic(8 * MIB, 8 * MIB, 512);
    base.block(0, 6, 5 * MIB, &vec![b'B'; 8 << 20]);
    let mut middle = Image::differencing(7 * MIB, MIB, 512, [4; 16]);
    middle.block(0, 6, 5 * MIB, b"middle");
    let mut leaf = Image::differencing(8 * MIB, MIB, 512, [4; 16]);
    leaf.entry(2, 2); // zero: it hides what is below
    leaf.block(4, 7, 6 * MIB, b"");
    leaf.bitmap(0, 4 * MIB, [4 * 2048 + 3]);
    let disk = open([leaf.build(), middle.build(), base.build()]).unwrap();
    let of_leaf = [extent(2 * MIB, MIB), extent(4 * MIB + 3 * 512, 512)];
    assert!(disk.allocated_above(0).is_empty());
    assert_eq!(disk.allocated_above(1).as_slice(), of_leaf);
    // The middle ends at 7 MiB, so nothing of the base is seen behind.
    let both = [extent(0, MIB), of_leaf[0], of_leaf[1], extent(7 * MIB, MIB)];
    assert_eq!(disk.allocated_above(2).as_slice(), both);
    assert!(disk.held_above(2).eq(both));
}
