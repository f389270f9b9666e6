//! Damage that nobody knew of until a backup came upon it: what it then stores does not hang on what is damaged.

use hypercbt_engine::{AuditPolicy, Silent, VerifyScope, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::{IndexEntry, PackName, RecordKind, RestorePoint, codec};

use crate::shelf::{Keys, shelf};
use crate::support::{CHUNK, Chain, FakeDisk, Lab, chunks, disk, list, noise, rct, stats};

const MET: &str = "the base point is damaged: ";

/// All that is damaged is known, and stored again elsewhere.
fn assert_healed(lab: &mut Lab, records: usize, what: &str) {
    let report = lab.verify(VerifyScope::All);
    let healed = report.damaged.iter().filter(|record| record.healed);
    assert_eq!(healed.count(), report.damaged.len(), "{what}: {report:?}");
    assert_eq!(report.damaged.len(), records, "{what}: {report:?}");
    assert!(report.damaged_objects.is_empty(), "{what}: {report:?}");
}

fn nodes(lab: &Lab) -> Vec<(PackName, IndexEntry)> {
    let mut records = lab.records();
    records.retain(|(_, entry)| entry.kind == RecordKind::Node);
    records
}

/// In how many places this record stands.
fn places(lab: &Lab, of: &IndexEntry) -> usize {
    let is_it = |entry: &IndexEntry| (entry.kind, entry.id) == (of.kind, of.id);
    let records = lab.records();
    records.iter().filter(|(_, entry)| is_it(entry)).count()
}

/// A disk of one leaf, its first point, and the leaf and its pack, where it is damaged by now.
fn damaged_leaf() -> (Lab, Chain, RestorePoint, (PackName, IndexEntry)) {
    let (mut lab, mut chain) = (Lab::new(), Chain::new(0xA1, 40));
    chain.seal();
    let first = lab.one_disk(&chain.open(), Wanted::Full, |_| {});
    let [(pack, leaf)] = nodes(&lab)[..] else {
        panic!("40 chunks have one leaf");
    };
    lab.damage(pack, &leaf, 100);
    (lab, chain, first, (pack, leaf))
}

#[test]
fn a_node_that_a_backup_meets_damaged_is_stored_again_by_it_although_the_index_tells_of_it() {
    let shelf = shelf();
    let newest = shelf.points[2].0.id;
    let held: &Keys = &shelf.needs()[0].1;
    let mut met = 0;
    for (pack, entry) in nodes(&shelf.lab) {
        if !held.contains(&(entry.kind, entry.id)) {
            continue;
        }
        let nothing = list(Extents::new(), newest);
        let some = list(chunks(&[0, 66]), newest);
        for how in [Wanted::Compare, nothing, some] {
            let what = format!("{how:?} after {entry:?}");
            let mut shelf = shelf.fork();
            shelf.lab.damage(pack, &entry, 97);
            let point = shelf.lab.backup(&shelf.source, how);
            let reason = disk(&point).fallback_reason.as_deref().unwrap();
            assert!(reason.starts_with(MET), "{what}: {reason}");
            met += 1;
            shelf.lab.assert_holds(&point, &shelf.source.bytes());
            // Nobody damaged anything else, so the older points can be had again, too.
            shelf.assert_points(&[], &what);
            assert_eq!(places(&shelf.lab, &entry), 2, "{what}");
            assert_healed(&mut shelf.lab, 1, &what);
        }
    }
    assert_eq!(met, 9, "a root and two leaves, three times");
}

#[test]
fn a_damaged_node_that_an_incremental_by_rct_meets_is_stored_again() {
    let (mut lab, chain, first, _) = damaged_leaf();
    let point = lab.one_disk(&chain.open(), rct(chunks(&[1]), &first), |_| {});
    let reason = disk(&point).fallback_reason.as_deref().unwrap();
    assert!(reason.starts_with(MET), "{reason}");
    assert_eq!(disk(&point).root, disk(&first).root);
    lab.assert_holds(&point, &chain.bytes);
    lab.assert_holds(&first, &chain.bytes);
    assert_healed(&mut lab, 1, "rct");
}

#[test]
fn disks_of_one_run_that_share_a_damaged_node_store_it_again_once() {
    let opened = [5, 6].map(|id| {
        let mut chain = Chain::new(id, 40);
        (0..40).for_each(|chunk| chain.set(chunk, chunk + 1));
        chain.seal();
        chain
    });
    // Which of them comes upon it: the first, the second, both.
    for claims in [[&[1][..], &[]], [&[], &[1]], [&[1], &[1]]] {
        let mut lab = Lab::new();
        let run = |lab: &mut Lab, wanted: [Wanted; 2]| {
            let mut run = lab.begin(&[]);
            for ((chain, place), wanted) in opened.iter().zip(["SCSI 0:0", "SCSI 0:1"]).zip(wanted)
            {
                let open = chain.open();
                let request = lab.of_machine(&open, place, wanted);
                run.backup_disk(&request, &mut Silent).unwrap();
            }
            let point = run.commit(None).unwrap();
            assert!(run.close().is_none());
            point
        };
        let first = run(&mut lab, [Wanted::Full, Wanted::Full]);
        let [(pack, leaf)] = nodes(&lab)[..] else {
            panic!("two disks with the same bytes have one leaf");
        };
        lab.damage(pack, &leaf, 100);
        let point = run(&mut lab, claims.map(|claimed| rct(chunks(claimed), &first)));
        for index in [0, 1] {
            let content = lab.content_of(&point, index).unwrap();
            assert!(content == opened[index as usize].bytes, "{claims:?}");
        }
        assert_eq!(places(&lab, &leaf), 2, "{claims:?}");
        assert_healed(&mut lab, 1, &format!("{claims:?}"));
    }
}

#[test]
fn a_chunk_that_the_audit_meets_damaged_is_stored_again_where_it_still_stands() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 1, 2]);
    let first = lab.full(&source);
    let id = codec::chunk_id(&noise(1, CHUNK)).0;
    let records = lab.records();
    let (pack, chunk) = records.iter().find(|(_, entry)| entry.id == id).unwrap();
    lab.damage(*pack, chunk, 200);
    source.unmap(CHUNK + 8192, 4096);
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &first);
    assert_eq!(stats(&point).missed_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
    assert_eq!(places(&lab, chunk), 2);
    assert_healed(&mut lab, 1, "a chunk");
}

#[test]
fn a_run_without_a_point_leaves_what_it_met_on_the_damage_list() {
    let (mut lab, chain, first, (pack, leaf)) = damaged_leaf();
    let open = chain.open();
    let request = lab.of_machine(&open, "SCSI 0:0", rct(chunks(&[1]), &first));
    let mut run = lab.begin(&[]);
    run.backup_disk(&request, &mut Silent).unwrap();
    run.abort().unwrap();
    let listed = lab.repository.damage().unwrap().places();
    let listed: Vec<_> = listed
        .iter()
        .map(|place| (place.pack, place.offset))
        .collect();
    assert_eq!(listed, [(pack, leaf.offset)]);
    // The next run would not come upon it by itself: a full backup reads no tree.
    let point = lab.one_disk(&open, Wanted::Full, |_| {});
    lab.assert_holds(&point, &chain.bytes);
    assert_healed(&mut lab, 1, "the next run");
    assert_eq!(lab.names("damage").len(), 1, "nothing is listed twice");
}
