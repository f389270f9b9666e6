//! Checks the files that no restore needs: index segments, leases, and what audits and verifications found.
//!
//! A reader goes round what is damaged in them, page by page and object by object, so nothing else would ever
//! say that a filter is, or the lease that a collection will ask for.

use crate::{
    Baseline, Closed, Damage, Error, Lease, Repository, Result, RunId, SegmentName, Storage, Void,
    damage::DamageObject,
    index,
    name::{self, BASELINES, CLOSED, DAMAGE, LEASES, SUSPECTS, VOIDS},
    object::{self, ObjectKind},
    suspect::SuspectObject,
};

/// Segments are read in pieces of this length.
const PIECE_BYTES: usize = 1 << 20;

impl Repository {
    /// Reads every index segment and every small object but config and points, and says which are damaged.
    ///
    /// What is deleted meanwhile is no damage: merges delete segments.
    pub fn damaged_files(&self) -> Result<Vec<Error>> {
        let storage = &**self.storage();
        let mut found = Vec::new();
        let mut check = |folder, check: &dyn Fn(&str, u64) -> Result<()>| -> Result<()> {
            let listed = storage
                .list(folder)
                .map_err(Error::storage("list", folder))?;
            for (name, len) in listed {
                match check(&name, len) {
                    Err(error) if !error.is_not_found() => found.push(error),
                    _ => {}
                }
            }
            Ok(())
        };
        check(index::FOLDER, &|name, len| segment(storage, name, len))?;
        check(LEASES, &|name, _| {
            small(storage, name, ObjectKind::Lease, |lease: &Lease, id| {
                lease.check(id)
            })
        })?;
        check(CLOSED, &|name, _| {
            small(storage, name, ObjectKind::Closed, |closed: &Closed, id| {
                (closed.run == id).then_some(()).ok_or(Damage::Id)
            })
        })?;
        check(BASELINES, &|name, _| {
            let of = |baseline: &Baseline, id| baseline.check(id);
            small(storage, name, ObjectKind::Baseline, of)
        })?;
        check(VOIDS, &|name, _| {
            small(storage, name, ObjectKind::Void, |void: &Void, _| {
                void.check()
            })
        })?;
        check(DAMAGE, &|name, _| {
            small(storage, name, ObjectKind::Damage, |_: &DamageObject, _| {
                Ok(())
            })
        })?;
        check(SUSPECTS, &|name, _| {
            small(
                storage,
                name,
                ObjectKind::Suspect,
                |_: &SuspectObject, _| Ok(()),
            )
        })?;
        Ok(found)
    }
}

/// A segment is named by its hash.
fn segment(storage: &dyn Storage, name: &str, len: u64) -> Result<()> {
    let Some(id) = name::id::<SegmentName>(name) else {
        return Ok(()); // not named like a segment: none
    };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < len {
        let left = usize::try_from(len - at).unwrap_or(PIECE_BYTES);
        let piece = buffer.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
        storage
            .read_exact_at(name, piece, at)
            .map_err(Error::storage("read", name))?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    if *hasher.finalize().as_bytes() == id.0 {
        Ok(())
    } else {
        Err(Error::damaged(name, Damage::Id))
    }
}

/// An object has a payload of its kind, and one that can have this name.
fn small<T: serde::de::DeserializeOwned>(
    storage: &dyn Storage,
    name: &str,
    kind: ObjectKind,
    check: impl FnOnce(&T, RunId) -> Result<(), Damage>,
) -> Result<()> {
    let Some(id) = name::id::<RunId>(name) else {
        return Ok(()); // not named like an object: none
    };
    check(&object::load(storage, name, kind)?, id).map_err(|reason| Error::damaged(name, reason))
}
