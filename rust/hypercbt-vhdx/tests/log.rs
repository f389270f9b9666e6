//! Dirty files: which entries of the log count, and what the disk is once they do.
//!
//! The log is 1 MiB at 1 MiB: 256 sectors. The file's block 0 is at 4 MiB; most entries log one sector of the BAT, in
//! which block 0 is at the MiB that the entry names.

mod common;

use std::time::Duration;

use common::dirty::{
    GUID, NO_SEQUENCE, SECTORS, at_block_0, bat_sector, dirty, entry, found, moves_to,
};
use common::image::Image;
use common::log::{Change, LogEntry};
use common::work::Work;
use common::{GIB, KIB, MIB, open, read, refusal};
use hypercbt_extent::ByteLen;
use hypercbt_vhdx::{FileIndex, LogState, VirtualDisk};

#[test]
fn a_clean_file_ignores_whatever_is_in_its_log() {
    let mut image = dirty(vec![(0, entry(5, 0, 7))]);
    image.each_header(|header| header.log_guid = [0; 16]);
    assert_eq!(found(&image), 4);
}

#[test]
fn a_single_entry_is_replayed_in_memory_and_says_so() {
    let image = dirty(vec![(0, entry(5, 0, 7))]);
    let disk = open([image.build()]).unwrap();
    assert_eq!(at_block_0(&disk), 7);
    assert_eq!(
        disk.layers()[0].log,
        LogState::Replayed {
            entries: 1,
            sectors: 1
        }
    );
}

#[test]
fn the_second_header_decides_whether_there_is_a_log() {
    let mut image = dirty(vec![(0, entry(5, 0, 7))]);
    image.headers[1].log_guid = [0; 16];
    assert_eq!(found(&image), 4);
}

#[test]
fn an_empty_entry_is_a_sequence() {
    let image = dirty(vec![(0, LogEntry::new(GUID, 5, 0, vec![]))]);
    let disk = open([image.build()]).unwrap();
    assert_eq!(at_block_0(&disk), 4);
    assert_eq!(
        disk.layers()[0].log,
        LogState::Replayed {
            entries: 1,
            sectors: 0
        }
    );
}

#[test]
fn a_log_without_a_valid_sequence_is_refused() {
    let refused = |log| refusal(open([dirty(log).build()]));
    assert_eq!(refused(vec![]), NO_SEQUENCE);
    let mut foreign = entry(5, 0, 7);
    foreign.guid = [0x11; 16];
    assert_eq!(refused(vec![(0, foreign)]), NO_SEQUENCE);
    let mut damaged = entry(5, 0, 7);
    damaged.damaged = true;
    assert_eq!(refused(vec![(0, damaged)]), NO_SEQUENCE);
    assert_eq!(refused(vec![(0, entry(0, 0, 7))]), NO_SEQUENCE);
    assert_eq!(refused(vec![(0, entry(5, 1, 7))]), NO_SEQUENCE);
    assert_eq!(refused(vec![(0, entry(5, 256, 7))]), NO_SEQUENCE);
}

#[test]
fn wherever_the_last_entry_is_torn_the_state_before_it_counts() {
    let mut changes = vec![
        Change::Zero {
            at: 40 * MIB,
            len: 4096
        };
        200
    ];
    changes.extend([moves_to(8), moves_to(9)]);
    let last = LogEntry::new(GUID, 6, 0, changes);
    let first = entry(5, 0, 7);
    let start = first.sectors();
    assert_eq!(last.sectors(), 4);
    for torn in 0..4 {
        let mut image = dirty(vec![(0, first.clone()), (start, last.clone())]);
        assert_eq!(found(&image), 9);
        image.torn_log_sectors = vec![start + torn];
        assert_eq!(found(&image), 7, "{torn}");
    }
}

#[test]
fn a_stale_entry_right_behind_the_newest_is_not_replayed() {
    let image = dirty(vec![
        (0, entry(5, 0, 7)),
        (2, entry(6, 0, 8)),
        (4, entry(3, 4, 9)),
    ]);
    assert_eq!(found(&image), 8);
    let image = dirty(vec![
        (0, entry(5, 0, 7)),
        (2, entry(6, 0, 8)),
        (4, entry(8, 0, 9)),
    ]);
    assert_eq!(found(&image), 8);
}

