//! A file in memory that may be as long as it likes: only what was written takes space.

use std::collections::BTreeMap;
use std::io;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_vhdx::{FileOffset, ReadAt};

const PAGE: u64 = 4096;

/// Zeros, but for what was written.
#[derive(Debug, Clone, Default)]
pub struct SparseFile {
    len: u64,
    pages: BTreeMap<u64, Box<[u8; 4096]>>,
}

impl SparseFile {
    /// Writes `bytes`, growing the file where needed.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut at = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at % PAGE) as usize;
            let len = rest.len().min(4096 - offset);
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| Box::new([0; 4096]));
            page[offset..offset + len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            at += len as u64;
        }
        self.len = self.len.max(at);
    }

    /// Bytes of the file; zeros past its end.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.copy(at, &mut bytes);
        bytes
    }

    /// Makes the file this long; what is cut off is gone.
    pub fn set_len(&mut self, len: u64) {
        self.len = len;
        self.pages.retain(|page, _| page * PAGE < len);
        if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
            page[(len % PAGE) as usize..].fill(0);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.len
    }

    fn copy(&self, at: u64, buf: &mut [u8]) {
        let mut at = at;
        let mut rest = buf;
        while !rest.is_empty() {
            let offset = (at % PAGE) as usize;
            let len = rest.len().min(4096 - offset);
            let (piece, after) = rest.split_at_mut(len);
            match self.pages.get(&(at / PAGE)) {
                Some(page) => piece.copy_from_slice(&page[offset..offset + len]),
                None => piece.fill(0),
            }
            rest = after;
            at += len as u64;
        }
    }
}

impl ReadAt for SparseFile {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let end = at.0.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.copy(at.0, buf);
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.len))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let pages = self.pages.keys().filter_map(|page| {
            let end = (page * PAGE + PAGE).min(self.len);
            Extent::between(DiskOffset(page * PAGE), DiskOffset(end))
        });
        Ok(pages.collect())
    }
}
