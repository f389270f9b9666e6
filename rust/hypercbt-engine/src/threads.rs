//! How many threads do what.

use std::num::NonZeroUsize;

/// Threads that read the source or a pack. Reads wait, so there are more of them than a small machine has cores.
pub(crate) const READERS: usize = 3;

/// The caller's number, or one for each core.
pub(crate) fn workers(wanted: Option<NonZeroUsize>) -> usize {
    wanted
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(256)
}
