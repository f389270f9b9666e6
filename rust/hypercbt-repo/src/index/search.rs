//! Finds ids in sorted pages: which page by its fence, which entry by its bytes.
//!
//! Ids are hashes, so where one stands can be guessed from its first bytes, to within a few dozen fences
//! and a handful of entries. A binary search would wait for memory once a step, seven times in a page.

use std::ops::Range;

use super::{
    page,
    places::Found,
    segment::{Batch, Scratch, Segment, Wanted},
};
use crate::Result;

/// The ids that can stand in a group of pages: ids that share the first 8 bytes may go over its end.
pub(super) fn within(sorted: &[Wanted], first: Option<u64>, next: Option<u64>) -> &[Wanted] {
    let from = first.map_or(0, |first| sorted.partition_point(|id| id.prefix < first));
    let to = next.map_or(sorted.len(), |next| {
        sorted.partition_point(|id| id.prefix <= next)
    });
    sorted.get(from..to).unwrap_or_default()
}

/// The pages of one filter, and a batch.
pub(super) struct Pages<'a> {
    pub(super) segment: &'a Segment,
    pub(super) batch: Batch<'a>,
    pub(super) fences: &'a [u64],
    /// The first 8 bytes of what comes after these pages.
    pub(super) end: u64,
    pub(super) first_page: u32,
}

impl Pages<'_> {
    /// Looks up sorted ids, each page once.
    pub(super) fn find(
        &self,
        mut ids: &[Wanted],
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        while let Some(first) = ids.first() {
            // The last page that begins before the id. Entries that begin with the same 8 bytes as
            // the next page's first may stand at the end of this one.
            let begin = self.fences.first().copied().unwrap_or_default();
            let near = guess(self.fences.len(), begin..self.end, first.prefix);
            let after = partition_near(self.fences, near, |fence| *fence < first.prefix);
            let page = after.saturating_sub(1);
            let here = match self.fences.get(page + 1) {
                Some(next) => ids.iter().take_while(|id| id.prefix <= *next).count(),
                None => ids.len(),
            };
            let (mut here, rest) = ids.split_at_checked(here).unwrap_or((ids, &[]));
            let mut at = page;
            while !here.is_empty() {
                self.find_in(at, here, scratch, found)?;
                at += 1;
                let Some(fence) = self.fences.get(at) else {
                    break;
                };
                let done = here.partition_point(|id| id.prefix < *fence);
                here = here.get(done..).unwrap_or_default();
            }
            ids = rest;
        }
        Ok(())
    }

    fn find_in(
        &self,
        page: usize,
        ids: &[Wanted],
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let Some(&fence) = self.fences.get(page) else {
            return Ok(());
        };
        let next = self.fences.get(page + 1).copied().unwrap_or(self.end);
        let number = self.first_page + u32::try_from(page).expect("a group has 4096 pages");
        let count = self.segment.entries_in(number);
        self.segment
            .with_page(number, fence, scratch, &mut |bytes| {
                let entries = page::entries(bytes, count);
                for wanted in ids {
                    let Some(id) = self.batch.ids.get(wanted.position as usize) else {
                        continue;
                    };
                    let near = guess(count, fence..next, wanted.prefix);
                    for entry in page::find(entries, self.batch.kind, id, near) {
                        found.push((wanted.position, self.segment.place(&entry)?));
                    }
                }
                Ok(())
            })
    }
}

/// About where a number stands among `count` sorted ones that are spread evenly over a range.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a guess: the casts saturate, and any result will do"
)]
fn guess(count: usize, range: Range<u64>, wanted: u64) -> usize {
    let within = wanted.saturating_sub(range.start) as f64;
    let span = range.end.saturating_sub(range.start) as f64;
    (within / span * count as f64) as usize
}

/// The same as `partition_point`, fast where the guess is near.
pub(super) fn partition_near<T>(list: &[T], guess: usize, before: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high, mut step) = (0, list.len(), 1);
    if list.get(guess).is_some_and(&before) {
        low = guess + 1;
        while let Some(item) = list.get(low + step) {
            if !before(item) {
                high = low + step;
                break;
            }
            low += step + 1;
            step *= 2;
        }
    } else {
        high = high.min(guess);
        while let Some(item) = high.checked_sub(step).and_then(|at| list.get(at)) {
            if before(item) {
                low = high - step + 1;
                break;
            }
            high -= step;
            step *= 2;
        }
    }
    low + list
        .get(low..high)
        .unwrap_or_default()
        .partition_point(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_guess_costs_time_and_nothing_else() {
        for len in 0..40_usize {
            let list: Vec<_> = (0..len).map(|at| at / 3).collect();
            for wanted in 0..15 {
                let expected = list.partition_point(|item| *item < wanted);
                for guess in (0..45).chain([usize::MAX]) {
                    let found = partition_near(&list, guess, |item| *item < wanted);
                    assert_eq!(found, expected, "{wanted} in {len} from {guess}");
                }
            }
        }
    }

    #[test]
    fn guesses_are_near_and_never_panic() {
        assert_eq!(guess(100, 1000..2000, 1500), 50);
        assert_eq!(guess(4096, 0..u64::MAX, u64::MAX / 4), 1024);
        assert_eq!(guess(100, 1000..2000, 3), 0);
        let _ = guess(100, 1000..1000, 1000);
        let _ = guess(usize::MAX, 5..u64::MAX, u64::MAX);
    }
}
