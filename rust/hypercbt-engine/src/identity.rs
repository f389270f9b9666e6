//! Which disk of a machine is which, from point to point.
//!
//! A disk is known by its id. Copies of a file have one id, so where two disks of a machine share it, the place
//! where a disk hangs decides; and where that does not tell either, no disk is taken for another.

use hypercbt_repo::{PointDisk, RestorePoint};

/// What tells a disk from the others of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    /// The `VirtualDiskId`, if its format has one.
    pub(crate) disk_id: Option<&'a str>,
    /// Where it hangs in the machine.
    pub(crate) location: Option<&'a str>,
}

impl<'a> Identity<'a> {
    pub(crate) fn of(disk: &'a PointDisk) -> Self {
        Self {
            disk_id: disk.disk_id.as_deref(),
            location: disk.location.as_deref(),
        }
    }

    /// This disk among those of a point. `alone`: no other disk of its own machine has its id.
    pub(crate) fn find<'p>(&self, point: &'p RestorePoint, alone: bool) -> Option<&'p PointDisk> {
        let same_id = || point.disks.iter().filter(|disk| self.shares_id(disk));
        match (same_id().next(), same_id().nth(1)) {
            (Some(only), None) if alone => Some(only),
            _ => self.location.and_then(|place| {
                let mut there = same_id().filter(|disk| disk.location.as_deref() == Some(place));
                there.next().filter(|_| there.next().is_none())
            }),
        }
    }

    pub(crate) fn shares_id(&self, disk: &PointDisk) -> bool {
        disk.disk_id.as_deref() == self.disk_id
    }
}

/// Whether no other disk of the point has the id of this one.
pub(crate) fn is_alone(point: &RestorePoint, disk: &PointDisk) -> bool {
    let identity = Identity::of(disk);
    point.disks.iter().filter(|d| identity.shares_id(d)).count() <= 1
}
