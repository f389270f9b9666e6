//! Checksums of any stretch of the log from running ones, so that no byte is summed twice.
//!
//! A CRC is linear: appending `n` bytes to a stretch with checksum `c` gives `shift(c, n) ^ crc(those bytes)`. So
//! with the checksums of all prefixes, a stretch's is `prefix(end) ^ shift(prefix(start), end - start)`. The shift
//! over one sector is a 32 × 32 matrix of bits; its powers make the shift over any number of sectors a few dozen
//! operations. Summing anew would let a hostile log, all of whose sectors claim to begin an entry as long as the log,
//! cost its length squared.

use crate::format::LOG_SECTOR_BYTES;

/// Shifts over 2^0, 2^1, … sectors; a log has fewer than 2^20.
const POWERS: usize = 21;

/// A linear map of 32 bits: the image of each single bit.
type Matrix = [u32; 32];

/// Moves checksums over whole sectors.
pub(super) struct Shift {
    powers: Vec<Matrix>,
}

impl Shift {
    pub(super) fn new() -> Self {
        let sector = usize::try_from(LOG_SECTOR_BYTES).unwrap_or_default();
        let mut power: Matrix = [0; 32];
        for (bit, image) in power.iter_mut().enumerate() {
            *image = crc32c::crc32c_combine(1 << bit, 0, sector);
        }
        let mut powers = Vec::with_capacity(POWERS);
        for _ in 0..POWERS {
            powers.push(power);
            power = power.map(|image| multiply(&power, image));
        }
        Self { powers }
    }

    /// What `crc` becomes when `sectors` sectors follow, but for their own checksum.
    pub(super) fn over(&self, crc: u32, sectors: u64) -> u32 {
        let powers = self.powers.iter().enumerate();
        let used = powers.filter(|(bit, _)| sectors >> bit & 1 == 1);
        used.fold(crc, |crc, (_, power)| multiply(power, crc))
    }

    /// The checksum of one stretch followed by another of `sectors` sectors.
    pub(super) fn join(&self, left: u32, right: u32, sectors: u64) -> u32 {
        self.over(left, sectors) ^ right
    }
}

fn multiply(matrix: &Matrix, bits: u32) -> u32 {
    let images = matrix
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    images.fold(0, |sum, (_, image)| sum ^ image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_gives_the_checksum_of_both_stretches_together() {
        let bytes: Vec<u8> = (0..7 * 4096_u32)
            .map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let shift = Shift::new();
        for cut in 0..=7 {
            let (left, right) = bytes.split_at(cut * 4096);
            let joined = shift.join(crc32c::crc32c(left), crc32c::crc32c(right), 7 - cut as u64);
            assert_eq!(joined, crc32c::crc32c(&bytes));
        }
    }

    #[test]
    fn the_shift_over_the_longest_log_agrees_with_the_definition() {
        let sectors = (1 << 20) - 1;
        let expected = crc32c::crc32c_combine(0xDEAD_BEEF, 0, sectors * 4096);
        assert_eq!(Shift::new().over(0xDEAD_BEEF, sectors as u64), expected);
    }
}
