//! That older baselines of a disk can no longer be built on.
//!
//! A restore to a host writes bytes behind the back of change tracking, so it first says so here, for good.

use serde::{Deserialize, Serialize};

use crate::{
    BaselineDisk, Damage, Error, Repository, Result, RunId, Timestamp,
    limits::{GREATEST, are_unique, is_text},
    name::{self, VOIDS},
    object::{self, ObjectKind},
};

/// The payload of `void/<id>`: no baseline of a restore point up to `sequence` is used for these disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// `vm:GUID`.
    pub machine: String,
    /// The ids of the disks; empty: all of the machine.
    pub disks: Vec<String>,
    /// When it was written.
    pub created: Timestamp,
    /// The greatest sequence number that stood.
    pub sequence: u64,
}

impl Void {
    /// Whether a baseline of a restore point with this sequence number can no longer be used for this disk.
    pub(crate) fn covers(&self, disk: &BaselineDisk, sequence: u64) -> bool {
        let is_named = |id: &String| id.eq_ignore_ascii_case(&disk.disk_id);
        sequence <= self.sequence
            && self.machine.eq_ignore_ascii_case(&disk.machine)
            && (self.disks.is_empty() || self.disks.iter().any(is_named))
    }

    pub(crate) fn check(&self) -> Result<(), Damage> {
        let is_possible = is_text(&self.machine)
            && self.disks.iter().all(|disk| is_text(disk))
            && are_unique(&self.disks)
            && self.sequence <= GREATEST;
        is_possible.then_some(()).ok_or(Damage::Field)
    }
}

impl Repository {
    /// Says, for good, that no baseline that stands now is used any more for these disks of a machine: all of them
    /// if `disks` is empty. `id` is 16 random bytes.
    ///
    /// A run that is under way is not covered: it may commit later, from a checkpoint of before. Who changes a
    /// disk keeps runs away meanwhile, or calls this again afterwards.
    pub fn add_void(
        &self,
        id: RunId,
        machine: &str,
        disks: &[String],
        created: Timestamp,
    ) -> Result<Void> {
        let void = Void {
            machine: machine.to_owned(),
            disks: disks.to_vec(),
            created,
            sequence: self.greatest_sequence()?,
        };
        let name = name::void(id);
        void.check()
            .map_err(|reason| Error::damaged(&name, reason))?;
        object::create(&**self.storage(), &name, ObjectKind::Void, &void)?;
        Ok(void)
    }

    /// All voids, in order of creation, and why others could not be read.
    pub fn voids(&self) -> Result<(Vec<Void>, Vec<Error>)> {
        let storage = &**self.storage();
        let listed = storage.list(VOIDS).map_err(Error::storage("list", VOIDS))?;
        let (mut voids, mut unreadable) = (Vec::new(), Vec::new());
        for (name, _) in listed {
            if name::id::<RunId>(&name).is_none() {
                continue;
            }
            let found = object::find::<Void>(storage, &name, ObjectKind::Void);
            let checked = found.and_then(|found| match found.as_ref().map(Void::check) {
                Some(Err(reason)) => Err(Error::damaged(&name, reason)),
                _ => Ok(found),
            });
            match checked {
                Ok(void) => voids.extend(void),
                Err(error) => unreadable.push(error),
            }
        }
        voids.sort_by_key(|void| (void.created, void.sequence));
        Ok((voids, unreadable))
    }
}
