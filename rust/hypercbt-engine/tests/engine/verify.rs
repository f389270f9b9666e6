//! Damage: every byte that can break is found, and told with the points that need it.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use hypercbt_engine::{
    DamagedRecord, Error, Observer, Progress, VerifyRequest, VerifyScope, Wanted, verify,
};
use hypercbt_repo::{
    FaultyStorage, PackName, PointId, RecordKind, Repository, RunId, Storage, Timestamp,
};

use crate::shelf::shelf;
use crate::support::{CHUNK, FakeDisk, Lab, noise};

/// Bytes of a record at which a bit is flipped: signature, id, lengths, checksum, the first stored byte.
const PLACES: [u32; 6] = [0, 9, 30, 60, 90, 97];

#[test]
fn a_flipped_bit_in_any_record_is_reported_with_the_points_that_need_it_and_listed() {
    let shelf = shelf();
    let needs = shelf.needs();
    let records = shelf.lab.records();
    assert!(records.len() > 10);
    for (pack, entry) in &records {
        for byte in PLACES {
            let mut shelf = shelf.fork();
            shelf.lab.damage(*pack, entry, byte);
            let report = shelf.lab.verify(VerifyScope::All);
            let key = (entry.kind, entry.id);
            let expected: Vec<PointId> = needs
                .iter()
                .filter(|(_, keys)| keys.contains(&key))
                .map(|(id, _)| *id)
                .collect();
            assert!(!expected.is_empty());
            let what = format!("byte {byte} of {entry:?}");
            let found: Vec<_> = report.damaged.iter().map(facts).collect();
            assert_eq!(found, [(key, true, expected.clone())], "{what}");
            assert_eq!(report.damaged_objects, [""; 0], "{what}");
            assert_eq!(report.points, 3);
            let listed = shelf.lab.repository.damage().unwrap().places();
            assert_eq!(listed.len(), 1, "{what}");
            assert_eq!(
                (
                    listed[0].kind,
                    listed[0].id,
                    listed[0].pack,
                    listed[0].offset
                ),
                (entry.kind, entry.id, *pack, entry.offset)
            );
            if byte == PLACES[5] {
                shelf.assert_points(&expected, &what);
            }
            // Told again, listed once.
            let again = shelf.lab.verify(VerifyScope::All);
            assert_eq!(again.damaged, report.damaged);
            assert_eq!(shelf.lab.repository.damage().unwrap().places(), listed);
            assert_eq!(shelf.lab.names("damage").len(), 1);
        }
    }
}

fn facts(record: &DamagedRecord) -> ((RecordKind, [u8; 32]), bool, Vec<PointId>) {
    ((record.kind, record.id), record.lost, record.points.clone())
}

#[test]
fn damage_to_a_pack_that_is_not_in_a_record_is_told_and_harms_nobody() {
    let shelf = shelf();
    for (name, len) in shelf.lab.storage.list("pack").unwrap() {
        for byte in [0, 20, 63, len - 1, len - 60] {
            let mut shelf = shelf.fork();
            shelf.lab.flip(&name, byte as usize);
            let report = shelf.lab.verify(VerifyScope::All);
            assert_eq!(report.damaged, [], "byte {byte}");
            assert_eq!(report.damaged_objects.len(), 1, "byte {byte}: {report:?}");
            let id = name.rsplit('/').next().unwrap();
            assert!(report.damaged_objects[0].contains(id), "{report:?}");
            shelf.assert_points(&[], "a pack's own bytes");
        }
    }
}

#[test]
fn a_pack_under_a_name_that_is_not_its_hash_is_told() {
    let mut shelf = shelf();
    let name = shelf.lab.names("pack").remove(0);
    let bytes = shelf.lab.storage.bytes(&name).unwrap();
    let other = format!("pack/ab/{}", "ab".repeat(32));
    shelf.lab.storage.overwrite(&other, &bytes);
    let report = shelf.lab.verify(VerifyScope::All);
    assert_eq!(report.damaged, []);
    assert_eq!(report.damaged_objects.len(), 1, "{report:?}");
    assert!(report.damaged_objects[0].contains(&"ab".repeat(32)));
}

