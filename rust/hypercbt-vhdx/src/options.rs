//! What a new VHDX is to be like, and what the format allows.

use hypercbt_extent::ByteLen;

use crate::format::{MAX_BLOCK_BYTES, MAX_DISK_BYTES, MIN_BLOCK_BYTES};
use crate::{Guid, Reason};

/// The properties of a new VHDX. Random values are arguments, so that a run can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhdxOptions {
    /// The size of the virtual disk: a multiple of the logical sector, at most 64 TiB.
    pub size: ByteLen,
    /// The unit of allocation: a power of two from 1 MiB to 256 MiB.
    pub block_bytes: u32,
    /// What the guest addresses: 512 or 4096. A guest does not start from a disk on which it changed.
    pub logical_sector_bytes: u32,
    /// What the guest should write at least: 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The identity that the guest sees.
    pub disk_id: Guid,
    /// New for each file: names this state of the file.
    pub file_write_guid: Guid,
    /// New for each file: names this content; a child names its parent by it.
    pub data_write_guid: Guid,
}

impl VhdxOptions {
    /// Checks every property against the format.
    pub(crate) fn check(&self) -> Result<(), Reason> {
        let block_bytes = u64::from(self.block_bytes);
        if !block_bytes.is_power_of_two()
            || !(MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES).contains(&block_bytes)
        {
            return Err(Reason::BlockSize(self.block_bytes));
        }
        for sector_bytes in [self.logical_sector_bytes, self.physical_sector_bytes] {
            if !matches!(sector_bytes, 512 | 4096) {
                return Err(Reason::SectorSize(sector_bytes));
            }
        }
        check_size(
            self.size,
            self.logical_sector_bytes,
            ByteLen(MAX_DISK_BYTES),
        )
    }
}

/// Checks that a disk consists of whole sectors, at least one.
pub(crate) fn check_size(size: ByteLen, sector_bytes: u32, max: ByteLen) -> Result<(), Reason> {
    if size.0 == 0 || size > max || !size.0.is_multiple_of(u64::from(sector_bytes)) {
        return Err(Reason::DiskSize(size.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u32 = 1 << 20;

    fn good() -> VhdxOptions {
        VhdxOptions {
            size: ByteLen(64 << 40),
            block_bytes: 2 * MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
        }
    }

    #[test]
    fn blocks_are_powers_of_two_from_one_to_256_mebibytes() {
        for block_bytes in [0, MIB / 2, 3 * MIB, 512 * MIB, u32::MAX] {
            let options = VhdxOptions {
                block_bytes,
                ..good()
            };
            assert_eq!(options.check(), Err(Reason::BlockSize(block_bytes)));
        }
        for block_bytes in [MIB, 32 * MIB, 256 * MIB] {
            let options = VhdxOptions {
                block_bytes,
                ..good()
            };
            assert_eq!(options.check(), Ok(()));
        }
    }

    #[test]
    fn sectors_are_512_or_4096_bytes() {
        for bytes in [0, 520, 1024, 8192] {
            let logical = VhdxOptions {
                logical_sector_bytes: bytes,
                ..good()
            };
            assert_eq!(logical.check(), Err(Reason::SectorSize(bytes)));
            let physical = VhdxOptions {
                physical_sector_bytes: bytes,
                ..good()
            };
            assert_eq!(physical.check(), Err(Reason::SectorSize(bytes)));
        }
    }

    #[test]
    fn a_disk_is_whole_sectors_and_at_most_64_tebibytes() {
        let check = |bytes, logical_sector_bytes| {
            VhdxOptions {
                size: ByteLen(bytes),
                logical_sector_bytes,
                ..good()
            }
            .check()
        };
        for (bytes, sector) in [
            (0, 512),
            (513, 512),
            (4 * KIB + 512, 4096),
            ((64 << 40) + 512, 512),
            (u64::MAX, 512),
        ] {
            assert_eq!(check(bytes, sector), Err(Reason::DiskSize(bytes)));
        }
        for (bytes, sector) in [(512, 512), (4096, 4096), (64 << 40, 512)] {
            assert_eq!(check(bytes, sector), Ok(()));
        }
    }
}
