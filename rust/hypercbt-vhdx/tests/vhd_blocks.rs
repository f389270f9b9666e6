//! Blocks of legacy VHD files: headers, tables, bitmaps and places.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too"
)]

mod common;

use common::good_vhd::{good, reads, refused};
use common::vhd::VhdImage;
use common::{GIB, MIB, open, read, refusal};
use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::{FileIndex, FileOffset, Place, Segment};

fn extent(start: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(start), ByteLen(len)).unwrap()
}

// Headers and tables.

#[test]
fn a_header_that_breaks_a_rule_is_refused() {
    let header = |rule: &str| format!("dynamic header: {rule}");
    assert_eq!(
        refused(|image| image.header_signature = *b"cxsparsf"),
        header("wrong signature")
    );
    assert_eq!(
        refused(|image| image.header_error = 1),
        header("wrong checksum")
    );
    assert_eq!(
        refused(|image| image.header_version = 0),
        header("unknown version 0")
    );
    for bytes in [0, 256, 3 << 20, u32::MAX] {
        let expected = header(&format!("a block of {bytes} bytes is not possible"));
        assert_eq!(refused(|image| image.block_bytes = bytes), expected);
    }
    let misplaced = |at| header(&format!("the place {at}+1024 is misaligned or not allowed"));
    for at in [0, 100, 513, u64::MAX] {
        let result = refused(|image| {
            let header_at = image.footer.header_at;
            let mut footer = image.footer.clone();
            footer.header_at = at;
            image.copy = Some(footer.bytes());
            image.footer.header_at = header_at;
            image.has_footer = false;
        });
        assert_eq!(result, misplaced(at));
    }
}

#[test]
fn a_header_or_table_past_the_footer_is_refused() {
    let end = good().build().bytes() - 512;
    let expected = format!(
        "dynamic header: the file ends at {end}, before {}",
        end + 1024
    );
    let result = refused(|image| {
        let mut footer = image.footer.clone();
        footer.header_at = end;
        image.copy = Some(footer.bytes());
        image.has_footer = false;
        image.footer_at = Some(end);
    });
    assert_eq!(result, expected);
    let past = refused(|image| {
        image.footer_at = Some(end);
        image.table_at = end - 512;
        image.block_bytes = 512;
        image.max_entries = 16384;
        image.table.clear();
    });
    let needed = end - 512 + 4 * 16384;
    assert_eq!(
        past,
        format!("block allocation table: the file ends at {end}, before {needed}")
    );
}

#[test]
fn a_table_that_is_too_short_or_too_long_for_our_maps_is_refused() {
    let short = "dynamic header: 3 bytes are too few, 4 are needed";
    assert_eq!(refused(|image| image.max_entries = 3), short);
    reads(|image| image.max_entries = 1000);
    let mut image = VhdImage::dynamic(2040 * GIB, 256 << 10);
    image.table.clear();
    let many = "dynamic header: 8355840 entries are too many";
    assert_eq!(refusal(open([image.build()])), many);
}

#[test]
fn a_table_that_is_a_hole_of_the_file_names_sector_0_and_is_refused() {
    let mut image = VhdImage::dynamic(2040 * GIB, 2 * MIB);
    image.table.clear();
    image.footer_at = Some(100 * MIB);
    let refused = refusal(open([image.build()]));
    assert_eq!(
        refused,
        "block allocation table: block 0 cannot be at file offset 0"
    );
}

#[test]
fn blocks_lie_whole_before_the_footer_and_on_nothing_else() {
    let end = good().build().bytes() / 512 - 1;
    let span = good().span();
    let past = end - span + 1;
    let result = refused(|image| {
        image.footer_at = Some(end * 512);
        image.table[0] = past as u32;
    });
    let expected = format!("block 0 cannot be at file offset {}", past * 512);
    assert_eq!(result, format!("block allocation table: {expected}"));
    let beyond = refused(|image| {
        image.footer_at = Some(end * 512);
        image.table[3] = u32::MAX - 1;
    });
    assert!(beyond.contains("block 3 cannot be at"), "{beyond}");
    for (sector, at) in [(7, 7), (8, 8), (6 + span, 6 + span)] {
        let overlap = refused(|image| {
            image.footer_at = Some(3 * end * 512);
            image.table[0] = sector as u32;
        });
        let expected = format!("two structures overlap at file offset {}", at * 512);
        assert_eq!(overlap, format!("block allocation table: {expected}"));
    }
    for sector in [1, 2, 3] {
        let overlap = refused(|image| {
            image.table = vec![u32::MAX; 4];
            image.table[0] = sector;
            image.footer_at = Some(3 * end * 512);
        });
        assert!(overlap.contains("overlap"), "{sector}: {overlap}");
    }
    let touching = refused(|image| {
        image.footer_at = Some(3 * end * 512);
        image.table[0] = 7 + span as u32;
    });
    assert_eq!(touching, "opened");
}

