//! What each method reads, stores and inherits, by the one rule of design §5.0, and what it counts.

use hypercbt_extent::Extents;
use hypercbt_repo::{Method, codec};

use crate::support::{CHUNK, FakeDisk, Lab, changes, chunks, disk, noise, stats};

#[test]
fn a_full_backup_reads_what_is_allocated_and_stores_each_chunk_once() {
    let source = FakeDisk::of(&[1, 0, 2, 1, 0, 0]);
    source.clear(4); // allocated, and zero all the same
    let mut lab = Lab::new();
    let point = lab.full(&source);

    assert_eq!(source.read_chunks(), [0, 2, 3, 4]);
    lab.assert_holds(&point, &source.bytes());
    let stats = stats(&point);
    assert_eq!(disk(&point).method, Method::Full);
    assert_eq!(disk(&point).base, None);
    assert_eq!(stats.disk_bytes, 6 * CHUNK);
    assert_eq!(stats.allocated_bytes, 4 * CHUNK);
    assert_eq!(stats.changed_bytes, None);
    assert_eq!(stats.read_bytes, 4 * CHUNK);
    assert_eq!(stats.audited_bytes, 0);
    assert_eq!(stats.unmapped_bytes, 0);
    assert_eq!(stats.chunks, 4);
    assert_eq!(stats.new_chunks, 2);
    assert_eq!(stats.new_bytes, 2 * CHUNK);
    assert_eq!(stats.zero_bytes, CHUNK);
    assert_eq!(stats.missed_chunks, 0);
}

#[test]
fn what_a_run_stores_and_its_metadata_are_all_that_it_adds_to_packs_and_index() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let mut before = 0;
    for _ in 0..3 {
        let counted = stats(&lab.compare(&source));
        let added = lab.stored("pack") + lab.stored("index") - before;
        assert_eq!(counted.stored_bytes + counted.metadata_bytes, added);
        before += added;
        source.set(1, before);
    }
}

#[test]
fn a_full_backup_of_what_is_known_reads_everything_and_stores_nothing() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 0, 3]);
    let first = lab.full(&source);
    let packs = lab.names("pack");
    let second = lab.full(&source);
    let stats = stats(&second);
    assert_eq!((stats.read_bytes, stats.chunks), (3 * CHUNK, 3));
    assert_eq!(
        (stats.new_chunks, stats.new_bytes, stats.stored_bytes),
        (0, 0, 0)
    );
    assert_eq!(lab.names("pack"), packs);
    assert_eq!(disk(&second).root, disk(&first).root);
}

#[test]
fn only_allocated_bytes_of_a_chunk_are_read_and_count_as_allocated_in_whole_chunks() {
    let source = FakeDisk::new(4 * CHUNK);
    source.write(CHUNK + 4096, &noise(1, 512));
    source.write(2 * CHUNK - 512, &noise(2, 1024)); // across into chunk 2
    let mut lab = Lab::new();
    let point = lab.full(&source);
    let stats = stats(&point);
    assert_eq!(source.read_bytes(), 512 + 1024);
    assert_eq!(stats.read_bytes, 512 + 1024);
    assert_eq!((stats.chunks, stats.allocated_bytes), (2, 2 * CHUNK));
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn the_first_comparison_is_a_full_backup_and_the_next_has_the_newest_point_for_its_base() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.compare(&source);
    assert_eq!(
        (disk(&first).method, disk(&first).base),
        (Method::Full, None)
    );
    source.set(1, 9);
    let second = lab.compare(&source);
    assert_eq!(
        (disk(&second).method, disk(&second).base),
        (Method::Compare, Some(first.id))
    );
    assert_eq!(stats(&second).changed_bytes, None);
    assert_eq!((stats(&second).chunks, stats(&second).new_chunks), (2, 1));
    lab.assert_holds(&second, &source.bytes());
    lab.assert_holds(&first, &FakeDisk::of(&[1, 2]).bytes());
}

#[test]
fn a_comparison_finds_a_change_that_no_list_told_of() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    source.set(1, 7);
    source.unmap(2 * CHUNK, CHUNK);
    let blind = lab.list(&source, Extents::new(), &first);
    let mut seen_blind = FakeDisk::of(&[1, 2, 3]).bytes();
    seen_blind[2 * CHUNK as usize..].fill(0);
    lab.assert_holds(&blind, &seen_blind);
    let compared = lab.compare(&source);
    lab.assert_holds(&compared, &source.bytes());
}

