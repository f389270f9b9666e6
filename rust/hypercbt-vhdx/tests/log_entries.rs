//! Entries of the log: what one may hold, what it may write, and what makes it invalid.

mod common;

use common::dirty::{GUID, NO_SEQUENCE, at_block_0, bat_sector, dirty, entry, found, moves_to};
use common::log::{Change, LogEntry};
use common::{KIB, MIB, open, read, refusal};
use hypercbt_vhdx::LogState;

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
fn an_entry_with_the_number_zero_is_none_even_before_a_good_one() {
    let image = dirty(vec![(0, entry(0, 0, 7)), (2, entry(1, 0, 8))]);
    assert_eq!(refusal(open([image.build()])), NO_SEQUENCE);
    let image = dirty(vec![(0, entry(0, 0, 7)), (2, entry(1, 2, 8))]);
    assert_eq!(found(&image), 8);
}
