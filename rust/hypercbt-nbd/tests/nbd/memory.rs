//! A disk in memory that does as it is told, and remembers what it was asked.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Content, Export};

/// The unit of holes: a piece of so many zeros is one.
pub(crate) const PIECE: usize = 4096;

/// A call that reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write(Extent),
    Zero(Extent, bool),
    Unmap(Extent),
    Flush,
}

/// Fails what touches this extent.
pub(crate) struct Fault {
    pub(crate) extent: Extent,
    pub(crate) error: fn() -> io::Error,
}

pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    calls: Mutex<Vec<Call>>,
    pub(crate) read_only: bool,
    pub(crate) block: u64,
    pub(crate) fault: Option<Fault>,
    /// Holes and data are told of only half of what was asked for.
    pub(crate) tells_half: bool,
}

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            calls: Mutex::default(),
            read_only: false,
            block: 1,
            fault: None,
            tells_half: false,
        }
    }

    /// A disk whose pieces of 4 KiB are data where the map has a letter, and holes where it has a dot.
    pub(crate) fn from_map(map: &str) -> Self {
        let piece = |letter: u8| vec![if letter == b'.' { 0 } else { letter }; PIECE];
        Self::new(map.bytes().flat_map(piece).collect())
    }

    pub(crate) fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
    }

    /// What reached the disk since the last time, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn called(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn check(&self, extent: Extent) -> io::Result<()> {
        match &self.fault {
            Some(fault) if fault.extent.intersection(extent).is_some() => Err((fault.error)()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn extent(start: usize, len: usize) -> Extent {
    Extent::new(DiskOffset(start as u64), ByteLen(len as u64)).unwrap()
}

fn range(extent: Extent) -> std::ops::Range<usize> {
    extent.start().0 as usize..extent.end().0 as usize
}

impl Export for MemoryDisk {
    fn size(&self) -> ByteLen {
        ByteLen(self.bytes().len() as u64)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn block_bytes(&self) -> ByteLen {
        ByteLen(self.block)
    }

    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        let extent = extent(at.0 as usize, buf.len());
        self.check(extent)?;
        buf.copy_from_slice(&self.bytes()[range(extent)]);
        Ok(())
    }

    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        let extent = extent(at.0 as usize, bytes.len());
        self.called(Call::Write(extent));
        self.check(extent)?;
        self.bytes()[range(extent)].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&self, extent: Extent, may_unmap: bool) -> io::Result<()> {
        self.called(Call::Zero(extent, may_unmap));
        self.check(extent)?;
        self.bytes()[range(extent)].fill(0);
        Ok(())
    }

    fn unmap(&self, extent: Extent) -> io::Result<()> {
        self.called(Call::Unmap(extent));
        self.check(extent)
    }

    fn flush(&self) -> io::Result<()> {
        self.called(Call::Flush);
        Ok(())
    }

    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        self.check(extent)?;
        let bytes = self.bytes();
        let mut range = range(extent);
        if self.tells_half {
            range.end -= range.len() / 2;
        }
        let mut segments = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let piece = at / PIECE * PIECE;
            let end = (piece + PIECE).min(bytes.len());
            let zero = bytes[piece..end].iter().all(|byte| *byte == 0);
            let content = if zero { Content::Zero } else { Content::Data };
            let end = end.min(range.end);
            segments.push((self::extent(at, end - at), content));
            at = end;
        }
        Ok(segments)
    }
}