#[test]
fn a_table_over_the_header_is_refused() {
    let result = refused(|image| {
        // The checksum covers the entries that lie in the header's unused end.
        image.table_at = 1024;
        image.table.clear();
        image.footer_at = Some(MIB);
    });
    assert_eq!(
        result,
        "block allocation table: two structures overlap at file offset 1024"
    );
    let result = refused(|image| {
        image.footer.header_at = 2048;
        image.table_at = 1536;
        image.max_entries = 1 << 14;
        image.block_bytes = 512;
        image.table.clear();
        image.footer_at = Some(MIB);
    });
    assert_eq!(
        result,
        "block allocation table: two structures overlap at file offset 1536"
    );
}

// Bitmaps.

#[test]
fn the_most_significant_bit_is_the_first_sector() {
    let mut image = VhdImage::dynamic(8 * MIB, 2 * MIB);
    let payload = vec![9; 32 * 512];
    image.block(0, 7, &[0b1000_0001, 0b0100_0000, 0b0001_1000], &payload);
    let disk = open([image.build()]).unwrap();
    let data: Vec<u64> = (0..32)
        .filter(|sector| read(&disk, sector * 512, 512) == [9; 512])
        .collect();
    assert_eq!(data, [0, 7, 9, 19, 20]);
    // A clear bit of a dynamic disk is zeros, whatever lies there.
    assert_eq!(read(&disk, 512, 6 * 512), [0; 6 * 512]);
    let allocated: Vec<Extent> = [(0, 1), (7, 1), (9, 1), (19, 2)]
        .map(|(at, len)| extent(at * 512, len * 512))
        .to_vec();
    assert_eq!(disk.allocated().as_slice(), allocated);
    assert_eq!(
        (
            disk.layers()[0].present_blocks,
            disk.layers()[0].partial_blocks
        ),
        (1, 1)
    );
}

#[test]
fn a_block_without_a_set_bit_is_absent() {
    let mut image = good();
    let sector = 7 + image.span();
    image.block(3, sector, &[0; 512], &[9; 512]);
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, 6 * MIB, 512), [0; 512]);
    assert_eq!(disk.allocated().total().0, 2 * MIB);
}

#[test]
fn bits_past_the_end_of_the_disk_mean_nothing() {
    let mut image = VhdImage::dynamic(3 * MIB, 2 * MIB);
    let mut bits = vec![0xFF; 256];
    bits.resize(512, 0);
    image.block(1, 7, &bits, b"payload");
    let disk = open([image.build()]).unwrap();
    assert_eq!(disk.layers()[0].partial_blocks, 0);
    assert_eq!(disk.allocated().as_slice(), [extent(2 * MIB, MIB)]);
}

#[test]
fn small_and_large_blocks_have_bitmaps_of_whole_sectors() {
    // 512 bytes: one bit in a sector of its own. 16 MiB: 4 KiB of bits.
    for (size, block_bytes) in [(2048, 512), (64 * MIB, 16 * MIB), (MIB, 512 << 10)] {
        let mut image = VhdImage::dynamic(size, block_bytes);
        image.full(1, 64, b"payload");
        let disk = open([image.build()]).unwrap();
        assert_eq!(read(&disk, block_bytes, 7), b"payload", "{block_bytes}");
        let data = disk.resolve(extent(block_bytes, 512)).unwrap();
        let at = FileOffset(image.data_at(64));
        let place = Place::Data {
            file: FileIndex(0),
            at,
        };
        assert_eq!(
            data,
            [Segment {
                extent: extent(block_bytes, 512),
                place
            }]
        );
    }
}

#[test]
fn data_that_are_not_aligned_are_read_where_they_are() {
    let disk = reads(|image| {
        let odd = 8 + image.span();
        image.full(3, odd, b"unaligned");
    });
    assert_eq!(read(&disk, 6 * MIB, 9), b"unaligned");
}

#[test]
fn the_largest_disk_is_one_segment_and_its_last_sector_is_found() {
    let mut image = VhdImage::dynamic(2040 * GIB, 2 * MIB);
    let disk = open([image.build()]).unwrap();
    let all = extent(0, 2040 * GIB);
    assert_eq!(
        disk.resolve(all).unwrap(),
        [Segment {
            extent: all,
            place: Place::Zero
        }]
    );
    let last = image.table.len() - 1;
    let sector = u32::MAX - 1 - image.span() as u32;
    image.table[last] = sector;
    image
        .pieces
        .push((u64::from(sector) * 512, vec![0xFF; 512]));
    image.pieces.push((
        image.data_at(u64::from(sector)) + 2 * MIB - 3,
        b"end".to_vec(),
    ));
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, 2040 * GIB - 3, 3), b"end");
    assert_eq!(disk.resolve(all).unwrap().len(), 2);
}
