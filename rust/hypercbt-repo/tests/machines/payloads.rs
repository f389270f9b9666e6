//! The rules of each field (`docs/repository-format.md` §6): what breaks one is no object, whoever wrote it.

use std::path::Path;

use hypercbt_repo::{
    Damage, Error, MemoryStorage, ObjectKind, PointFile, Repository, RunOptions, Timestamp,
    open_object, seal_object,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{in_memory, options, run_id, store};
use crate::{MACHINE, baseline, baseline_disk, vm_state};

/// A lease, a point with every field, a baseline and a void, all of which are as they should be.
fn full() -> (MemoryStorage, Repository) {
    let (storage, repository) = in_memory();
    let mut run = repository
        .begin(RunOptions {
            owner: Some("backup01 1 1.5".to_owned()),
            vm: Some(vm_state()),
            ..options(1, &[])
        })
        .unwrap();
    let mut point = store(&run, &[1]).unwrap();
    point.consistency = Some("application".to_owned());
    let disk = &mut point.disks[0];
    disk.location = Some("SCSI 0:0".to_owned());
    disk.sealed_in = Some("web01.vhdx".to_owned());
    disk.layer_extents = vec![(0, 512), (512, 512), (4096, 61_440)];
    let root = disk.root;
    point.files = vec![
        PointFile {
            name: "1.vmcx".to_owned(),
            size: 10,
            root,
        },
        PointFile {
            name: "1.vmrs".to_owned(),
            size: 0,
            root: None,
        },
    ];
    run.commit(point).unwrap();
    let mut baseline = baseline(1, &[]);
    baseline.disks = vec![
        baseline_disk("a", Some("SCSI 0:0")),
        baseline_disk("b", None),
    ];
    run.add_baseline(&baseline).unwrap();
    repository
        .add_void(run_id(90), MACHINE, &["x".to_owned()], Timestamp(1))
        .unwrap();
    run.leave_open();
    (storage, repository)
}

/// The folder of an object, its kind and its name.
fn object(folder: &str) -> (ObjectKind, String) {
    let (kind, number) = match folder {
        "lease" => (ObjectKind::Lease, 1),
        "point" => (ObjectKind::Point, 1),
        "baseline" => (ObjectKind::Baseline, 1),
        "void" => (ObjectKind::Void, 90),
        other => panic!("{other}"),
    };
    (kind, format!("{folder}/{}", run_id(number)))
}

fn payload(storage: &MemoryStorage, name: &str) -> Value {
    let bytes = storage.bytes(name).unwrap();
    serde_json::from_slice(open_object(name, &bytes).unwrap().1).unwrap()
}

fn replace(storage: &MemoryStorage, kind: ObjectKind, name: &str, payload: &Value) {
    let json = serde_json::to_vec(payload).unwrap();
    storage.overwrite(name, &seal_object(name, kind, &json).unwrap());
}

/// What is told of the objects of this folder.
fn told(repository: &Repository, folder: &str) -> Vec<Error> {
    let result = match folder {
        "lease" => repository.leases().map(|(_, told)| told),
        "point" => repository.points_with_damage().map(|(_, told)| told),
        "baseline" => repository.baselines().map(|(_, told)| told),
        _ => repository.voids().map(|(_, told)| told),
    };
    result.unwrap()
}

/// Whether the object with this payload counts. Those who look for damage must see it the same way.
fn is_accepted(storage: &MemoryStorage, repository: &Repository, folder: &str) -> bool {
    let (_, name) = object(folder);
    let told = told(repository, folder);
    let is_ours =
        |error: &Error| matches!(error, Error::Damaged { name: found, .. } if *found == name);
    assert!(told.iter().all(is_ours), "{told:?}");
    if folder != "point" {
        let files = repository.damaged_files().unwrap();
        assert_eq!(files.is_empty(), told.is_empty(), "{files:?}");
    }
    assert!(storage.bytes(&name).is_some());
    told.is_empty()
}

/// An object, what is changed in it, and whether it is one then.
type Case = (&'static str, &'static str, Value, bool);

fn long(len: usize) -> Value {
    Value::String("x".repeat(len))
}

fn extents(count: u64) -> Value {
    (0..count).map(|at| json!([2 * at, 1])).collect()
}

fn cases() -> Vec<Case> {
    let texts = [
        ("lease", "/owner"),
        ("lease", "/vm/host"),
        ("lease", "/vm/checkpoints/0"),
        ("lease", "/vm/reference_points/1"),
        ("point", "/disks/0/location"),
        ("baseline", "/reference_point"),
        ("baseline", "/disks/0/machine"),
        ("baseline", "/disks/0/disk_id"),
        ("baseline", "/disks/0/location"),
        ("baseline", "/disks/0/rct_id"),
        ("void", "/machine"),
        ("void", "/disks/0"),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (folder, path) in texts {
        cases.extend([
            (folder, path, long(4096), true),
            (folder, path, long(4097), false),
            (folder, path, json!(""), false),
            (folder, path, json!(1), false),
        ]);
    }
    for path in ["/disks/0/sealed_in", "/files/0/name"] {
        let good = ["x", "a b.vmcx", "-.rct", ".x", "ä"].map(|name| (json!(name), true));
        let bad = [
            ".", "..", "a/b", "a\\b", "C:x", "a\0", "a\n", "x.", "x ", "a?", "a*", "<", "|", "\"",
        ];
        let bad = bad.map(|name| (json!(name), false));
        let long = [(long(255), true), (long(256), false), (json!(""), false)];
        let names = good.into_iter().chain(bad).chain(long);
        cases.extend(names.map(|(name, fits)| ("point", path, name, fits)));
    }
    for reached in ["application", "crash", "off"] {
        cases.push(("point", "/consistency", json!(reached), true));
    }
    cases.extend([
        ("point", "/consistency", json!("Crash"), false),
        ("point", "/consistency", json!(""), false),
        ("point", "/files/1/name", json!("1.VMCX"), false),
        ("point", "/files/1/name", json!("1.vmcx"), false),
        ("point", "/files/0/size", json!(0), false),
        ("point", "/files/0/size", json!(i64::MAX), true),
        ("point", "/files/0/size", json!(1_u64 << 63), false),
        ("point", "/files/0/size", json!(-1), false),
        ("point", "/files/0/root", json!("ab"), false),
        ("point", "/files/0/root", Value::Null, true),
        ("point", "/disks/0/sealed_in", Value::Null, false),
        ("point", "/disks/0/layer_extents", json!([]), true),
        ("point", "/disks/0/layer_extents", Value::Null, false),
        (
            "point",
            "/disks/0/layer_extents",
            json!([[0, 65_536]]),
            true,
        ),
        (
            "point",
            "/disks/0/layer_extents",
            json!([[0, 65_537]]),
            false,
        ),
        ("point", "/disks/0/layer_extents", json!([[0, 0]]), false),
        ("point", "/disks/0/layer_extents", json!([[0]]), false),
        ("point", "/disks/0/layer_extents", json!([[0, 1, 2]]), false),
        ("point", "/disks/0/layer_extents", json!([[-1, 2]]), false),
        (
            "point",
            "/disks/0/layer_extents",
            json!([[0, 3], [2, 1]]),
            false,
        ),
        (
            "point",
            "/disks/0/layer_extents",
            json!([[4, 1], [2, 1]]),
            false,
        ),
        (
            "point",
            "/disks/0/layer_extents",
            json!([[u64::MAX, u64::MAX]]),
            false,
        ),
        ("point", "/disks/0/layer_extents", extents(4096), true),
        ("point", "/disks/0/layer_extents", extents(4097), false),
        ("baseline", "/disks/0/size", json!(1_u64 << 63), false),
        ("baseline", "/disks/1/disk_id", json!("A"), true),
        ("baseline", "/point", json!(run_id(2).to_string()), false),
        ("void", "/disks", json!([]), true),
        ("void", "/disks", json!(["x", "y"]), true),
        ("void", "/disks", json!(["x", "x"]), false),
        ("void", "/sequence", json!(1_u64 << 63), false),
        ("lease", "/vm/checkpoints", json!([]), true),
        ("lease", "/run", json!(run_id(2).to_string()), false),
    ]);
    cases
}

#[test]
fn each_field_is_held_to_its_rule() {
    for (folder, path, value, fits) in cases() {
        let (storage, repository) = full();
        let (kind, name) = object(folder);
        let mut changed = payload(&storage, &name);
        *changed.pointer_mut(path).unwrap() = value.clone();
        replace(&storage, kind, &name, &changed);
        let accepted = is_accepted(&storage, &repository, folder);
        let shown: String = value.to_string().chars().take(60).collect();
        assert_eq!(accepted, fits, "{folder}{path} = {shown}");
    }
}

#[test]
fn two_disks_of_one_id_and_place_make_no_baseline() {
    for (location, fits) in [(json!("SCSI 0:0"), false), (json!("SCSI 0:1"), true)] {
        let (storage, repository) = full();
        let (kind, name) = object("baseline");
        let mut changed = payload(&storage, &name);
        changed["disks"][1]["disk_id"] = json!("A");
        changed["disks"][1]["location"] = location;
        replace(&storage, kind, &name, &changed);
        assert_eq!(is_accepted(&storage, &repository, "baseline"), fits);
    }
}

/// The paths of all fields of all objects in a payload.
fn fields(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                found.push((path.to_owned(), name.clone()));
                fields(inner, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (number, inner) in items.iter().enumerate() {
                fields(inner, &format!("{path}/{number}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_field_that_is_missing_refuses_the_object_also_where_null_would_do() {
    for folder in ["lease", "point", "baseline", "void"] {
        let (storage, repository) = full();
        let (kind, name) = object(folder);
        let whole = payload(&storage, &name);
        let mut found = Vec::new();
        fields(&whole, "", &mut found);
        assert!(found.len() > 3, "{found:?}");
        for (path, field) in found {
            let mut changed = whole.clone();
            let owner = changed.pointer_mut(&path).unwrap();
            owner.as_object_mut().unwrap().remove(&field);
            replace(&storage, kind, &name, &changed);
            let accepted = is_accepted(&storage, &repository, folder);
            assert!(!accepted, "{folder} without {path}/{field}");
        }
        replace(&storage, kind, &name, &whole);
        assert!(is_accepted(&storage, &repository, folder));
    }
}

#[test]
fn each_field_that_can_be_null_can_be() {
    let nulls = [
        ("lease", "/owner"),
        ("lease", "/vm"),
        ("point", "/consistency"),
        ("point", "/disks/0/location"),
        ("point", "/disks/0/disk_id"),
        ("point", "/disks/0/block_bytes"),
        ("point", "/disks/0/root"),
        ("point", "/disks/0/fallback_reason"),
        ("point", "/disks/0/base"),
        ("point", "/disks/0/stats/changed_bytes"),
        ("point", "/files/0/root"),
        ("baseline", "/disks/0/location"),
    ];
    for (folder, path) in nulls {
        let (storage, repository) = full();
        let (kind, name) = object(folder);
        let mut changed = payload(&storage, &name);
        *changed.pointer_mut(path).unwrap() = Value::Null;
        replace(&storage, kind, &name, &changed);
        assert!(is_accepted(&storage, &repository, folder), "{folder}{path}");
    }
}

#[test]
fn what_could_not_be_read_back_is_not_committed() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let good = store(&run, &[1]).unwrap();
    let mut bad = [good.clone(), good.clone(), good.clone(), good.clone()];
    bad[0].consistency = Some("perhaps".to_owned());
    bad[1].disks[0].layer_extents = vec![(0, 1)];
    bad[2].disks[0].location = Some(String::new());
    bad[3].files = vec![PointFile {
        name: "../x".to_owned(),
        size: 0,
        root: None,
    }];
    for point in bad {
        let reason = match run.commit(point) {
            Err(Error::Damaged { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason, Damage::Field);
    }
    run.commit(good).unwrap();
}

#[test]
fn a_point_whose_file_has_no_root_in_the_repository_is_not_committed() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let mut point = store(&run, &[1]).unwrap();
    let lost = hypercbt_repo::NodeId([1; 32]);
    point.files = vec![PointFile {
        name: "1.vmcx".to_owned(),
        size: 1,
        root: Some(lost),
    }];
    let refused = run.commit(point.clone());
    assert!(matches!(refused, Err(Error::NodeLost { id }) if id == lost));
    point.files[0].root = point.disks[0].root;
    run.commit(point).unwrap();
}

#[test]
fn a_lease_keeps_the_roots_of_its_bases_disks_and_files() {
    let (_, repository) = in_memory();
    let mut run = repository.begin(options(1, &[])).unwrap();
    let mut point = store(&run, &[1]).unwrap();
    let file = store(&run, &[2]).unwrap().disks[0].root;
    point.files = vec![PointFile {
        name: "1.vmcx".to_owned(),
        size: 1,
        root: file,
    }];
    let base = run.commit(point).unwrap();
    run.close().unwrap();
    let next = repository.begin(options(2, &[&base])).unwrap();
    let lease = repository.leases().unwrap().0.remove(0).lease;
    let expected: Vec<_> = [base.disks[0].root, file].into_iter().flatten().collect();
    assert_eq!(lease.bases[0].roots, expected);
    assert_eq!(expected.len(), 2);
    next.abort().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_name_that_is_accepted_stays_in_its_folder(name in r"[a-c./\\: \u{0}-\u{20}]{0,6}|\PC{0,20}") {
        if PointFile::is_name(&name) {
            let joined = Path::new("folder").join(&name);
            prop_assert_eq!(joined.parent(), Some(Path::new("folder")));
            prop_assert_eq!(joined.file_name().and_then(|name| name.to_str()), Some(&*name));
            prop_assert!(name.len() <= 255);
        }
    }

    /// The model writes every byte down: they must be there, ascend, and be bytes of the disk.
    #[test]
    fn extents_are_accepted_if_they_ascend_within_the_disk(
        gaps in prop::collection::vec((-1_i64..4, 0_i64..4), 0..6),
        size in 0_i64..24,
    ) {
        let mut end = 0;
        let mut pairs = Vec::new();
        for (gap, len) in gaps {
            let at = (end + gap).max(0);
            pairs.push((at, len));
            end = at + len;
        }
        let every: Vec<i64> = pairs.iter().flat_map(|&(at, len)| at..at + len).collect();
        let fits = pairs.iter().all(|&(_, len)| len > 0)
            && every.is_sorted_by(|one, next| one < next)
            && every.last().is_none_or(|&last| last < size);
        let (storage, repository) = full();
        let (kind, name) = object("point");
        let mut changed = payload(&storage, &name);
        changed["disks"][0]["size"] = json!(size);
        changed["disks"][0]["layer_extents"] = json!(pairs);
        replace(&storage, kind, &name, &changed);
        prop_assert_eq!(is_accepted(&storage, &repository, "point"), fits);
    }
}