#[test]
fn the_sequence_with_the_greatest_head_counts_wherever_it_is() {
    let image = dirty(vec![
        (0, entry(5, 0, 7)),
        (2, entry(6, 0, 8)),
        (100, entry(9, 100, 9)),
    ]);
    assert_eq!(found(&image), 9);
    let image = dirty(vec![
        (0, entry(15, 0, 7)),
        (2, entry(16, 0, 8)),
        (100, entry(9, 100, 9)),
    ]);
    assert_eq!(found(&image), 8);
}

#[test]
fn entries_before_the_tail_of_the_head_are_not_replayed() {
    // The first would put sector 1 of the BAT, and with it block 512 (none) and no more; use block 1 for it.
    let mut other = bat_sector(4);
    other[8..16].copy_from_slice(&((9 * MIB) | 6).to_le_bytes());
    let first = LogEntry::new(
        GUID,
        5,
        0,
        vec![Change::Data {
            at: 3 * MIB,
            bytes: other,
        }],
    );
    let zero = LogEntry::new(GUID, 6, 2, vec![]);
    let image = dirty(vec![(0, first.clone()), (2, zero.clone())]);
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, MIB, 1), [0]);
    let mut all = zero;
    all.tail = 0;
    let disk = open([dirty(vec![(0, first), (2, all)]).build()]).unwrap();
    assert_eq!(read(&disk, MIB, 1), [9]);
}

#[test]
fn a_sequence_and_a_single_entry_go_around_the_end() {
    let image = dirty(vec![(254, entry(5, 254, 7)), (0, entry(6, 254, 8))]);
    assert_eq!(found(&image), 8);
    for start in SECTORS - 5..SECTORS {
        let mut changes = vec![
            Change::Zero {
                at: 40 * MIB,
                len: 4096
            };
            150
        ];
        changes.extend([moves_to(8), moves_to(9)]);
        let wrapped = LogEntry::new(GUID, 5, start, changes);
        assert_eq!(wrapped.sectors(), 4);
        assert_eq!(found(&dirty(vec![(start, wrapped)])), 9, "{start}");
    }
}

#[test]
fn a_region_table_may_be_in_the_log() {
    let mut image = dirty(vec![]);
    let table = image.build().read(192 * KIB, 64 << 10);
    image.regions_damaged = [true; 2];
    let sectors = table.chunks(4096).enumerate();
    let changes = sectors.map(|(number, bytes)| Change::Data {
        at: 192 * KIB + number as u64 * 4096,
        bytes: bytes.to_vec(),
    });
    let changes: Vec<Change> = changes.collect();
    assert!(refusal(open([image.build()])).starts_with("log"));
    image.log = vec![(0, LogEntry::new(GUID, 5, 0, changes))];
    assert_eq!(found(&image), 4);
}

#[test]
fn a_file_that_was_cut_after_the_entry_is_refused() {
    let mut entry = entry(5, 0, 7);
    entry.flushed = 16 * MIB;
    assert_eq!(found(&dirty(vec![(0, entry.clone())])), 7);
    entry.flushed += MIB;
    let refused = refusal(open([dirty(vec![(0, entry.clone())]).build()]));
    assert_eq!(refused, "log: the file ends at 16777216, before 17825792");
    // Only the head's word counts.
    let next = LogEntry::new(GUID, 6, 0, vec![]);
    assert_eq!(found(&dirty(vec![(0, entry), (2, next)])), 7);
}

#[test]
fn the_log_makes_the_file_longer() {
    let mut grows = entry(5, 0, 20);
    // Block 0 is then at 20 MiB, past the end of the file, which is 16 MiB long.
    let refused = refusal(open([dirty(vec![(0, grows.clone())]).build()]));
    assert!(
        refused.ends_with("block 0 cannot be at file offset 20971520"),
        "{refused}"
    );
    grows.last = 21 * MIB;
    let disk = open([dirty(vec![(0, grows.clone())]).build()]).unwrap();
    assert_eq!(read(&disk, 0, 4096), [0; 4096]);
    // Nothing of the block is in the file, so a plain read would not find it.
    assert!(disk.allocated().is_empty());
    assert_eq!(disk.layers()[0].file_bytes, ByteLen(16 * MIB));
    // The log writes past the end of the file, into the block.
    grows.changes.push(Change::Data {
        at: 20 * MIB + 8192,
        bytes: vec![0x77; 4096],
    });
    let disk = open([dirty(vec![(0, grows.clone())]).build()]).unwrap();
    assert_eq!(read(&disk, 8191, 2), [0, 0x77]);
    assert_eq!(read(&disk, 8192 + 4095, 2), [0x77, 0]);
    // A write alone also makes the file longer.
    grows.last = 0;
    grows.changes.push(Change::Zero {
        at: 21 * MIB - 4096,
        len: 4096,
    });
    let disk = open([dirty(vec![(0, grows)]).build()]).unwrap();
    assert_eq!(read(&disk, 8191, 2), [0, 0x77]);
}

