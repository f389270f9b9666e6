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
