//! A disk is made larger or smaller: it keeps what it holds, what is new reads as zeros, and nothing in use is cut off.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests too, and the disks are small"
)]

#[path = "power_cuts_maintenance/support.rs"]
mod support;

use std::path::Path;

use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_vhdx::{Error, NewKind, Reason, Unresizable, VhdxOptions, WritableVhdx};
use proptest::prelude::*;

use support::*;

const DISK: &str = "/disk.vhdx";
const BASE: &str = "/base.vhdx";
const TIB: u64 = 1 << 40;

fn disk(kind: NewKind, size: u64) -> SimFiles {
    let files = SimFiles::new();
    create(&files, DISK, kind, options(size, 1 << 20));
    files
}

fn resize(disk: &WritableVhdx, size: u64) -> Result<(), Unresizable> {
    match disk.resize(ByteLen(size)) {
        Ok(()) => {
            assert_eq!(disk.size(), ByteLen(size));
            Ok(())
        }
        Err(Error::CannotResize { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

fn sector(disk: &WritableVhdx, at: u64) -> [u8; 512] {
    let mut sector = [0xA5; 512];
    disk.read_at(DiskOffset(at), &mut sector).unwrap();
    sector
}

/// The region of the table as both region tables have it, which must be alike.
fn table(files: &SimFiles) -> (u64, u32) {
    let file = files.now().read(Path::new(DISK)).unwrap();
    let tables = [192 << 10, 256 << 10].map(|at| &file[at..at + (64 << 10)]);
    assert!(tables[0] == tables[1]);
    let entry = &tables[0][16..48];
    assert_eq!(
        entry[..4],
        [0x66, 0x77, 0xC2, 0x2D],
        "the table comes first"
    );
    let at = u64::from_le_bytes(entry[16..24].try_into().unwrap());
    let len = u32::from_le_bytes(entry[24..28].try_into().unwrap());
    (at, len)
}

#[test]
fn a_disk_grows_and_keeps_what_it_holds() {
    for kind in [NewKind::Fixed, NewKind::Dynamic] {
        let files = disk(kind.clone(), 3 * MIB + 512);
        let open_disk = begin(&files, DISK, 1);
        write(&open_disk, 3 * MIB, 512, 7);
        let mut wanted = read_all(&open_disk);
        resize(&open_disk, 9 * MIB).unwrap();
        wanted.resize(9 << 20, 0);
        same(&read_all(&open_disk), &wanted).unwrap();
        write(&open_disk, 9 * MIB - 512, 512, 8);
        wanted[(9 << 20) - 512..].fill(8);
        open_disk.close(guid(0xB1)).unwrap();
        let found = open(&files, DISK).unwrap();
        same(&content(&found), &wanted).unwrap();
        let blocks = if kind == NewKind::Fixed { 9 } else { 2 };
        assert_eq!(found.layers()[0].present_blocks, blocks);
        assert_eq!(table(&files), (3 * MIB, 1 << 20));
    }
}

#[test]
fn a_table_that_becomes_too_long_moves_and_the_blocks_stay() {
    let files = disk(NewKind::Dynamic, 64 * MIB);
    let open_disk = begin(&files, DISK, 1);
    write(&open_disk, 5 * MIB, MIB, 7);
    resize(&open_disk, 200 * GIB).unwrap();
    write(&open_disk, 200 * GIB - MIB, 4096, 8);
    write(&open_disk, 6 * MIB, 512, 9);
    open_disk.flush().unwrap();
    let check = |files: &SimFiles| {
        let found = begin(files, DISK, 3);
        assert_eq!(found.size(), ByteLen(200 * GIB));
        assert_eq!(sector(&found, 6 * MIB - 512), [7; 512]);
        assert_eq!(sector(&found, 6 * MIB), [9; 512]);
        assert_eq!(sector(&found, 200 * GIB - MIB), [8; 512]);
        assert_eq!(sector(&found, 100 * GIB), [0; 512]);
    };
    check(&restarted(&files)); // as the log has it
    open_disk.close(guid(0xB1)).unwrap();
    // Behind the one block that there was before.
    assert_eq!(table(&files), (5 * MIB, 2 << 20));
    check(&files);
}

#[test]
fn a_table_that_moves_into_room_that_blocks_gave_up_holds_nothing_of_theirs() {
    let files = disk(NewKind::Dynamic, 64 * MIB);
    let open_disk = begin(&files, DISK, 1);
    write(&open_disk, 0, 6 * MIB, 0xEE);
    open_disk.unmap(extent(0, 6 * MIB)).unwrap();
    open_disk.flush().unwrap();
    resize(&open_disk, 200 * GIB).unwrap();
    open_disk.close(guid(0xB1)).unwrap();
    assert_eq!(table(&files), (4 * MIB, 2 << 20));
    let found = open(&files, DISK).unwrap();
    assert!(found.allocated().is_empty());
    assert_eq!(found.layers()[0].present_blocks, 0);
}

#[test]
fn the_room_of_the_old_table_is_used_again_after_the_next_start() {
    let files = disk(NewKind::Dynamic, 64 * MIB);
    let open_disk = begin(&files, DISK, 1);
    resize(&open_disk, 200 * GIB).unwrap();
    let len = |files: &SimFiles| files.now().read(Path::new(DISK)).unwrap().len() as u64;
    assert_eq!(len(&files), 6 * MIB);
    open_disk.close(guid(0xB1)).unwrap();
    let open_disk = begin(&files, DISK, 2);
    write(&open_disk, 0, 512, 1);
    assert_eq!(len(&files), 6 * MIB);
    open_disk.close(guid(0xB2)).unwrap();
    assert_eq!(content_at(&files, 0), [1; 512]);
}

fn content_at(files: &SimFiles, at: u64) -> [u8; 512] {
    let mut sector = [0xA5; 512];
    let disk = open(files, DISK).unwrap();
    disk.read_at(DiskOffset(at), &mut sector).unwrap();
    sector
}

#[test]
fn a_child_grows_past_its_parent_and_reads_zeros_there() {
    let files = SimFiles::new();
    create(
        &files,
        BASE,
        NewKind::Dynamic,
        options(3 * MIB + 512, 1 << 20),
    );
    let base = begin(&files, BASE, 1);
    write(&base, 0, 3 * MIB + 512, 1);
    base.close(guid(0xB1)).unwrap();
    create_child(&files, DISK, BASE, 2 << 20, 0);
    let child = begin(&files, DISK, 2);
    // A part of the last block is the child's.
    write(&child, 3 * MIB, 512, 2);
    let mut wanted = read_all(&child);
    // A table that ends behind the bitmap of its last chunk: 9 GiB are three chunks.
    resize(&child, 9 * GIB).unwrap();
    write(&child, 9 * GIB - 1024, 512, 3);
    child.close(guid(0xB2)).unwrap();
    let found = open(&files, DISK).unwrap();
    wanted.resize(8 << 20, 0);
    let mut start = vec![0xA5; 8 << 20];
    found.read_at(DiskOffset(0), &mut start).unwrap();
    same(&start, &wanted).unwrap();
    assert_eq!(content_at(&files, 9 * GIB - 1024), [3; 512]);
    assert_eq!(content_at(&files, 9 * GIB - 512), [0; 512]);
}

#[test]
fn what_is_in_use_is_not_cut_off() {
    let files = disk(NewKind::Dynamic, 8 * MIB);
    let open_disk = begin(&files, DISK, 1);
    write(&open_disk, 4 * MIB, 512, 1);
    let at = DiskOffset(4 * MIB + 4096);
    let stamp = open_disk.stamp();
    assert_eq!(resize(&open_disk, at.0), Err(Unresizable::Used { at }));
    assert_eq!(open_disk.size(), ByteLen(8 * MIB));
    assert_eq!(open_disk.stamp(), stamp);
    resize(&open_disk, 5 * MIB).unwrap();
    open_disk.unmap(extent(4 * MIB, MIB)).unwrap();
    resize(&open_disk, MIB + 512).unwrap();
    open_disk.close(guid(0xB1)).unwrap();
    assert_eq!(open(&files, DISK).unwrap().size(), ByteLen(MIB + 512));
}

#[test]
fn a_fixed_disk_does_not_become_smaller() {
    let files = disk(NewKind::Fixed, 8 * MIB);
    let open_disk = begin(&files, DISK, 1);
    let at = DiskOffset(7 * MIB);
    assert_eq!(resize(&open_disk, at.0), Err(Unresizable::Used { at }));
}

#[test]
fn a_child_becomes_smaller_only_where_its_parent_holds_nothing_and_grows_back_over_nothing() {
    let files = SimFiles::new();
    create(&files, BASE, NewKind::Dynamic, options(8 * MIB, 1 << 20));
    let base = begin(&files, BASE, 1);
    write(&base, 5 * MIB, 512, 1);
    base.close(guid(0xB1)).unwrap();
    create_child(&files, DISK, BASE, 1 << 20, 0);
    let child = begin(&files, DISK, 2);
    let at = DiskOffset(5 * MIB);
    assert_eq!(resize(&child, 4 * MIB), Err(Unresizable::Used { at }));
    resize(&child, 6 * MIB).unwrap();
    resize(&child, 9 * MIB).unwrap();
    child.close(guid(0xB2)).unwrap();
    // As another program may make it: smaller than its parent, over data.
    let files = poke(&files, DISK, (2 << 20) + 65_544, &(4 * MIB).to_le_bytes());
    let child = begin(&files, DISK, 3);
    assert_eq!(resize(&child, 9 * MIB), Err(Unresizable::Parent { at }));
    resize(&child, 5 * MIB).unwrap();
}

#[test]
fn impossible_sizes_are_refused() {
    let files = disk(NewKind::Dynamic, 8 * MIB);
    let open_disk = begin(&files, DISK, 1);
    for size in [0, 513, 64 * TIB + 512, u64::MAX] {
        let refused = Unresizable::Size(Reason::DiskSize(size));
        assert_eq!(resize(&open_disk, size), Err(refused));
    }
}

#[test]
fn a_disk_grows_to_64_tebibytes() {
    let files = SimFiles::new();
    create(&files, DISK, NewKind::Dynamic, options(8 * MIB, 32 << 20));
    let open_disk = begin(&files, DISK, 1);
    resize(&open_disk, 64 * TIB).unwrap();
    write(&open_disk, 64 * TIB - 512, 512, 1);
    open_disk.close(guid(0xB1)).unwrap();
    assert_eq!(content_at(&files, 64 * TIB - 512), [1; 512]);
    assert_eq!(content_at(&files, 64 * TIB - 1024), [0; 512]);
}

#[test]
fn the_same_size_changes_nothing() {
    let files = disk(NewKind::Dynamic, 8 * MIB);
    let open_disk = begin(&files, DISK, 1);
    let before = files.now().digest();
    resize(&open_disk, 8 * MIB).unwrap();
    assert_eq!(files.now().digest(), before);
}

#[test]
fn what_a_guest_sees_of_it_changes_the_name_of_the_data() {
    for size in [4 * MIB, 9 * MIB] {
        let files = disk(NewKind::Dynamic, 8 * MIB);
        let open_disk = begin(&files, DISK, 1);
        resize(&open_disk, size).unwrap();
        assert_eq!(open_disk.stamp(), open_disk.coming_stamp());
        assert_eq!(open_disk.stamp()[16..], guids(1).data_write.0);
    }
}

#[test]
fn what_stands_behind_the_end_in_the_last_block_and_in_the_table_does_not_come_back() {
    let files = disk(NewKind::Dynamic, 2 * MIB + 512);
    let open_disk = begin(&files, DISK, 1);
    write(&open_disk, 2 * MIB, 512, 7);
    open_disk.close(guid(0xB1)).unwrap();
    // Another program leaves more behind the end: bytes of the last block, and an entry that names the identifier's
    // neighbour as a block.
    let block = 4 * MIB;
    let files = poke(&files, DISK, block + 512, &[0xEE; 4096]);
    let files = poke(&files, DISK, 3 * MIB + 3 * 8, &(MIB | 6).to_le_bytes());
    let open_disk = begin(&files, DISK, 2);
    resize(&open_disk, 9 * MIB).unwrap();
    let mut wanted = vec![0; 9 << 20];
    wanted[2 << 20..(2 << 20) + 512].fill(7);
    same(&read_all(&open_disk), &wanted).unwrap();
    open_disk.close(guid(0xB2)).unwrap();
    same(&content(&open(&files, DISK).unwrap()), &wanted).unwrap();
}

#[test]
fn whatever_fails_the_disk_has_the_old_size_or_the_new_one_and_holds_what_it_held() {
    for (kind, size) in [(NewKind::Fixed, 9 * MIB), (NewKind::Dynamic, 200 * GIB)] {
        for call in [Call::Write, Call::Sync, Call::SetLen] {
            for after in 0..100 {
                let files = disk(kind.clone(), 3 * MIB);
                let open_disk = begin(&files, DISK, 1);
                write(&open_disk, 0, MIB, 7);
                open_disk.flush().unwrap();
                let error = std::io::ErrorKind::StorageFull;
                files.fail(Fault {
                    call,
                    path: None,
                    after,
                    times: 1,
                    error,
                });
                let resized = open_disk.resize(ByteLen(size));
                files.mend();
                if resized.is_ok() {
                    assert!(after > 0, "{call:?} is never called");
                    break;
                }
                if call == Call::SetLen {
                    // There was no room; when there is, it goes on.
                    assert_eq!(open_disk.size(), ByteLen(3 * MIB));
                    resize(&open_disk, size).unwrap();
                }
                drop(open_disk);
                let files = restarted(&files);
                let found = begin(&files, DISK, 2);
                assert!(
                    [3 * MIB, size].contains(&found.size().0),
                    "{}",
                    found.size()
                );
                assert_eq!(sector(&found, MIB - 512), [7; 512]);
                assert_eq!(sector(&found, 2 * MIB), [0; 512]);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Unmap(u64, u64),
    Resize(u64),
    /// Closed or not.
    Reopen(bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let range = || (0..2000_u64, 1..500_u64);
    let op = prop_oneof![
        3 => (range(), 1..200_u8).prop_map(|((at, len), byte)| Op::Write(at, len, byte)),
        1 => range().prop_map(|(at, len)| Op::Zero(at, len)),
        2 => range().prop_map(|(at, len)| Op::Unmap(at, len)),
        3 => (1..2000_u64).prop_map(Op::Resize),
        1 => any::<bool>().prop_map(Op::Reopen),
    ];
    prop::collection::vec(op, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_disk_of_any_kind_and_size_reads_as_a_plain_list_of_bytes(
        ops in ops(),
        kind in 0..3_usize,
        block in 0..3_u32,
        sector_bytes in prop::sample::select(vec![512, 4096]),
    ) {
        const UNIT: u64 = 4096;
        let files = SimFiles::new();
        let first = 900 * UNIT;
        let base = VhdxOptions { logical_sector_bytes: sector_bytes, ..options(first, 1 << (20 + block)) };
        let kinds = [NewKind::Fixed, NewKind::Dynamic, NewKind::Dynamic];
        let mut wanted = vec![0; first as usize];
        if kind == 2 {
            create(&files, BASE, NewKind::Dynamic, base);
            let below = begin(&files, BASE, 1);
            write(&below, 0, 300 * UNIT, 0xBB);
            wanted[..300 * UNIT as usize].fill(0xBB);
            below.close(guid(0xB1)).unwrap();
            create_child(&files, DISK, BASE, 1 << 20, 0);
        } else {
            create(&files, DISK, kinds[kind].clone(), base);
        }
        let mut session = 2;
        let mut disk = begin(&files, DISK, session);
        for op in ops {
            let size = wanted.len() as u64;
            let clip = |at: u64, len: u64| {
                let at = (at * UNIT).min(size - UNIT);
                (at, (len * UNIT).min(size - at))
            };
            match op {
                Op::Write(at, len, byte) => {
                    let (at, len) = clip(at, len);
                    write(&disk, at, len, byte);
                    wanted[at as usize..(at + len) as usize].fill(byte);
                }
                Op::Zero(at, len) => {
                    let (at, len) = clip(at, len);
                    disk.zero(extent(at, len)).unwrap();
                    wanted[at as usize..(at + len) as usize].fill(0);
                }
                Op::Unmap(at, len) => {
                    let (at, len) = clip(at, len);
                    disk.unmap(extent(at, len)).unwrap();
                    // What it kept and what it gave up, it decides.
                    let found = read_all(&disk);
                    let range = at as usize..(at + len) as usize;
                    for (wanted, found) in wanted[range.clone()].iter_mut().zip(&found[range]) {
                        *wanted = if *found == 0 { 0 } else { *wanted };
                    }
                }
                Op::Resize(units) => {
                    let size = units * UNIT;
                    match resize(&disk, size) {
                        Ok(()) => {
                            let cut = wanted.get(size as usize..).unwrap_or_default();
                            prop_assert!(cut.iter().all(|byte| *byte == 0));
                            wanted.resize(size as usize, 0);
                        }
                        Err(Unresizable::Used { at }) => prop_assert!(at.0 >= size && at.0 < wanted.len() as u64),
                        // Zeros of the child hid what its parent holds there, and were cut off before.
                        Err(Unresizable::Parent { at }) => {
                            prop_assert!(kind == 2 && (wanted.len() as u64..first).contains(&at.0));
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Op::Reopen(close) => {
                    if close {
                        disk.close(guid(0xC0 + session)).unwrap();
                    } else {
                        disk.flush().unwrap();
                        drop(disk);
                    }
                    session += 1;
                    disk = begin(&files, DISK, session);
                }
            }
            prop_assert_eq!(same(&read_all(&disk), &wanted), Ok(()));
        }
        disk.close(guid(0xBE)).unwrap();
        prop_assert_eq!(same(&content(&open(&files, DISK).unwrap()), &wanted), Ok(()));
    }
}
