//! Which MiB of a file are taken: the check that no two things lie at one place.
//!
//! One bit a MiB, so 32 MiB for the largest file that we read; only built while a file is opened.

use hypercbt_extent::ByteLen;

use crate::FileOffset;
use crate::format::MIB;

/// The MiB of a file, and whether each is taken.
#[derive(Debug)]
pub(crate) struct SpaceMap {
    words: Vec<u64>,
    /// The length of the file in whole MiB; what is left of one at the end is not given to anybody.
    mibs: u64,
}

impl SpaceMap {
    /// A map of a file of `len` bytes, which the caller has bounded, with nothing taken.
    pub(crate) fn new(len: ByteLen) -> Self {
        let words = len.0.div_ceil(MIB).div_ceil(64);
        Self {
            words: vec![0; usize::try_from(words).unwrap_or_default()],
            mibs: len.0 / MIB,
        }
    }

    /// Takes the range. `false` if some of it was taken before. What lies past the end of the file is nobody's.
    pub(crate) fn claim(&mut self, at: FileOffset, len: ByteLen) -> bool {
        let mut free = true;
        self.visit(at, len, |word, mask| {
            free &= *word & mask == 0;
            *word |= mask;
        });
        free
    }

    /// Whether some of the range is taken.
    pub(crate) fn is_claimed(&mut self, at: FileOffset, len: ByteLen) -> bool {
        let mut claimed = false;
        self.visit(at, len, |word, mask| claimed |= *word & mask != 0);
        claimed
    }

    /// What is not taken: whole runs of MiB, in order.
    pub(crate) fn free(&self) -> Vec<(FileOffset, ByteLen)> {
        let mut found = Vec::new();
        let mut start = None;
        for mib in 0..=self.mibs {
            let word = usize::try_from(mib / 64)
                .ok()
                .and_then(|word| self.words.get(word));
            let taken = mib == self.mibs || word.is_none_or(|word| word >> (mib % 64) & 1 == 1);
            match (taken, start) {
                (false, None) => start = Some(mib),
                (true, Some(from)) => {
                    found.push((FileOffset(from * MIB), ByteLen((mib - from) * MIB)));
                    start = None;
                }
                _ => {}
            }
        }
        found
    }

    /// Calls `each` with every word that has bits of the range, and these bits.
    fn visit(&mut self, at: FileOffset, len: ByteLen, mut each: impl FnMut(&mut u64, u64)) {
        let mut bit = at.0 / MIB;
        let end = at.0.saturating_add(len.0).div_ceil(MIB);
        while bit < end {
            let Some(word) = usize::try_from(bit / 64)
                .ok()
                .and_then(|word| self.words.get_mut(word))
            else {
                return;
            };
            let count = (64 - bit % 64).min(end - bit);
            each(word, u64::MAX >> (64 - count) << (bit % 64));
            bit += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_claimed_once() {
        let mut map = SpaceMap::new(ByteLen(300 * MIB));
        assert!(map.claim(FileOffset(3 * MIB), ByteLen(200 * MIB)));
        assert!(map.claim(FileOffset(2 * MIB), ByteLen(MIB)));
        assert!(map.claim(FileOffset(203 * MIB), ByteLen(MIB)));
        assert!(!map.claim(FileOffset(202 * MIB), ByteLen(MIB)));
        assert!(!map.claim(FileOffset(0), ByteLen(300 * MIB)));
    }

    #[test]
    fn what_is_not_taken_is_free() {
        let mut map = SpaceMap::new(ByteLen(200 * MIB + 5));
        map.claim(FileOffset(0), ByteLen(3 * MIB));
        map.claim(FileOffset(60 * MIB), ByteLen(70 * MIB));
        let runs = [(3, 57), (130, 70)];
        let runs = runs.map(|(at, len)| (FileOffset(at * MIB), ByteLen(len * MIB)));
        assert_eq!(map.free(), runs);
        map.claim(FileOffset(3 * MIB), ByteLen(197 * MIB));
        assert_eq!(map.free(), []);
    }

    #[test]
    fn a_part_of_a_mib_takes_all_of_it() {
        let mut map = SpaceMap::new(ByteLen(10 * MIB));
        assert!(map.claim(FileOffset(MIB + 4096), ByteLen(1)));
        assert!(map.is_claimed(FileOffset(2 * MIB - 1), ByteLen(1)));
        assert!(!map.is_claimed(FileOffset(2 * MIB), ByteLen(8 * MIB)));
    }

    #[test]
    fn past_the_end_nothing_is_taken() {
        let mut map = SpaceMap::new(ByteLen(MIB));
        assert!(map.claim(FileOffset(u64::MAX - 5), ByteLen(u64::MAX)));
        assert!(map.claim(FileOffset(64 * MIB), ByteLen(64 * MIB)));
        assert!(map.claim(FileOffset(64 * MIB), ByteLen(64 * MIB)));
    }
}
