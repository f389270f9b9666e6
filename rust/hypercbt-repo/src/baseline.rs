//! What a later incremental of a virtual machine can start from.
//!
//! It is made after the restore point, when the checkpoint has become a reference point: only then do the
//! RCT ids exist. A restore point without one is whole all the same.

use serde::{Deserialize, Serialize};

use crate::{
    Damage, Error, PointId, Repository, Timestamp,
    limits::{GREATEST, are_unique, is_text, is_text_if_any},
    name,
    object::{self, ObjectKind},
};

/// The payload of `baseline/<point>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The restore point.
    pub point: PointId,
    /// When the reference point was made.
    pub created: Timestamp,
    /// The `InstanceID` of the reference point.
    pub reference_point: String,
    /// The disks that changes can be asked for.
    pub disks: Vec<BaselineDisk>,
}

/// One disk of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineDisk {
    /// `vm:GUID`.
    pub machine: String,
    /// The VHDX `VirtualDiskId`, lower case without braces.
    pub disk_id: String,
    /// Where it hangs in the machine: `SCSI 0:1`. It tells apart disks that are copies of one, and so have one id.
    #[serde(deserialize_with = "object::nullable")]
    pub location: Option<String>,
    /// The length of the virtual disk in bytes.
    pub size: u64,
    /// The RCT id, as Hyper-V gave it. Never parsed.
    pub rct_id: String,
}

impl Baseline {
    /// Whether this can be the baseline of this restore point: what a hash cannot tell.
    pub(crate) fn check(&self, id: PointId) -> Result<(), Damage> {
        if self.point != id {
            return Err(Damage::Id);
        }
        let possible = |disk: &BaselineDisk| {
            is_text(&disk.machine)
                && is_text(&disk.disk_id)
                && is_text_if_any(disk.location.as_ref())
                && is_text(&disk.rct_id)
                && disk.size <= GREATEST
        };
        let places = self.disks.iter().map(|disk| {
            let id = disk.disk_id.to_ascii_lowercase();
            (&disk.machine, id, &disk.location)
        });
        if is_text(&self.reference_point) && self.disks.iter().all(possible) && are_unique(places) {
            Ok(())
        } else {
            Err(Damage::Field)
        }
    }
}

/// A baseline of a restore point that stands, without the disks that a [`crate::Void`] takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingBaseline {
    /// What a later incremental can start from. Without disks, it only names a reference point of ours.
    pub baseline: Baseline,
    /// The machine of its restore point.
    pub machine: String,
    /// The number of its restore point in the order of commit.
    pub sequence: u64,
}

impl Repository {
    /// What a later incremental can start from at this point, if anything; voids not considered.
    pub fn baseline(&self, id: PointId) -> crate::Result<Option<Baseline>> {
        let name = name::baseline(id);
        let found = object::find::<Baseline>(&**self.storage(), &name, ObjectKind::Baseline)?;
        if let Some(baseline) = &found {
            baseline
                .check(id)
                .map_err(|reason| Error::damaged(&name, reason))?;
        }
        Ok(found)
    }

    /// The baselines of the restore points that stand, newest point first, and why others could not be read.
    ///
    /// Disks that a void covers are left out. While a void cannot be read, all are: it may cover any of them.
    pub fn baselines(&self) -> crate::Result<(Vec<StandingBaseline>, Vec<Error>)> {
        let (points, mut unreadable) = self.points_with_damage()?;
        let mut found = Vec::new();
        for point in points {
            match self.baseline(point.id) {
                Ok(baseline) => found.extend(baseline.map(|baseline| StandingBaseline {
                    baseline,
                    machine: point.machine,
                    sequence: point.sequence,
                })),
                Err(error) => unreadable.push(error),
            }
        }
        // After the baselines: a void that came in between takes its disks from them.
        let (voids, unreadable_voids) = self.voids()?;
        for standing in &mut found {
            let sequence = standing.sequence;
            let baseline = &mut standing.baseline;
            baseline.disks.retain(|disk| {
                unreadable_voids.is_empty() && !voids.iter().any(|void| void.covers(disk, sequence))
            });
        }
        unreadable.extend(unreadable_voids);
        Ok((found, unreadable))
    }
}
