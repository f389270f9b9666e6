//! Parts of a disk that some restore points hold wrongly, because change tracking missed a write.
//!
//! Written once, when an audit finds it; kept until the last of those points is deleted.

use serde::{Deserialize, Serialize};

use crate::{
    Error, PointId, Repository, Result, RunId, Timestamp,
    name::{self, SUSPECTS},
    object::{self, ObjectKind},
};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The machine.
    pub machine: String,
    /// The disk: its `VirtualDiskId`, or its name if it has none.
    pub disk: String,
    /// Offset and length, in bytes, of what is wrong.
    pub extents: Vec<(u64, u64)>,
    /// The oldest restore point that holds it.
    pub first: PointId,
    /// The newest.
    pub last: PointId,
    /// The run whose audit found it.
    pub found_by: RunId,
    /// When.
    pub found_at: Timestamp,
}

/// The payload of `suspect/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SuspectObject {
    #[serde(flatten)]
    pub(crate) suspect: Suspect,
    /// Every restore point of the machine from `first` to `last` that stood when this was written.
    pub(crate) points: Vec<PointId>,
}

impl Repository {
    /// What audits found wrong in restore points that still exist.
    ///
    /// # Errors
    /// Also if one of the objects that tell it cannot be read.
    pub fn suspects(&self) -> Result<Vec<Suspect>> {
        let found = self.suspect_objects()?.into_iter();
        found.map(|(_, object)| Ok(object?.suspect)).collect()
    }

    /// Writes a suspect down. `id` is 16 random bytes.
    pub fn add_suspect(&self, id: RunId, suspect: Suspect) -> Result<()> {
        let points = self.points()?;
        let sequence = |id| {
            points
                .iter()
                .find(|point| point.id == id)
                .map(|point| point.sequence)
        };
        let (first, last) = (sequence(suspect.first), sequence(suspect.last));
        let between = points.iter().filter(|point| {
            let from_first = first.is_some_and(|first| first <= point.sequence);
            let to_last = last.is_some_and(|last| point.sequence <= last);
            let at_an_end = point.id == suspect.first || point.id == suspect.last;
            at_an_end || (point.machine == suspect.machine && from_first && to_last)
        });
        let points = between.map(|point| point.id).collect();
        let object = SuspectObject { suspect, points };
        object::create(
            &**self.storage(),
            &name::suspect(id),
            ObjectKind::Suspect,
            &object,
        )
    }

    /// Removes the suspects whose restore points are all gone.
    pub(crate) fn remove_outlived_suspects(&self) -> Result<()> {
        for (name, object) in self.suspect_objects()? {
            // Nobody knows which points a damaged one concerns: it stays, and `suspects` tells of it.
            if let Ok(object) = object
                && !self.any_stands(&object.points)?
            {
                let deleted = self.storage().delete(&name);
                deleted.map_err(Error::storage("delete", &name))?;
            }
        }
        Ok(())
    }

    fn any_stands(&self, points: &[PointId]) -> Result<bool> {
        for &point in points {
            if object::exists(&**self.storage(), &name::point(point))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn suspect_objects(&self) -> Result<Vec<(String, Result<SuspectObject>)>> {
        let storage = &**self.storage();
        let listed = storage
            .list(SUSPECTS)
            .map_err(Error::storage("list", SUSPECTS))?;
        let mut found = Vec::new();
        for (name, _) in listed {
            if name::id::<RunId>(&name).is_some() {
                let object = object::find(storage, &name, ObjectKind::Suspect).transpose();
                found.extend(object.map(|object| (name, object)));
            }
        }
        Ok(found)
    }
}
