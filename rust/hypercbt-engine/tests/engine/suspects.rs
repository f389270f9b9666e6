//! A change that was missed: which older points are suspect of having missed it, too (design §5.3).

use hypercbt_engine::AuditPolicy;
use hypercbt_extent::Extents;
use hypercbt_repo::RecordKind;

use crate::days::Days;
use crate::support::{CHUNK, DAY, FakeDisk, Lab, chunks, stats};

#[test]
fn points_since_the_last_physical_read_are_suspect_and_no_others() {
    let mut days = Days::new();
    // Chunk 45 is in the slice of day 3; chunk 46 too, but it is claimed on day 5.
    assert!(!days.random.contains(&45) && !days.random.contains(&46));
    for _ in 1..=4 {
        days.day(&[]);
    }
    days.guest_writes(46, 7);
    days.day(&[46]);
    for _ in 6..=8 {
        days.day(&[]);
    }
    days.guest_writes(45, 8);
    days.guest_writes(46, 9);
    days.day(&[]); // day 9
    days.lab.audit = AuditPolicy::Full;
    days.day(&[]); // day 10 reads everything
    assert_eq!(stats(days.last()).missed_chunks, 2);
    let mut suspects: Vec<_> = days
        .suspects()
        .into_iter()
        .map(|suspect| (suspect.extents, suspect.first, suspect.last))
        .collect();
    suspects.sort_unstable();
    let base = days.points[9].id;
    assert_eq!(
        suspects,
        [
            (vec![(45 * CHUNK, CHUNK)], days.points[4].id, base),
            (vec![(46 * CHUNK, CHUNK)], days.points[6].id, base),
        ]
    );
}

#[test]
fn a_suspect_is_kept_until_the_last_point_that_it_names_is_deleted() {
    let mut days = Days::new();
    days.guest_writes(25, 9);
    days.day(&[]);
    days.lab.audit = AuditPolicy::Full;
    days.day(&[]);
    let suspects = days.suspects();
    assert_eq!(suspects.len(), 1);
    let repository = days.lab.repository.clone();
    repository.delete_point(days.points[0].id).unwrap();
    repository.delete_point(days.points[2].id).unwrap();
    assert_eq!(days.suspects(), suspects);
    repository.delete_point(days.points[1].id).unwrap();
    assert_eq!(days.suspects(), []);
}

#[test]
fn a_chunk_that_is_missed_on_a_disk_with_an_older_base_makes_no_point_suspect_that_read_it() {
    // The row of bases ends at a point that was compared: it read everything.
    let mut days = Days::new();
    days.day(&[]);
    days.lab.now += DAY;
    let compared = days.lab.compare(&days.source);
    days.points.push(compared);
    days.day(&[]);
    days.guest_writes(300, 4);
    days.lab.audit = AuditPolicy::Full;
    days.day(&[]);
    let suspects = days.suspects();
    assert_eq!(suspects.len(), 1);
    assert_eq!(
        (suspects[0].first, suspects[0].last),
        (days.points[3].id, days.points[3].id)
    );
}

#[test]
fn newer_points_that_share_the_unread_chunk_with_the_base_are_suspect_too() {
    let mut days = Days::new();
    days.guest_writes(300, 4);
    days.day(&[]);
    days.day(&[]);
    // The list is relative to the first point; two newer ones were built on it.
    days.lab.audit = AuditPolicy::Full;
    days.lab.now += DAY;
    let first = days.points[0].clone();
    let point = days.lab.list(&days.source, Extents::new(), &first);
    assert_eq!(stats(&point).missed_chunks, 1);
    let suspects = days.suspects();
    assert_eq!(suspects.len(), 1);
    assert_eq!(suspects[0].extents, [(300 * CHUNK, CHUNK)]);
    assert_eq!(
        (suspects[0].first, suspects[0].last),
        (days.points[1].id, days.points[2].id)
    );
}

#[test]
fn an_older_tree_that_is_damaged_does_not_keep_a_missed_change_from_being_healed() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    let leaf = lab
        .records()
        .into_iter()
        .find(|(_, entry)| entry.kind == RecordKind::Node)
        .unwrap();
    lab.now += DAY;
    source.set(0, 10);
    let second = lab.list(&source, chunks(&[0]), &first);
    lab.now += DAY;
    source.set(0, 11);
    let third = lab.list(&source, chunks(&[0]), &second);
    lab.damage(leaf.0, &leaf.1, 100);
    lab.now += DAY;
    source.set(2, 30);
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &third);
    assert_eq!(stats(&point).missed_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
    let suspects = lab.repository.suspects().unwrap();
    assert_eq!(suspects.len(), 1);
    assert_eq!((suspects[0].first, suspects[0].last), (second.id, third.id));
}

#[test]
fn a_clock_that_goes_back_makes_no_point_look_as_if_it_had_read() {
    let mut lab = Lab::new();
    lab.now = 10 * DAY;
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    lab.now = 5 * DAY;
    source.set(2, 30); // nobody says so
    let second = lab.list(&source, Extents::new(), &first);
    lab.audit = AuditPolicy::Full;
    let third = lab.list(&source, Extents::new(), &second);
    assert_eq!(stats(&third).missed_chunks, 1);
    let suspects = lab.repository.suspects().unwrap();
    assert_eq!(suspects.len(), 1);
    assert_eq!(
        (suspects[0].first, suspects[0].last),
        (second.id, second.id)
    );
}
