//! Dirty files: which entries of the log count, and what the disk is once they do.
//!
//! The log is 1 MiB at 1 MiB: 256 sectors. The file's block 0 is at 4 MiB; most entries log one sector of the BAT, in
//! which block 0 is at the MiB that the entry names.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod common;

use std::time::{Duration, Instant};

use common::image::Image;
use common::log::{Change, LogEntry};
use common::{GIB, KIB, MIB, open, read, refusal};
use hypercbt_extent::ByteLen;
use hypercbt_vhdx::{FileIndex, LogState, VirtualDisk};

const GUID: [u8; 16] = [0x10; 16];
const SECTORS: u64 = 256;

/// A dirty file whose block 0, once replayed, may be at any MiB from 4 to 15; each begins with its number.
fn dirty(log: Vec<(u64, LogEntry)>) -> Image {
    let mut image = Image::dynamic(4 * MIB, MIB, 512);
    image.entry(0, (4 * MIB) | 6);
    for mib in 4..16 {
        let payload = common::image::Payload {
            at: mib * MIB,
            bytes: vec![u8::try_from(mib).unwrap()],
        };
        image.payload.push(payload);
    }
    image.each_header(|header| header.log_guid = GUID);
    image.log = log;
    image
}

/// A sector of the BAT with block 0 at `mib`.
fn bat_sector(mib: u64) -> Vec<u8> {
    let mut bytes = ((mib * MIB) | 6).to_le_bytes().to_vec();
    bytes.resize(4096, 0);
    bytes
}

fn moves_to(mib: u64) -> Change {
    Change::Data {
        at: 3 * MIB,
        bytes: bat_sector(mib),
    }
}

/// An entry that puts block 0 at `mib`.
fn entry(number: u64, tail: u64, mib: u64) -> LogEntry {
    LogEntry::new(GUID, number, tail, vec![moves_to(mib)])
}

/// At which MiB block 0 is.
fn found(image: &Image) -> u8 {
    at_block_0(&open([image.build()]).unwrap())
}

fn at_block_0(disk: &VirtualDisk) -> u8 {
    read(disk, 0, 1)[0]
}

const NO_SEQUENCE: &str = "log: no complete sequence of entries";

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
fn an_entry_may_fill_the_whole_log_and_no_more() {
    let changes = vec![moves_to(9); 249];
    let mut whole = LogEntry::new(GUID, 5, 77, changes);
    whole.slack = 256 - whole.sectors();
    assert_eq!(found(&dirty(vec![(77, whole.clone())])), 9);
    whole.slack += 1;
    assert_eq!(
        refusal(open([dirty(vec![(77, whole)]).build()])),
        NO_SEQUENCE
    );
}

#[test]
fn descriptors_may_take_several_sectors() {
    for count in [125, 126, 127, 126 + 128, 126 + 129] {
        let mut changes = vec![
            Change::Zero {
                at: 40 * MIB,
                len: 4096
            };
            count - 1
        ];
        changes.push(moves_to(9));
        let image = dirty(vec![(0, LogEntry::new(GUID, 5, 0, changes))]);
        let disk = open([image.build()]).unwrap();
        assert_eq!(at_block_0(&disk), 9, "{count}");
        let sectors = count as u64;
        assert_eq!(
            disk.layers()[0].log,
            LogState::Replayed {
                entries: 1,
                sectors
            }
        );
    }
}

#[test]
fn zeros_and_data_over_one_place_keep_their_order() {
    let zero = Change::Zero {
        at: 3 * MIB,
        len: 64 * KIB,
    };
    for (changes, expected) in [
        (vec![moves_to(7), zero.clone()], 0),
        (vec![zero.clone(), moves_to(7)], 7),
        (vec![moves_to(7), zero.clone(), moves_to(8)], 8),
        (
            vec![
                moves_to(7),
                moves_to(8),
                Change::Zero {
                    at: 3 * MIB,
                    len: 0,
                },
            ],
            8,
        ),
    ] {
        let image = dirty(vec![(0, LogEntry::new(GUID, 5, 0, changes))]);
        assert_eq!(found(&image), expected);
    }
    let image = dirty(vec![
        (0, LogEntry::new(GUID, 5, 0, vec![zero])),
        (1, entry(6, 0, 9)),
    ]);
    assert_eq!(found(&image), 9);
}

