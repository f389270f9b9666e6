//! After a cut: the disk opens, holds what was flushed, knows what changed, and a frozen file is what it was.

use std::path::Path;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::SimFiles;
use hypercbt_tracked::{TrackedDisk, Tracking};
use hypercbt_vhdx::{OpenOptions, VirtualDisk};

use crate::promises::{Promises, SECTORS, Values, value_of};
use crate::story::said;
use crate::support::{BASE, SECTOR, open, scramble};

/// Starts the machine again and looks whether every promise that was made by `at` is kept.
pub(crate) fn check(files: &SimFiles, promises: &Promises, at: usize) -> Result<(), String> {
    // No session of the story has this seed, and two recoveries in a row have different ones.
    let session = scramble(files.now().digest() as u64) | 1 << 63;
    let disk = open(files, session).map_err(said("open"))?;
    if at >= promises.tracked && *disk.tracking() != Tracking::Continued {
        return Err(format!("tracking is {:?}", disk.tracking()));
    }
    let found = read_all(&disk)?;
    check_data(&found, promises, at)?;
    check_changes(&disk, &found, promises, at)?;
    check_checkpoint(files, &disk, promises, at)
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
        let changed = disk
            .changes_since(&sealed.id)
            .map_err(said("changes_since"))?;
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

fn check_checkpoint(
    files: &SimFiles,
    disk: &TrackedDisk,
    promises: &Promises,
    at: usize,
) -> Result<(), String> {
    let mut freezes = promises.freezes.iter();
    let freeze = freezes.rfind(|freeze| freeze.begun < at && at < freeze.thaw_ended);
    let Some(freeze) = freeze else {
        return match disk.frozen() {
            Some(_) => Err("frozen, and nobody asked for it".into()),
            None => Ok(()),
        };
    };
    if disk.frozen().is_none() {
        let must_be = freeze.ended <= at && at <= freeze.thaw_begun;
        return if must_be {
            Err("the checkpoint is lost".into())
        } else {
            Ok(())
        };
    }
    let base = VirtualDisk::open_in(files, Path::new(BASE), &OpenOptions::default());
    let base = base.map_err(said("open the frozen file"))?;
    for (place, expected) in SECTORS.iter().zip(&freeze.values) {
        let mut bytes = [0; SECTOR];
        base.read_at(DiskOffset(*place), &mut bytes)
            .map_err(said("read the frozen file"))?;
        if value_of(&bytes) != Some(*expected) {
            return Err(format!(
                "{place} of the frozen file is not {expected}, but {:?}",
                value_of(&bytes)
            ));
        }
    }
    Ok(())
}
