//! How fine each of the three maps is, and how much memory the finest may take.

use hypercbt_extent::ByteLen;

use crate::{Error, Result};

/// The finest precision that there is: a sector.
const MIN_GRAIN: u64 = 512;
/// Below this not even the list of ids would fit beside the map.
const MIN_MEMORY: u64 = 64 << 10;

/// The three precisions, and the limit of memory. Powers of two; `grain` ≤ `rct_unit` ≤ `mrt_region`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What the map in memory tells apart; at least 512 bytes.
    pub grain: ByteLen,
    /// What the `.rct` file tells apart.
    pub rct_unit: ByteLen,
    /// What the `.mrt` file tells apart. That of an existing file stays as it was made.
    pub mrt_region: ByteLen,
    /// The most memory that the tracker takes, at least 64 KiB; the map coarsens to stay below.
    pub memory_limit: ByteLen,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grain: ByteLen(4 << 10),
            rct_unit: ByteLen(64 << 10),
            mrt_region: ByteLen(2 << 20),
            memory_limit: ByteLen(64 << 20),
        }
    }
}

impl Options {
    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let sizes = [self.grain.0, self.rct_unit.0, self.mrt_region.0];
        let good = self.grain.0 >= MIN_GRAIN
            && sizes.iter().all(|size| size.is_power_of_two())
            && sizes.is_sorted()
            && self.memory_limit.0 >= MIN_MEMORY;
        if good {
            Ok(())
        } else {
            Err(Error::InvalidOptions { options: *self })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Options)) -> Result<()> {
        let mut options = Options::default();
        change(&mut options);
        options.check()
    }

    #[test]
    fn the_defaults_are_good() {
        with(|_| {}).unwrap();
    }

    #[test]
    fn precisions_are_powers_of_two_in_order_and_no_finer_than_a_sector() {
        assert!(with(|options| options.grain = ByteLen(256)).is_err());
        assert!(with(|options| options.grain = ByteLen(5000)).is_err());
        assert!(with(|options| options.grain = ByteLen(128 << 10)).is_err());
        assert!(with(|options| options.mrt_region = ByteLen(32 << 10)).is_err());
        assert!(with(|options| options.mrt_region = ByteLen(64 << 10)).is_ok());
    }

    #[test]
    fn there_is_a_least_memory() {
        assert!(with(|options| options.memory_limit = ByteLen((64 << 10) - 1)).is_err());
        assert!(with(|options| options.memory_limit = ByteLen(64 << 10)).is_ok());
    }
}