#[test]
fn a_damaged_index_segment_is_told_and_costs_nothing_that_the_packs_can_tell() {
    let shelf = shelf();
    for (name, len) in shelf.lab.storage.list("index").unwrap() {
        for byte in (0..len).step_by((len / 11).max(1) as usize) {
            let mut shelf = shelf.fork();
            shelf.lab.flip(&name, byte as usize);
            let report = shelf.lab.verify(VerifyScope::All);
            assert_eq!(report.damaged, [], "byte {byte}");
            assert_ne!(report.damaged_objects, [""; 0], "byte {byte} of {len}");
            shelf.heals(&Wanted::Compare, "after a damaged segment");
        }
    }
}

#[test]
fn a_damaged_point_is_told_and_hides_no_other() {
    let shelf = shelf();
    let name = format!("point/{}", shelf.points[1].0.id);
    let len = shelf.lab.storage.len(&name).unwrap();
    for byte in (0..len).step_by(97).chain([len - 1]) {
        let mut shelf = shelf.fork();
        shelf.lab.flip(&name, byte as usize);
        let report = shelf.lab.verify(VerifyScope::All);
        assert_eq!(report.points, 2, "byte {byte}");
        assert_eq!(report.damaged_objects.len(), 1, "byte {byte}: {report:?}");
        assert!(report.damaged_objects[0].contains(&name));
        assert_eq!(report.damaged, []);
        shelf.points.remove(1);
        shelf.assert_points(&[], "a damaged point");
        shelf.heals(&Wanted::Compare, "beside a damaged point");
    }
}

#[test]
fn a_pack_that_is_gone_or_cut_short_loses_what_stood_in_it_and_no_more() {
    let shelf = shelf();
    let needs = shelf.needs();
    for (name, len) in shelf.lab.storage.list("pack").unwrap() {
        let pack: PackName = name.rsplit('/').next().unwrap().parse().unwrap();
        let records = shelf.lab.records();
        let inside: BTreeSet<_> = records
            .iter()
            .filter(|(of, _)| *of == pack)
            .map(|(_, entry)| (entry.kind, entry.id))
            .collect();
        for cut in [None, Some(len - 1), Some(len / 2), Some(10)] {
            let mut shelf = shelf.fork();
            match cut {
                None => shelf.lab.storage.delete(&name).unwrap(),
                Some(len) => {
                    let bytes = shelf.lab.storage.bytes(&name).unwrap();
                    shelf.lab.storage.overwrite(&name, &bytes[..len as usize]);
                }
            }
            let report = shelf.lab.verify(VerifyScope::All);
            let lost: BTreeSet<_> = report.damaged.iter().map(|r| (r.kind, r.id)).collect();
            // Without a footer, records that are all there are found one by one.
            assert_eq!(lost.is_empty(), cut == Some(len - 1), "{cut:?}");
            // What only lost nodes lead to cannot be named.
            assert!(lost.is_subset(&inside), "{cut:?}");
            assert_eq!(
                report.damaged_objects.is_empty(),
                cut.is_none(),
                "{report:?}"
            );
            let gone = if cut.is_none() { &inside } else { &lost };
            let broken: Vec<PointId> = needs
                .iter()
                .filter(|(_, keys)| !keys.is_disjoint(gone))
                .map(|(id, _)| *id)
                .collect();
            let told: BTreeSet<PointId> = report
                .damaged
                .iter()
                .flat_map(|record| record.points.iter().copied())
                .collect();
            assert_eq!(told, broken.iter().copied().collect(), "{cut:?}");
            shelf.assert_points(&broken, "a pack that is cut short");
            // What the disk still holds comes back.
            let point = shelf.lab.compare(&shelf.source.copy());
            shelf.lab.assert_holds(&point, &shelf.source.bytes());
        }
    }
}

#[test]
fn a_sample_of_all_finds_what_verifying_everything_finds_and_reads_no_less() {
    let shelf = shelf();
    for (pack, entry) in shelf.lab.records() {
        let mut shelf = shelf.fork();
        shelf.lab.damage(pack, &entry, 97);
        let mut other = shelf.fork();
        let all = shelf.lab.verify(VerifyScope::All);
        let sample = other.lab.verify(VerifyScope::Sample {
            percent: 100.0,
            seed: 5,
        });
        assert_eq!(sample.damaged, all.damaged);
        assert_eq!((sample.chunks, sample.nodes), (all.chunks, all.nodes));
        assert_eq!(sample.packs, 0);
    }
}

