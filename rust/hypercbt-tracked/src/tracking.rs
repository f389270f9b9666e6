//! What the tracker knows of the time before.

use std::fmt;

use hypercbt_extent::ByteLen;

/// Whether the tracker knows what changed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// It does, for every id that is kept.
    Continued,
    /// The disk was not tracked before.
    Started,
    /// It does not, and started anew: every older id is refused.
    Lost(Lost),
}

/// Why tracking started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// What the tracker found when the disk was opened does not fit.
    Found(hypercbt_rct::Lost),
    /// The disk went back to a checkpoint: what it held meanwhile, and every id of that, is of a branch that was
    /// given up.
    Reverted,
    /// The disk got another size.
    Resized {
        /// The size that was tracked.
        from: ByteLen,
        /// The size that it has.
        to: ByteLen,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(reason) => reason.fmt(f),
            Self::Reverted => f.write_str("the disk was reverted to a checkpoint"),
            Self::Resized { from, to } => {
                write!(f, "the disk was resized from {from} to {to} bytes")
            }
        }
    }
}
