//! Pages of all segments that were asked for more than once, within a bound.
//!
//! Sets of eight pages, each with its own lock, so that threads seldom meet. Ids are hashes: in a
//! large index hardly any page is asked for twice, and keeping each would only move memory about.
//! So a page is kept at its second reading, while the set still remembers the first.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::layout::PAGE_BYTES;
use super::page::{self, PageBytes};

const WAYS: usize = 8;
/// How many pages a set remembers that it has seen and not kept: as many as it holds.
const GHOSTS: usize = WAYS;

/// A bounded cache of index pages, shared by all segments of a process.
#[derive(Debug)]
pub struct PageCache {
    sets: Box<[Mutex<Set>]>,
    segments: AtomicU32,
}

/// A page of a segment, as the cache knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageKey {
    pub(super) segment: u32,
    pub(super) page: u32,
}

#[derive(Debug, Default)]
struct Set {
    kept: [Option<Kept>; WAYS],
    seen: [Option<PageKey>; GHOSTS],
    next_seen: usize,
    hand: usize,
}

#[derive(Debug)]
struct Kept {
    key: PageKey,
    page: Box<PageBytes>,
    used: bool,
}

impl PageCache {
    /// A cache that keeps at most so many bytes of pages (and at least eight pages).
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let sets = (bytes / PAGE_BYTES / WAYS).max(1);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            segments: AtomicU32::new(0),
        }
    }

    /// A number for a segment that is being opened. Pages of one that was closed just grow old.
    pub(super) fn new_segment(&self) -> u32 {
        self.segments.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows the page to `look`, if it is here.
    pub(super) fn show<R>(&self, key: PageKey, look: impl FnOnce(&PageBytes) -> R) -> Option<R> {
        let mut set = self
            .set(key)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = set.kept.iter_mut().flatten().find(|kept| kept.key == key)?;
        kept.used = true;
        Some(look(&kept.page))
    }

    /// Offers a page that was read and checked. True if it was kept; then another, unspecified one
    /// is in its place: pages are swapped and never copied.
    pub(super) fn offer(&self, key: PageKey, page: &mut Box<PageBytes>) -> bool {
        let Some(set) = self.set(key) else {
            return false;
        };
        set.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .offer(key, page)
    }

    fn set(&self, key: PageKey) -> Option<&Mutex<Set>> {
        let mixed = (u64::from(key.segment) << 32 | u64::from(key.page))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = (u128::from(mixed) * self.sets.len() as u128) >> 64;
        self.sets.get(usize::try_from(at).ok()?)
    }
}

impl Set {
    fn offer(&mut self, key: PageKey, page: &mut Box<PageBytes>) -> bool {
        if self.kept.iter().flatten().any(|kept| kept.key == key) {
            return false; // another thread was faster
        }
        let Some(ghost) = self.seen.iter_mut().find(|seen| **seen == Some(key)) else {
            if let Some(oldest) = self.seen.get_mut(self.next_seen) {
                *oldest = Some(key);
            }
            self.next_seen = (self.next_seen + 1) % GHOSTS;
            return false;
        };
        *ghost = None;
        self.keep(key, page);
        true
    }

    /// Takes the place of the next page that was not used since the hand last came by.
    fn keep(&mut self, key: PageKey, page: &mut Box<PageBytes>) {
        loop {
            self.hand = (self.hand + 1) % WAYS;
            match self.kept.get_mut(self.hand) {
                Some(Some(kept)) if kept.used => kept.used = false,
                Some(Some(kept)) => {
                    std::mem::swap(&mut kept.page, page);
                    kept.key = key;
                    return;
                }
                Some(slot) => {
                    let page = std::mem::replace(page, page::empty());
                    *slot = Some(Kept {
                        key,
                        page,
                        used: false,
                    });
                    return;
                }
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(page: u32) -> PageKey {
        PageKey { segment: 1, page }
    }

    fn marked(mark: u8) -> Box<PageBytes> {
        Box::new([mark; PAGE_BYTES])
    }

    fn offer_twice(cache: &PageCache, page: u32, mark: u8) {
        assert!(!cache.offer(key(page), &mut marked(mark)));
        assert!(cache.offer(key(page), &mut marked(mark)));
    }

    #[test]
    fn a_page_is_kept_when_it_comes_the_second_time() {
        let cache = PageCache::new(1 << 20);
        assert!(!cache.offer(key(5), &mut marked(5)));
        assert_eq!(cache.show(key(5), |page| page[0]), None);
        assert!(cache.offer(key(5), &mut marked(5)));
        assert_eq!(cache.show(key(5), |page| page[0]), Some(5));
    }

    #[test]
    fn pages_of_two_segments_are_not_mixed_up() {
        let cache = PageCache::new(0);
        offer_twice(&cache, 5, 5);
        assert_eq!(
            cache.show(
                PageKey {
                    segment: 2,
                    page: 5
                },
                |page| page[0]
            ),
            None
        );
        assert_ne!(cache.new_segment(), cache.new_segment());
    }

    #[test]
    fn it_never_keeps_more_than_it_may() {
        let cache = PageCache::new(0);
        for page in 0..100_u8 {
            offer_twice(&cache, page.into(), page);
        }
        let kept: Vec<u32> = (0..100)
            .filter(|&page| cache.show(key(page), |_| ()).is_some())
            .collect();
        assert_eq!(kept.len(), WAYS);
        for page in kept {
            assert_eq!(
                cache.show(key(page), |bytes| u32::from(bytes[9])),
                Some(page)
            );
        }
    }

    #[test]
    fn a_page_in_use_outlives_a_scan() {
        let cache = PageCache::new(0);
        offer_twice(&cache, 1000, 1);
        for page in 0..100 {
            offer_twice(&cache, page, 2);
            assert!(
                cache.show(key(1000), |_| ()).is_some(),
                "gone after page {page}"
            );
        }
    }
}