#[test]
fn a_chunk_that_any_reported_byte_touches_is_read_whole_and_no_other_is() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3, 4, 5, 6]);
    let first = lab.full(&source);
    for chunk in 0..6 {
        source.set(chunk, 100 + chunk);
    }
    // The last byte of chunk 1, and one byte on each side between 3 and 4.
    let claimed = changes(&[(2 * CHUNK - 1, 1), (4 * CHUNK - 1, 2)]);
    let point = lab.list(&source, claimed, &first);
    assert_eq!(source.read_chunks(), [1, 3, 4]);
    let stats = stats(&point);
    assert_eq!(disk(&point).method, Method::List);
    assert_eq!(disk(&point).base, Some(first.id));
    assert_eq!(stats.changed_bytes, Some(3));
    assert_eq!((stats.chunks, stats.read_bytes), (3, 3 * CHUNK));
    assert_eq!((stats.new_chunks, stats.new_bytes), (3, 3 * CHUNK));
    assert_eq!(stats.allocated_bytes, 6 * CHUNK);
    lab.assert_holds(&point, &FakeDisk::of(&[1, 101, 3, 103, 104, 6]).bytes());
}

#[test]
fn a_claimed_chunk_that_is_a_hole_becomes_null_without_a_read() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    source.unmap(CHUNK, CHUNK);
    let point = lab.list(&source, chunks(&[1]), &first);
    assert_eq!(source.reads(), []);
    assert_eq!((stats(&point).chunks, stats(&point).unmapped_bytes), (0, 0));
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn an_unclaimed_chunk_that_is_a_hole_now_becomes_null_without_a_read_and_counts_as_unmapped() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3, 0]);
    let first = lab.full(&source);
    source.unmap(CHUNK, CHUNK);
    source.unmap(3 * CHUNK, CHUNK); // was none before
    let point = lab.list(&source, Extents::new(), &first);
    assert_eq!(source.reads(), []);
    assert_eq!(stats(&point).unmapped_bytes, CHUNK);
    assert_eq!(stats(&point).allocated_bytes, 2 * CHUNK);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_chunk_that_was_overwritten_with_zeros_is_read_and_becomes_null() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2]);
    let first = lab.full(&source);
    source.clear(1);
    let point = lab.list(&source, chunks(&[1]), &first);
    assert_eq!(source.read_chunks(), [1]);
    assert_eq!(stats(&point).zero_bytes, CHUNK);
    assert_eq!(stats(&point).new_chunks, 0);
    assert_eq!(
        disk(&point).root,
        disk(&lab.full(&FakeDisk::of(&[1, 0]))).root
    );
}

#[test]
fn an_empty_list_reads_nothing_and_gives_the_root_of_its_base() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 0, 4]);
    let first = lab.full(&source);
    let objects = (lab.names("pack"), lab.names("index"));
    let point = lab.list(&source, Extents::new(), &first);
    assert_eq!(source.reads(), []);
    assert_eq!(disk(&point).root, disk(&first).root);
    assert_eq!((lab.names("pack"), lab.names("index")), objects);
    assert_eq!(stats(&point).changed_bytes, Some(0));
    assert_eq!(stats(&point).metadata_bytes, 0);
}

#[test]
fn a_list_builds_on_the_point_that_it_is_relative_to_even_if_there_are_newer_ones() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    source.set(0, 10);
    let second = lab.list(&source, chunks(&[0]), &first);
    source.set(2, 30);
    let third = lab.list(&source, chunks(&[0, 2]), &first);
    assert_eq!(disk(&third).base, Some(first.id));
    lab.assert_holds(&second, &FakeDisk::of(&[10, 2, 3]).bytes());
    lab.assert_holds(&third, &source.bytes());
    // Chunk 0 is claimed, read, and known already.
    assert_eq!((stats(&third).chunks, stats(&third).new_chunks), (2, 1));
}

#[test]
fn extents_in_any_order_and_overlapping_are_clipped_together_before_they_are_counted() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    source.set(0, 11);
    source.set(2, 13);
    let claimed = changes(&[
        (2 * CHUNK + 100, 400),
        (512, 512),
        (2 * CHUNK + 300, 400),
        (512, 512),
        (1024, 512),
    ]);
    let point = lab.list(&source, claimed, &first);
    assert_eq!(stats(&point).changed_bytes, Some(600 + 1024));
    assert_eq!(stats(&point).chunks, 2);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn the_last_chunk_may_be_shorter_than_a_chunk() {
    let mut lab = Lab::new();
    let len = 2 * CHUNK + 1536;
    let source = FakeDisk::new(len);
    source.write(0, &noise(1, CHUNK));
    source.write(2 * CHUNK, &noise(2, 1536));
    let first = lab.full(&source);
    assert_eq!(stats(&first).allocated_bytes, CHUNK + 1536);
    assert_eq!(stats(&first).read_bytes, CHUNK + 1536);
    lab.assert_holds(&first, &source.bytes());

    source.write(len - 512, &noise(3, 512));
    let second = lab.list(&source, changes(&[(len - 1, 1)]), &first);
    assert_eq!(stats(&second).read_bytes, 1536);
    lab.assert_holds(&second, &source.bytes());

    source.write(2 * CHUNK, &[0; 1536]);
    let third = lab.list(&source, changes(&[(2 * CHUNK, 1536)]), &second);
    assert_eq!(stats(&third).zero_bytes, 1536);
    source.unmap(2 * CHUNK, 1536);
    let fourth = lab.list(&source, Extents::new(), &second);
    assert_eq!(stats(&fourth).unmapped_bytes, 1536);
    assert_eq!(disk(&third).root, disk(&fourth).root);
    lab.assert_holds(&fourth, &source.bytes());
}

