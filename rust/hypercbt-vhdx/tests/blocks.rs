//! Where the bytes of the disk are: block states, places, borders of the allocation table, ends of the file.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::image::Image;
use common::segments::{data, extent, resolve, zero};
use common::work::Work;
use common::{GIB, MIB, TIB, open, read, refusal};
use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_vhdx::{Error, FileIndex, FileOffset, ReadAt, VirtualDisk};

#[test]
fn blocks_in_any_order_are_found_and_those_that_follow_each_other_are_one_segment() {
    let mut image = Image::dynamic(6 * MIB, MIB, 512);
    image.block(0, 6, 9 * MIB, b"zero");
    image.block(1, 6, 10 * MIB, b"one");
    image.block(2, 6, 6 * MIB, b"two");
    image.block(3, 6, 5 * MIB, b"three");
    image.block(5, 6, 7 * MIB, b"five");
    let disk = open([image.build()]).unwrap();
    let expected = [
        data(0, 2 * MIB, 0, 9 * MIB),
        data(2 * MIB, MIB, 0, 6 * MIB),
        data(3 * MIB, MIB, 0, 5 * MIB),
        zero(4 * MIB, MIB),
        data(5 * MIB, MIB, 0, 7 * MIB),
    ];
    assert_eq!(resolve(&disk), expected);
    // From the middle of a block across others.
    let bytes = read(&disk, MIB + 1, 4 * 1024 * 1024);
    assert_eq!(bytes[..2], *b"ne");
    assert_eq!(bytes[1024 * 1024 - 1..][..3], *b"two");
    assert_eq!(bytes[2 * 1024 * 1024 - 1..][..5], *b"three");
    assert_eq!(bytes[4 * 1024 * 1024 - 1], b'f');
    assert_eq!(
        disk.allocated().as_slice(),
        [extent(0, 4 * MIB), extent(5 * MIB, MIB)]
    );
}

#[test]
fn a_request_past_the_end_is_refused_and_an_empty_one_is_not() {
    let disk = open([Image::dynamic(6 * MIB, MIB, 512).build()]).unwrap();
    let read = |at, len| disk.read_at(DiskOffset(at), &mut vec![0; len]);
    for (at, len) in [
        (6 * MIB, 1),
        (6 * MIB - 511, 512),
        (u64::MAX, 1),
        (6 * MIB + 1, 0),
    ] {
        assert!(
            matches!(read(at, len), Err(Error::OutOfRange { .. })),
            "{at} {len}"
        );
    }
    assert!(matches!(
        disk.resolve(extent(0, 6 * MIB + 1)),
        Err(Error::OutOfRange { .. })
    ));
    read(6 * MIB, 0).unwrap();
    read(0, 0).unwrap();
    assert!(matches!(
        disk.read_file(FileIndex(1), FileOffset(0), &mut []),
        Err(Error::NoSuchFile { files: 1, .. })
    ));
}

#[test]
fn states_without_data_read_as_zeros_even_with_a_stale_place() {
    for state in 0..4 {
        for place in [0, 4 * MIB, 5 * MIB, 1 << 60] {
            let mut image = Image::dynamic(2 * MIB, MIB, 512);
            image.block(0, 6, 4 * MIB, b"stale");
            image.entry(1, place | state);
            let disk = open([image.build()]).unwrap();
            assert_eq!(read(&disk, MIB, 5), [0; 5], "{state} {place}");
            assert_eq!(disk.layers()[0].present_blocks, 1);
        }
    }
}

#[test]
fn a_corrupt_entry_is_refused() {
    for (raw, reason) in [
        (4, "block 1 is in the unassigned state 4"),
        ((4 * MIB) | 5, "block 1 is in the unassigned state 5"),
        ((4 * MIB) | (1 << 19), "reserved bits are set"),
        (
            (4 * MIB) | 7,
            "block 1 is partially present in a disk without a parent",
        ),
        (6, "block 1 cannot be at file offset 0"),
        (MIB | 6, "two structures overlap at file offset 1048576"),
        (
            (3 * MIB) | 6,
            "two structures overlap at file offset 3145728",
        ),
        ((5 * MIB) | 6, "block 1 cannot be at file offset 5242880"),
        (
            !0xF_FFFF | 6,
            "block 1 cannot be at file offset 18446744073708503040",
        ),
    ] {
        let mut image = Image::dynamic(2 * MIB, MIB, 512);
        image.entry(1, raw);
        image.len = Some(5 * MIB);
        assert_eq!(
            refusal(open([image.build()])),
            format!("block allocation table: {reason}")
        );
    }
}

