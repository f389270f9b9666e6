//! Checkpoints over checkpoints: each keeps what the disk held, and the newest goes first.

use std::io::ErrorKind;
use std::path::Path;

use hypercbt_extent::DiskOffset;
use hypercbt_file::FileSystem;
use hypercbt_powercut::{Call, Fault};
use hypercbt_tracked::{Error, MAX_CHECKPOINTS, TrackedDisk, Tracking};
use hypercbt_vhdx::Error::{ParentNotFound, WrongParent};
use hypercbt_vhdx::NewKind;

use crate::support::{
    BASE, KIB, LAYERS, MIB, content, end, extent, file_content, machine, open, opened, read, write,
};

/// Freezes so many times, and writes a byte of its own after each freeze, at a place of its own and at 0.
fn stack(disk: &TrackedDisk, depth: u8) -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    for number in 1..=depth {
        held.push(content(disk));
        disk.freeze().unwrap();
        write(disk, 0, number).unwrap();
        write(disk, u64::from(number) * 64 * KIB, number).unwrap();
    }
    held
}

#[test]
fn every_frozen_file_keeps_what_the_disk_held_then() {
    let (files, disk) = opened();
    write(&disk, MIB, 9).unwrap();
    let held = stack(&disk, 3);
    disk.flush().unwrap();
    let checkpoints = disk.checkpoints();
    let paths: Vec<&Path> = [BASE, LAYERS[0], LAYERS[1]].map(Path::new).into();
    assert!(checkpoints.iter().map(|found| &*found.file).eq(paths));
    for (checkpoint, held) in checkpoints.iter().zip(&held) {
        assert_eq!(checkpoint.leaf, Path::new(LAYERS[2]));
        assert!(file_content(&files, checkpoint.file.to_str().unwrap()) == *held);
    }
    assert_eq!(disk.frozen(), checkpoints.last().cloned());
    assert_eq!((read(&disk, 0), read(&disk, MIB)), (3, 9));
}

#[test]
fn each_thaw_takes_the_newest_checkpoint_away_and_no_byte() {
    let (files, disk) = opened();
    let held = stack(&disk, 3);
    disk.zero(extent(MIB, MIB)).unwrap();
    let now = content(&disk);
    for depth in (0..3).rev() {
        disk.thaw().unwrap();
        assert_eq!(disk.checkpoints().len(), depth);
        assert!(content(&disk) == now);
        for (checkpoint, held) in disk.checkpoints().iter().zip(&held) {
            assert!(file_content(&files, checkpoint.file.to_str().unwrap()) == *held);
        }
        for (layer, name) in (1..).zip(LAYERS) {
            let is_there = files.open_to_read(Path::new(name)).is_ok();
            assert_eq!(is_there, layer <= depth, "{name}");
        }
    }
    disk.close().unwrap();
    assert!(file_content(&files, BASE) == now);
}

#[test]
fn ids_count_through_any_freezes_and_thaws() {
    let (files, disk) = opened();
    let sealed = disk.seal().unwrap();
    let first = disk.freeze().unwrap().id;
    write(&disk, 64 * KIB, 1).unwrap();
    let second = disk.freeze().unwrap().id;
    write(&disk, 128 * KIB, 2).unwrap();
    let both = [extent(64 * KIB, 4 * KIB), extent(128 * KIB, 4 * KIB)];
    for _ in 0..3 {
        assert_eq!(disk.changes_since(&sealed).unwrap().as_slice(), both);
        assert_eq!(disk.changes_since(&first).unwrap().as_slice(), both);
        assert_eq!(disk.changes_since(&second).unwrap().as_slice(), &both[1..]);
        if disk.frozen().is_some() {
            disk.thaw().unwrap();
        }
    }
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert_eq!(disk.ids().unwrap(), [sealed, first, second]);
}

#[test]
fn what_had_changed_at_the_freeze_is_told_by_the_freeze_and_not_by_later_writes() {
    let (_files, disk) = opened();
    let first = disk.seal().unwrap();
    write(&disk, 0, 1).unwrap();
    let second = disk.seal().unwrap();
    write(&disk, MIB, 1).unwrap();
    let forgotten = disk.seal().unwrap();
    disk.forget(&forgotten).unwrap();
    let frozen = disk
        .freeze_since(&[second.clone(), forgotten, first.clone()])
        .unwrap();
    write(&disk, 2 * MIB, 1).unwrap();
    let told: Vec<_> = frozen.changes.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(told, [second, first.clone()]);
    let of = |number: usize| frozen.changes[number].1.as_slice();
    assert_eq!(of(0), [extent(MIB, 4 * KIB)]);
    assert_eq!(of(1), [extent(0, 4 * KIB), extent(MIB, 4 * KIB)]);
    let later = disk.changes_since(&first).unwrap();
    assert!(later.contains(DiskOffset(2 * MIB)));
}

