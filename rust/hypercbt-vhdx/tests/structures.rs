//! Identifier, headers and region tables: every rule broken once, every tolerance used once.

#![expect(
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too"
)]

mod common;

use common::good::{ANY, good, reads, refused};
use common::image::{self, Image, Region, guid};
use common::{KIB, MIB, TIB, open, refusal};
use hypercbt_vhdx::{Error, FileOffset, Kind, LogState, NotADisk, ReadAt, VirtualDisk};

#[test]
fn the_facts_of_a_file_are_those_that_are_written_in_it() {
    let mut image = good();
    image.creator = "tool\u{1b}[31m".to_owned();
    let disk = open([image.build()]).unwrap();
    assert_eq!(disk.size().0, 8 * MIB);
    assert_eq!(disk.format().as_str(), "vhdx");
    assert_eq!(disk.disk_id().unwrap().0, [9; 16]);
    assert_eq!(disk.block_bytes(), Some(MIB as u32));
    let layer = &disk.layers()[0];
    assert_eq!((layer.name.as_str(), layer.kind), ("file0", Kind::Dynamic));
    assert_eq!((layer.log, layer.present_blocks), (LogState::Clean, 1));
    assert_eq!(layer.data_write_guid.unwrap().0, [4; 16]);
    assert_eq!(layer.file_write_guid.unwrap().0, [3; 16]);
    // Control characters would reach a terminal.
    assert_eq!(layer.creator.as_deref(), Some("tool\u{fffd}[31m"));
}

#[test]
fn an_empty_disk_is_one_segment_and_nothing_is_allocated() {
    let disk = open([Image::dynamic(8 * MIB, MIB, 512).build()]).unwrap();
    assert!(disk.allocated().is_empty());
    let all = hypercbt_extent::Extent::new(hypercbt_extent::DiskOffset(0), disk.size()).unwrap();
    assert_eq!(disk.resolve(all).unwrap().len(), 1);
}

#[test]
fn a_file_that_ends_inside_the_header_section_is_refused() {
    for len in [8, 64 * KIB, 128 * KIB, 300 * KIB, MIB - 1] {
        let mut file = good().build();
        file.set_len(len);
        assert!(refusal(open([file])).contains("the file ends at"), "{len}");
    }
}

#[test]
fn another_signature_is_not_vhdx() {
    let mut image = good();
    image.signature = *b"VHDXFILE";
    assert_eq!(open([image.build()]).unwrap().format().as_str(), "raw");
}

#[test]
fn one_valid_header_is_enough_and_none_is_not() {
    reads(|image| image.headers[0].damaged = true);
    reads(|image| image.headers[1].damaged = true);
    let none = refused(|image| image.each_header(|header| header.damaged = true));
    assert_eq!(none, "header: neither copy is valid");
}

#[test]
fn a_log_past_the_end_of_the_file_is_refused() {
    let past = refused(|image| image.each_header(|header| header.log_at = 1 << 51));
    assert!(past.starts_with("log: the file ends at"), "{past}");
}

#[test]
fn a_log_guid_without_any_log_is_refused() {
    let empty = refused(|image| {
        image.each_header(|header| {
            header.log_guid = [1; 16];
            header.log_len = 0;
        });
    });
    assert_eq!(empty, "log: no complete sequence of entries");
    reads(|image| image.each_header(|header| header.log_len = 0));
}

#[test]
fn the_second_region_table_serves_where_the_first_is_damaged() {
    reads(|image| image.regions_damaged[0] = true);
    reads(|image| image.region_counts[0] = Some(2048));
    reads(|image| {
        image.regions_damaged[0] = true;
        image.regions[0].clear();
    });
    let both = refused(|image| image.regions_damaged = [true; 2]);
    assert_eq!(both, "region table: neither copy is valid");
    let both = refused(|image| image.region_counts = [Some(2048); 2]);
    assert_eq!(both, "region table: neither copy is valid");
}

#[test]
fn the_first_region_table_counts_where_both_are_valid() {
    let first = refused(|image| image.regions[0].clear());
    assert!(first.ends_with("is missing"), "{first}");
    reads(|image| image.regions[1].clear());
}

#[test]
fn regions_need_not_be_marked_as_required_nor_be_in_order() {
    reads(|image| {
        image.each_region(|regions| {
            regions.reverse();
            for region in regions {
                region.flags = 0;
            }
        });
    });
    // As qemu lays it out: the table before the metadata.
    reads(|image| {
        (image.bat_at, image.metadata_at) = (2 * MIB, 3 * MIB);
        image.each_region(|regions| {
            regions[0].at = 3 * MIB;
            regions[1].at = 2 * MIB;
        });
    });
}

