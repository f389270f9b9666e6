//! After a cut: the disk opens, holds what was flushed, knows what changed, and a frozen file is what it was.

use std::path::Path;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::SimFiles;
use hypercbt_tracked::{Checkpoint, Error, TrackedDisk, Tracking};
use hypercbt_vhdx::{OpenOptions, VirtualDisk};

use crate::promises::{Promises, SECTORS, Stack, Values, value_of};
use crate::story::said;
use crate::support::{SECTOR, open, scramble};

/// Starts the machine again and looks whether every promise that was made by `at` is kept.
pub(crate) fn check(files: &SimFiles, promises: &Promises, at: usize) -> Result<(), String> {
    // No session of the story has this seed, and two recoveries in a row have different ones.
    let session = scramble(files.now().digest() as u64) | 1 << 63;
    let disk = open(files, session).map_err(said("open"))?;
    let may_be_lost = at < promises.tracked || promises.is_reverting(at);
    if disk.tracking() != Tracking::Continued && !may_be_lost {
        return Err(format!("tracking is {:?}", disk.tracking()));
    }
    let found = read_all(&disk)?;
    check_data(&found, promises, at)?;
    check_changes(&disk, &found, promises, at)?;
    check_stack(files, &disk, promises, at)
}

fn read_all(disk: &TrackedDisk) -> Result<Values, String> {
    let read = |at: &u64| {
        let mut bytes = [0; SECTOR];
        disk.read_at(DiskOffset(*at), &mut bytes)
            .map_err(said("read"))?;
        value_of(&bytes).ok_or_else(|| format!("{at} is torn"))
    };
    SECTORS.iter().map(read).collect()
}

fn check_data(found: &Values, promises: &Promises, at: usize) -> Result<(), String> {
    for (sector, value) in found.iter().enumerate() {
        let allowed = promises.allowed(sector, at);
        if !allowed.contains(value) {
            let place = SECTORS[sector];
            return Err(format!("{place} is {value}, and may be {allowed:?}"));
        }
    }
    Ok(())
}

fn check_changes(
    disk: &TrackedDisk,
    found: &Values,
    promises: &Promises,
    at: usize,
) -> Result<(), String> {
    let kept = promises.sealed.iter();
    for sealed in kept.filter(|sealed| sealed.at <= at && at < sealed.forgotten) {
        let changed = match disk.changes_since(&sealed.id) {
            Ok(changed) => changed,
            Err(Error::TrackingLost { .. } | Error::UnknownId { .. })
                if sealed.given_up <= at || promises.is_reverting(at) =>
            {
                continue;
            }
            Err(error) => return Err(said("changes_since")(error)),
        };
        for (sector, (then, now)) in sealed.values.iter().zip(found).enumerate() {
            if then != now && !changed.contains(DiskOffset(SECTORS[sector])) {
                let place = SECTORS[sector];
                return Err(format!(
                    "{place} was {then} at {}, is {now}, and nobody says so",
                    sealed.id
                ));
            }
        }
    }
    Ok(())
}

/// The frozen files are those of a stack that may be there, and hold what they held.
fn check_stack(
    files: &SimFiles,
    disk: &TrackedDisk,
    promises: &Promises,
    at: usize,
) -> Result<(), String> {
    let checkpoints = disk.checkpoints();
    let read = |checkpoint: &Checkpoint| read_frozen(files, &checkpoint.file);
    let found: Stack = checkpoints.iter().map(read).collect::<Result<_, _>>()?;
    let allowed = promises.stacks(at);
    if allowed.contains(&found) {
        return Ok(());
    }
    let depths: Vec<usize> = allowed.iter().map(Vec::len).collect();
    Err(if depths.contains(&found.len()) {
        format!("the frozen files hold {found:?}, and may hold {allowed:?}")
    } else {
        let depth = found.len();
        format!("there are {depth} checkpoints, and there may be {depths:?}")
    })
}

fn read_frozen(files: &SimFiles, file: &Path) -> Result<Values, String> {
    let disk = VirtualDisk::open_in(files, file, &OpenOptions::default());
    let disk = disk.map_err(said("open a frozen file"))?;
    let read = |at: &u64| {
        let mut bytes = [0; SECTOR];
        disk.read_at(DiskOffset(*at), &mut bytes)
            .map_err(said("read a frozen file"))?;
        value_of(&bytes).ok_or_else(|| format!("{at} of a frozen file is torn"))
    };
    SECTORS.iter().map(read).collect()
}
