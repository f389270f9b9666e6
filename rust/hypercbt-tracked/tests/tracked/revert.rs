//! Going back to the newest checkpoint, and another size: what is dropped, and that no id is believed afterwards.

use std::io::ErrorKind;
use std::path::Path;

use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_tracked::{Error, Lost, Tracking};
use hypercbt_vhdx::NewKind;

use crate::support::{
    BASE, CHECKPOINT, DISK_BYTES, KIB, LAYERS, MIB, content, file_content, machine, open, opened,
    read, write,
};

const REVERTED: Tracking = Tracking::Lost(Lost::Reverted);

#[test]
fn the_guest_goes_back_to_the_newest_checkpoint_which_stays() {
    for depth in 1..=3 {
        let (files, disk) = opened();
        for number in 0..depth {
            write(&disk, u64::from(number) * MIB, number + 1).unwrap();
            disk.freeze().unwrap();
        }
        let frozen = content(&disk);
        write(&disk, 0, 77).unwrap();
        write(&disk, 3 * MIB, 78).unwrap();
        disk.discard().unwrap();
        assert!(content(&disk) == frozen);
        let checkpoints = disk.checkpoints();
        assert_eq!(checkpoints.len(), usize::from(depth));
        let newest = checkpoints.last().unwrap().file.to_str().unwrap();
        assert!(file_content(&files, newest) == frozen);
        // It goes on as any other.
        write(&disk, 0, 79).unwrap();
        let now = content(&disk);
        for _ in 0..depth {
            disk.thaw().unwrap();
        }
        assert!(content(&disk) == now);
        let names = files.now().paths();
        assert!(
            !names
                .iter()
                .any(|path| path.to_str().unwrap().contains("hypercbt-"))
        );
    }
}

#[test]
fn every_id_is_lost_and_tracking_begins_anew() {
    let (files, disk) = opened();
    let before = disk.seal().unwrap();
    let frozen = disk.freeze().unwrap().id;
    write(&disk, 0, 1).unwrap();
    let inside = disk.seal().unwrap();
    disk.discard().unwrap();
    assert_eq!(disk.tracking(), REVERTED);
    for id in [&before, &frozen, &inside] {
        let refused = disk.changes_since(id);
        let reason = Lost::Reverted;
        assert!(
            matches!(&refused, Err(Error::TrackingLost { reason: told, .. }) if *told == reason),
            "{refused:?}"
        );
    }
    assert_eq!(disk.ids().unwrap(), []);
    assert_eq!(disk.frozen().unwrap().id, None);
    let id = disk.seal().unwrap();
    write(&disk, 64 * KIB, 2).unwrap();
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    let changed = disk.changes_since(&id).unwrap();
    assert!(changed.contains(DiskOffset(64 * KIB)));
    assert!(matches!(
        disk.changes_since(&inside),
        Err(Error::UnknownId { .. })
    ));
}

#[test]
fn nobody_else_opens_the_disk_while_it_goes_back_or_afterwards() {
    let (files, disk) = opened();
    disk.freeze().unwrap();
    disk.discard().unwrap();
    let second = open(&files, 2);
    assert!(matches!(
        second,
        Err(Error::Disk(hypercbt_vhdx::Error::InUse { .. }))
    ));
    disk.thaw().unwrap();
    assert!(open(&files, 3).is_err());
    disk.close().unwrap();
    assert_eq!(open(&files, 4).unwrap().tracking(), Tracking::Continued);
}

/// Discards while one call fails; returns whether none did.
fn discard_with(fault: &Fault) -> bool {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.freeze().unwrap();
    write(&disk, 0, 2).unwrap();
    let id = disk.seal().unwrap();
    // Not flushed: it must not go with a discard that fails.
    write(&disk, 64 * KIB, 3).unwrap();
    files.fail(fault.clone());
    let done = disk.discard();
    files.mend();
    match &done {
        Ok(()) => assert_eq!((read(&disk, 0), disk.tracking()), (1, REVERTED)),
        Err(Error::Stopped { .. }) => {}
        Err(_) => {
            let tracking = disk.tracking();
            assert_ne!(tracking, REVERTED, "{fault:?}");
            let mut bytes = [0; 512];
            if disk.read_at(DiskOffset(0), &mut bytes).is_ok() {
                assert_eq!((bytes[0], read(&disk, 64 * KIB)), (2, 3), "{fault:?}");
                let changed = disk.changes_since(&id).unwrap();
                assert!(changed.contains(DiskOffset(64 * KIB)));
            }
        }
    }
    drop(disk);
    for state in files.history().extremes(files.ops()) {
        let disk = open(&SimFiles::from_state(&state), 9).unwrap();
        assert_eq!(disk.checkpoints().len(), 1, "{fault:?}");
        match read(&disk, 0) {
            // Reverted: no id of the branch is believed.
            1 => assert!(disk.changes_since(&id).is_err(), "{fault:?}"),
            // Not reverted.
            2 => {
                assert!(done.is_err());
                let changed = disk.changes_since(&id).unwrap();
                let is_there = read(&disk, 64 * KIB) == 3;
                assert!(!is_there || changed.contains(DiskOffset(64 * KIB)));
            }
            other => panic!("{fault:?}: {other}"),
        }
    }
    done.is_ok()
}

#[test]
fn a_discard_that_fails_leaves_the_disk_as_it_was_or_says_that_it_stopped() {
    let calls = [
        Call::Write,
        Call::Sync,
        Call::SetLen,
        Call::Create,
        Call::Rename,
        Call::SyncFolder,
        Call::Remove,
    ];
    for call in calls {
        let mut failed = 0;
        for after in 0.. {
            let fault = Fault {
                call,
                path: None,
                after,
                times: 1,
                error: ErrorKind::Other,
            };
            if discard_with(&fault) {
                break;
            }
            failed += 1;
        }
        assert!(failed > 0 || call == Call::Remove, "{call:?} was never met");
    }
}

