//! What a guest does: reads, writes, gives up space, flushes.
//!
//! A write is marked before it is done, durably where its region has no mark yet. If the mark cannot be made, the
//! write fails and was not done: the disk is never ahead of its tracker.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::Segment;

use crate::{Result, TrackedDisk};

/// Zeros that keep their room are written in pieces of this size.
static ZEROS: [u8; 1 << 18] = [0; 1 << 18];

impl TrackedDisk {
    /// Fills `buf` with the bytes of the disk from `at` on.
    pub fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> Result<()> {
        Ok(self.shared().leaf()?.disk.read_at(at, buf)?)
    }

    /// Writes whole logical sectors. Durable after the next [`flush`](Self::flush).
    pub fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let len = ByteLen(bytes.len() as u64);
        if len.0 == 0 {
            return Ok(());
        }
        let extent = Extent::new(at, len).ok_or(hypercbt_vhdx::Error::OutOfRange {
            at,
            len,
            disk_len: self.size(),
        })?;
        let state = self.shared();
        let leaf = state.leaf()?;
        leaf.change(state.stamps()?, extent, |disk| disk.write_at(at, bytes))
    }

    /// Makes `extent` read as zeros.
    pub fn zero(&self, extent: Extent) -> Result<()> {
        let state = self.shared();
        let leaf = state.leaf()?;
        leaf.change(state.stamps()?, extent, |disk| disk.zero(extent))
    }

    /// Writes zeros, so that `extent` keeps its room in the file.
    pub fn write_zeros(&self, extent: Extent) -> Result<()> {
        let mut at = extent.start();
        while at < extent.end() {
            let len = (extent.end().0 - at.0).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..usize::try_from(len).unwrap_or(ZEROS.len()));
            self.write_at(at, zeros.unwrap_or(&ZEROS))?;
            at.0 += len;
        }
        Ok(())
    }

    /// Gives up what the guest no longer needs; it may read as zeros afterwards.
    pub fn unmap(&self, extent: Extent) -> Result<()> {
        let state = self.shared();
        let leaf = state.leaf()?;
        leaf.change(state.stamps()?, extent, |disk| disk.unmap(extent))
    }

    /// All writes that returned before are durable when this returns. The tracker's marks are durable already.
    pub fn flush(&self) -> Result<()> {
        Ok(self.shared().leaf()?.disk.flush()?)
    }

    /// Where there is data: a partition of `extent`, in order, equal neighbours merged.
    pub fn segments(&self, extent: Extent) -> Result<Vec<Segment>> {
        Ok(self.shared().leaf()?.disk.segments(extent)?)
    }
}
