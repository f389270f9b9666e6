//! Room in the file: what lies free between its parts, and what is added at its end.

use std::collections::{BTreeMap, BTreeSet};

use hypercbt_extent::ByteLen;

use super::live_file::LiveFile;
use crate::format::{MAX_FILE_BYTES, MIB};
use crate::{Error, FileOffset, Part, Reason, Result};

/// The free ranges of a file, in whole MiB.
#[derive(Debug)]
pub(super) struct FreeSpace {
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
    /// The length of the file, a multiple of 1 MiB.
    end: u64,
}

/// A range that is nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) at: FileOffset,
    /// It was added to the file just now, so it holds zeros. Other free room holds anything.
    pub(super) is_new: bool,
}

impl FreeSpace {
    /// The free ranges of a file of `end` bytes, each a start and a length.
    pub(super) fn new(end: ByteLen, free: impl IntoIterator<Item = (FileOffset, ByteLen)>) -> Self {
        let mut space = Self {
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
            end: end.0,
        };
        for (at, len) in free {
            space.give(at, len);
        }
        space
    }

    /// The length of the file.
    pub(super) fn file_len(&self) -> ByteLen {
        ByteLen(self.end)
    }

    /// Takes `len` bytes, a multiple of 1 MiB: the smallest free range that fits, else new ones at the end.
    ///
    /// # Errors
    /// The file cannot grow. Nothing has changed then.
    pub(super) fn take(&mut self, file: &LiveFile, len: ByteLen) -> Result<Taken> {
        if let Some((found, start)) = self.by_len.range((len.0, 0)..).next().copied() {
            self.remove(start, found);
            let rest = found - len.0;
            if rest > 0 {
                self.insert(start + len.0, rest);
            }
            let at = FileOffset(start);
            return Ok(Taken { at, is_new: false });
        }
        let at = FileOffset(self.end);
        let end = self.end.saturating_add(len.0);
        if end > MAX_FILE_BYTES {
            return Err(Error::Corrupt {
                file: file.path().to_owned(),
                part: Part::Bat,
                reason: Reason::FileSize(end),
            });
        }
        file.grow(ByteLen(end))?;
        self.end = end;
        Ok(Taken { at, is_new: true })
    }

    /// Gives a range back, which then is free for the next who takes one.
    pub(super) fn give(&mut self, at: FileOffset, len: ByteLen) {
        let (mut start, mut end) = (at.0, at.0.saturating_add(len.0));
        debug_assert!(start.is_multiple_of(MIB) && end.is_multiple_of(MIB) && start < end);
        let before = self.by_start.range(..start).next_back();
        if let Some((before, len)) = before.map(|(before, len)| (*before, *len))
            && before + len == start
        {
            self.remove(before, len);
            start = before;
        }
        if let Some(len) = self.by_start.get(&end).copied() {
            self.remove(end, len);
            end += len;
        }
        self.insert(start, end - start);
    }

    fn insert(&mut self, start: u64, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hypercbt_file::FileSystem;
    use hypercbt_powercut::SimFiles;

    use super::*;

    fn file(mib: u64) -> LiveFile {
        let path = Path::new("/f");
        let file = SimFiles::new().create_new(path).unwrap();
        file.set_len(ByteLen(mib * MIB)).unwrap();
        LiveFile::new(file, path.to_owned())
    }

    fn range(at: u64, len: u64) -> (FileOffset, ByteLen) {
        (FileOffset(at * MIB), ByteLen(len * MIB))
    }

    fn take(space: &mut FreeSpace, file: &LiveFile, mib: u64) -> (u64, bool) {
        let taken = space.take(file, ByteLen(mib * MIB)).unwrap();
        (taken.at.0 / MIB, taken.is_new)
    }

    #[test]
    fn the_smallest_range_that_fits_is_taken_and_its_rest_stays_free() {
        let file = file(20);
        let mut space = FreeSpace::new(ByteLen(20 * MIB), [range(2, 8), range(12, 3)]);
        assert_eq!(take(&mut space, &file, 2), (12, false));
        assert_eq!(take(&mut space, &file, 1), (14, false));
        assert_eq!(take(&mut space, &file, 4), (2, false));
        assert_eq!(take(&mut space, &file, 4), (6, false));
        assert_eq!(take(&mut space, &file, 1), (20, true));
        assert_eq!(file.len().unwrap(), ByteLen(21 * MIB));
        assert_eq!(space.file_len(), ByteLen(21 * MIB));
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let file = file(20);
        let mut space = FreeSpace::new(ByteLen(20 * MIB), [range(2, 1), range(4, 1)]);
        space.give(range(3, 1).0, range(3, 1).1);
        assert_eq!(take(&mut space, &file, 3), (2, false));
        assert_eq!(take(&mut space, &file, 1), (20, true));
    }

    #[test]
    fn a_file_is_never_larger_than_we_would_read() {
        let file = file(20);
        let mut space = FreeSpace::new(ByteLen(MAX_FILE_BYTES), []);
        let refused = space.take(&file, ByteLen(MIB));
        assert!(matches!(refused, Err(Error::Corrupt { .. })));
        assert_eq!(space.file_len(), ByteLen(MAX_FILE_BYTES));
    }
}
