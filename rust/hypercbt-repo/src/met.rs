//! What a look has met itself: places that were read and are of no use.
//!
//! They do not count as known any more in this look, or a run that falls back because of one would hang its own
//! restore point on it.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use crate::{DamagedPlace, Error, Location, RecordKind};

/// Shared by the threads that read.
#[derive(Default)]
pub(crate) struct Met(RwLock<Places>);

#[derive(Default)]
pub(crate) struct Places {
    /// Bytes were read there, and they do not check.
    damaged: HashSet<DamagedPlace>,
    /// There was nothing to read. Nobody writes that down: the next listing of packs tells whether it is so.
    absent: HashSet<DamagedPlace>,
}

impl Met {
    /// Takes note of a place that could not be used. Other errors than of damage and absence say nothing about it.
    pub(crate) fn note(&self, place: DamagedPlace, error: &Error) {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(error, Error::Damaged { .. }) {
            places.damaged.insert(place);
        } else if error.is_absence() {
            places.absent.insert(place);
        }
    }

    pub(crate) fn places(&self) -> RwLockReadGuard<'_, Places> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What belongs on the damage list, in order.
    pub(crate) fn damaged(&self) -> Vec<DamagedPlace> {
        let mut damaged: Vec<_> = self.places().damaged.iter().copied().collect();
        damaged.sort_unstable();
        damaged
    }
}

impl Places {
    pub(crate) fn is_empty(&self) -> bool {
        self.damaged.is_empty() && self.absent.is_empty()
    }

    pub(crate) fn contains(&self, kind: RecordKind, id: &[u8; 32], place: &Location) -> bool {
        let place = DamagedPlace::new(kind, id, place);
        !self.is_empty() && (self.damaged.contains(&place) || self.absent.contains(&place))
    }
}
