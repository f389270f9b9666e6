//! Incrementals by what Hyper-V says: what is read besides its answer, and when it cannot be used (design §5.1).

use hypercbt_engine::{Error, Silent, Wanted, WrongSince};
use hypercbt_extent::Extents;
use hypercbt_repo::{Method, PointId, RecordKind, RestorePoint, RunId};

use crate::support::{CHUNK, Chain, Lab, chunks, disk, extent, list, noise, rct, stats};

const CHUNKS: u64 = 40;

/// A disk and its first point, and nothing written since.
fn begun() -> (Lab, Chain, RestorePoint) {
    let (mut lab, mut chain) = (Lab::new(), Chain::new(0xA1, CHUNKS));
    chain.seal();
    let first = lab.one_disk(&chain.open(), Wanted::Full, |_| {});
    (lab, chain, first)
}

/// It was compared, for this reason, and holds what it should.
fn assert_compared(lab: &Lab, point: &RestorePoint, reason: &str, bytes: &[u8]) {
    assert_eq!(disk(point).fallback_reason.as_deref(), Some(reason));
    assert_eq!(disk(point).method, Method::Compare);
    assert_eq!(stats(point).changed_bytes, None);
    lab.assert_holds(point, bytes);
}

#[test]
fn what_is_said_to_have_changed_is_read_and_nothing_else() {
    let (mut lab, mut chain, first) = begun();
    chain.write(3 * CHUNK + 512, &[0xAA; 512]);
    chain.set(9, 99);
    let _ = chain.seal();
    let point = lab.one_disk(&chain.open(), rct(chunks(&[3]), &first), |_| {});
    let found = disk(&point);
    assert_eq!((found.method, found.base), (Method::Rct, Some(first.id)));
    assert_eq!(found.fallback_reason, None);
    assert_eq!(found.sealed_in.as_deref(), Some("disk.vhdx"));
    assert_eq!(found.layer_extents, []);
    let counted = stats(&point);
    assert_eq!((counted.chunks, counted.read_bytes), (1, CHUNK));
    assert_eq!(counted.changed_bytes, Some(CHUNK));
    let mut expected = lab.content(&first).unwrap();
    expected[(3 * CHUNK + 512) as usize..][..512].fill(0xAA);
    lab.assert_holds(&point, &expected);
}

#[test]
fn layers_above_the_file_that_changes_count_from_are_read_whatever_the_answer_says() {
    let (mut lab, mut chain, first) = begun();
    let (frozen, bytes) =
        chain.open_under(&[(5 * CHUNK + 1024, &[7; 512]), (30 * CHUNK, &[8; 4096])]);
    let point = lab.one_disk(&frozen, rct(Extents::new(), &first), |_| {});
    assert_eq!(disk(&point).method, Method::Rct);
    assert_eq!(
        (stats(&point).chunks, stats(&point).changed_bytes),
        (2, Some(0))
    );
    lab.assert_holds(&point, &bytes);
    assert_eq!(
        disk(&point).layer_extents,
        [(5 * CHUNK + 1024, 512), (30 * CHUNK, 4096)]
    );
}

#[test]
fn what_the_base_read_from_a_layer_that_is_gone_is_read_again() {
    let (mut lab, mut chain, _) = begun();
    let (frozen, bytes) = chain.open_under(&[(5 * CHUNK, &[7; 512])]);
    let base = lab.one_disk(&frozen, Wanted::Full, |_| {});
    lab.assert_holds(&base, &bytes);
    // The checkpoint went away with its layer; the guest wrote nothing.
    let point = lab.one_disk(&chain.open(), rct(Extents::new(), &base), |_| {});
    assert_eq!(
        (disk(&point).method, stats(&point).chunks),
        (Method::Rct, 1)
    );
    lab.assert_holds(&point, &chain.bytes);
}

#[test]
fn a_base_sealed_before_somebody_made_a_checkpoint_has_its_whole_file_read() {
    let (mut lab, mut chain, first) = begun();
    chain.write(CHUNK, &[1; 512]);
    let changes = chain.seal();
    chain.push("disk_one.avhdx");
    chain.write(34 * CHUNK, &[2; 512]);
    chain.push("disk_two.avhdx");
    chain.write(36 * CHUNK, &[3; 512]);
    chain.zero(0, 32 * CHUNK); // a whole block
    // The answer is of disk.vhdx alone.
    let second = lab.one_disk(&chain.open(), rct(changes, &first), |request| {
        request.sealed_in = Some("disk_two.avhdx".to_owned());
    });
    assert_eq!(disk(&second).method, Method::Rct);
    assert_eq!(disk(&second).layer_extents, []);
    lab.assert_holds(&second, &chain.bytes);
    // What they declare zero is no read.
    assert_eq!(stats(&second).chunks, 2);

    // From now on changes count from the second.
    let _ = chain.seal();
    chain.write(38 * CHUNK, &[4; 512]);
    let changes = chain.seal();
    let third = lab.one_disk(&chain.open(), rct(changes, &second), |request| {
        request.sealed_in = Some("disk_two.avhdx".to_owned());
    });
    assert_eq!(
        (disk(&third).method, stats(&third).chunks),
        (Method::Rct, 1)
    );
    lab.assert_holds(&third, &chain.bytes);
}