#[test]
fn a_larger_disk_reads_zeros_at_its_end_and_knows_no_older_id() {
    for kind in [NewKind::Dynamic, NewKind::Fixed] {
        let files = machine(kind);
        let disk = open(&files, 1).unwrap();
        write(&disk, 0, 1).unwrap();
        let id = disk.seal().unwrap();
        disk.resize(ByteLen(2 * DISK_BYTES)).unwrap();
        assert_eq!(disk.size(), ByteLen(2 * DISK_BYTES));
        assert_eq!((read(&disk, 0), read(&disk, DISK_BYTES)), (1, 0));
        assert!(matches!(
            disk.tracking(),
            Tracking::Lost(Lost::Resized { .. })
        ));
        assert!(disk.changes_since(&id).is_err());
        let id = disk.seal().unwrap();
        write(&disk, 2 * DISK_BYTES - 512, 2).unwrap();
        disk.close().unwrap();
        let disk = open(&files, 2).unwrap();
        assert_eq!(disk.tracking(), Tracking::Continued);
        let changed = disk.changes_since(&id).unwrap();
        assert!(changed.contains(DiskOffset(2 * DISK_BYTES - 1)));
    }
}

#[test]
fn a_size_that_cannot_be_changes_nothing() {
    let (files, disk) = opened();
    write(&disk, DISK_BYTES - 512, 1).unwrap();
    let id = disk.seal().unwrap();
    let refused = disk.resize(ByteLen(MIB));
    assert!(matches!(
        refused,
        Err(Error::Disk(hypercbt_vhdx::Error::CannotResize { .. }))
    ));
    disk.resize(ByteLen(DISK_BYTES)).unwrap();
    assert!(disk.changes_since(&id).unwrap().is_empty());
    disk.freeze().unwrap();
    assert!(matches!(
        disk.resize(ByteLen(2 * DISK_BYTES)),
        Err(Error::Frozen)
    ));
    assert_eq!(disk.size(), ByteLen(DISK_BYTES));
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    assert_eq!(open(&files, 2).unwrap().tracking(), Tracking::Continued);
}

#[test]
fn a_cut_in_a_resize_leaves_either_size_and_no_id_that_is_wrong() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    let id = disk.seal().unwrap();
    let begun = files.ops();
    disk.resize(ByteLen(2 * DISK_BYTES)).unwrap();
    drop(disk);
    let history = files.history();
    let mut sizes = [0, 0];
    for at in begun..=history.len() {
        for state in history.extremes(at) {
            let disk = open(&SimFiles::from_state(&state), 9).unwrap();
            let is_old = disk.size() == ByteLen(DISK_BYTES);
            sizes[usize::from(is_old)] += 1;
            assert!(is_old || disk.size() == ByteLen(2 * DISK_BYTES));
            assert_eq!(read(&disk, 0), 1);
            assert_eq!(disk.changes_since(&id).is_ok(), is_old, "{at}");
            assert!(at < history.len() || !is_old);
        }
    }
    assert!(sizes[0] > 0 && sizes[1] > 0);
}

#[test]
fn a_layer_of_a_checkpoint_alone_holds_its_writes_over_the_newest_frozen_file() {
    let (files, disk) = opened();
    let auto = "/vms/web01_auto.avhdx";
    write(&disk, 0, 1).unwrap();
    disk.freeze().unwrap();
    write(&disk, 0, 2).unwrap();
    disk.freeze().unwrap();
    write(&disk, MIB, 3).unwrap();
    let (guest, frozen) = (content(&disk), file_content(&files, LAYERS[0]));
    let writes = [
        (DiskOffset(512), &[7; 512][..]),
        (DiskOffset(MIB), &[8; 1024]),
    ];
    disk.add_layer(Path::new(auto), &writes).unwrap();
    let mut expected = frozen.clone();
    expected[512..1024].fill(7);
    expected[1 << 20..(1 << 20) + 1024].fill(8);
    assert!(file_content(&files, auto) == expected);
    assert!(file_content(&files, LAYERS[0]) == frozen);
    assert!(content(&disk) == guest);
    // It is the caller's: the disk goes on as if it were not there.
    write(&disk, 0, 4).unwrap();
    let again = disk.add_layer(Path::new(auto), &[]);
    assert!(again.is_err());
    assert!(file_content(&files, auto) == expected);
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.checkpoints().len(), 2);
    hypercbt_file::FileSystem::remove(&files, Path::new(auto)).unwrap();
    disk.thaw().unwrap();
    assert_eq!(read(&disk, 0), 4);
}

#[test]
fn a_layer_that_cannot_be_made_leaves_no_file() {
    let (files, disk) = opened();
    let auto = Path::new("/vms/web01_auto.avhdx");
    assert!(matches!(disk.add_layer(auto, &[]), Err(Error::NotFrozen)));
    disk.freeze().unwrap();
    for own in [BASE, CHECKPOINT, LAYERS[1]] {
        let refused = disk.add_layer(Path::new(own), &[]);
        assert!(matches!(refused, Err(Error::ReservedName { .. })), "{own}");
    }
    let outside = disk.add_layer(auto, &[(DiskOffset(DISK_BYTES), &[0; 512])]);
    assert!(outside.is_err());
    let names = files.now().paths();
    assert!(!names.iter().any(|path| path == auto));
    write(&disk, 0, 1).unwrap();
    disk.thaw().unwrap();
}
