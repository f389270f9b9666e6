//! How a caller follows a long run, and how it stops one.

use std::ops::ControlFlow;

/// What the engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading what changed, or everything.
    Backup,
    /// Re-reading a slice of what is claimed unchanged.
    Audit,
    /// Comparing the whole disk, because the audit found a missed change.
    Widen,
    /// Writing a disk.
    Restore,
    /// Reading the repository.
    Verify,
}

impl Phase {
    /// The word that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Audit => "audit",
            Self::Widen => "compare",
            Self::Restore => "restore",
            Self::Verify => "verify",
        }
    }
}

/// How far a phase is. `total_bytes` may be less in the end: what is claimed can turn out to be a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Bytes of the disk, or of the repository, that are done.
    pub done_bytes: u64,
    /// Bytes that the phase will do, as far as is known.
    pub total_bytes: u64,
}

/// Hears of progress about ten times a second, on the thread that called the engine.
pub trait Observer {
    /// Called now and then; `Break` stops the run, which then ends with [`Error::Cancelled`](crate::Error::Cancelled).
    fn progress(&mut self, progress: Progress) -> ControlFlow<()>;
}

/// How often an observer hears of progress; also how soon a stop is noticed.
pub(crate) const REPORT_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// An observer that lets everything go on.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
