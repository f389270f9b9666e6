//! What a log lays over a file: sectors and ranges of zeros, later ones over earlier ones.

use std::collections::BTreeMap;

use hypercbt_extent::ByteLen;

use super::entry::LoggedSector;
use crate::format::LOG_SECTOR_BYTES;
use crate::{FileOffset, Result};

/// The changes of a log, as disjoint ranges of the file. Sectors stay where they are, in the log: only their places
/// are kept.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    ranges: BTreeMap<u64, Range>,
    /// How long the file is at least, once the log is replayed.
    file_len: u64,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    end: u64,
    fill: Fill,
}

#[derive(Debug, Clone, Copy)]
enum Fill {
    Zeros,
    Sector(LoggedSector),
}

/// More disjoint ranges than this are refused: a log of 1 MiB has 255 sectors, the largest one of data 2^20.
const MAX_RANGES: usize = 1 << 21;

impl Overlay {
    /// Nothing yet, over a file that will be at least this long.
    pub(super) fn new(file_len: ByteLen) -> Self {
        Self {
            ranges: BTreeMap::new(),
            file_len: file_len.0,
        }
    }

    /// How long the log makes the file, at least.
    pub(crate) fn file_len(&self) -> ByteLen {
        ByteLen(self.file_len)
    }

    /// The number of disjoint ranges.
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Lays one sector over whatever is there. `false` if the overlay becomes too large.
    pub(super) fn write_sector(&mut self, at: FileOffset, sector: LoggedSector) -> bool {
        self.write(at.0, LOG_SECTOR_BYTES, Fill::Sector(sector))
    }

    /// Lays zeros over whatever is there. `false` if the overlay becomes too large.
    pub(super) fn write_zeros(&mut self, at: FileOffset, len: ByteLen) -> bool {
        self.write(at.0, len.0, Fill::Zeros)
    }

    /// Places and lengths are multiples of a sector, so a sector is covered wholly or not at all; only ranges of
    /// zeros are ever cut. Each write adds at most two ranges, so all of them are linear in the log.
    fn write(&mut self, start: u64, len: u64, fill: Fill) -> bool {
        let end = start.saturating_add(len);
        if len == 0 {
            return true;
        }
        if let Some((_, before)) = self.ranges.range_mut(..start).next_back() {
            let rest = *before;
            before.end = before.end.min(start);
            if rest.end > end {
                self.ranges.insert(end, rest);
            }
        }
        while let Some((covered, range)) = self
            .ranges
            .range(start..end)
            .next()
            .map(|(at, range)| (*at, *range))
        {
            self.ranges.remove(&covered);
            if range.end > end {
                self.ranges.insert(end, range);
            }
        }
        self.ranges.insert(start, Range { end, fill });
        self.file_len = self.file_len.max(end);
        self.ranges.len() <= MAX_RANGES
    }

    /// Whether the log changes some byte of the range.
    pub(crate) fn touches(&self, at: FileOffset, len: ByteLen) -> bool {
        self.overlapping(at.0, at.0.saturating_add(len.0))
            .next()
            .is_some()
    }

    /// The changed ranges of the file, in order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (FileOffset, ByteLen)> + '_ {
        self.ranges
            .iter()
            .map(|(start, range)| (FileOffset(*start), ByteLen(range.end - start)))
    }

    /// Lays the changes over `buf`, which holds the file's bytes from `at` on. `read` reads the file.
    pub(crate) fn patch(
        &self,
        buf: &mut [u8],
        at: FileOffset,
        read: impl Fn(&mut [u8], FileOffset) -> Result<()>,
    ) -> Result<()> {
        let buf_end = at.0.saturating_add(buf.len() as u64);
        for (start, range) in self.overlapping(at.0, buf_end) {
            let (from, to) = (start.max(at.0), range.end.min(buf_end));
            let slot = usize::try_from(from - at.0)
                .ok()
                .zip(usize::try_from(to - at.0).ok());
            let Some(target) = slot.and_then(|(from, to)| buf.get_mut(from..to)) else {
                continue;
            };
            match range.fill {
                Fill::Zeros => target.fill(0),
                Fill::Sector(logged) => {
                    let bytes = logged.bytes(&read)?;
                    let skip = usize::try_from(from - start).unwrap_or_default();
                    for (to, byte) in target.iter_mut().zip(bytes.iter().skip(skip)) {
                        *to = *byte;
                    }
                }
            }
        }
        Ok(())
    }

    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Range)> + '_ {
        let before = self
            .ranges
            .range(..start)
            .next_back()
            .filter(|(_, range)| range.end > start);
        // An empty request overlaps nothing.
        let from = self.ranges.range(start..end.max(start));
        before
            .into_iter()
            .chain(from)
            .filter(move |_| start < end)
            .map(|(start, range)| (*start, *range))
    }
}

