//! What writing does to the file, rule by rule.

use std::path::Path;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{Error, Guid, Guids, OpenOptions, Place, VirtualDisk};

use crate::common::image::Image;
use crate::common::{KIB, MIB, TIB};
use crate::support::{
    Disk, KINDS, Kind, PATH, begin, content, extent, guids, machine, opening, read_only, write,
};

fn file(files: &SimFiles) -> Vec<u8> {
    files.now().read(Path::new(PATH)).unwrap()
}

fn present_blocks(files: &SimFiles) -> u64 {
    let disk = VirtualDisk::open_in(files, Path::new(PATH), &OpenOptions::default()).unwrap();
    disk.layers()[0].present_blocks
}

fn u64_at(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap())
}

#[test]
fn a_file_that_is_being_written_is_not_opened_for_writing_again() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    assert!(matches!(opening(&files), Err(Error::InUse { file }) if file == Path::new(PATH)));
    assert!(read_only(&files).is_ok());
    disk.close(guids(2).file_write).unwrap();
    assert!(opening(&files).is_ok());
}

#[test]
fn looking_at_a_file_writes_nothing() {
    let (files, _) = Disk::small(Kind::Child, 512).build();
    let found = opening(&files).unwrap();
    assert!(found.is_differencing());
    assert_eq!(found.size(), ByteLen(3 * MIB + 512 * KIB));
    assert_eq!(found.disk_id(), Guid([9; 16]));
    assert_eq!(found.stamp(), [[3; 16], [4; 16]].concat()[..]);
    drop(found);
    assert_eq!(files.ops(), 0);
}

#[test]
fn a_guid_of_zeros_is_refused() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let log = Guid::ZERO;
    let refused = opening(&files).unwrap().begin(&Guids { log, ..guids(1) });
    assert!(matches!(refused, Err(Error::InvalidOptions { .. })));
    assert_eq!(files.ops(), 0);
}

#[test]
fn what_is_no_whole_sector_or_not_on_the_disk_is_refused() {
    for sector in [512, 4096] {
        let (files, before) = Disk::small(Kind::Dynamic, sector).build();
        let disk = begin(&files, 1);
        let bytes = vec![1; 8192];
        let write = |at, len| disk.write_at(DiskOffset(at), &bytes[..len as usize]);
        let half = sector / 2;
        for (at, len) in [(half, sector), (0, half), (sector, sector + half)] {
            assert!(matches!(write(at, len), Err(Error::Misaligned { .. })));
            let zeroed = disk.zero(extent(at, len));
            assert!(matches!(zeroed, Err(Error::Misaligned { .. })));
        }
        let size = disk.size().0;
        for (at, len) in [
            (size, sector),
            (size - sector, 2 * sector),
            (0_u64.wrapping_sub(sector), sector),
        ] {
            assert!(matches!(write(at, len), Err(Error::OutOfRange { .. })));
        }
        for refused in [
            disk.zero(extent(size - sector, 2 * sector)),
            disk.unmap(extent(size, sector)),
            disk.segments(extent(size, 1)).map(drop),
            disk.read_at(DiskOffset(size - 1), &mut [0; 2]),
        ] {
            assert!(matches!(refused, Err(Error::OutOfRange { .. })));
        }
        write(size, 0).unwrap();
        assert!(content(&disk) == before);
        assert_eq!(disk.stamp()[16..], [4; 16], "nothing has changed");
    }
}

#[test]
fn the_names_of_the_file_change_when_the_format_says() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    let stamp = |file: Guid, data: Guid| [file.0, data.0].concat();
    let opened = stamp(guids(1).file_write, Guid([4; 16]));
    let changed = stamp(guids(1).file_write, guids(1).data_write);
    assert_eq!(disk.stamp(), opened[..]);
    disk.flush().unwrap();
    assert_eq!(disk.stamp(), opened[..], "nothing was changed yet");
    assert_eq!(disk.coming_stamp(), changed[..]);
    write(&disk, 0, &[1; 512]);
    assert_eq!(disk.stamp(), changed[..]);
    assert_eq!(disk.coming_stamp(), changed[..]);
    disk.close(guids(2).file_write).unwrap();
    let closed = stamp(guids(2).file_write, guids(1).data_write);
    assert_eq!(opening(&files).unwrap().stamp(), closed[..]);
}

