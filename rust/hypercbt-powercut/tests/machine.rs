//! What the simulated machine does while it runs, and what is left of it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, FileOffset, FileSystem, LocalFiles};
use hypercbt_powercut::{Call, Fault, SECTOR_BYTES, SimFiles, campaign, campaign_with_recoveries};
use proptest::prelude::*;

const SECTOR: usize = 512;

const _: () = assert!(SECTOR as u64 == SECTOR_BYTES);

fn path(path: &str) -> &Path {
    Path::new(path)
}

fn fault(call: Call, of: &str, error: io::ErrorKind) -> Fault {
    Fault {
        call,
        path: Some(of.into()),
        after: 0,
        times: 1,
        error,
    }
}

/// A machine with a durable file of these bytes.
fn with_file(bytes: &[u8]) -> (SimFiles, std::sync::Arc<dyn DiskFile>) {
    let mut state = SimFiles::new().now();
    state.put("/f", bytes);
    let files = SimFiles::from_state(&state);
    let file = files.open_to_write(path("/f")).unwrap();
    (files, file)
}

#[test]
fn a_second_writer_is_kept_out_until_the_first_is_gone_or_the_machine_starts_again() {
    let files = SimFiles::new();
    let first = files.create_new(path("/f")).unwrap();
    let refused = files.open_to_write(path("/f")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert!(files.open_to_read(path("/f")).is_ok());
    let again = SimFiles::from_state(&files.now());
    assert!(again.open_to_write(path("/f")).is_ok());
    drop(first);
    files.open_to_write(path("/f")).unwrap();
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_does_nothing_more() {
    let files = SimFiles::new();
    let process = files.killed_after(2);
    let file = process.create_new(path("/f")).unwrap();
    file.write_all_at(b"written", FileOffset(0)).unwrap();
    file.write_all_at(b"not", FileOffset(0)).unwrap_err();
    file.sync().unwrap_err();
    process.remove(path("/f")).unwrap_err();
    assert_eq!(files.ops(), 2);
    drop(file);
    files.open_to_write(path("/f")).unwrap().sync().unwrap();
    assert_eq!(files.now().read(path("/f")).unwrap(), b"written");
}

#[test]
fn a_fault_hits_its_call_and_path_after_so_many_and_so_often() {
    let files = SimFiles::new();
    let (f, g) = (
        files.create_new(path("/f")).unwrap(),
        files.create_new(path("/g")).unwrap(),
    );
    files.fail(Fault {
        after: 1,
        times: 2,
        ..fault(Call::Write, "/f", io::ErrorKind::StorageFull)
    });
    let mut results = Vec::new();
    for _ in 0..4 {
        assert!(g.write_all_at(b"x", FileOffset(0)).is_ok());
        results.push(
            f.write_all_at(b"x", FileOffset(0))
                .map_err(|error| error.kind()),
        );
    }
    let full = Err(io::ErrorKind::StorageFull);
    assert_eq!(results, [Ok(()), full, full, Ok(())]);
    for (call, failed) in [
        (Call::SetLen, f.set_len(ByteLen(3))),
        (Call::Read, f.read_exact_at(&mut [0], FileOffset(0))),
        (Call::Sync, f.sync()),
        (Call::SyncFolder, files.sync_folder(path("/"))),
    ] {
        assert!(failed.is_ok(), "{call:?}");
    }
    files.fail(fault(Call::Create, "/h", io::ErrorKind::StorageFull));
    assert!(files.create_new(path("/h")).is_err());
    assert!(files.create_new(path("/h")).is_ok());
    files.fail(fault(Call::Remove, "/h", io::ErrorKind::Other));
    assert!(files.remove(path("/h")).is_err());
    files.mend();
    files.fail(fault(Call::Link, "/i", io::ErrorKind::Unsupported));
    assert!(files.link(path("/h"), path("/i")).is_err());
    files.fail(fault(Call::Rename, "/i", io::ErrorKind::Other));
    files.mend();
    files.rename(path("/h"), path("/i")).unwrap();
}

#[test]
fn a_write_that_failed_may_have_written_any_of_its_sectors_and_nothing_else() {
    let (files, file) = with_file(&[1; 3 * SECTOR]);
    files.fail(fault(Call::Write, "/f", io::ErrorKind::Other));
    file.write_all_at(&[2; 3 * SECTOR], FileOffset(0))
        .unwrap_err();
    let mut found = BTreeSet::new();
    for seed in 0..2000 {
        let bytes = files.history().state(1, seed).read(path("/f")).unwrap();
        assert_eq!(bytes.len(), 3 * SECTOR);
        let sectors = bytes.chunks(SECTOR);
        assert!(
            sectors
                .clone()
                .all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR])
        );
        found.insert(sectors.map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert_eq!(found.len(), 8);
}

#[test]
fn what_is_seen_of_a_failed_write_is_what_a_later_sync_makes_durable() {
    let mut seen = BTreeSet::new();
    for round in 0..32 {
        let (files, file) = with_file(&[1; 3 * SECTOR]);
        for _ in 0..round {
            file.write_all_at(&[1], FileOffset(0)).unwrap();
        }
        files.fail(fault(Call::Write, "/f", io::ErrorKind::StorageFull));
        file.write_all_at(&[2; 3 * SECTOR], FileOffset(10))
            .unwrap_err();
        let now = files.now().read(path("/f")).unwrap();
        seen.insert(
            now.iter()
                .rposition(|&byte| byte == 2)
                .map_or(0, |last| last + 1 - 10),
        );
        file.sync().unwrap();
        for seed in 0..50 {
            let after = files.history().state(files.ops(), seed);
            assert_eq!(after.read(path("/f")).unwrap(), now);
        }
    }
    let first = SECTOR - 10;
    let possible = [0, first, first + SECTOR, first + 2 * SECTOR, 3 * SECTOR];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), possible);
}

