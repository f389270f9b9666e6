//! Writing a VHDX in place, so that a power cut at any moment leaves a disk that holds all that was flushed.
//!
//! ```text
//! write_at ──▶ payload, in place or into new room          the map in memory says where it is now
//! flush    ──▶ sync ──▶ log entry ──▶ sync                 what the map says is durable
//! later    ──▶ metadata in place ──▶ sync ──▶ header       the log begins anew
//! ```
//!
//! Five rules make that safe, and each has tests that cut the power where it would be broken:
//!
//! 1. The file grows, durably, before a log entry refers to its new end ([`flush`]).
//! 2. A block is wholly written or zeroed, durably, before its place is logged ([`payload`], [`flush`]).
//! 3. The place of a block and its sector bits are logged by one entry, after its payload is durable ([`flush`]).
//! 4. What the log holds is durable in its place before the log forgets it ([`journal`]).
//! 5. A header is written twice, the log has a new name for each session, and none once the file is closed
//!    ([`headers`], [`open`]).
//!
//! And a sixth, as room is used again: what a block gave up is nobody else's until that is logged ([`map`]).

mod bits;
mod entry;
mod flush;
mod free_space;
mod headers;
mod items;
mod journal;
mod live_file;
mod map;
mod merge;
mod new;
mod open;
mod payload;
mod resize;
mod writable;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use merge::{Merged, merge, merge_into};
pub use new::{NewKind, NewVhdx, create_vhdx};
pub use open::{Guids, Opening};
pub use writable::WritableVhdx;

/// Proof that a block is locked by its holder alone.
type Guard<'a> = RwLockWriteGuard<'a, ()>;

/// A panic while a lock was held is our bug; it must not become another's.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