#[test]
fn both_headers_name_the_log_while_the_file_is_open_and_none_once_it_is_closed() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let log_guids = |files: &SimFiles| {
        let bytes = file(files);
        [64 * KIB, 128 * KIB].map(|at| bytes[at as usize + 48..][..16].to_vec())
    };
    let numbers = |files: &SimFiles| {
        let bytes = file(files);
        [64 * KIB, 128 * KIB].map(|at| u64_at(&bytes, at + 8))
    };
    let disk = begin(&files, 1);
    assert_eq!(log_guids(&files), [guids(1).log.0, guids(1).log.0]);
    disk.close(guids(2).file_write).unwrap();
    assert_eq!(log_guids(&files), [[0; 16], [0; 16]]);
    let [first, second] = numbers(&files);
    assert_eq!(first.abs_diff(second), 1);
}

#[test]
fn a_fixed_disk_never_gives_up_a_block() {
    let (files, _) = Disk::small(Kind::Fixed, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 0, &vec![7; 2 << 20]);
    disk.unmap(extent(0, 2 * MIB)).unwrap();
    let data = content(&disk);
    assert!(data[..2 << 20].iter().all(|byte| *byte == 7), "unmapped");
    disk.zero(extent(0, 3 * MIB)).unwrap();
    assert!(content(&disk).iter().all(|byte| *byte == 0));
    disk.close(guids(2).file_write).unwrap();
    assert_eq!(present_blocks(&files), 4);
}

#[test]
fn zeros_take_no_room_and_hide_the_parent() {
    for kind in [Kind::Dynamic, Kind::Child] {
        let (files, _) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        write(&disk, 0, &vec![7; 1 << 20]);
        disk.flush().unwrap();
        let len = file(&files).len();
        disk.zero(extent(0, 3 * MIB)).unwrap();
        disk.unmap(extent(3 * MIB, 512 * KIB)).unwrap();
        // Parts of blocks that are zero stay so without room.
        disk.zero(extent(MIB + 512, 512)).unwrap();
        assert!(content(&disk).iter().all(|byte| *byte == 0));
        let all = disk.segments(extent(0, disk.size().0)).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].place, Place::Zero);
        disk.close(guids(2).file_write).unwrap();
        assert_eq!(present_blocks(&files), 0);
        assert_eq!(file(&files).len(), len);
        // A zero entry with a place is a disk that Hyper-V fails to read.
        let expected = if kind == Kind::Child {
            [2; 4]
        } else {
            [2, 0, 0, 0]
        };
        let bytes = file(&files);
        let entries = [0, 1, 2, 3].map(|block| u64_at(&bytes, 3 * MIB + 8 * block));
        assert_eq!(entries, expected);
    }
}

#[test]
fn parts_of_blocks_keep_their_data_when_they_are_unmapped() {
    for kind in KINDS {
        let (files, _) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        write(&disk, 0, &vec![7; 3 << 20]);
        let before = content(&disk);
        disk.unmap(extent(512, MIB)).unwrap();
        assert!(content(&disk) == before, "{kind:?}");
    }
}

#[test]
fn room_that_was_given_up_is_used_again_after_a_flush_and_not_before() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    let place = |block: u64| match disk.segments(extent(block * MIB, MIB)).unwrap()[0].place {
        Place::Data { at, .. } => at,
        Place::Zero => panic!("block {block} is not there"),
    };
    write(&disk, 0, &[7; 512]);
    let first = place(0);
    disk.flush().unwrap();
    disk.zero(extent(0, MIB)).unwrap();
    write(&disk, MIB, &[8; 512]);
    assert_ne!(place(1), first, "the log still says that block 0 is there");
    disk.flush().unwrap();
    write(&disk, 2 * MIB, &[9; 512]);
    assert_eq!(place(2), first);
}

#[test]
fn a_block_that_is_written_whole_is_fully_present_and_so_is_one_filled_piece_by_piece() {
    let (files, _) = Disk::small(Kind::Child, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 0, &vec![7; 1 << 20]);
    write(&disk, MIB, &vec![7; 512 << 10]);
    write(&disk, MIB + 512 * KIB, &vec![7; 512 << 10]);
    write(&disk, 2 * MIB, &[7; 512]);
    // The last block, of which the disk has one half.
    write(&disk, 3 * MIB, &vec![7; 512 << 10]);
    disk.close(guids(2).file_write).unwrap();
    let bytes = file(&files);
    let states = [0, 1, 2, 3].map(|block| u64_at(&bytes, 3 * MIB + 8 * block) & 7);
    assert_eq!(states, [6, 6, 7, 6]);
    assert_eq!(
        u64_at(&bytes, 3 * MIB + 8 * 4096) & 7,
        6,
        "the sector bitmap"
    );
}