#[test]
fn two_blocks_at_one_place_are_refused_even_if_they_overlap_in_part() {
    let mut image = Image::dynamic(8 * MIB, 4 * MIB, 512);
    image.block(0, 6, 4 * MIB, b"a");
    image.block(1, 6, 7 * MIB, b"b");
    let overlap = "block allocation table: two structures overlap at file offset 7340032";
    assert_eq!(refusal(open([image.build()])), overlap);
}

#[test]
fn the_file_may_end_where_the_disk_ends_and_nowhere_before() {
    // The disk ends 1000 sectors into its second block, which is the last in the file.
    let mut image = Image::dynamic(2 * MIB + 512_000, 2 * MIB, 512);
    image.block(0, 6, 4 * MIB, &[7; 1000]);
    image.block(1, 6, 6 * MIB, &vec![8; 512_000]);
    let mut file = image.build();
    for len in [8 * MIB, 6 * MIB + 512_001, 6 * MIB + 512_000] {
        file.set_len(len);
        let disk = open([file.clone()]).unwrap();
        assert_eq!(resolve(&disk), [data(0, 2 * MIB + 512_000, 0, 4 * MIB)]);
        assert_eq!(read(&disk, 2 * MIB + 511_999, 1), [8]);
        assert_eq!(disk.layers()[0].missing_tail, ByteLen(8 * MIB - len));
    }
    for len in [6 * MIB + 511_999, 6 * MIB, 5 * MIB] {
        file.set_len(len);
        let refused = refusal(open([file.clone()]));
        let (block, at) = if len < 6 * MIB {
            (0, 4 * MIB)
        } else {
            (1, 6 * MIB)
        };
        let cut = format!("block allocation table: block {block} cannot be at file offset {at}");
        assert_eq!(refused, cut);
    }
}

#[test]
fn a_cut_block_that_the_disk_needs_whole_is_refused_wherever_it_is() {
    let mut image = Image::dynamic(2 * MIB + 512, MIB, 512);
    image.block(2, 6, 4 * MIB, b"last of the disk");
    image.block(0, 6, 5 * MIB, b"last of the file");
    let mut file = image.build();
    file.set_len(6 * MIB - 1);
    let refused = refusal(open([file]));
    assert_eq!(
        refused,
        "block allocation table: block 0 cannot be at file offset 5242880"
    );
}

#[test]
fn a_file_may_end_between_two_mib() {
    let mut image = Image::dynamic(MIB, MIB, 512);
    image.block(0, 6, 4 * MIB, &[7; 1000]);
    let mut file = image.build();
    file.set_len(5 * MIB + 512);
    let disk = open([file]).unwrap();
    assert_eq!(resolve(&disk), [data(0, MIB, 0, 4 * MIB)]);
    assert_eq!(disk.layers()[0].missing_tail, ByteLen(0));
}

#[test]
fn a_disk_may_end_inside_its_only_block() {
    let mut image = Image::dynamic(4096 + 512, 32 * MIB, 512);
    image.block(0, 6, 4 * MIB, &[7; 8192]);
    let disk = open([image.build()]).unwrap();
    assert_eq!(resolve(&disk), [data(0, 4608, 0, 4 * MIB)]);
    assert_eq!(read(&disk, 4000, 608), [7; 608]);
}

/// The entry of a sector bitmap stands between those of the payload blocks, in every kind of disk.
#[test]
fn blocks_before_at_and_after_a_bitmap_entry_are_found_in_dynamic_and_fixed_disks() {
    for (block_bytes, sector_bytes, chunk) in [
        (32 * MIB, 512, 4 * GIB),
        (32 * MIB, 4096, 32 * GIB),
        (256 * MIB, 512, 4 * GIB),
    ] {
        for fixed in [0, 1] {
            let mut image = Image::dynamic(2 * chunk + block_bytes, block_bytes, sector_bytes);
            image.item(common::image::FILE_PARAMETERS).bytes[4] = fixed;
            let ratio = image.ratio();
            assert_eq!(ratio, chunk / block_bytes);
            let places = [
                (ratio - 1, 40),
                (ratio, 1000),
                (2 * ratio - 1, 2000),
                (2 * ratio, 3000),
            ];
            for (block, mib) in places {
                image.block(block, 6, mib * MIB, &block.to_le_bytes());
            }
            let disk = open([image.build()]).unwrap();
            for (block, mib) in places {
                assert_eq!(read(&disk, block * block_bytes, 8), block.to_le_bytes());
                let segment = disk.resolve(extent(block * block_bytes, 1)).unwrap();
                assert_eq!(segment, [data(block * block_bytes, 1, 0, mib * MIB)]);
            }
            let across = read(&disk, chunk - 4, 12);
            assert_eq!(across[4..], ratio.to_le_bytes());
        }
    }
}

