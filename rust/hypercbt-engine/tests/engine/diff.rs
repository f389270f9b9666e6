//! What differs between two points: as a model says, and in the time that the difference takes.

use std::sync::Arc;

use hypercbt_engine::diff;
use hypercbt_extent::Extents;
use hypercbt_repo::{FaultyStorage, Repository, RestorePoint};
use proptest::prelude::*;

use crate::support::{CHUNK, FakeDisk, Lab, changes, noise};

fn between(lab: &Lab, first: &RestorePoint, second: &RestorePoint) -> Extents {
    diff(&lab.repository, (first, 0), (second, 0)).unwrap()
}

/// Chunk by chunk; what is past the end of the shorter disk counts as zero.
fn model(first: &[u8], second: &[u8]) -> Extents {
    let len = first.len().max(second.len());
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    let pairs: Vec<(u64, u64)> = (0..len as u64)
        .step_by(CHUNK as usize)
        .map(|at| (at, CHUNK.min(len as u64 - at)))
        .filter(|&(at, len)| {
            (at..at + len).any(|at| byte(first, at as usize) != byte(second, at as usize))
        })
        .collect();
    changes(&pairs)
}

#[test]
fn neighbouring_chunks_are_one_extent_and_the_last_one_ends_with_the_disk() {
    let mut lab = Lab::new();
    let source = FakeDisk::new(6 * CHUNK + 512);
    source.set(0, 1);
    let first = lab.full(&source);
    for chunk in [2, 3, 5] {
        source.set(chunk, chunk);
    }
    source.write(6 * CHUNK, &noise(9, 512));
    source.unmap(0, CHUNK);
    let second = lab.full(&source);
    let expected = changes(&[(0, CHUNK), (2 * CHUNK, 2 * CHUNK), (5 * CHUNK, CHUNK + 512)]);
    assert_eq!(between(&lab, &first, &second), expected);
    assert_eq!(between(&lab, &second, &first), expected);
    assert_eq!(between(&lab, &first, &first), Extents::new());
}

#[test]
fn a_disk_that_grew_differs_where_its_new_part_is_not_zero() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.compare(&source);
    let before = source.bytes();
    source.set_len(5000 * CHUNK); // one leaf, and then two levels more
    source.set(4999, 3);
    let second = lab.compare(&source);
    let expected = changes(&[(4999 * CHUNK, CHUNK)]);
    assert_eq!(between(&lab, &first, &second), expected);
    assert_eq!(between(&lab, &second, &first), expected);
    source.set_len(2 * CHUNK);
    assert!(before == source.bytes());
}

#[test]
fn only_nodes_on_the_way_to_a_difference_are_read() {
    let mut lab = Lab::new();
    // A chunk in each of 300 leaves: three levels.
    let source = FakeDisk::new(300 * 64 * CHUNK);
    for leaf in 0..300 {
        source.write(leaf * 64 * CHUNK, &noise(leaf + 1, 512));
    }
    let first = lab.full(&source);
    source.write(150 * 64 * CHUNK, &noise(999, 512));
    let second = lab.compare(&source);
    let storage = FaultyStorage::recording(lab.storage.clone());
    let repository = Repository::open(Arc::new(storage.clone()), "memory").unwrap();
    let found = diff(&repository, (&first, 0), (&second, 0)).unwrap();
    assert_eq!(found, changes(&[(150 * 64 * CHUNK, CHUNK)]));
    let calls = storage.calls();
    let nodes = calls
        .iter()
        .filter(|call| call.action == "read" && call.name.starts_with("pack/"))
        .count();
    assert_eq!(nodes, 2 * 3);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_difference_is_what_a_comparison_of_all_bytes_finds(
        lens in (1..140 * 128_u64, 1..140 * 128_u64),
        writes in proptest::collection::vec((any::<bool>(), any::<u64>(), 0..4_u64), 0..30),
    ) {
        let disks = [FakeDisk::new(lens.0 * 512), FakeDisk::new(lens.1 * 512)];
        for (which, at, seed) in writes {
            let len = if which { lens.0 } else { lens.1 };
            disks[usize::from(!which)].write(at % len * 512, &noise(seed, 512));
        }
        let mut lab = Lab::new();
        let first = lab.compare(&disks[0]);
        let second = lab.compare(&disks[1]);
        let expected = model(&disks[0].bytes(), &disks[1].bytes());
        prop_assert_eq!(between(&lab, &first, &second), expected.clone());
        prop_assert_eq!(between(&lab, &second, &first), expected);
    }
}
