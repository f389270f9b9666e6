//! The files of a machine's configuration hang in trees of their own: what verifies disks verifies them.

use hypercbt_engine::VerifyScope;
use hypercbt_repo::{
    NodeId, PointFile, RecordKind, RestorePoint, Run, RunOptions, Timestamp, codec,
    tree::TreeBuilder,
};

use crate::support::{CHUNK, Lab, noise};

/// Stores a file, as a tree of its own.
fn store(run: &Run, content: &[u8]) -> Option<NodeId> {
    let mut sink = run;
    let chunks = (content.len() as u64).div_ceil(CHUNK);
    let mut tree = TreeBuilder::new(None, chunks, run, &mut sink).unwrap();
    let mut encoder = codec::Encoder::new(1);
    for (number, bytes) in (0..).zip(content.chunks(CHUNK as usize)) {
        let mut chunk = bytes.to_vec();
        chunk.resize(CHUNK as usize, 0);
        let id = codec::chunk_id(&chunk);
        if run.claim(&[id]).unwrap() == [true] {
            run.append(vec![encoder.encode_chunk(id, &chunk)]).unwrap();
        }
        tree.set(number, Some(id)).unwrap();
    }
    tree.finish().unwrap()
}

/// A restore point of a machine that has a configuration and no disk.
fn backup(lab: &mut Lab, content: &[u8]) -> RestorePoint {
    let id = lab.id();
    let options = RunOptions {
        id,
        created: Timestamp(lab.now),
        bases: Vec::new(),
        machine: "vm:1".to_owned(),
        owner: None,
        vm: None,
        level: 1,
        pack_bytes: 1 << 20,
        segment_bytes: 1 << 30,
    };
    let mut run = lab.repository.begin(options).unwrap();
    let file = PointFile {
        name: "1.vmcx".to_owned(),
        size: content.len() as u64,
        root: store(&run, content),
    };
    let point = RestorePoint {
        id,
        sequence: 0,
        machine: "vm:1".to_owned(),
        name: "web01".to_owned(),
        created: Timestamp(lab.now),
        elapsed_micros: 1,
        consistency: None,
        disks: Vec::new(),
        files: vec![file],
    };
    let point = run.commit(point).unwrap();
    run.close().unwrap();
    point
}

#[test]
fn damage_to_a_file_is_reported_in_every_scope_with_the_points_that_need_it() {
    let mut lab = Lab::new();
    let [one, two] = [1, 2].map(|seed| noise(seed, CHUNK));
    let older = backup(&mut lab, &one);
    let newer = backup(&mut lab, &[&one[..], &two[..100]].concat());
    let since = VerifyScope::Since(older.clone());
    let sample = VerifyScope::Sample {
        percent: 100.0,
        seed: 1,
    };
    let shared = codec::chunk_id(&one).0;
    let old_root = older.files[0].root.unwrap().0;
    let records = lab.records();
    assert_eq!(records.len(), 4, "two chunks, two roots");
    for (pack, entry) in records {
        let mut needed_by = vec![newer.id, older.id];
        if entry.id == old_root {
            needed_by.remove(0);
        } else if entry.id != shared {
            needed_by.remove(1);
        }
        let is_new = needed_by == [newer.id];
        for scope in [&VerifyScope::All, &sample, &since] {
            let mut lab = lab.fork();
            lab.damage(pack, &entry, 97);
            let report = lab.verify(scope.clone());
            let found = report.damaged.iter();
            let found: Vec<_> = found
                .map(|r| (r.kind, r.id, r.lost, r.points.clone()))
                .collect();
            let expected = (entry.kind, entry.id, true, needed_by.clone());
            if is_new || !matches!(scope, VerifyScope::Since(_)) {
                assert_eq!(found, [expected], "{scope:?}");
            } else {
                assert_eq!(found, [], "{scope:?}");
            }
        }
    }
}

#[test]
fn what_is_new_in_a_file_since_a_point_is_read_and_nothing_else() {
    let mut lab = Lab::new();
    let one = noise(1, CHUNK);
    let older = backup(&mut lab, &one);
    backup(&mut lab, &[&one[..], b"more"].concat());
    let report = lab.verify(VerifyScope::Since(older));
    assert_eq!((report.points, report.chunks, report.nodes), (1, 1, 1));
}

#[test]
fn a_file_whose_pack_is_gone_is_lost_though_no_disk_needs_it() {
    let mut lab = Lab::new();
    let point = backup(&mut lab, b"a configuration");
    for name in lab.names("pack") {
        hypercbt_repo::Storage::delete(&lab.storage, &name).unwrap();
    }
    let report = lab.verify(VerifyScope::All);
    let found = report.damaged.iter();
    let found: Vec<_> = found
        .map(|r| (r.kind, r.id, r.lost, r.points.clone()))
        .collect();
    let root = point.files[0].root.unwrap().0;
    assert_eq!(found, [(RecordKind::Node, root, true, vec![point.id])]);
}
