//! A child is merged into its parent: the parent then holds what the child read as, and the child is gone.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

#[path = "power_cuts_maintenance/support.rs"]
mod support;

use std::path::Path;

use hypercbt_extent::ByteLen;
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_vhdx::{Error, Mismatch, NewKind, Unresizable, VhdxOptions, merge_into};
use proptest::prelude::*;

use support::*;

const BASE: &str = "/base.vhdx";
const CHILD: &str = "/child.avhdx";

/// A disk of 6 MiB in blocks of 1 MiB with all of its first half written, and a child with blocks of 2 MiB.
fn pair() -> SimFiles {
    let files = SimFiles::new();
    create(&files, BASE, NewKind::Dynamic, options(6 * MIB, 1 << 20));
    let base = begin(&files, BASE, 1);
    write(&base, 0, 3 * MIB, 1);
    base.close(guid(0xB1)).unwrap();
    create_child(&files, CHILD, BASE, 2 << 20, 0);
    files
}

#[test]
fn what_the_child_holds_moves_and_the_rest_of_the_parent_stays_as_it_is() {
    let files = pair();
    let before = files.now().read(Path::new(BASE)).unwrap();
    let child = begin(&files, CHILD, 2);
    write(&child, MIB, 512, 2);
    write(&child, 5 * MIB, 1024, 3);
    let wanted = read_all(&child);
    let merged = merge(&files, child, BASE, 3).unwrap();
    same(&read_all(&merged), &wanted).unwrap();
    merged.close(guid(0xB2)).unwrap();
    assert!(!exists(&files, CHILD));
    let disk = open(&files, BASE).unwrap();
    same(&content(&disk), &wanted).unwrap();
    // One block more, and of the other blocks only one sector is another.
    assert_eq!(disk.layers()[0].present_blocks, 4);
    let after = files.now().read(Path::new(BASE)).unwrap();
    let payload = 4 << 20;
    let changed = before[payload..].iter().zip(&after[payload..]);
    assert_eq!(changed.filter(|(old, new)| old != new).count(), 512);
}

#[test]
fn an_empty_child_changes_nothing_in_the_parent_but_its_names() {
    let files = pair();
    let before = files.now().read(Path::new(BASE)).unwrap();
    let child = begin(&files, CHILD, 2);
    let merged = merge(&files, child, BASE, 3).unwrap();
    merged.close(guid(0xB2)).unwrap();
    let after = files.now().read(Path::new(BASE)).unwrap();
    let metadata = 2 << 20;
    assert!(before[metadata..] == after[metadata..]);
    assert!(!exists(&files, CHILD));
}

#[test]
fn zeros_of_the_child_are_zeros_of_the_parent_and_hide_what_lies_below_it() {
    let files = pair();
    // The grandparent has data at 0, the parent has none, and the child says zero.
    let middle = "/middle.avhdx";
    create_child(&files, middle, BASE, 1 << 20, 1);
    create_child(&files, "/leaf.avhdx", middle, 1 << 20, 2);
    let leaf = begin(&files, "/leaf.avhdx", 2);
    leaf.zero(extent(0, MIB)).unwrap(); // a whole block
    leaf.zero(extent(MIB + 4096, 512)).unwrap(); // a part of one
    leaf.unmap(extent(2 * MIB, MIB)).unwrap();
    let wanted = read_all(&leaf);
    assert_eq!(wanted[..1 << 20], vec![0; 1 << 20]);
    let merged = merge(&files, leaf, middle, 3).unwrap();
    same(&read_all(&merged), &wanted).unwrap();
    // And once more, into the base, where the data itself goes.
    let merged = merge(&files, merged, BASE, 4).unwrap();
    merged.close(guid(0xB3)).unwrap();
    let base = open(&files, BASE).unwrap();
    same(&content(&base), &wanted).unwrap();
    assert_eq!(base.layers()[0].present_blocks, 1);
}

