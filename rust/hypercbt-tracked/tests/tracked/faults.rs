//! A full or failing volume: the guest's write fails before tracking is wrong, and what was flushed stays.
//!
//! Each test makes one call after another fail, until none is left that could, and looks after each at what the guest
//! was told, and at what a power cut leaves.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_rct::RctId;
use hypercbt_tracked::{Error, Result, TrackedDisk, Tracking};

use crate::support::{BASE, KIB, MIB, SECTOR, extent, file_content, open, opened, scramble, write};

const PLACES: [u64; 6] = [0, 4 * KIB, 70 * KIB, MIB, MIB + 512, 3 * MIB];

/// What the guest knows of each place: what was flushed, and what was written since and may be there or not, with
/// whether the write failed.
#[derive(Clone, Default)]
struct Guest {
    flushed: BTreeMap<u64, u8>,
    maybe: BTreeMap<u64, Vec<(u8, bool)>>,
}

impl Guest {
    /// Writes; also what failed may be there.
    fn write(&mut self, disk: &TrackedDisk, at: u64, byte: u8) -> Result<()> {
        let done = write(disk, at, byte);
        let maybe = self.maybe.entry(at).or_default();
        maybe.push((byte, done.is_ok()));
        done
    }

    /// What was written is durable; what failed to be may still be there or not.
    fn flush(&mut self, disk: &TrackedDisk) -> Result<()> {
        disk.flush()?;
        for (at, written) in &mut self.maybe {
            if let Some(last) = written.iter().rposition(|(_, done)| *done) {
                self.flushed.insert(*at, written[last].0);
                written.drain(..=last);
            }
        }
        Ok(())
    }

    fn may_be(&self, at: u64, byte: u8) -> bool {
        let flushed = self.flushed.get(&at).copied().unwrap_or_default();
        let later = self.maybe.get(&at).into_iter().flatten();
        flushed == byte || later.copied().any(|(written, _)| written == byte)
    }
}

/// Opens what is left on every machine that a power cut may leave now, and compares it with what was promised.
fn check_after_cuts(
    files: &SimFiles,
    fault: &Fault,
    guest: &Guest,
    id: &RctId,
    at_id: &BTreeMap<u64, u8>,
) {
    let history = files.history();
    let mut states = history.extremes(history.len());
    states.extend((0..6).map(|seed| history.state(history.len(), scramble(seed))));
    for state in states {
        let files = SimFiles::from_state(&state);
        let disk = open(&files, 90).unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(disk.tracking(), Tracking::Continued, "{fault:?}");
        let changed = disk.changes_since(id).unwrap();
        for at in PLACES {
            let mut bytes = [0; SECTOR];
            disk.read_at(hypercbt_extent::DiskOffset(at), &mut bytes)
                .unwrap();
            assert!(
                bytes.iter().all(|byte| guest.may_be(at, *byte)),
                "{fault:?}: {at} is {}",
                bytes[0]
            );
            let then = at_id.get(&at).copied().unwrap_or_default();
            let same = bytes.iter().all(|byte| *byte == then);
            assert!(
                same || changed.contains(hypercbt_extent::DiskOffset(at)),
                "{fault:?}: {at} changed unseen"
            );
        }
    }
}

/// Runs a story again and again, each time with another call failing, and with a fault that stays or passes.
fn with_each_fault(story: impl Fn(&SimFiles, TrackedDisk, &mut Guest) -> bool) {
    let calls = [
        (Call::Write, ErrorKind::StorageFull),
        (Call::Sync, ErrorKind::Other),
        (Call::SetLen, ErrorKind::StorageFull),
        (Call::Create, ErrorKind::StorageFull),
        (Call::Rename, ErrorKind::Other),
        (Call::SyncFolder, ErrorKind::Other),
        (Call::Remove, ErrorKind::Other),
    ];
    for (call, error) in calls {
        for times in [1, u64::MAX] {
            let faults = (0..).map(|after| Fault {
                call,
                path: None,
                after,
                times,
                error,
            });
            for fault in faults {
                if with_fault(&story, &fault) {
                    break;
                }
            }
        }
    }
}

/// Runs a story with one fault; returns whether it met none.
fn with_fault(story: impl Fn(&SimFiles, TrackedDisk, &mut Guest) -> bool, fault: &Fault) -> bool {
    let (files, disk) = opened();
    let mut guest = Guest::default();
    guest.write(&disk, 0, 1).unwrap();
    guest.flush(&disk).unwrap();
    let at_id = guest.flushed.clone();
    let id = disk.seal().unwrap();
    files.fail(fault.clone());
    let clean = story(&files, disk, &mut guest);
    files.mend();
    check_after_cuts(&files, fault, &guest, &id, &at_id);
    clean
}

#[test]
fn a_write_that_fails_leaves_tracking_right() {
    with_each_fault(|_files, disk, guest| {
        let mut clean = true;
        for (place, byte) in PLACES.into_iter().zip(2..) {
            clean &= guest.write(&disk, place, byte).is_ok();
            clean &= guest.flush(&disk).is_ok();
            clean &= disk.flush_tracking().is_ok();
        }
        clean
    });
}

#[test]
fn a_freeze_or_a_thaw_that_fails_leaves_a_disk_that_works_or_says_why_not() {
    with_each_fault(|files, disk, guest| {
        let mut clean = true;
        clean &= guest.write(&disk, 4 * KIB, 2).is_ok() && guest.flush(&disk).is_ok();
        let before = guest.flushed.clone();
        match disk.freeze() {
            Ok(_) if clean => {
                let frozen = file_content(files, BASE);
                for at in PLACES {
                    let byte = before.get(&at).copied().unwrap_or_default();
                    assert_eq!(frozen[usize::try_from(at).unwrap()], byte);
                }
            }
            Ok(_) => {}
            Err(_) => clean = false,
        }
        clean &= works(&disk, guest, 3);
        if disk.frozen().is_some() {
            clean &= disk.thaw().is_ok();
        }
        clean && works(&disk, guest, 4)
    });
}

/// Whether the disk takes a write and keeps it; if it does not, it says that it was stopped, or fails the flush.
fn works(disk: &TrackedDisk, guest: &mut Guest, byte: u8) -> bool {
    guest.write(disk, MIB, byte).is_ok() && guest.flush(disk).is_ok()
}

#[test]
fn a_write_whose_mark_fails_is_not_done() {
    let (files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    disk.seal().unwrap();
    files.fail(Fault {
        call: Call::Sync,
        path: None,
        after: 0,
        times: u64::MAX,
        error: ErrorKind::Other,
    });
    files.fail(Fault {
        call: Call::Create,
        path: None,
        after: 0,
        times: u64::MAX,
        error: ErrorKind::StorageFull,
    });
    let before = files.now().read(std::path::Path::new(BASE)).unwrap();
    for refused in [write(&disk, 2 * MIB, 2), disk.zero(extent(MIB, MIB))] {
        assert!(matches!(refused, Err(Error::Tracker(_))), "{refused:?}");
    }
    let after = files.now().read(std::path::Path::new(BASE)).unwrap();
    assert_eq!(before, after);
}
