//! What is broken is found, named and gone round, and the rest still works.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "small numbers of our own"
)]

mod common;

use std::sync::Arc;

use common::*;
use hypercbt_repo::{
    Damage, DamagedPlace, Error, IndexEntry, MemoryStorage, ObjectKind, PackName, RecordKind,
    Repository, RestorePoint, RunId, Storage, Suspect, Timestamp, codec, pack, seal_object,
};

/// A repository with one point of `DISK`.
fn filled() -> (MemoryStorage, RestorePoint) {
    let (storage, repository) = in_memory();
    let point = backup(&repository, 1, &DISK, &[]).unwrap();
    (storage, point)
}

/// Changes the bytes of an object.
fn change(storage: &MemoryStorage, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = storage.bytes(name).unwrap().to_vec();
    change(&mut bytes);
    storage.overwrite(name, &bytes);
}

/// The pack that holds the chunk of this number, and its entry there.
fn place_of(storage: &MemoryStorage, number: u64) -> (PackName, IndexEntry) {
    let id = codec::chunk_id(&chunk(number)).0;
    for (name, len) in storage.list("pack").unwrap() {
        let pack = name.rsplit('/').next().unwrap().parse().unwrap();
        let entries = pack::read_footer(storage, pack, len).unwrap();
        if let Some(entry) = entries.into_iter().find(|entry| entry.id == id) {
            return (pack, entry);
        }
    }
    panic!("chunk {number} is in no pack");
}

fn path(pack: PackName) -> String {
    format!("pack/{}/{pack}", &pack.to_string()[..2])
}

fn stored_bytes(storage: &MemoryStorage) -> u64 {
    storage
        .list("pack")
        .unwrap()
        .iter()
        .map(|(_, len)| len)
        .sum()
}

#[test]
fn without_any_index_all_is_read_and_nothing_is_stored_again() {
    let (storage, point) = filled();
    for name in names(&storage, "index") {
        storage.delete(&name).unwrap();
    }
    let repository = open(storage.clone());
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
    assert_eq!(names(&storage, "index"), [""; 0], "a reader writes nothing");
    let before = stored_bytes(&storage);
    backup(&repository, 2, &DISK, &[&point]).unwrap();
    assert_eq!(stored_bytes(&storage), before);
    assert_eq!(names(&storage, "index").len(), 1);
}

#[test]
fn a_segment_damaged_anywhere_is_gone_round_by_readers_and_replaced_by_writers() {
    let (before, point) = filled();
    let segment = names(&before, "index").remove(0);
    let len = before.len(&segment).unwrap();
    let mut noticed = 0;
    for at in (0..len).step_by(97) {
        let storage = before.copy();
        change(&storage, &segment, |bytes| bytes[at as usize] ^= 1);
        let repository = open(storage.clone());
        let view = repository.view().unwrap();
        for number in DISK.into_iter().filter(|&number| number > 0) {
            let id = codec::chunk_id(&chunk(number));
            assert_eq!(view.chunk(id).unwrap(), chunk(number), "byte {at}");
        }
        noticed += view.problems().len();
        assert_eq!(
            restore(&repository, &point).unwrap(),
            bytes(&DISK),
            "byte {at}"
        );

        let stored = stored_bytes(&storage);
        backup(&repository, 2, &DISK, &[&point]).unwrap();
        assert_eq!(stored_bytes(&storage), stored, "byte {at}");
        let view = repository.view().unwrap();
        assert_eq!(view.problems().len(), 0, "byte {at}");
        assert!(view.all_known(), "byte {at}");
    }
    assert!(noticed > 80, "{noticed} of {len} / 97");
}

#[test]
fn a_segment_that_is_half_there_is_replaced() {
    let (storage, point) = filled();
    let segment = names(&storage, "index").remove(0);
    change(&storage, &segment, |bytes| bytes.truncate(bytes.len() / 2));
    let repository = open(storage.clone());
    let view = repository.view().unwrap();
    assert!(
        matches!(&**view.problems().first().unwrap(), Error::Damaged { name, .. } if *name == segment)
    );
    assert!(!view.all_known());
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
    backup(&repository, 2, &DISK, &[&point]).unwrap();
    assert!(repository.view().unwrap().all_known());
}

