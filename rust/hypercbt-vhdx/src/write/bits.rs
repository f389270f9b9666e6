//! Which sectors of one block are in the file, while they become more.

use std::ops::Range;

use crate::sector_bitmap::{bit, run_end};

/// A bit a sector, as in the sector bitmap: least significant first, set for "in this file".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Box<[u8]>);

impl Bits {
    /// No sector.
    pub(super) fn none(bytes: usize) -> Self {
        Self(vec![0; bytes].into())
    }

    /// As the file has them, but for sectors past the end of the disk, which nobody has.
    pub(super) fn load(bytes: &[u8], sectors: u64) -> Self {
        let mut bits = Self(bytes.into());
        let past_end = sectors..bits.0.len() as u64 * 8;
        bits.change(past_end, false);
        bits
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds sectors.
    pub(super) fn set(&mut self, sectors: Range<u64>) {
        self.change(sectors, true);
    }

    /// Whether all of these sectors are there.
    pub(super) fn has(&self, sectors: &Range<u64>) -> bool {
        let (here, end) = self.run_at(sectors.start);
        here && end >= sectors.end
    }

    /// Whether `sector` is there, and up to which sector (exclusive) all others are alike.
    pub(super) fn run_at(&self, sector: u64) -> (bool, u64) {
        (bit(&self.0, sector), run_end(&self.0, sector))
    }

    fn change(&mut self, sectors: Range<u64>, to: bool) {
        let mut at = sectors.start;
        while at < sectors.end {
            let byte = usize::try_from(at / 8)
                .ok()
                .and_then(|byte| self.0.get_mut(byte));
            let Some(byte) = byte else { return };
            let count = (8 - at % 8).min(sectors.end - at);
            let mask = u8::MAX >> (8 - count) << (at % 8);
            if to {
                *byte |= mask;
            } else {
                *byte &= !mask;
            }
            at += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sectors_past_the_end_of_the_disk_are_not_there() {
        let bits = Bits::load(&[0xFF, 0xFF], 11);
        assert_eq!(bits.as_bytes(), [0xFF, 0b0000_0111]);
        assert!(bits.has(&(0..11)));
        assert!(!bits.has(&(10..12)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn sectors_are_there_once_they_were_set(
            ranges in prop::collection::vec((0..128_usize, 0..40_usize), 0..6),
        ) {
            let mut bits = Bits::none(16);
            let mut model = [false; 128];
            for (start, len) in ranges {
                let end = (start + len).min(128);
                model[start..end].fill(true);
                bits.set(start as u64..end as u64);
            }
            for (sector, here) in (0..).zip(model) {
                prop_assert_eq!(bits.run_at(sector).0, here);
                prop_assert_eq!(bits.has(&(sector..sector + 1)), here);
            }
        }
    }
}