#[test]
fn a_bitmap_entry_of_a_disk_without_a_parent_is_absent() {
    let mut image = Image::dynamic(5 * GIB, 32 * MIB, 512);
    image.bitmap_entry(0, (4 * MIB) | 6);
    image.len = Some(8 * MIB);
    let refused = refusal(open([image.build()]));
    assert_eq!(
        refused,
        "block allocation table: sector bitmap 0 is in the unassigned state 6"
    );
}

#[test]
fn a_present_block_at_the_very_end_of_the_largest_disk_is_found() {
    for (block_bytes, sector_bytes) in [(MIB, 512), (256 * MIB, 4096)] {
        let mut image = Image::dynamic(64 * TIB, block_bytes, sector_bytes);
        let last = 64 * TIB / block_bytes - 1;
        image.block(last, 6, 200 * TIB, b"the end");
        let disk = open([image.build()]).unwrap();
        assert_eq!(read(&disk, 64 * TIB - block_bytes, 7), b"the end");
        let rest = 64 * TIB - block_bytes;
        assert_eq!(
            resolve(&disk),
            [zero(0, rest), data(rest, block_bytes, 0, 200 * TIB)]
        );
    }
}

#[test]
fn a_file_beyond_256_tib_is_refused_before_anything_of_its_size_is_allocated() {
    let mut file = Image::dynamic(MIB, MIB, 512).build();
    file.set_len(256 * TIB);
    open([file.clone()]).unwrap();
    file.set_len(256 * TIB + 1);
    assert!(refusal(open([file.clone()])).ends_with("are more than a file may have"));
    file.set_len(u64::MAX);
    assert!(refusal(open([file])).ends_with("are more than a file may have"));
}

#[test]
fn an_empty_disk_of_64_tib_opens_and_resolves_in_no_time() {
    let file = Image::dynamic(64 * TIB, MIB, 512).build();
    let work = Work::begin();
    let disk = open([file]).unwrap();
    assert!(work.time() < Duration::from_secs(1), "{:?}", work.time());
    let work = Work::begin();
    for _ in 0..100 {
        assert_eq!(resolve(&disk), [zero(0, 64 * TIB)]);
    }
    assert!(
        work.time() < Duration::from_millis(100),
        "{:?}",
        work.time()
    );
}

#[test]
fn holes_of_the_allocation_table_are_not_read() {
    struct Counting(common::sparse::SparseFile, Arc<AtomicU64>);
    impl ReadAt for Counting {
        fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> std::io::Result<()> {
            self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
            self.0.read_exact_at(buf, at)
        }
        fn len(&self) -> std::io::Result<ByteLen> {
            self.0.len()
        }
        fn data_extents(&self) -> std::io::Result<hypercbt_extent::Extents> {
            self.0.data_extents()
        }
    }
    let mut image = Image::dynamic(64 * TIB, MIB, 512);
    image.block(33_333_333, 6, GIB, b"alone");
    let bytes = Arc::new(AtomicU64::new(0));
    let storage: Box<dyn ReadAt> = Box::new(Counting(image.build(), Arc::clone(&bytes)));
    let disk = VirtualDisk::from_storage(vec![("disk".to_owned(), storage)]).unwrap();
    assert_eq!(read(&disk, 33_333_333 * MIB, 5), b"alone");
    // The table has 513 MiB, of which one piece is not a hole.
    assert!(bytes.load(Ordering::Relaxed) < MIB, "{bytes:?}");
}

#[test]
fn an_empty_chain_over_64_tib_is_one_segment_in_no_time() {
    let mut files = vec![Image::dynamic(64 * TIB, MIB, 512).build()];
    for _ in 0..8 {
        files.insert(
            0,
            Image::differencing(64 * TIB, 2 * MIB, 512, [4; 16]).build(),
        );
    }
    let disk = open(files).unwrap();
    let work = Work::begin();
    assert_eq!(resolve(&disk), [zero(0, 64 * TIB)]);
    assert!(work.time() < Duration::from_millis(50), "{:?}", work.time());
}
