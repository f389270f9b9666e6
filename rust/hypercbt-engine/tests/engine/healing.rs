//! Damage that a backup meets: it fails nothing, and what is missing is stored again.

use hypercbt_engine::{AuditPolicy, PointDiskReader, VerifyScope, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::{IndexEntry, PackName, RecordKind, codec};

use crate::shelf::shelf;
use crate::support::{CHUNK, FakeDisk, Lab, chunks, noise, stats};

#[test]
fn the_next_backup_of_any_method_stores_what_is_damaged_again_and_the_older_points_restore() {
    let shelf = shelf();
    let newest = shelf.points[2].0.id;
    // Only what the disk still holds can be stored again.
    let held = &shelf.needs()[0].1;
    let mut healed = 0;
    for (pack, entry) in shelf.lab.records() {
        if !held.contains(&(entry.kind, entry.id)) {
            continue;
        }
        healed += 1;
        let nothing = Wanted::List {
            changes: Extents::new(),
            since: newest,
        };
        for how in [Wanted::Full, Wanted::Compare, nothing] {
            let mut shelf = shelf.fork();
            shelf.lab.damage(pack, &entry, 97);
            shelf.lab.verify(VerifyScope::All);
            shelf.heals(&how, &format!("{how:?} after {entry:?}"));
        }
    }
    assert!(healed > 6);
}

#[test]
fn damage_that_nobody_has_found_yet_is_no_reason_to_fail_a_backup() {
    let shelf = shelf();
    let newest = shelf.points[2].0.id;
    for (pack, entry) in shelf.lab.records() {
        for how in [
            Wanted::Full,
            Wanted::Compare,
            Wanted::List {
                changes: chunks(&[0, 66]),
                since: newest,
            },
        ] {
            let mut shelf = shelf.fork();
            shelf.lab.audit = AuditPolicy::Full;
            shelf.lab.damage(pack, &entry, 97);
            let point = shelf.lab.backup(&shelf.source.copy(), how);
            assert_eq!(stats(&point).missed_chunks, 0);
        }
    }
}

#[test]
fn a_part_that_was_unmapped_of_a_chunk_that_is_lost_does_not_fail_the_audit() {
    let mut lab = Lab::with_chunks(1 << 20);
    let source = FakeDisk::new(2 << 20);
    source.write(0, &noise(1, 2 << 20));
    let first = lab.full(&source);
    for (pack, entry) in lab.records() {
        if entry.kind == RecordKind::Chunk {
            lab.damage(pack, &entry, 200);
        }
    }
    source.unmap(8192, 4096);
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &first);
    assert!(lab.verify(VerifyScope::All).damaged.len() >= 2);
    // What the audit cannot compare it does not call equal.
    assert_eq!(stats(&point).missed_chunks, 1);
}

#[test]
fn a_chunk_that_the_repository_lost_and_that_nobody_claims_can_still_have_been_missed() {
    let lost = codec::chunk_id(&noise(2, CHUNK)).0;
    for changed in [&[1][..], &[0, 1, 2, 3]] {
        for audit in [AuditPolicy::Off, AuditPolicy::Full] {
            let mut lab = Lab::new();
            let source = FakeDisk::of(&[1, 2, 3, 4]);
            let first = lab.full(&source);
            let records = lab.records();
            let (pack, entry) = records.iter().find(|(_, entry)| entry.id == lost).unwrap();
            lab.damage(*pack, entry, 97);
            lab.verify(VerifyScope::All);
            for &chunk in changed {
                source.set(chunk, 10 + chunk); // nobody reports any of it
            }
            lab.audit = audit;
            let point = lab.list(&source, Extents::new(), &first);
            assert_eq!(stats(&point).missed_chunks, changed.len() as u64);
            lab.assert_holds(&point, &source.bytes());
        }
    }
}

#[test]
fn a_chunk_that_stands_in_two_places_is_read_from_the_one_that_is_whole() {
    let mut shelf = shelf();
    let (pack, entry): (PackName, IndexEntry) = shelf
        .lab
        .records()
        .into_iter()
        .find(|(_, entry)| entry.kind == RecordKind::Chunk)
        .unwrap();
    shelf.lab.damage(pack, &entry, 97);
    shelf.lab.verify(VerifyScope::All);
    shelf.heals(&Wanted::Full, "a second copy");
    let report = shelf.lab.verify(VerifyScope::All);
    let found: Vec<_> = report.damaged.iter().map(|record| record.lost).collect();
    assert_eq!(found, [false]);
    // The other place breaks as well.
    let (second, other) = shelf
        .lab
        .records()
        .into_iter()
        .find(|(of, record)| record.id == entry.id && *of != pack)
        .unwrap();
    shelf.lab.damage(second, &other, 97);
    let report = shelf.lab.verify(VerifyScope::All);
    assert!(report.damaged[0].lost);
    let reader = PointDiskReader::open(&shelf.lab.repository, &shelf.points[0].0, 0).unwrap();
    let mut all = vec![0; reader.size() as usize];
    assert!(reader.read_at(0, &mut all).is_err());
}