impl LoggedSector {
    /// The whole sector: its middle from the log, its ends from the descriptor (MS-VHDX 2.3.1.4).
    fn bytes(&self, read: impl Fn(&mut [u8], FileOffset) -> Result<()>) -> Result<[u8; 4096]> {
        let mut bytes = [0; 4096];
        read(&mut bytes, self.place)?;
        let (leading, rest) = bytes.split_at_mut(8);
        leading.copy_from_slice(&self.leading);
        let (_, trailing) = rest.split_at_mut(4084);
        trailing.copy_from_slice(&self.trailing);
        Ok(bytes)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the sizes of a test fit")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 24;

    fn sector(mark: u8) -> LoggedSector {
        LoggedSector {
            place: FileOffset(u64::from(mark)),
            leading: [mark; 8],
            trailing: [mark; 4],
        }
    }

    /// Every sector of the file reads as 0xEE; every sector of the log as the low byte of its place.
    fn read(overlay: &Overlay, at: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xEE; len];
        let log = |buf: &mut [u8], at: FileOffset| {
            buf.fill(at.0 as u8);
            Ok(())
        };
        overlay.patch(&mut buf, FileOffset(at), log).unwrap();
        buf
    }

    #[test]
    fn a_sector_is_put_together_from_the_log_and_the_descriptor() {
        let mut overlay = Overlay::default();
        let logged = LoggedSector {
            place: FileOffset(5),
            leading: [1; 8],
            trailing: [2; 4],
        };
        overlay.write_sector(FileOffset(4096), logged);
        let bytes = read(&overlay, 4096, 4096);
        assert_eq!(bytes[..8], [1; 8]);
        assert_eq!(bytes[8..4092], [5; 4084]);
        assert_eq!(bytes[4092..], [2; 4]);
    }

    #[test]
    fn a_write_past_the_end_makes_the_file_longer() {
        let mut overlay = Overlay::new(ByteLen(4096));
        overlay.write_zeros(FileOffset(8192), ByteLen(4096));
        assert_eq!(overlay.file_len(), ByteLen(12288));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn later_changes_lie_over_earlier_ones_as_in_a_plain_file(
            writes in prop::collection::vec((0..SECTORS, 0..SECTORS, 1..200_u8, any::<bool>()), 0..40),
            from in 0..SECTORS * 4096,
            len in 0..SECTORS * 4096,
        ) {
            let mut overlay = Overlay::default();
            let mut model = vec![0xEE; SECTORS as usize * 4096];
            for (at, len, mark, zeros) in writes {
                let (start, byte) = (at * 4096, if zeros { 0 } else { mark });
                let end = if zeros { (at + len).min(SECTORS) * 4096 } else { start + 4096 };
                if zeros {
                    overlay.write_zeros(FileOffset(start), ByteLen(end.saturating_sub(start)));
                } else {
                    overlay.write_sector(FileOffset(start), sector(mark));
                }
                model[start as usize..end as usize].fill(byte);
            }
            let end = (from + len).min(SECTORS * 4096);
            let (range, len) = (from as usize..end as usize, end - from);
            prop_assert_eq!(&read(&overlay, from, len as usize), &model[range.clone()]);
            let changed = model[range].iter().any(|byte| *byte != 0xEE);
            prop_assert_eq!(overlay.touches(FileOffset(from), ByteLen(len)), changed);
        }
    }
}
