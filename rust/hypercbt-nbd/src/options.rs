//! The limits that a server keeps.

use std::{num::NonZeroUsize, time::Duration};

use hypercbt_extent::ByteLen;

/// What one server spends on its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Connections at once; one more is closed as soon as it comes.
    pub connections: NonZeroUsize,
    /// Requests of one connection that are worked on at once.
    pub workers: NonZeroUsize,
    /// Bytes of requests that one connection may have in memory: of writes, and of reads where the
    /// client does not know structured replies. At least as much as the largest request, 32 MiB.
    pub request_bytes: ByteLen,
    /// How long a client may take to say what it wants.
    pub handshake: Duration,
    /// How long a stop waits for clients to take their answers.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // nbdcopy opens four, fio one a job, qemu one.
            connections: const { NonZeroUsize::new(16).expect("not zero") },
            workers: const { NonZeroUsize::new(8).expect("not zero") },
            request_bytes: ByteLen(crate::protocol::MAX_REQUEST_BYTES.into()),
            handshake: Duration::from_secs(10),
            grace: Duration::from_millis(500),
        }
    }
}