#[test]
fn what_a_lost_pack_held_is_unknown_and_coming_again_heals_the_old_point() {
    let (storage, point) = filled();
    let (lost, _) = place_of(&storage, 3);
    let repository = open(storage.clone());
    assert!(repository.view().unwrap().all_known());
    storage.delete(&path(lost)).unwrap();

    let view = repository.view().unwrap();
    assert!(!view.all_known());
    let id = codec::chunk_id(&chunk(3));
    assert_eq!(view.places(RecordKind::Chunk, &[id.0]).unwrap(), [None]);
    assert!(matches!(view.chunk(id), Err(Error::ChunkLost { id: lost }) if lost == id));
    assert!(matches!(
        restore(&repository, &point),
        Err(Error::ChunkLost { .. })
    ));
    assert_eq!(view.chunk(codec::chunk_id(&chunk(7))).unwrap(), chunk(7));

    backup(&repository, 2, &DISK, &[&point]).unwrap();
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
}

#[test]
fn a_pack_that_is_cut_off_is_not_known_and_its_whole_records_are_still_read() {
    let (storage, point) = filled();
    let (cut, entry) = place_of(&storage, 1);
    assert_eq!(entry.offset, 64, "the first of its pack");
    change(&storage, &path(cut), |bytes| {
        bytes.truncate(64 + 96 + entry.stored_len as usize + 10);
    });
    let repository = open(storage.clone());
    let view = repository.view().unwrap();
    let ids = [1, 2].map(|number| codec::chunk_id(&chunk(number)));
    assert_eq!(view.chunk(ids[0]).unwrap(), chunk(1));
    assert!(matches!(view.chunk(ids[1]), Err(Error::ChunkLost { .. })));
    assert!(!view.all_known());
    backup(&repository, 2, &DISK, &[&point]).unwrap();
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
    assert!(
        !repository.view().unwrap().all_known(),
        "the pack is still short"
    );
}

#[test]
fn a_pack_that_was_cut_off_before_it_was_indexed_is_scanned() {
    let (storage, _) = filled();
    let (cut, entry) = place_of(&storage, 1);
    for name in names(&storage, "index") {
        storage.delete(&name).unwrap();
    }
    change(&storage, &path(cut), |bytes| {
        bytes.truncate(64 + 96 + entry.stored_len as usize + 10);
    });
    let view = open(storage).view().unwrap();
    let ids = [1, 2, 3].map(|number| codec::chunk_id(&chunk(number)));
    let places = view.places(RecordKind::Chunk, &ids.map(|id| id.0)).unwrap();
    assert_eq!(places.map_known(), [true, false, true]);
    assert!(!view.all_known());
    assert_eq!(view.problems().len(), 1);
}

trait MapKnown {
    fn map_known(&self) -> Vec<bool>;
}

impl MapKnown for Vec<Option<hypercbt_repo::Location>> {
    fn map_known(&self) -> Vec<bool> {
        self.iter().map(Option::is_some).collect()
    }
}

#[test]
fn what_is_on_the_damage_list_is_stored_again_and_then_read_from_its_new_place() {
    let (storage, point) = filled();
    let (bad, entry) = place_of(&storage, 3);
    change(&storage, &path(bad), |bytes| {
        bytes[entry.offset as usize + 100] ^= 1;
    });
    let repository = open(storage.clone());
    let id = codec::chunk_id(&chunk(3));
    assert!(matches!(
        repository.view().unwrap().chunk(id),
        Err(Error::ChunkLost { .. })
    ));
    assert_eq!(
        repository
            .view()
            .unwrap()
            .places(RecordKind::Chunk, &[id.0])
            .unwrap()
            .map_known(),
        [true]
    );

    let place = DamagedPlace {
        kind: RecordKind::Chunk,
        id: id.0,
        pack: bad,
        offset: entry.offset,
    };
    repository.add_damage(RunId([77; 16]), &[place]).unwrap();
    repository.add_damage(RunId([77; 16]), &[place]).unwrap();
    assert_eq!(repository.damage().unwrap().places(), [place]);
    let view = repository.view().unwrap();
    assert!(!view.all_known());
    assert_eq!(view.places(RecordKind::Chunk, &[id.0]).unwrap(), [None]);

    backup(&repository, 2, &DISK, &[&point]).unwrap();
    let view = repository.view().unwrap();
    assert_eq!(
        view.places(RecordKind::Chunk, &[id.0]).unwrap().map_known(),
        [true]
    );
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
}

