//! Writes that have begun and not ended. A seal must know them: their bytes may land before it or behind.

use std::sync::atomic::{AtomicU64, Ordering};

use hypercbt_extent::Extent;

/// Tells trackers of one process apart, so that a ticket given to the wrong one ends nothing there.
static TRACKERS: AtomicU64 = AtomicU64::new(0);

/// A write that has begun and not ended. Give it to [`Tracker::write_ends`](crate::Tracker::write_ends); one
/// that is dropped instead counts as in flight for ever, which reports too much and never too little.
#[derive(Debug)]
#[must_use = "a write that never ends is in each later epoch"]
pub struct Ticket {
    tracker: u64,
    slot: usize,
}

/// All writes in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    tracker: u64,
    slots: Vec<Option<Extent>>,
    free: Vec<usize>,
}

impl InFlight {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TRACKERS.fetch_add(1, Ordering::Relaxed),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self, extent: Extent) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = Some(extent);
        }
        Ticket {
            tracker: self.tracker,
            slot,
        }
    }

    /// Takes a ticket of this tracker; one of another says nothing about our writes.
    pub(crate) fn end(&mut self, ticket: &Ticket) {
        if ticket.tracker != self.tracker {
            return;
        }
        // A ticket is neither copied nor given twice, so its slot is still its own.
        if self
            .slots
            .get_mut(ticket.slot)
            .and_then(Option::take)
            .is_some()
        {
            self.free.push(ticket.slot);
        }
    }

    pub(crate) fn extents(&self) -> impl Iterator<Item = Extent> + use<'_> {
        self.slots.iter().flatten().copied()
    }

    /// The heap memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Extent>>()
            + self.free.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use hypercbt_extent::{ByteLen, DiskOffset};

    use super::*;

    fn extent(at: u64) -> Extent {
        Extent::new(DiskOffset(at), ByteLen(1)).unwrap()
    }

    #[test]
    fn two_writes_to_one_place_end_one_by_one() {
        let mut writes = InFlight::new();
        let (first, second) = (writes.begin(extent(7)), writes.begin(extent(7)));
        writes.end(&first);
        assert_eq!(writes.extents().collect::<Vec<_>>(), [extent(7)]);
        writes.end(&second);
        assert_eq!(writes.extents().count(), 0);
    }

    #[test]
    fn a_slot_is_used_again_when_its_write_ended() {
        let mut writes = InFlight::new();
        let first = writes.begin(extent(1));
        let _second = writes.begin(extent(2));
        writes.end(&first);
        let _third = writes.begin(extent(3));
        assert_eq!(writes.slots.len(), 2);
        assert_eq!(writes.extents().count(), 2);
    }

    #[test]
    fn a_ticket_of_another_tracker_ends_nothing() {
        let (mut ours, mut theirs) = (InFlight::new(), InFlight::new());
        let _ours = ours.begin(extent(1));
        let foreign = theirs.begin(extent(1));
        ours.end(&foreign);
        assert_eq!(ours.extents().count(), 1);
    }
}