#[test]
fn a_new_sector_bitmap_holds_no_old_bytes() {
    let (files, _) = Disk::small(Kind::Child, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 0, &vec![0xFF; 1 << 20]);
    disk.flush().unwrap();
    disk.zero(extent(0, MIB)).unwrap();
    disk.flush().unwrap();
    write(&disk, 2 * MIB, &[7; 512]);
    disk.close(guids(2).file_write).unwrap();
    let bytes = file(&files);
    let at = u64_at(&bytes, 3 * MIB + 8 * 4096) & !0xF_FFFF;
    let bitmap = &bytes[at as usize..][..1 << 20];
    let set: Vec<usize> = (0..1 << 20).filter(|byte| bitmap[*byte] != 0).collect();
    assert_eq!(set, [2 * 256], "the first sector of block 2");
}

#[test]
fn behind_the_end_of_the_disk_a_block_holds_zeros_whoever_had_its_room_before() {
    for kind in [Kind::Dynamic, Kind::Child] {
        let (files, _) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        write(&disk, 0, &vec![0xFF; 1 << 20]);
        disk.flush().unwrap();
        disk.zero(extent(0, MIB)).unwrap();
        write(&disk, 2 * MIB, &[7; 512]); // a child has its sector bitmap now
        disk.flush().unwrap();
        write(&disk, 3 * MIB + 512, &[8; 512]);
        disk.close(guids(2).file_write).unwrap();
        let bytes = file(&files);
        let at = (u64_at(&bytes, 3 * MIB + 8 * 3) & !0xF_FFFF) as usize;
        assert_eq!(bytes[at + 512..][..512], [8; 512]);
        let old = bytes[at + (512 << 10)..][..512 << 10].iter();
        assert_eq!(old.filter(|byte| **byte != 0).count(), 0, "{kind:?}");
    }
}

#[test]
fn a_full_half_of_the_log_is_left_for_the_other_under_another_name() {
    let (files, _) = Disk::small(Kind::Dynamic, 512).build();
    let disk = begin(&files, 1);
    let log_guid = |files: &SimFiles| file(files)[64 << 10..][48..64].to_vec();
    let mut names = vec![log_guid(&files)];
    for round in 0..200_u8 {
        // One sector of the table: two of the log.
        if round % 2 == 0 {
            write(&disk, 0, &[round | 1; 512]);
        } else {
            disk.zero(extent(0, MIB)).unwrap();
        }
        disk.flush().unwrap();
        let name = log_guid(&files);
        if names.last() != Some(&name) {
            names.push(name);
        }
        let expected = if round % 2 == 0 { round | 1 } else { 0 };
        assert_eq!(read_only(&files).unwrap()[0], expected);
    }
    // An empty entry and 63 others fill the first half, 64 each later one: full after 63, 127 and 191 rounds.
    assert_eq!(names.len(), 4);
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), 4, "no name is used twice");
}

#[test]
fn what_is_not_logged_yet_does_not_grow_without_bound() {
    let files = machine(&Image::dynamic(2048 * MIB, MIB, 512));
    let disk = begin(&files, 1);
    for block in 0..1024 {
        write(&disk, block * MIB, &[7; 512]);
    }
    drop(disk);
    let cut = SimFiles::from_state(&files.history().extremes(files.ops())[0]);
    let disk = begin(&cut, 2);
    let mut found = [0; 512];
    for block in [0, 1023] {
        disk.read_at(DiskOffset(block * MIB), &mut found).unwrap();
        assert_eq!(
            found, [7; 512],
            "nobody flushed, but block {block} is durable"
        );
    }
}

#[test]
fn entries_that_nobody_changed_stay_as_another_program_wrote_them() {
    let mut image = Image::dynamic(4 * MIB, MIB, 512);
    image.entry(1, (9 * MIB) | 3);
    image.entry(2, 1);
    let files = machine(&image);
    let disk = begin(&files, 1);
    write(&disk, 0, &[7; 512]);
    disk.close(guids(2).file_write).unwrap();
    let bytes = file(&files);
    let entries = [1, 2, 3].map(|block| u64_at(&bytes, 3 * MIB + 8 * block));
    assert_eq!(entries, [(9 * MIB) | 3, 1, 0]);
}

