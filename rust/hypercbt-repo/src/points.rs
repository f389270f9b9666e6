//! The restore points of a repository: listing, finding, deleting.

use hypercbt_file::step;

use crate::{
    Damage, Error, PointId, Repository, RestorePoint, Result, Storage,
    name::{self, POINTS},
    object::{self, ObjectKind},
};

/// What stands under the name of a restore point.
#[derive(Debug)]
pub(crate) enum Named {
    Point(Box<RestorePoint>),
    Tombstone,
}

impl Repository {
    /// The restore points, newest first in order of commit.
    ///
    /// A damaged one does not hide the others: [`Self::points_with_damage`] tells of it.
    pub fn points(&self) -> Result<Vec<RestorePoint>> {
        self.points_with_damage().map(|(points, _)| points)
    }

    /// The restore points, newest first, and why others could not be read.
    pub fn points_with_damage(&self) -> Result<(Vec<RestorePoint>, Vec<Error>)> {
        let storage = &**self.storage();
        let (mut points, mut unreadable) = (Vec::new(), Vec::new());
        for (name, _) in storage
            .list(POINTS)
            .map_err(Error::storage("list", POINTS))?
        {
            let Some(id) = name::id(&name) else { continue };
            match named(storage, id) {
                Ok(Some(Named::Point(point))) => points.push(*point),
                Ok(Some(Named::Tombstone) | None) => {}
                Err(error) => unreadable.push(error),
            }
        }
        points.sort_by_key(|point| std::cmp::Reverse((point.sequence, point.created, point.id)));
        Ok((points, unreadable))
    }

    /// One restore point.
    ///
    /// # Errors
    /// [`Error::PointNotFound`] if there is none of this id.
    pub fn point(&self, id: PointId) -> Result<RestorePoint> {
        match named(&**self.storage(), id)? {
            Some(Named::Point(point)) => Ok(*point),
            _ => Err(Error::PointNotFound { id: id.to_string() }),
        }
    }

    /// Removes a restore point, its baseline, and the suspects that concern no other restore point. What it
    /// alone refers to stays in the packs until they are collected.
    ///
    /// A damaged one can be deleted too.
    ///
    /// # Errors
    /// [`Error::PointNotFound`] if there is none of this id.
    pub fn delete_point(&self, id: PointId) -> Result<()> {
        let storage = &**self.storage();
        match named(storage, id) {
            Ok(Some(Named::Point(_))) | Err(Error::Damaged { .. }) => {}
            Ok(_) => return Err(Error::PointNotFound { id: id.to_string() }),
            Err(error) => return Err(error),
        }
        // The baseline first, and for good: cut off here, the point is whole and only slower to build on.
        let mut names = [name::baseline(id), name::point(id)];
        if step::left_out("repo.delete.order") {
            names.reverse();
        }
        for name in names {
            storage
                .delete(&name)
                .map_err(Error::storage("delete", &name))?;
            if !step::left_out("repo.delete.settle") {
                storage
                    .settle(&name)
                    .map_err(Error::storage("delete", &name))?;
            }
        }
        self.remove_outlived_suspects()
    }

    /// The greatest number in the order of commit that is taken.
    ///
    /// # Errors
    /// Also if a restore point cannot be read just now: it may be the newest. A damaged one tells nothing any more.
    pub(crate) fn greatest_sequence(&self) -> Result<u64> {
        let (points, unreadable) = self.points_with_damage()?;
        let (voids, unreadable_voids) = self.voids()?;
        let mut unreadable = unreadable.into_iter().chain(unreadable_voids);
        if let Some(error) = unreadable.find(|error| matches!(error, Error::Storage { .. })) {
            return Err(error);
        }
        // Those of voids too: a number below one of them, as after the newest points are deleted, would make the
        // baseline of a new point one that cannot be built on.
        let points = points.iter().map(|point| point.sequence);
        let numbers = points.chain(voids.iter().map(|void| void.sequence));
        Ok(numbers.max().unwrap_or(0))
    }
}

/// Reads what stands under the name of this restore point.
pub(crate) fn named(storage: &dyn Storage, id: PointId) -> Result<Option<Named>> {
    let name = name::point(id);
    let bytes = match object::read(storage, &name) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    match object::open(&name, &bytes)? {
        (ObjectKind::Point, payload) => {
            let point: RestorePoint = object::parse(&name, payload)?;
            point
                .check(id)
                .map_err(|reason| Error::damaged(&name, reason))?;
            Ok(Some(Named::Point(Box::new(point))))
        }
        (ObjectKind::Tombstone, _) => Ok(Some(Named::Tombstone)),
        _ => Err(Error::damaged(&name, Damage::Field)),
    }
}