#[test]
fn a_sample_reads_about_its_share_and_another_seed_another_one() {
    let mut lab = Lab::new();
    let source = FakeDisk::new(600 * CHUNK);
    for chunk in 0..600 {
        source.write(chunk * CHUNK, &noise(chunk + 1, 512));
    }
    lab.full(&source);
    let mut counts = BTreeSet::new();
    for seed in 0..8 {
        let report = lab.verify(VerifyScope::Sample {
            percent: 10.0,
            seed,
        });
        assert!((20..=120).contains(&report.chunks), "{report:?}");
        counts.insert((report.chunks, report.read_bytes));
    }
    assert!(counts.len() > 1);
    assert_eq!(lab.verify(VerifyScope::All).chunks, 600);
}

#[test]
fn what_is_new_since_a_point_is_read_and_nothing_else() {
    let mut shelf = shelf();
    let since = shelf.points[0].0.clone();
    let report = shelf.lab.verify(VerifyScope::Since(since.clone()));
    // Points 2 and 3 have one chunk each, and together two new leaves and two new roots.
    assert_eq!((report.points, report.chunks, report.packs), (2, 2, 0));
    assert_eq!(report.nodes, 4);
    let records = shelf.lab.records();
    let before = shelf.needs().pop().unwrap().1;
    let new = records.iter().filter(|(_, entry)| {
        entry.kind == RecordKind::Chunk && !before.contains(&(entry.kind, entry.id))
    });
    let bytes: u64 = new.map(|(_, entry)| u64::from(entry.stored_len) + 96).sum();
    assert_eq!(report.read_bytes, bytes);

    // Nothing is new since the newest.
    let newest = shelf.points[2].0.clone();
    let report = shelf.lab.verify(VerifyScope::Since(newest));
    assert_eq!((report.points, report.chunks, report.read_bytes), (0, 0, 0));

    // Old damage is not its business, new damage is.
    for (pack, entry) in &records {
        let mut shelf = shelf.fork();
        shelf.lab.damage(*pack, entry, 97);
        let report = shelf.lab.verify(VerifyScope::Since(since.clone()));
        let found: Vec<_> = report.damaged.iter().map(|r| (r.kind, r.id)).collect();
        let key = (entry.kind, entry.id);
        if before.contains(&key) {
            assert_eq!(found, []);
        } else {
            assert_eq!(found, [key]);
        }
    }
}

#[test]
fn a_storage_that_cannot_be_read_is_an_error_or_uncertain_and_never_on_the_damage_list() {
    use hypercbt_repo::Fault;
    let shelf = shelf();
    let run = |at| {
        let storage = shelf.lab.storage.copy();
        let faulty = FaultyStorage::failing(
            storage.clone(),
            at,
            Fault::Fail(std::io::ErrorKind::ConnectionReset),
        );
        if let Ok(repository) = Repository::open(Arc::new(faulty.clone()), "memory") {
            let request = VerifyRequest {
                scope: VerifyScope::All,
                id: RunId([0x55; 16]),
                created: Timestamp(0),
                workers: std::num::NonZeroUsize::new(1),
                clock: &shelf.lab.clock,
            };
            if let Ok(report) = verify(&repository, &request, &mut hypercbt_engine::Silent) {
                assert!(
                    report.damaged.iter().all(|record| !record.lost),
                    "call {at}: {report:?}"
                );
            }
        }
        assert_eq!(storage.list("damage").unwrap(), [], "call {at}");
        faulty.calls().len()
    };
    let calls = run(usize::MAX);
    for at in 0..calls {
        run(at);
    }
}

struct AtOnce;

impl Observer for AtOnce {
    fn progress(&mut self, _: Progress) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[test]
fn a_verification_that_is_stopped_says_so() {
    let shelf = shelf();
    let request = VerifyRequest {
        scope: VerifyScope::All,
        id: RunId([0x55; 16]),
        created: Timestamp(0),
        workers: None,
        clock: &shelf.lab.clock,
    };
    let error = verify(&shelf.lab.repository, &request, &mut AtOnce).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}