#[test]
fn a_larger_child_makes_the_parent_larger() {
    for kind in [NewKind::Fixed, NewKind::Dynamic] {
        let files = SimFiles::new();
        create(&files, BASE, kind, options(3 * MIB + 512, 1 << 20));
        create_child(&files, CHILD, BASE, 1 << 20, 0);
        let child = begin(&files, CHILD, 2);
        child.resize(ByteLen(7 * MIB)).unwrap();
        write(&child, 6 * MIB, MIB, 7);
        let wanted = read_all(&child);
        let merged = merge(&files, child, BASE, 3).unwrap();
        merged.close(guid(0xB2)).unwrap();
        same(&content(&open(&files, BASE).unwrap()), &wanted).unwrap();
    }
}

#[test]
fn a_smaller_child_makes_the_parent_smaller_where_nothing_is_lost() {
    let files = pair();
    let child = begin(&files, CHILD, 2);
    child.resize(ByteLen(3 * MIB)).unwrap();
    let merged = merge(&files, child, BASE, 3).unwrap();
    assert_eq!(merged.size(), ByteLen(3 * MIB));
}

#[test]
fn a_child_that_hides_data_behind_its_end_is_not_merged_and_reads_as_before() {
    let files = pair();
    // As another program may make it: smaller than its parent, over data.
    let files = poke(&files, CHILD, (2 << 20) + 65_544, &(2 * MIB).to_le_bytes());
    let wanted = content(&open(&files, CHILD).unwrap());
    assert_eq!(wanted.len(), 2 << 20);
    let refused = merge(&files, begin(&files, CHILD, 2), BASE, 3);
    let reason = match refused {
        Err(Error::CannotResize { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(reason, Unresizable::Used { .. }), "{reason}");
    same(&content(&open(&restarted(&files), CHILD).unwrap()), &wanted).unwrap();
}

#[test]
fn what_is_not_the_parent_is_refused_and_nothing_is_changed() {
    let files = pair();
    create(
        &files,
        "/other.vhdx",
        NewKind::Dynamic,
        VhdxOptions {
            data_write_guid: guid(0x77),
            ..options(6 * MIB, 1 << 20)
        },
    );
    let child = begin(&files, CHILD, 2);
    let before = files.now().digest();
    match merge(&files, child, "/other.vhdx", 3) {
        Err(Error::WrongParent { mismatch, .. }) => {
            let (wanted, found) = (guids(1).data_write, guid(0x77));
            assert_eq!(mismatch, Mismatch::Linkage { wanted, found });
        }
        other => panic!("{other:?}"),
    }
    let child = begin(&files, "/other.vhdx", 4);
    let with_other = files.now().digest();
    assert!(merge(&files, child, BASE, 3).is_err(), "it has no parent");
    assert_ne!(before, with_other);
    assert_eq!(files.now().digest(), with_other);
}

#[test]
fn the_child_stays_and_says_that_it_is_being_merged_until_the_merge_is_finished() {
    let files = pair();
    let opening = try_opening(&files, CHILD).unwrap();
    assert!(!opening.merge_begun());
    let child = opening.begin(&guids(2)).unwrap();
    write(&child, 0, 512, 2);
    let all: std::sync::Arc<dyn hypercbt_file::FileSystem> = std::sync::Arc::new(files.clone());
    let options = hypercbt_vhdx::OpenOptions::default();
    let merged = merge_into(child, &all, Path::new(BASE), &options, &guids(3)).unwrap();
    assert_eq!(merged.stamp()[16..], guids(3).data_write.0);
    assert!(matches!(
        try_opening(&files, CHILD),
        Err(Error::InUse { .. })
    ));
    let cut = restarted(&files);
    assert!(try_opening(&cut, CHILD).unwrap().merge_begun());
    assert!(!try_opening(&cut, BASE).unwrap().merge_begun());
    let parent = merged.finish().unwrap();
    assert_eq!(parent.stamp()[16..], guids(3).data_write.0);
    assert!(!exists(&files, CHILD));
}

#[test]
fn a_parent_that_another_writes_is_not_merged_into() {
    let files = pair();
    let _writer = begin(&files, BASE, 5);
    let child = begin(&files, CHILD, 2);
    let before = files.now().digest();
    let refused = merge(&files, child, BASE, 3);
    assert!(matches!(refused, Err(Error::InUse { file }) if file == Path::new(BASE)));
    assert_eq!(files.now().digest(), before);
}

#[test]
fn whatever_fails_the_child_reads_as_before_and_the_merge_can_be_begun_again() {
    for call in [Call::Write, Call::Sync, Call::SetLen, Call::Remove] {
        for after in 0..200 {
            let files = pair();
            let child = begin(&files, CHILD, 2);
            write(&child, MIB, 4096, 2);
            write(&child, 4 * MIB, 512, 3);
            child.zero(extent(0, 2 * MIB)).unwrap();
            let wanted = read_all(&child);
            child.flush().unwrap();
            let error = std::io::ErrorKind::Other;
            files.fail(Fault {
                call,
                path: None,
                after,
                times: 1,
                error,
            });
            let failed = merge(&files, child, BASE, 3);
            files.mend();
            if failed.is_ok() {
                assert!(after > 0, "{call:?} is never called");
                break;
            }
            drop(failed);
            let files = restarted(&files);
            same(&content(&open(&files, CHILD).unwrap()), &wanted).unwrap();
            let merged = merge(&files, begin(&files, CHILD, 6), BASE, 7).unwrap();
            same(&read_all(&merged), &wanted).unwrap();
        }
    }
}

/// What is done to a disk of 6 MiB.
#[derive(Debug, Clone, Copy)]
enum Op {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Unmap(u64, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let range = || (0..1536_u64, 1..700_u64).prop_map(|(at, len)| (at, len.min(1536 - at)));
    let op = prop_oneof![
        3 => (range(), 1..200_u8).prop_map(|((at, len), byte)| Op::Write(at, len, byte)),
        1 => range().prop_map(|(at, len)| Op::Zero(at, len)),
        1 => range().prop_map(|(at, len)| Op::Unmap(at, len)),
    ];
    prop::collection::vec(op, 0..6)
}

fn apply(disk: &hypercbt_vhdx::WritableVhdx, ops: &[Op]) {
    const SECTOR: u64 = 4096;
    for op in ops {
        match *op {
            Op::Write(at, len, byte) => write(disk, at * SECTOR, len * SECTOR, byte),
            Op::Zero(at, len) => disk.zero(extent(at * SECTOR, len * SECTOR)).unwrap(),
            Op::Unmap(at, len) => disk.unmap(extent(at * SECTOR, len * SECTOR)).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_chain_merged_step_by_step_holds_what_its_leaf_read_as(
        layers in (ops(), ops(), ops()),
        blocks in (0..3_u32, 0..3_u32, 0..3_u32),
        fixed in any::<bool>(),
        sector_bytes in prop::sample::select(vec![512, 4096]),
    ) {
        let files = SimFiles::new();
        let kind = if fixed { NewKind::Fixed } else { NewKind::Dynamic };
        let base = VhdxOptions { logical_sector_bytes: sector_bytes, ..options(6 * MIB, 1 << (20 + blocks.0)) };
        create(&files, BASE, kind, base);
        let disk = begin(&files, BASE, 1);
        apply(&disk, &layers.0);
        disk.close(guid(0xB1)).unwrap();
        create_child(&files, CHILD, BASE, 1 << (20 + blocks.1), 0);
        let disk = begin(&files, CHILD, 2);
        apply(&disk, &layers.1);
        disk.close(guid(0xB2)).unwrap();
        create_child(&files, "/leaf.avhdx", CHILD, 1 << (20 + blocks.2), 1);
        let leaf = begin(&files, "/leaf.avhdx", 3);
        apply(&leaf, &layers.2);
        let wanted = read_all(&leaf);
        let merged = merge(&files, leaf, CHILD, 4).unwrap();
        prop_assert_eq!(same(&read_all(&merged), &wanted), Ok(()));
        let merged = merge(&files, merged, BASE, 5).unwrap();
        merged.close(guid(0xB3)).unwrap();
        prop_assert_eq!(files.now().paths(), [Path::new(BASE)]);
        prop_assert_eq!(same(&content(&open(&files, BASE).unwrap()), &wanted), Ok(()));
    }
}