#[test]
fn a_wrong_entry_on_the_damage_list_takes_nothing_away_from_readers() {
    let (storage, point) = filled();
    let (pack, entry) = place_of(&storage, 3);
    let repository = open(storage);
    let place = DamagedPlace {
        kind: RecordKind::Chunk,
        id: entry.id,
        pack,
        offset: entry.offset,
    };
    repository.add_damage(RunId([77; 16]), &[place]).unwrap();
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
}

#[test]
fn a_damaged_damage_list_keeps_nobody_from_reading_or_writing() {
    let (storage, point) = filled();
    let repository = open(storage.clone());
    let (pack, entry) = place_of(&storage, 3);
    let place = DamagedPlace {
        kind: RecordKind::Chunk,
        id: entry.id,
        pack,
        offset: entry.offset,
    };
    repository.add_damage(RunId([77; 16]), &[place]).unwrap();
    change(&storage, &names(&storage, "damage")[0], |bytes| {
        bytes[80] ^= 1;
    });
    assert!(matches!(repository.damage(), Err(Error::Damaged { .. })));
    let view = repository.view().unwrap();
    assert!(!view.all_known());
    assert_eq!(view.problems().len(), 1);
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
    backup(&repository, 2, &DISK, &[&point]).unwrap();
}

#[test]
fn a_damaged_suspect_is_told_and_stays() {
    let (storage, point) = filled();
    let repository = open(storage.clone());
    let suspect = Suspect {
        machine: point.machine.clone(),
        disk: "disk".to_owned(),
        extents: vec![(0, 1)],
        first: point.id,
        last: point.id,
        found_by: run_id(2),
        found_at: Timestamp(9),
    };
    repository.add_suspect(RunId([77; 16]), suspect).unwrap();
    change(&storage, &names(&storage, "suspect")[0], |bytes| {
        bytes[80] ^= 1;
    });
    assert!(matches!(repository.suspects(), Err(Error::Damaged { .. })));
    repository.delete_point(point.id).unwrap();
    assert_eq!(names(&storage, "suspect").len(), 1);
}

#[test]
fn a_damaged_point_is_told_hides_no_other_and_can_be_deleted() {
    let (storage, repository) = in_memory();
    let points: Vec<_> = (1..4)
        .map(|number| backup(&repository, number, &[u64::from(number)], &[]).unwrap())
        .collect();
    change(&storage, &format!("point/{}", points[1].id), |bytes| {
        bytes[100] ^= 1;
    });
    let (readable, damaged) = repository.points_with_damage().unwrap();
    assert_eq!(readable, [points[2].clone(), points[0].clone()]);
    assert!(matches!(
        &*damaged,
        [Error::Damaged {
            reason: Damage::Checksum,
            ..
        }]
    ));
    assert!(matches!(
        repository.point(points[1].id),
        Err(Error::Damaged { .. })
    ));

    assert_eq!(backup(&repository, 4, &[4], &[]).unwrap().sequence, 4);
    repository.delete_point(points[1].id).unwrap();
    assert!(repository.points_with_damage().unwrap().1.is_empty());
    assert!(matches!(
        repository.delete_point(points[1].id),
        Err(Error::PointNotFound { .. })
    ));
}

#[test]
fn a_point_under_the_name_of_another_is_damaged() {
    let (storage, point) = filled();
    let bytes = storage.bytes(&format!("point/{}", point.id)).unwrap();
    storage.overwrite(&format!("point/{}", run_id(5)), &bytes);
    let error = open(storage).point(run_id(5)).unwrap_err();
    assert!(matches!(
        error,
        Error::Damaged {
            reason: Damage::Id,
            ..
        }
    ));
}

#[test]
fn points_come_newest_first_in_order_of_commit_whatever_the_clocks_say() {
    let (_, repository) = in_memory();
    let committed: Vec<_> = [3, 1, 2]
        .map(|number| backup(&repository, number, &[1], &[]).unwrap())
        .into_iter()
        .rev()
        .collect();
    assert_eq!(repository.points().unwrap(), committed);
    assert_eq!(
        committed
            .iter()
            .map(|point| point.sequence)
            .collect::<Vec<_>>(),
        [3, 2, 1]
    );
}

