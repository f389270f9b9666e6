//! What a server did, and what went wrong on the way.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hypercbt_extent::Extent;

use crate::Command;

/// Details that are kept of each kind; all are counted.
const KEPT: usize = 64;

/// A request that the disk could not do.
#[derive(Debug)]
pub struct Failure {
    /// What was asked for.
    pub command: Command,
    /// Where; a flush is nowhere.
    pub extent: Option<Extent>,
    /// Why.
    pub error: io::Error,
}

impl Failure {
    /// Whether the disk's bytes are damaged: no other try will get them.
    pub fn is_damage(&self) -> bool {
        self.error.kind() == io::ErrorKind::InvalidData
    }
}

/// A rule that a client broke, for which its connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Flags that we did not offer.
    #[error("unknown client flags {flags:#x}")]
    ClientFlags {
        /// All of them.
        flags: u32,
    },
    /// An option that does not begin with its magic number.
    #[error("an option begins with {magic:#x}")]
    OptionMagic {
        /// What it begins with.
        magic: u64,
    },
    /// An option that nobody needs to be so long.
    #[error("an option of {len} bytes")]
    OptionTooLong {
        /// What it says of itself.
        len: u32,
    },
    /// More options than any client needs.
    #[error("too many options")]
    TooManyOptions,
    /// An option beyond the oldest one from a client that did not say it knows how (NBD "Fixed newstyle").
    #[error("option {option} without fixed newstyle negotiation")]
    NotFixed {
        /// The option.
        option: u32,
    },
    /// A disk of this name is not served, and `NBD_OPT_EXPORT_NAME` has no way to say so.
    #[error("an unknown export")]
    UnknownExport,
    /// The handshake took too long.
    #[error("no request in time")]
    TooSlow,
    /// A request that does not begin with its magic number.
    #[error("a request begins with {magic:#x}")]
    RequestMagic {
        /// What it begins with.
        magic: u32,
    },
    /// More to write at once than was allowed.
    #[error("a write of {len} bytes")]
    WriteTooLong {
        /// What it says of itself.
        len: u32,
    },
}

/// What a server did.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections that were served.
    pub connections: u64,
    /// Connections that were one too many.
    pub refused: u64,
    /// Requests that were answered, well or not.
    pub requests: u64,
    /// Bytes that were read from the disk; holes that were only told of do not count.
    pub read_bytes: u64,
    /// Bytes that were written to the disk; zeros that were only asked for do not count.
    pub written_bytes: u64,
    /// Requests that the disk could not do.
    pub failed_requests: u64,
    /// Those of them that met damage.
    pub damaged_requests: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// Connections that were ended because the client broke a rule.
    pub violations: u64,
    /// The first of those rules.
    pub first_violations: Vec<Violation>,
}

/// The statistics while they change.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    /// What has more to it than a number.
    incidents: Mutex<Stats>,
}

impl Counters {
    pub(crate) fn connected(&self) {
        add(&self.connections, 1);
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn requested(&self) {
        add(&self.requests, 1);
    }

    pub(crate) fn read(&self, bytes: u64) {
        add(&self.read_bytes, bytes);
    }

    pub(crate) fn written(&self, bytes: u64) {
        add(&self.written_bytes, bytes);
    }

    pub(crate) fn failed(&self, failure: Failure) {
        let mut stats = self.incidents();
        stats.failed_requests += 1;
        stats.damaged_requests += u64::from(failure.is_damage());
        if stats.failures.len() < KEPT {
            stats.failures.push(failure);
        }
    }

    pub(crate) fn violated(&self, violation: Violation) {
        let mut stats = self.incidents();
        stats.violations += 1;
        if stats.first_violations.len() < KEPT {
            stats.first_violations.push(violation);
        }
    }

    pub(crate) fn finish(self) -> Stats {
        let incidents = self.incidents.into_inner();
        Stats {
            connections: self.connections.into_inner(),
            refused: self.refused.into_inner(),
            requests: self.requests.into_inner(),
            read_bytes: self.read_bytes.into_inner(),
            written_bytes: self.written_bytes.into_inner(),
            ..incidents.unwrap_or_else(PoisonError::into_inner)
        }
    }

    fn incidents(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.incidents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted_and_the_first_are_kept() {
        let counters = Counters::default();
        for number in 0..KEPT + 10 {
            let kind = if number == 0 {
                io::ErrorKind::InvalidData
            } else {
                io::ErrorKind::Other
            };
            let (command, error) = (Command::Read, io::Error::from(kind));
            counters.failed(Failure {
                command,
                extent: None,
                error,
            });
        }
        let stats = counters.finish();
        assert_eq!(stats.failures.len(), KEPT);
        assert_eq!((stats.failed_requests, stats.damaged_requests), (74, 1));
    }
}