#[test]
fn a_file_that_was_merged_away_takes_the_base_with_it_and_the_disk_is_compared() {
    let (mut lab, mut chain, _) = begun();
    chain.push("disk_one.avhdx");
    let base = lab.one_disk(&chain.open(), Wanted::Full, |request| {
        request.sealed_in = Some("disk_one.avhdx".to_owned());
    });
    chain.set(7, 1);
    chain.merge();
    let point = lab.one_disk(&chain.open(), rct(Extents::new(), &base), |_| {});
    let reason = "changes count from the file disk_one.avhdx, which is no longer part of the disk";
    assert_compared(&lab, &point, reason, &chain.bytes);
    assert_eq!(disk(&point).base, Some(base.id));
}

#[test]
fn two_files_of_one_name_tell_nothing_and_the_disk_is_compared() {
    let (mut lab, mut chain, first) = begun();
    chain.push("elsewhere/DISK.vhdx");
    chain.set(7, 1);
    let point = lab.one_disk(&chain.open(), rct(Extents::new(), &first), |_| {});
    let reason = "changes count from the file disk.vhdx, and 2 files of the disk have this name";
    assert_compared(&lab, &point, reason, &chain.bytes);
    // Nor can anything be built on the new point.
    assert_eq!(disk(&point).sealed_in, None);
    let next = lab.one_disk(&chain.open(), rct(Extents::new(), &point), |_| {});
    let reason = format!(
        "restore point {} does not say which file its changes count from",
        point.id
    );
    assert_compared(&lab, &next, &reason, &chain.bytes);
}

#[test]
fn a_file_that_is_no_layer_of_the_disk_is_not_written_down_as_one() {
    let (mut lab, mut chain, _) = begun();
    let (frozen, _) = chain.open_under(&[(0, &[7; 512])]);
    for name in [Some("other.vhdx".to_owned()), None] {
        let point = lab.one_disk(&frozen, Wanted::Compare, |request| {
            request.sealed_in = name;
        });
        assert_eq!(disk(&point).sealed_in, None);
        assert_eq!(disk(&point).layer_extents, []);
    }
}

#[test]
fn a_file_is_found_in_upper_and_in_lower_case() {
    let (mut lab, mut chain, _) = begun();
    let base = lab.one_disk(&chain.open(), Wanted::Compare, |request| {
        request.sealed_in = Some("DISK.VHDX".to_owned());
    });
    chain.set(1, 50);
    let changes = chain.seal();
    let point = lab.one_disk(&chain.open(), rct(changes, &base), |_| {});
    assert_eq!(disk(&point).method, Method::Rct);
    lab.assert_holds(&point, &chain.bytes);
}

#[test]
fn a_disk_that_changed_its_size_is_compared() {
    let (mut lab, mut chain, first) = begun();
    chain.resize(CHUNKS + 8);
    chain.set(CHUNKS + 2, 5);
    let point = lab.one_disk(&chain.open(), rct(chain_end(), &first), |_| {});
    let reason = format!(
        "the disk changed its size from {} to {} bytes",
        CHUNKS * CHUNK,
        (CHUNKS + 8) * CHUNK
    );
    assert_compared(&lab, &point, &reason, &chain.bytes);
}

fn chain_end() -> Extents {
    chunks(&[CHUNKS + 7])
}

#[test]
fn a_disk_that_the_base_does_not_hold_is_compared_where_an_older_point_does_and_else_read_in_full()
{
    let (mut lab, chain, _) = begun();
    let other = Chain::new(0xB2, CHUNKS);
    let newer = lab.one_disk(&other.open(), Wanted::Compare, |_| {});
    // Nothing better was possible, so nothing is to be explained.
    assert_eq!(disk(&newer).method, Method::Full);
    assert_eq!(disk(&newer).fallback_reason, None);
    let point = lab.one_disk(&chain.open(), rct(Extents::new(), &newer), |_| {});
    let reason = format!("restore point {} does not hold this disk", newer.id);
    assert_compared(&lab, &point, &reason, &chain.bytes);
    // The point that does hold it is not one that the run was begun with.
    assert_eq!(disk(&point).base, None);
}

