//! The tracker's clock: one number that only grows, and orders seals, write-backs and touches.

/// A moment of the tracker's life. Grows at each seal and at each write-back of the `.rct` file, never else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Clock(pub(crate) u64);

impl Clock {
    /// When tracking begins. 0 is before everything.
    pub(crate) const FIRST: Self = Self(1);
    /// No clock in a file is later: at a seal a nanosecond it would take a hundred years.
    const LAST_READ: u64 = 1 << 62;

    /// The next moment. It cannot overflow: what is read is checked, and nobody seals that often.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// A clock from a file, unless it can only be damage.
    pub(crate) fn read(raw: u64) -> Option<Self> {
        (raw <= Self::LAST_READ).then_some(Self(raw))
    }
}