#[test]
fn a_stack_outlives_the_process_that_made_it() {
    for clean in [true, false] {
        let (files, disk) = opened();
        stack(&disk, 3);
        disk.flush().unwrap();
        let now = content(&disk);
        end(disk, clean);
        let disk = open(&files, 2).unwrap();
        assert_eq!(disk.tracking(), Tracking::Continued);
        let found = disk.checkpoints();
        assert!(found.iter().all(|checkpoint| checkpoint.id.is_none()));
        assert!(content(&disk) == now);
        // The next one is the only one whose id is known.
        let id = disk.freeze().unwrap().id;
        let ids: Vec<_> = disk.checkpoints().into_iter().map(|c| c.id).collect();
        assert_eq!(ids, [None, None, None, Some(id)]);
        for _ in 0..4 {
            disk.thaw().unwrap();
        }
        assert!(content(&disk) == now);
    }
}

#[test]
fn a_ninth_checkpoint_is_refused_and_nothing_happens() {
    let (files, disk) = opened();
    for _ in 0..MAX_CHECKPOINTS {
        disk.freeze().unwrap();
    }
    let ids = disk.ids().unwrap();
    let before = files.now().digest();
    assert!(matches!(
        disk.freeze(),
        Err(Error::TooManyCheckpoints { limit: 8 })
    ));
    assert_eq!(disk.ids().unwrap(), ids);
    assert_eq!(files.now().digest(), before);
    write(&disk, 0, 1).unwrap();
    disk.thaw().unwrap();
    disk.freeze().unwrap();
}

#[test]
fn a_layer_in_the_middle_that_is_gone_or_another_is_noticed() {
    for replaced in [false, true] {
        let (files, disk) = opened();
        stack(&disk, 2);
        disk.close().unwrap();
        let mut state = files.now();
        if replaced {
            // Another layer of the same name: it has the right parent, and other data.
            let older = machine(NewKind::Dynamic);
            let disk = open(&older, 77).unwrap();
            disk.freeze().unwrap();
            write(&disk, 0, 7).unwrap();
            disk.close().unwrap();
            let bytes = older.now().read(Path::new(LAYERS[0])).unwrap();
            state.put(LAYERS[0], bytes);
        } else {
            state.remove(LAYERS[0]);
        }
        let files = hypercbt_powercut::SimFiles::from_state(&state);
        let refused = open(&files, 2).err();
        let expected = match refused {
            Some(Error::Disk(ParentNotFound { .. })) => !replaced,
            Some(Error::Disk(WrongParent { .. })) => replaced,
            _ => false,
        };
        assert!(expected, "{refused:?}");
        assert_eq!(files.now().digest(), state.digest());
    }
}

#[test]
fn the_newest_layer_that_was_thrown_away_takes_its_ids_with_it() {
    let (files, disk) = opened();
    stack(&disk, 2);
    let id = disk.seal().unwrap();
    disk.close().unwrap();
    files.remove(Path::new(LAYERS[1])).unwrap();
    let disk = open(&files, 2).unwrap();
    assert!(matches!(disk.tracking(), Tracking::Lost(_)));
    assert!(matches!(
        disk.changes_since(&id),
        Err(Error::TrackingLost { .. })
    ));
    // One checkpoint is left, and its leaf is what was frozen for the second.
    assert_eq!(disk.checkpoints().len(), 1);
    assert_eq!(read(&disk, 0), 1);
}

#[test]
fn other_layers_in_the_folder_are_nobodys() {
    let (files, disk) = opened();
    let foreign = "/vms/web01_11111111-2222-3333-4444-555555555555.avhdx";
    drop(files.create_new(Path::new(foreign)).unwrap());
    disk.freeze().unwrap();
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.checkpoints().len(), 1);
    disk.thaw().unwrap();
    assert_eq!(files.now().read(Path::new(foreign)).unwrap(), b"");
}

#[test]
fn a_merge_that_failed_half_way_is_finished_before_anything_else() {
    let mut unfinished = 0;
    for (call, after) in [Call::Write, Call::SetLen].into_iter().flat_map(|call| {
        let calls = 0..60;
        calls.map(move |after| (call, after))
    }) {
        let (files, disk) = opened();
        let held = stack(&disk, 2);
        disk.flush().unwrap();
        let now = content(&disk);
        files.fail(Fault {
            call,
            path: None,
            after,
            times: 1,
            error: ErrorKind::StorageFull,
        });
        let failed = disk.thaw();
        files.mend();
        // Else it was done, was not begun, or the disk stopped.
        let is_there = files.open_to_read(Path::new(LAYERS[1])).is_ok();
        if failed.is_ok() || !is_there || disk.checkpoints().len() != 1 {
            continue;
        }
        unfinished += 1;
        let auto = Path::new("/vms/web01_auto.avhdx");
        let refusals = [
            disk.freeze().map(drop),
            disk.discard(),
            disk.add_layer(auto, &[]),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::MergeUnfinished { .. })));
        }
        assert!(content(&disk) == now);
        assert!(file_content(&files, BASE) == held[0]);
        disk.thaw().unwrap();
        assert!(content(&disk) == now);
        assert!(disk.freeze().is_ok());
    }
    assert!(unfinished > 0, "no merge failed half-way");
}
