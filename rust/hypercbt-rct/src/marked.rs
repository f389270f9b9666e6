//! Which regions have been marked durably at the present clock: no more than a memory of what is in the `.mrt`
//! file. To forget it costs a mark that was not needed; to remember what is not so would lose changes.

use std::collections::HashMap;
use std::ops::Range;

const BITS: u64 = u64::BITS as u64;

/// A set of regions, 64 to a word.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    words: HashMap<u64, u64>,
}

impl Marked {
    /// The heap memory of the set: a byte of bookkeeping for each bucket, of which seven in eight are used.
    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * 8 / 7 * (size_of::<(u64, u64)>() + 1)
    }

    /// Forgets all; the next touch of each region is a first touch again.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    /// Remembers regions. It forgets others, of the same range too, before it takes more than `limit` bytes.
    pub(crate) fn insert(&mut self, regions: Range<u64>, limit: usize) {
        for (word, bits) in words(regions) {
            // It grows by doubling, and has both tables while it does.
            if self.words.len() == self.words.capacity() && self.bytes() * 2 > limit {
                self.words.clear();
            }
            *self.words.entry(word).or_default() |= bits;
        }
    }

    /// Whether all of them are in the set.
    pub(crate) fn contains(&self, regions: Range<u64>) -> bool {
        words(regions)
            .all(|(word, bits)| self.words.get(&word).is_some_and(|has| has & bits == bits))
    }

    /// Those that are not in the set, in order.
    pub(crate) fn missing(&self, regions: Range<u64>) -> Vec<Range<u64>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for (word, bits) in words(regions) {
            let absent = bits & !self.words.get(&word).copied().unwrap_or_default();
            for region in (0..BITS).filter(|bit| absent >> bit & 1 == 1) {
                let region = word * BITS + region;
                match missing.last_mut() {
                    Some(last) if last.end == region => last.end += 1,
                    _ => missing.push(region..region + 1),
                }
            }
        }
        missing
    }
}

/// The words that hold these regions, and which of their bits.
fn words(regions: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
    let Range { start, end } = regions;
    (start / BITS..end.div_ceil(BITS)).map(move |word| {
        let low = start.saturating_sub(word * BITS).min(BITS);
        let high = (end - word * BITS).min(BITS);
        let below = |bits: u64| {
            if bits >= BITS {
                u64::MAX
            } else {
                (1 << bits) - 1
            }
        };
        (word, below(high) & !below(low))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8 << 10;

    #[test]
    fn a_range_over_several_words_is_in_it_whole() {
        let mut marked = Marked::default();
        marked.insert(60..200, LIMIT);
        assert!(marked.contains(60..200));
        assert!(!marked.contains(59..61) && !marked.contains(199..201));
        assert_eq!(marked.missing(50..210), [50..60, 200..210]);
        assert_eq!(marked.missing(64..128), []);
    }

    #[test]
    fn what_was_cleared_is_missing() {
        let mut marked = Marked::default();
        marked.insert(3..5, LIMIT);
        marked.clear();
        assert_eq!(marked.missing(3..6), [3..6]);
    }

    #[test]
    fn it_forgets_before_it_takes_more_memory_than_it_may_also_within_one_range() {
        for regions in [1 << 10, 1 << 16, 1 << 25] {
            let mut marked = Marked::default();
            marked.insert(0..regions, LIMIT);
            // Its tables never shrink, so this is the most that it ever took.
            assert!(marked.bytes() <= LIMIT, "{}", marked.bytes());
            assert!(marked.contains(regions - 1..regions));
        }
    }
}