#[test]
fn a_file_that_ends_inside_its_last_block_is_made_whole() {
    let mut image = Image::dynamic(MIB + 512 * KIB, MIB, 512);
    let at = image.first_free;
    image.block(1, 6, at, b"data");
    let mut file_bytes = image.build();
    file_bytes.set_len(at + 512 * KIB + 512);
    let mut state = SimFiles::new().now();
    state.put(PATH, file_bytes.read(0, file_bytes.bytes() as usize));
    let files = SimFiles::from_state(&state);
    let disk = begin(&files, 1);
    assert_eq!(file(&files).len() as u64, at + MIB);
    write(&disk, 0, &[7; 512]);
    disk.flush().unwrap();
    drop(disk);
    let found = read_only(&files).unwrap();
    assert_eq!(&found[1 << 20..][..4], b"data");
    assert_eq!(found[..512], [7; 512]);
}

#[test]
fn a_disk_of_64_tebibytes_costs_what_is_in_it() {
    let size = 64 * TIB;
    let files = machine(&Image::dynamic(size, 32 * MIB, 512));
    let disk = begin(&files, 1);
    write(&disk, size - 512, &[7; 512]);
    disk.zero(extent(0, size - 32 * MIB)).unwrap();
    disk.unmap(extent(512, size - 512 - 32 * MIB)).unwrap();
    disk.flush().unwrap();
    let all = disk.segments(extent(0, size)).unwrap();
    assert_eq!(all.len(), 2);
    drop(disk);
    let disk = begin(&files, 2);
    let mut last = [0; 512];
    disk.read_at(DiskOffset(size - 512), &mut last).unwrap();
    assert_eq!(last, [7; 512]);
}

#[test]
fn a_flush_that_changes_more_than_one_entry_may_hold_is_logged_in_several() {
    let mut disk = Disk::small(Kind::Child, 512);
    disk.size = 8 * MIB;
    let (files, _) = disk.build();
    // 150 blocks of 32 MiB, each with bits in a sector of the bitmap of its own.
    let mut state = files.now();
    let image = Image::differencing(150 * 32 * MIB, 32 * MIB, 512, [4; 16]);
    let built = image.build();
    state.put(PATH, built.read(0, built.bytes() as usize));
    let files = SimFiles::from_state(&state);
    let open = begin(&files, 1);
    for block in 0..150 {
        write(&open, block * 32 * MIB, &[block as u8 + 1; 512]);
    }
    open.flush().unwrap();
    drop(open);
    let open = begin(&files, 2);
    for block in 0..150 {
        let mut bytes = [0; 1024];
        open.read_at(DiskOffset(block * 32 * MIB), &mut bytes)
            .unwrap();
        assert_eq!(bytes[..512], [block as u8 + 1; 512]);
        let below = if block == 0 { 0x50 } else { 0 };
        assert_eq!(
            bytes[512..],
            [below; 512],
            "past the end of the parent is nothing"
        );
    }
}

#[test]
fn segments_say_where_there_is_data_in_the_whole_chain() {
    let (files, before) = Disk::small(Kind::Child, 512).build();
    let disk = begin(&files, 1);
    write(&disk, 512, &[7; 512]);
    disk.zero(extent(MIB, MIB)).unwrap();
    let segments = disk.segments(extent(0, disk.size().0)).unwrap();
    let of = |place: &Place| match place {
        Place::Data { file, .. } => Some(file.0),
        Place::Zero => None,
    };
    let found: Vec<(u64, Option<u32>)> = segments
        .iter()
        .map(|segment| (segment.extent.start().0, of(&segment.place)))
        .collect();
    let expected = [
        (0, Some(1)),
        (512, Some(0)),
        (1024, Some(1)),
        (MIB, None),
        (2 * MIB, Some(1)),
    ];
    assert_eq!(found, expected);
    let ends = segments.iter().map(|segment| segment.extent.end().0);
    let all = Extent::new(DiskOffset(0), ByteLen(before.len() as u64)).unwrap();
    assert_eq!(ends.max(), Some(all.end().0));
}
