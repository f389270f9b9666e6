//! Chunks that were read a moment ago. Each is fetched by one thread, and the others wait for it.
//!
//! Several threads that read one disk in order meet in the same chunk again and again: a client that
//! has 64 requests of 64 KiB under way wants each chunk of 4 MiB from many of them at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use hypercbt_repo::ChunkId;

use crate::Result;

/// A chunk, or nothing while the first who wants it is fetching it.
type Slot = Mutex<Option<Arc<Vec<u8>>>>;

/// The chunks that were asked for last.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    /// The latest first.
    slots: Mutex<VecDeque<(ChunkId, Arc<Slot>)>>,
    kept: usize,
}

impl ChunkCache {
    /// A cache that keeps so many chunks.
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            slots: Mutex::default(),
            kept,
        }
    }

    /// The chunk, fetched if it is not here. After a failure the next one who wants it tries again.
    pub(crate) fn get(
        &self,
        id: ChunkId,
        fetch: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<Vec<u8>>> {
        let slot = self.slot(id);
        let mut chunk = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = &*chunk {
            return Ok(Arc::clone(plain));
        }
        let plain = Arc::new(fetch()?);
        *chunk = Some(Arc::clone(&plain));
        Ok(plain)
    }

    fn slot(&self, id: ChunkId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|(cached, _)| *cached == id);
        let entry = known.and_then(|index| slots.remove(index));
        let entry = entry.unwrap_or_else(|| (id, Arc::default()));
        let slot = Arc::clone(&entry.1);
        slots.push_front(entry);
        slots.truncate(self.kept);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId([number; 32])
    }

    #[test]
    fn threads_that_want_one_chunk_fetch_it_once() {
        let cache = ChunkCache::new(1);
        let fetched = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let chunk = cache.get(id(1), || {
                        fetched.fetch_add(1, Ordering::SeqCst);
                        Ok(vec![7])
                    });
                    assert_eq!(*chunk.unwrap(), [7]);
                });
            }
        });
        assert_eq!(fetched.into_inner(), 1);
    }

    #[test]
    fn what_was_asked_for_longest_ago_goes_first() {
        let cache = ChunkCache::new(2);
        let is_fetched = |number| {
            let mut fetched = false;
            let chunk = cache.get(id(number), || {
                fetched = true;
                Ok(vec![number])
            });
            assert_eq!(*chunk.unwrap(), [number]);
            fetched
        };
        let asked = [1, 2, 1, 3, 1, 2].map(is_fetched);
        assert_eq!(asked, [true, true, false, true, false, true]);
    }

    #[test]
    fn after_a_failure_the_chunk_is_fetched_again() {
        let cache = ChunkCache::new(2);
        let lost = || Err(hypercbt_repo::Error::ChunkLost { id: id(1) }.into());
        assert!(cache.get(id(1), lost).is_err());
        assert_eq!(*cache.get(id(1), || Ok(vec![1])).unwrap(), [1]);
    }
}