#[test]
fn the_first_eight_and_last_four_bytes_of_a_sector_come_from_the_descriptor() {
    // Entry 511 of the BAT ends at the sector's last byte; bytes 0 to 8 are entry 0.
    let mut image = dirty(vec![]);
    *image.item(common::image::DISK_SIZE) = common::image::Item::new(
        common::image::DISK_SIZE,
        6,
        (512 * MIB).to_le_bytes().to_vec(),
    );
    let mut bytes = bat_sector(7);
    bytes[4088..].copy_from_slice(&((9 * MIB) | 6).to_le_bytes());
    let change = Change::Data { at: 3 * MIB, bytes };
    image.log = vec![(0, LogEntry::new(GUID, 5, 0, vec![change]))];
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, 511 * MIB, 1), [9]);
    assert_eq!(at_block_0(&disk), 7);
}

#[test]
fn a_descriptor_or_data_sector_of_another_entry_makes_the_entry_invalid() {
    let refused = |change: fn(&mut LogEntry)| {
        let mut entry = entry(5 << 32 | 6, 0, 7);
        change(&mut entry);
        refusal(open([dirty(vec![(0, entry)]).build()]))
    };
    assert_eq!(refused(|_| ()), "opened");
    assert_eq!(
        refused(|entry| entry.descriptor_number = Some(5 << 32 | 5)),
        NO_SEQUENCE
    );
    assert_eq!(
        refused(|entry| entry.data_number = Some(5 << 32 | 5)),
        NO_SEQUENCE
    );
    assert_eq!(
        refused(|entry| entry.data_number = Some(4 << 32 | 6)),
        NO_SEQUENCE
    );
    let unaligned = |entry: &mut LogEntry| {
        entry.changes = vec![Change::Zero {
            at: 3 * MIB + 512,
            len: 4096,
        }];
    };
    assert_eq!(refused(unaligned), NO_SEQUENCE);
    let odd = |entry: &mut LogEntry| {
        entry.changes = vec![Change::Zero {
            at: 3 * MIB,
            len: 512,
        }];
    };
    assert_eq!(refused(odd), NO_SEQUENCE);
}

#[test]
fn an_entry_whose_data_do_not_fit_into_it_is_invalid() {
    // The data sector is there, but behind the entry, which is one sector long; the checksum is right.
    let mut bytes = entry(5, 0, 7).bytes();
    bytes[8..12].copy_from_slice(&4096_u32.to_le_bytes());
    common::image::seal(&mut bytes[..4096], false);
    let mut file = dirty(vec![]).build();
    file.write(MIB, &bytes);
    assert_eq!(refusal(open([file])), NO_SEQUENCE);
    // More descriptors than sectors.
    let mut bytes = LogEntry::new(GUID, 5, 0, vec![]).bytes();
    bytes[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    common::image::seal(&mut bytes, false);
    let mut file = dirty(vec![]).build();
    file.write(MIB, &bytes);
    assert_eq!(refusal(open([file])), NO_SEQUENCE);
}

#[test]
fn what_a_log_must_not_change_is_refused() {
    let refused = |at, len| {
        let change = Change::Zero { at, len };
        refusal(open([dirty(vec![(
            0,
            LogEntry::new(GUID, 5, 0, vec![change]),
        )])
        .build()]))
    };
    for (at, len) in [
        (0, 4096),
        (64 * KIB, 4096),
        (188 * KIB, 4096),
        (MIB, 4096),
        (2 * MIB - 4096, 4096),
        (320 * KIB, MIB),
        (!0xFFF, 8192),
        (1 << 48, 4096),
    ] {
        assert_eq!(
            refused(at, len),
            format!("log: an entry writes to file offset {at}")
        );
    }
    assert_eq!(refused(320 * KIB, 4096), "opened");
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
    let start = Instant::now();
    assert_eq!(refusal(open([file])), NO_SEQUENCE);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_empty_log_of_nearly_4_gib_is_not_read_byte_by_byte() {
    let mut image = dirty(vec![]);
    image.each_header(|header| (header.log_at, header.log_len) = (32 * MIB, 0xFFF0_0000));
    image.len = Some(5 * GIB);
    let start = Instant::now();
    assert_eq!(refusal(open([image.build()])), NO_SEQUENCE);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
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
fn an_entry_with_the_number_zero_is_none_even_before_a_good_one() {
    let image = dirty(vec![(0, entry(0, 0, 7)), (2, entry(1, 0, 8))]);
    assert_eq!(refusal(open([image.build()])), NO_SEQUENCE);
    let image = dirty(vec![(0, entry(0, 0, 7)), (2, entry(1, 2, 8))]);
    assert_eq!(found(&image), 8);
}

#[test]
fn what_the_log_writes_into_a_hole_of_the_file_is_seen() {
    // Nothing was ever written to the BAT but through the log.
    let mut image = dirty(vec![(0, entry(5, 0, 7))]);
    image.bat.clear();
    assert_eq!(found(&image), 7);
}