#[test]
fn a_suspect_stays_until_the_last_of_its_points_is_deleted() {
    let (_, repository) = in_memory();
    let points: Vec<_> = (1..5)
        .map(|number| backup(&repository, number, &[u64::from(number)], &[]).unwrap())
        .collect();
    let suspect = Suspect {
        machine: "file:disk".to_owned(),
        disk: "disk".to_owned(),
        extents: vec![(0, 65536), (1 << 40, 1)],
        first: points[0].id,
        last: points[2].id,
        found_by: points[3].id,
        found_at: Timestamp(9),
    };
    let run = repository.begin(options(9, &[])).unwrap();
    run.add_suspect(suspect.clone()).unwrap();
    run.add_suspect(suspect.clone()).unwrap();
    run.abort().unwrap();
    for gone in [2, 3, 0] {
        assert_eq!(
            repository.suspects().unwrap(),
            [suspect.clone(), suspect.clone()],
            "{gone}"
        );
        repository.delete_point(points[gone].id).unwrap();
    }
    assert_eq!(
        repository.suspects().unwrap().len(),
        2,
        "the one between still holds it"
    );
    repository.delete_point(points[1].id).unwrap();
    assert_eq!(repository.suspects().unwrap(), []);
}

#[test]
fn a_config_that_is_damaged_or_newer_is_told_apart() {
    let (storage, _) = in_memory();
    let good = storage.bytes("config").unwrap();
    let opened = |bytes: &[u8]| {
        storage.overwrite("config", bytes);
        Repository::open(Arc::new(storage.clone()), "here").unwrap_err()
    };
    let mut damaged = good.to_vec();
    damaged[70] ^= 1;
    assert!(matches!(opened(&damaged), Error::Damaged { .. }));
    let mut newer = good.to_vec();
    newer[8] = 1;
    let checksum = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(
        opened(&newer),
        Error::NewerFormat {
            found: 1,
            supported: 0,
            ..
        }
    ));
    let json = br#"{"repository":"00000000000000000000000000000000","chunk_bytes":1000,"created":"1970-01-01T00:00:00.000000Z"}"#;
    let impossible = seal_object("config", ObjectKind::Config, json).unwrap();
    assert!(matches!(
        opened(&impossible),
        Error::Damaged {
            reason: Damage::Field,
            ..
        }
    ));
    let tolerated = std::str::from_utf8(json)
        .unwrap()
        .replace("1000,", "65536,\"later\":[1],");
    let tolerated = seal_object("config", ObjectKind::Config, tolerated.as_bytes()).unwrap();
    storage.overwrite("config", &tolerated);
    assert_eq!(open(storage).chunk_bytes(), 65536);
}

#[test]
fn files_that_no_restore_needs_are_checked_too() {
    let (storage, point) = filled();
    let repository = open(storage.clone());
    assert_eq!(repository.damaged_files().unwrap().len(), 0);
    let segment = names(&storage, "index").remove(0);
    let (lease, closed) = (
        format!("lease/{}", point.id),
        format!("closed/{}", point.id),
    );
    let mut harmed = vec![segment, lease, closed];
    for name in &harmed {
        // In the segment this is a fingerprint of its filter, which readers may ignore.
        change(&storage, name, |bytes| {
            let at = bytes.len() - 70;
            bytes[at] ^= 1;
        });
    }
    assert_eq!(restore(&repository, &point).unwrap(), bytes(&DISK));
    let mut found: Vec<_> = repository
        .damaged_files()
        .unwrap()
        .into_iter()
        .map(|error| match error {
            Error::Damaged { name, .. } => name,
            other => panic!("{other}"),
        })
        .collect();
    harmed.sort();
    found.sort();
    assert_eq!(found, harmed);
    // One that stands under another's name is none either.
    let other = storage.bytes("config").unwrap().to_vec();
    storage.overwrite(&harmed[0], &other);
    assert_eq!(repository.damaged_files().unwrap().len(), 3);
}