#[test]
fn a_later_sync_does_not_make_durable_what_was_pending_when_one_failed() {
    let (files, file) = with_file(b"old");
    file.write_all_at(b"new", FileOffset(0)).unwrap();
    files.fail(fault(Call::Sync, "/f", io::ErrorKind::Other));
    file.sync().unwrap_err();
    file.sync().unwrap();
    let lost = files.history().extremes(files.ops());
    assert!(
        lost.iter()
            .any(|state| state.read(path("/f")).unwrap() == b"old")
    );
    // What is written again is.
    file.write_all_at(b"new", FileOffset(0)).unwrap();
    file.sync().unwrap();
    let history = files.history();
    for seed in 0..200 {
        let state = history.state(history.len(), seed);
        assert_eq!(state.read(path("/f")).unwrap(), b"new");
    }
}

#[test]
fn a_recovery_is_cut_too() {
    let (files, file) = with_file(b"A");
    file.write_all_at(b"B", FileOffset(0)).unwrap();
    // A "recovery" that destroys and rebuilds is wrong only if it is cut itself.
    let recover = |_: usize, files: &SimFiles| {
        let file = files.open_to_write(path("/f")).unwrap();
        let mut found = [0];
        file.read_exact_at(&mut found, FileOffset(0)).unwrap();
        if found == *b"-" {
            return Err("found half a recovery".into());
        }
        file.write_all_at(b"-", FileOffset(0)).unwrap();
        file.write_all_at(b"A", FileOffset(0)).unwrap();
        file.sync().unwrap();
        Ok(())
    };
    let once = campaign(&files.history(), 1, 100, |at, state| {
        recover(at, &SimFiles::from_state(state))
    });
    assert!(once.failure.is_none(), "{once}");
    let twice = campaign_with_recoveries(&files.history(), 1, 100, recover);
    assert!(twice.failure.is_some(), "{twice}");
}

#[test]
fn a_campaign_counts_a_state_once_checks_it_wherever_it_may_be_found_and_ends() {
    let (files, file) = with_file(b"0");
    for byte in [b"1", b"2"] {
        file.write_all_at(byte, FileOffset(0)).unwrap();
    }
    let mut checked = HashSet::new();
    let report = campaign(&files.history(), 7, u64::MAX, |at, state| {
        assert!(checked.insert((at, state.read(path("/f")).unwrap())));
        Ok(())
    });
    // "0", "1" and "2"; after 0, 1 and 2 operations there are 1, 2 and 3 of them.
    assert_eq!((report.distinct, report.checked), (3, 6));
    assert!(report.failure.is_none());
}

#[test]
fn between_two_promises_a_state_is_checked_once() {
    let (files, file) = with_file(b"0");
    for byte in [b"1", b"2"] {
        file.write_all_at(byte, FileOffset(0)).unwrap();
    }
    let history = files.history();
    let checked = |promises: Vec<usize>| {
        let history = history.with_promises(promises);
        campaign(&history, 7, u64::MAX, |_, _| Ok(())).checked
    };
    assert_eq!(
        (checked(vec![]), checked(vec![1]), checked(vec![1, 2])),
        (3, 4, 6)
    );
}

#[test]
fn a_campaign_begins_where_it_is_told_to() {
    let (files, file) = with_file(b"0");
    for byte in [b"1", b"2"] {
        file.write_all_at(byte, FileOffset(0)).unwrap();
    }
    let mut seen = BTreeSet::new();
    let report = campaign(&files.history().after(2), 7, u64::MAX, |at, _| {
        seen.insert(at);
        Ok(())
    });
    assert_eq!((report.distinct, seen), (3, BTreeSet::from([2])));
}