#[test]
fn a_growth_beyond_what_a_file_may_have_is_refused() {
    let mut grows = entry(5, 0, 7);
    grows.last = u64::MAX;
    let refused = refusal(open([dirty(vec![(0, grows)]).build()]));
    assert_eq!(
        refused,
        format!("log: {} bytes are more than a file may have", u64::MAX)
    );
}

#[test]
fn a_plain_read_is_offered_only_where_the_log_leaves_the_blocks_alone() {
    let local = |image: &Image| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.vhdx");
        let file = image.build();
        let len = usize::try_from(file.bytes()).unwrap();
        std::fs::write(&path, file.read(0, len)).unwrap();
        let disk = VirtualDisk::open(&path, &hypercbt_vhdx::OpenOptions::default()).unwrap();
        (disk.file(FileIndex(0)).is_some(), read(&disk, 100, 1)[0])
    };
    assert_eq!(local(&dirty(vec![(0, entry(5, 0, 7))])), (true, 0));
    let mut into_payload = entry(5, 0, 7);
    into_payload.changes.push(Change::Data {
        at: 7 * MIB,
        bytes: vec![0x55; 4096],
    });
    assert_eq!(local(&dirty(vec![(0, into_payload)])), (false, 0x55));
}

#[test]
fn a_dirty_parent_is_replayed_too() {
    let child = Image::differencing(4 * MIB, MIB, 512, [4; 16]);
    let parent = dirty(vec![(0, entry(5, 0, 7))]);
    let disk = open([child.build(), parent.build()]).unwrap();
    assert_eq!(at_block_0(&disk), 7);
    assert!(matches!(disk.layers()[1].log, LogState::Replayed { .. }));
}

/// 64 MiB of sectors that all claim to begin an entry as long as the log. Summing each anew would be 10^12 bytes.
#[test]
fn a_hostile_log_costs_its_length_and_not_its_square() {
    let sectors = 16 << 10;
    let mut image = dirty(vec![]);
    image.each_header(|header| (header.log_at, header.log_len) = (32 * MIB, 64 << 20));
    image.len = Some(96 * MIB);
    let mut file = image.build();
    for sector in 0..sectors {
        let mut entry = LogEntry::new(GUID, 5 + sector, 0, vec![]);
        entry.damaged = true;
        let mut bytes = entry.bytes();
        bytes[8..12].copy_from_slice(&(64_u32 << 20).to_le_bytes());
        file.write(32 * MIB + sector * 4096, &bytes);
    }
    let work = Work::begin();
    assert_eq!(refusal(open([file])), NO_SEQUENCE);
    assert!(work.time() < Duration::from_secs(3), "{:?}", work.time());
}

#[test]
fn an_empty_log_of_nearly_4_gib_is_not_read_byte_by_byte() {
    let mut image = dirty(vec![]);
    image.each_header(|header| (header.log_at, header.log_len) = (32 * MIB, 0xFFF0_0000));
    image.len = Some(5 * GIB);
    let work = Work::begin();
    assert_eq!(refusal(open([image.build()])), NO_SEQUENCE);
    assert!(work.time() < Duration::from_secs(8), "{:?}", work.time());
}

#[test]
fn many_valid_entries_are_replayed_in_order() {
    let entries: Vec<(u64, LogEntry)> = (0..128)
        .map(|number| (number * 2, entry(100 + number, 0, 4 + number % 12)))
        .collect();
    let disk = open([dirty(entries).build()]).unwrap();
    assert_eq!(u64::from(at_block_0(&disk)), 4 + 127 % 12);
    assert_eq!(
        disk.layers()[0].log,
        LogState::Replayed {
            entries: 128,
            sectors: 128
        }
    );
}

#[test]
fn what_the_log_writes_into_a_hole_of_the_file_is_seen() {
    // Nothing was ever written to the BAT but through the log.
    let mut image = dirty(vec![(0, entry(5, 0, 7))]);
    image.bat.clear();
    assert_eq!(found(&image), 7);
}