fn with_region(at: u64, len: u64, flags: u32) -> String {
    refused(|image| {
        let region = Region {
            guid: guid(ANY),
            at,
            len: len as u32,
            flags,
        };
        image.each_region(|regions| regions.push(region.clone()));
        image.len = Some(20 * MIB);
    })
}

#[test]
fn an_unknown_region_is_ignored_unless_it_is_required() {
    assert_eq!(with_region(8 * MIB, MIB, 0), "opened");
    assert_eq!(
        with_region(8 * MIB, MIB, 1),
        format!("region table: {ANY} is required but unknown")
    );
}

#[test]
fn a_misplaced_region_is_refused() {
    for (at, len) in [
        (0, MIB),
        (8 * MIB + 512, MIB),
        (8 * MIB, 512),
        (8 * MIB, 0),
        (!0xF_FFFF, MIB),
    ] {
        assert_eq!(
            with_region(at, len, 0),
            format!("region table: the place {at}+{len} is misaligned or not allowed")
        );
    }
    assert!(with_region(64 * MIB, MIB, 0).contains("the file ends at"));
}

#[test]
fn regions_overlap_neither_each_other_nor_the_log_nor_a_block() {
    let overlap =
        |part: &str, at: u64| format!("{part}: two structures overlap at file offset {at}");
    assert_eq!(with_region(MIB, MIB, 0), overlap("region table", MIB));
    assert_eq!(
        with_region(2 * MIB, MIB, 0),
        overlap("region table", 2 * MIB)
    );
    // An unknown region keeps its space, too.
    assert_eq!(
        with_region(4 * MIB, MIB, 0),
        overlap("block allocation table", 4 * MIB)
    );
}

#[test]
fn a_region_is_there_once_and_the_known_ones_are_there() {
    let twice = refused(|image| image.each_region(|regions| regions[0].guid = regions[1].guid));
    assert!(twice.ends_with("appears twice"), "{twice}");
    for gone in [0, 1] {
        let missing = refused(|image| {
            image.each_region(|regions| {
                regions.remove(gone);
            });
        });
        assert!(missing.ends_with("is missing"), "{missing}");
    }
}

#[test]
fn as_many_regions_as_a_table_holds_are_read_in_order_of_size_not_of_its_square() {
    let mut image = good();
    for number in 0..2045_u64 {
        let mut name = [0x77; 16];
        name[..8].copy_from_slice(&number.to_le_bytes());
        let region = Region {
            guid: name,
            at: (100 + number) * MIB,
            len: MIB as u32,
            flags: 0,
        };
        image.each_region(|regions| regions.push(region.clone()));
    }
    image.len = Some(3000 * MIB);
    assert_eq!(refusal(open([image.build()])), "opened");
}

#[test]
fn an_allocation_table_that_is_too_short_is_refused() {
    let short = refused(|image| image.item(image::DISK_SIZE).bytes = TIB.to_le_bytes().to_vec());
    assert_eq!(
        short,
        "block allocation table: 1048576 bytes are too few, 8390648 are needed"
    );
}

#[test]
fn what_is_no_disk_is_refused() {
    let open = |bytes: Vec<u8>| {
        let storage: Box<dyn ReadAt> = Box::new(bytes);
        VirtualDisk::from_storage(vec![("disk".to_owned(), storage)])
    };
    assert!(matches!(
        open(vec![]),
        Err(Error::NotADisk {
            reason: NotADisk::Empty,
            ..
        })
    ));
    for len in [1, 511, 513] {
        let odd = NotADisk::OddLength(hypercbt_extent::ByteLen(len as u64));
        assert!(matches!(open(vec![0; len]), Err(Error::NotADisk { reason, .. }) if reason == odd));
    }
    assert!(matches!(
        VirtualDisk::from_storage(vec![]),
        Err(Error::NotADisk {
            reason: NotADisk::NoFile,
            ..
        })
    ));
}

#[test]
fn a_failing_storage_is_an_io_error_that_names_the_place() {
    struct Failing(common::sparse::SparseFile);
    impl ReadAt for Failing {
        fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> std::io::Result<()> {
            if at.0 >= 4 * MIB {
                Err(std::io::Error::other("bad sector"))
            } else {
                self.0.read_exact_at(buf, at)
            }
        }
        fn len(&self) -> std::io::Result<hypercbt_extent::ByteLen> {
            self.0.len()
        }
    }
    let storage: Box<dyn ReadAt> = Box::new(Failing(good().build()));
    let disk = VirtualDisk::from_storage(vec![("disk".to_owned(), storage)]).unwrap();
    let mut buf = [0; 512];
    disk.read_at(hypercbt_extent::DiskOffset(0), &mut buf)
        .unwrap();
    let error = disk
        .read_at(hypercbt_extent::DiskOffset(MIB + 512), &mut buf)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read 512 bytes at file offset {} of disk",
            4 * MIB + 512
        )
    );
}