#[test]
fn a_failure_is_found_again_by_its_numbers() {
    let (files, file) = with_file(&[0; 4 * SECTOR]);
    file.write_all_at(&[1; 4 * SECTOR], FileOffset(0)).unwrap();
    let wrong = |bytes: &[u8]| bytes[0] == 1 && bytes[SECTOR] == 0 && bytes[2 * SECTOR] == 1;
    let history = files.history();
    let campaign = || {
        campaign(&history, 3, 1000, |_, state| {
            let bytes = state.read(path("/f")).unwrap();
            if wrong(&bytes) {
                Err("a hole".into())
            } else {
                Ok(())
            }
        })
    };
    let failure = campaign().failure.unwrap();
    assert_eq!(campaign().failure.unwrap(), failure);
    let state = history.state(failure.at, failure.seed);
    assert!(wrong(&state.read(path("/f")).unwrap()));
}

#[test]
fn states_far_into_a_history_are_those_that_were_written() {
    let (files, file) = with_file(&[0; 8]);
    for number in 0..500_u64 {
        file.write_all_at(&number.to_le_bytes(), FileOffset(0))
            .unwrap();
        file.sync().unwrap();
    }
    let history = files.history();
    assert_eq!(history.len(), 1000);
    for at in [2, 64, 66, 640, 998, 1000] {
        let state = history.state(at, 99);
        let expected = (at as u64 / 2 - 1).to_le_bytes();
        assert_eq!(state.read(path("/f")).unwrap(), expected, "{at}");
    }
}

#[test]
fn a_state_is_saved_as_it_is() {
    let mut state = SimFiles::new().now();
    let mut bytes = vec![0; 100_000];
    bytes[50_000] = 7;
    state.put("/in/a/folder", &bytes);
    state.put("/gone", b"");
    state.remove("/gone");
    let folder = tempfile::tempdir().unwrap();
    state.save(folder.path()).unwrap();
    assert_eq!(
        std::fs::read(folder.path().join("in/a/folder")).unwrap(),
        bytes
    );
    assert!(!folder.path().join("gone").exists());
}

/// A call on one of four names.
#[derive(Debug, Clone)]
enum Do {
    Create(usize),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Rename(usize, usize),
    Link(usize, usize),
    Remove(usize),
    CreateFolder(usize),
}

fn what_is_there(files: &dyn FileSystem, root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in files.list(root).unwrap() {
        let file = files.open_to_read(&root.join(&entry.name));
        let bytes = file.ok().map(|file| {
            let mut bytes = vec![0; usize::try_from(file.len().unwrap().0).unwrap()];
            file.read_exact_at(&mut bytes, FileOffset(0)).unwrap();
            bytes
        });
        assert_eq!(bytes.is_none(), entry.is_folder);
        found.push((entry.name.into_string().unwrap(), bytes));
    }
    found.sort();
    found
}

fn perform(files: &dyn FileSystem, root: &Path, step: &Do) -> bool {
    let name = |number: &usize| root.join(format!("n{number}"));
    match step {
        Do::Create(n) => files.create_new(&name(n)).is_ok(),
        Do::Write(n, at, bytes) => files
            .open_to_write(&name(n))
            .and_then(|file| file.write_all_at(bytes, FileOffset(*at)))
            .is_ok(),
        Do::SetLen(n, len) => files
            .open_to_write(&name(n))
            .and_then(|file| file.set_len(ByteLen(*len)))
            .is_ok(),
        Do::Rename(from, to) => files.rename(&name(from), &name(to)).is_ok(),
        Do::Link(from, to) => files.link(&name(from), &name(to)).is_ok(),
        Do::Remove(n) => files.remove(&name(n)).is_ok(),
        Do::CreateFolder(n) => files.create_folder(&name(n)).is_ok(),
    }
}

fn call() -> impl Strategy<Value = Do> {
    let name = 0..3_usize;
    let at = prop::sample::select(vec![0_u64, 5, 4090, 9000]);
    let bytes = prop::collection::vec(any::<u8>(), 0..5000);
    prop_oneof![
        3 => name.clone().prop_map(Do::Create),
        4 => (name.clone(), at.clone(), bytes).prop_map(|(n, at, bytes)| Do::Write(n, at, bytes)),
        2 => (name.clone(), at).prop_map(|(n, len)| Do::SetLen(n, len)),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Do::Rename(a, b)),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Do::Link(a, b)),
        2 => name.prop_map(Do::Remove),
        // Another name, for a folder is not renamed here.
        1 => Just(Do::CreateFolder(3)),
    ]
}

#[test]
fn without_a_cut_it_does_what_this_machines_files_do() {
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec(call(), 0..24))| {
        let (sim, folder) = (SimFiles::new(), tempfile::tempdir().unwrap());
        for step in &steps {
            let there = perform(&sim, path("/"), step);
            prop_assert_eq!(there, perform(&LocalFiles, folder.path(), step), "{:?}", step);
        }
        let here = what_is_there(&LocalFiles, folder.path());
        prop_assert_eq!(what_is_there(&sim, path("/")), here.clone());
        let again = SimFiles::from_state(&sim.now());
        prop_assert_eq!(what_is_there(&again, path("/")), here);
    });
}