#[test]
fn the_last_chunk_is_padded_with_zeros_and_not_with_what_a_buffer_held_before() {
    // Single chunks between holes: more reads than there are buffers.
    let source = FakeDisk::new(60 * CHUNK + 512);
    for chunk in (0..60).step_by(2) {
        source.set(chunk, chunk + 1);
    }
    source.write(60 * CHUNK, &noise(99, 512));
    let mut lab = Lab::new();
    lab.workers = 1;
    lab.full(&source);
    let mut padded = noise(99, 512);
    padded.resize(CHUNK as usize, 0);
    let id = codec::chunk_id(&padded);
    assert!(lab.records().iter().any(|(_, entry)| entry.id == id.0));
}

#[test]
fn a_disk_shorter_than_a_chunk_is_a_disk() {
    let mut lab = Lab::with_chunks(4 << 20);
    let source = FakeDisk::new(512);
    source.write(0, &noise(1, 512));
    let point = lab.full(&source);
    assert_eq!(
        (stats(&point).chunks, stats(&point).allocated_bytes),
        (1, 512)
    );
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_disk_of_zeros_has_no_tree_and_stores_nothing() {
    let mut lab = Lab::new();
    let hole = FakeDisk::new(3 * CHUNK);
    let first = lab.full(&hole);
    assert_eq!(disk(&first).root, None);
    assert_eq!((hole.reads(), lab.stored("pack")), (vec![], 0));
    hole.write(0, &vec![0; 3 * CHUNK as usize]);
    let second = lab.compare(&hole);
    assert_eq!(disk(&second).root, None);
    assert_eq!(stats(&second).zero_bytes, 3 * CHUNK);
    assert_eq!(lab.stored("pack") + lab.stored("index"), 0);
    lab.assert_holds(&second, &hole.bytes());
    hole.set(1, 5);
    let third = lab.list(&hole, chunks(&[1]), &second);
    lab.assert_holds(&third, &hole.bytes());
}

#[test]
fn a_disk_that_grew_shares_its_old_chunks() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.compare(&source);
    let before = source.bytes();
    // From a tree of one leaf to one of two levels.
    source.set_len(70 * CHUNK);
    source.set(68, 9);
    let second = lab.compare(&source);
    assert_eq!(disk(&second).base, Some(first.id));
    assert_eq!((stats(&second).chunks, stats(&second).new_chunks), (4, 1));
    lab.assert_holds(&second, &source.bytes());
    lab.assert_holds(&first, &before);
    let alone = Lab::new().full(&source);
    assert_eq!(disk(&second).root, disk(&alone).root);
}

#[test]
fn a_disk_that_grew_inside_its_last_chunk_has_that_chunk_anew() {
    let mut lab = Lab::new();
    let source = FakeDisk::new(CHUNK + 512);
    source.write(CHUNK, &noise(4, 512));
    lab.compare(&source);
    source.set_len(CHUNK + 1024);
    let same = lab.compare(&source);
    assert_eq!(stats(&same).new_chunks, 0); // the new part is zero, as the padding was
    source.write(CHUNK + 512, &noise(5, 512));
    let point = lab.compare(&source);
    assert_eq!(stats(&point).new_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_disk_that_shrank_is_compared_and_shares_what_is_left() {
    let mut lab = Lab::new();
    let source = FakeDisk::new(70 * CHUNK);
    for chunk in [0, 1, 2, 69] {
        source.set(chunk, chunk + 1);
    }
    lab.compare(&source);
    source.set_len(2 * CHUNK + 512);
    let point = lab.compare(&source);
    assert_eq!(stats(&point).new_chunks, 1); // the last one was cut
    lab.assert_holds(&point, &source.bytes());
    let alone = Lab::new().full(&source);
    assert_eq!(disk(&point).root, disk(&alone).root);
}

#[test]
fn the_number_of_workers_changes_nothing_in_the_point() {
    let source = FakeDisk::new(200 * CHUNK);
    for chunk in (0..200).filter(|chunk| chunk % 3 != 0) {
        source.set(chunk, chunk % 50 + 1);
    }
    let mut found = Vec::new();
    for workers in [1, 2, 4, 9] {
        let mut lab = Lab::new();
        lab.workers = workers;
        let point = lab.full(&source);
        found.push((disk(&point).root, stats(&point)));
        lab.assert_holds(&point, &source.bytes());
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
}