#[test]
fn a_comparison_says_why_if_the_caller_does() {
    let (mut lab, chain, _) = begun();
    let point = lab.one_disk(&chain.open(), Wanted::Compare, |request| {
        request.fallback_reason = Some("tracking was lost".to_owned());
    });
    assert_compared(&lab, &point, "tracking was lost", &chain.bytes);
}

#[test]
fn a_base_whose_tree_is_damaged_is_no_base() {
    let (mut lab, mut chain, first) = begun();
    chain.set(0, 70);
    for (pack, entry) in lab.records() {
        if entry.kind == RecordKind::Node {
            lab.damage(pack, &entry, 100);
        }
    }
    let point = lab.one_disk(&chain.open(), rct(chunks(&[1]), &first), |_| {});
    let reason = disk(&point).fallback_reason.clone().unwrap();
    assert!(
        reason.starts_with("the base point is damaged: "),
        "{reason}"
    );
    assert_compared(&lab, &point, &reason, &chain.bytes);
    assert_eq!(disk(&point).base, None);
}

fn refused(
    lab: &mut Lab,
    chain: &Chain,
    machine: &str,
    leased: &[PointId],
    base: PointId,
) -> WrongSince {
    let open = chain.open();
    let wanted = Wanted::Rct {
        changes: Extents::new(),
        base,
    };
    let mut run = lab.begin_as(machine, leased).unwrap();
    let error = run
        .backup_disk(&lab.of_machine(&open, "SCSI 0:0", wanted), &mut Silent)
        .unwrap_err();
    run.abort().unwrap();
    match error {
        Error::WrongSince { since, reason } if since == base => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_base_that_is_not_the_machines_or_that_a_collection_may_take_away_is_refused() {
    let (mut lab, chain, first) = begun();
    let second = lab.one_disk(&chain.open(), Wanted::Compare, |_| {});
    let none = RunId([0xFF; 16]);
    assert_eq!(
        refused(&mut lab, &chain, "vm:1", &[], none),
        WrongSince::Missing
    );
    let other = refused(&mut lab, &chain, "vm:2", &[first.id], first.id);
    assert_eq!(other, WrongSince::AnotherMachine);
    let unleased = refused(&mut lab, &chain, "vm:1", &[second.id], first.id);
    assert_eq!(unleased, WrongSince::NotLeased);
    // The newest point is leased whether it is named or not.
    let mut run = lab.begin(&[]);
    let open = chain.open();
    let request = lab.of_machine(&open, "SCSI 0:0", rct(Extents::new(), &second));
    run.backup_disk(&request, &mut Silent).unwrap();
}

#[test]
fn changes_outside_the_disk_are_refused_before_anything_is_read() {
    let (mut lab, chain, first) = begun();
    let open = chain.open();
    let mut run = lab.begin(&[first.id]);
    for wanted in [
        rct(chunks(&[CHUNKS]), &first),
        list(chunks(&[CHUNKS]), first.id),
    ] {
        let request = lab.of_machine(&open, "SCSI 0:0", wanted);
        let error = run.backup_disk(&request, &mut Silent).unwrap_err();
        assert!(
            matches!(error, Error::ChangeOutside { extent: found, .. }
                if found == extent(CHUNKS * CHUNK, CHUNK)),
            "{error:?}"
        );
    }
    // It was a slip of the caller, and the run can go on.
    let request = lab.of_machine(&open, "SCSI 0:0", rct(Extents::new(), &first));
    run.backup_disk(&request, &mut Silent).unwrap();
    run.commit(None).unwrap();
}

#[test]
fn many_pieces_of_a_layer_are_read_again_though_the_point_tells_them_in_few_words() {
    let (mut lab, mut chain) = (Lab::new(), Chain::new(0xA1, 200));
    chain.seal();
    // 6,000 single sectors, two sectors apart.
    let pieces: Vec<Vec<u8>> = (0..6_000).map(|seed| noise(seed + 1, 512)).collect();
    let writes: Vec<(u64, &[u8])> = (0..)
        .zip(&pieces)
        .map(|(n, p): (u64, _)| (n * 1536, &**p))
        .collect();
    let (frozen, bytes) = chain.open_under(&writes);
    let base = lab.one_disk(&frozen, Wanted::Full, |_| {});
    lab.assert_holds(&base, &bytes);
    let told = &disk(&base).layer_extents;
    assert!((1..=4096).contains(&told.len()), "{}", told.len());
    let point = lab.one_disk(&chain.open(), rct(Extents::new(), &base), |_| {});
    assert_eq!(disk(&point).method, Method::Rct);
    lab.assert_holds(&point, &chain.bytes);
    assert!(stats(&point).chunks < 200);
}
