//! Whatever is done to a disk in whatever order, it reads as a row of bytes would.

use proptest::prelude::*;

use crate::common::MIB;
use crate::support::{Disk, KINDS, Kind, begin, content, extent, read_only, write};

#[derive(Debug, Clone)]
enum Op {
    Write {
        at: u64,
        len: u64,
        mark: u8,
    },
    Zero {
        at: u64,
        len: u64,
    },
    Unmap {
        at: u64,
        len: u64,
    },
    Flush,
    /// Close properly and open again.
    Close,
    /// Open again as after a crash in which nothing written was lost.
    Crash,
}

/// Places and lengths in sectors, taken modulo the disk; every third range is whole blocks.
fn op() -> impl Strategy<Value = Op> {
    let range = (any::<u64>(), prop_oneof![1..20_u64, 200..5000_u64], 0..3_u8);
    (range, 1..=255_u8, 0..12_u8).prop_map(|((at, len, whole), mark, kind)| {
        let (at, len) = match whole {
            0 => (at / 2048 * 2048, len.div_ceil(2048) * 2048),
            _ => (at, len),
        };
        match kind {
            0..=4 => Op::Write { at, len, mark },
            5 | 6 => Op::Zero { at, len },
            7 | 8 => Op::Unmap { at, len },
            9 => Op::Flush,
            10 => Op::Close,
            _ => Op::Crash,
        }
    })
}

/// The range in bytes, inside the disk and on whole sectors.
fn clip(disk: &Disk, at: u64, len: u64) -> (u64, u64) {
    let at = if at.is_multiple_of(2048) {
        at / 2048 % disk.size.div_ceil(disk.block_bytes) * disk.block_bytes
    } else {
        at % (disk.size / 512) * 512 / disk.sector_bytes * disk.sector_bytes
    };
    let len = (len * 512).next_multiple_of(disk.sector_bytes);
    (at, len.min(disk.size - at))
}

/// Whole blocks become zeros, the rest stays.
fn unmap(disk: &Disk, model: &mut [u8], at: u64, len: u64) {
    if disk.kind == Kind::Fixed {
        return;
    }
    for start in (0..disk.size).step_by(disk.block_bytes as usize) {
        let end = (start + disk.block_bytes).min(disk.size);
        if at <= start && end <= at + len {
            model[start as usize..end as usize].fill(0);
        }
    }
}

fn run(disk: &Disk, ops: &[Op]) {
    let (files, mut model) = disk.build();
    let mut session = 1;
    let mut open = begin(&files, session);
    for op in ops {
        match *op {
            Op::Write { at, len, mark } => {
                let (at, len) = clip(disk, at, len);
                write(&open, at, &vec![mark; len as usize]);
                model[at as usize..(at + len) as usize].fill(mark);
            }
            Op::Zero { at, len } => {
                let (at, len) = clip(disk, at, len);
                open.zero(extent(at, len)).unwrap();
                model[at as usize..(at + len) as usize].fill(0);
            }
            Op::Unmap { at, len } => {
                let (at, len) = clip(disk, at, len);
                open.unmap(extent(at, len)).unwrap();
                unmap(disk, &mut model, at, len);
            }
            Op::Flush => {
                open.flush().unwrap();
                assert!(
                    read_only(&files).unwrap() == model,
                    "the files after {op:?}"
                );
            }
            Op::Close => {
                open.close(crate::support::guids(session + 100).file_write)
                    .unwrap();
                assert!(
                    read_only(&files).unwrap() == model,
                    "the files after {op:?}"
                );
                session += 1;
                open = begin(&files, session);
            }
            Op::Crash => {
                open.flush().unwrap();
                drop(open);
                session += 1;
                open = begin(&files, session);
            }
        }
        assert!(content(&open) == model, "after {op:?}");
    }
    open.close(crate::support::guids(200).file_write).unwrap();
    assert!(read_only(&files).unwrap() == model, "the files at the end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_reads_as_a_row_of_bytes(
        kind in prop::sample::select(KINDS.to_vec()),
        sector_bytes in prop::sample::select(vec![512_u64, 4096]),
        ops in prop::collection::vec(op(), 1..24),
    ) {
        run(&Disk::small(kind, sector_bytes), &ops);
    }
}

#[test]
fn a_block_that_is_used_again_shows_nothing_of_its_last_owner() {
    for kind in [Kind::Dynamic, Kind::Child] {
        let disk = Disk::small(kind, 512);
        let ops = [
            Op::Write {
                at: 0,
                len: 2048,
                mark: 7,
            },
            Op::Flush,
            Op::Zero { at: 0, len: 2048 },
            Op::Flush,
            Op::Write {
                at: 2048 + 5,
                len: 1,
                mark: 9,
            },
            Op::Flush,
            Op::Write {
                at: 3,
                len: 1,
                mark: 9,
            },
            Op::Crash,
        ];
        run(&disk, &ops);
    }
    assert_eq!(MIB, 2048 * 512);
}
