//! What a new point is built on: which older point, and whether what the caller says of it holds.

use hypercbt_extent::Extents;
use hypercbt_repo::{Method, PointDisk, PointId, RestorePoint};
use hypercbt_vhdx::VirtualDisk;

use crate::{Error, Result, error::WrongSince};

/// How the caller wants the disk to be read.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Everything, and nothing expected.
    Full,
    /// Everything that is allocated, stored where the repository does not know it.
    Compare,
    /// What changed since a point.
    List {
        /// What changed; may say too much, never too little.
        changes: Extents,
        /// Since when.
        since: PointId,
    },
}

/// What was decided.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) method: Method,
    /// Why a list was not used.
    pub(crate) fallback_reason: Option<String>,
    /// The point whose tree is patched (list), or that tells what to expect (compare).
    pub(crate) base: Option<(PointId, PointDisk)>,
    /// When the base was made.
    pub(crate) point: Option<RestorePoint>,
}

/// Chooses the base among `points`, newest first, and refuses what does not fit.
pub(crate) fn choose(
    points: &[RestorePoint],
    machine: &str,
    name: &str,
    disk: &VirtualDisk,
    wanted: &Wanted,
    new_disk: bool,
) -> Result<Basis> {
    let latest = points
        .iter()
        .find(|point| point.machine == machine && !point.disks.is_empty());
    let disk_id = disk.disk_id().map(|id| id.to_string());
    if let Some(before) = latest
        .and_then(|point| point.disks.first())
        .filter(|_| !new_disk)
        && before.disk_id != disk_id
    {
        let unnamed = || "without an id".to_owned();
        return Err(Error::AnotherDisk {
            name: name.to_owned(),
            expected: before.disk_id.clone().unwrap_or_else(unnamed),
            found: disk_id.unwrap_or_else(unnamed),
        });
    }
    match wanted {
        Wanted::Full => Ok(Basis {
            method: Method::Full,
            fallback_reason: None,
            base: None,
            point: None,
        }),
        Wanted::Compare => Ok(compare(latest, disk_id.as_deref(), None)),
        Wanted::List { since, .. } => list(points, machine, disk, disk_id.as_deref(), *since),
    }
}

fn compare(
    latest: Option<&RestorePoint>,
    disk_id: Option<&str>,
    fallback_reason: Option<String>,
) -> Basis {
    let same_disk = latest
        .and_then(|point| Some((point, point.disks.first()?)))
        .filter(|(_, disk)| disk.disk_id.as_deref() == disk_id);
    Basis {
        method: if latest.is_some() {
            Method::Compare
        } else {
            Method::Full
        },
        fallback_reason,
        base: same_disk.map(|(point, disk)| (point.id, disk.clone())),
        point: same_disk.map(|(point, _)| point.clone()),
    }
}

fn list(
    points: &[RestorePoint],
    machine: &str,
    disk: &VirtualDisk,
    disk_id: Option<&str>,
    since: PointId,
) -> Result<Basis> {
    let wrong = |reason| Err(Error::WrongSince { since, reason });
    let Some(point) = points.iter().find(|point| point.id == since) else {
        return wrong(WrongSince::Missing);
    };
    if point.machine != machine {
        return wrong(WrongSince::AnotherMachine);
    }
    let Some(base) = point
        .disks
        .first()
        .filter(|base| base.disk_id.as_deref() == disk_id)
    else {
        return wrong(WrongSince::AnotherDisk);
    };
    if base.size != disk.size().0 {
        // A resize is a change that no list describes. It is the same disk only if its id says so.
        if disk_id.is_none() {
            return wrong(WrongSince::AnotherSize);
        }
        let reason = format!(
            "the disk changed its size from {} to {} bytes",
            base.size,
            disk.size()
        );
        return Ok(compare(Some(point), disk_id, Some(reason)));
    }
    Ok(Basis {
        method: Method::List,
        fallback_reason: None,
        base: Some((point.id, base.clone())),
        point: Some(point.clone()),
    })
}
