//! A raw disk file in memory, and the extents of it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_vhdx::{FileOffset, ReadAt, VirtualDisk};

use super::CHUNK;

const SECTOR: usize = 512;

/// A raw disk file in memory: bytes, and which sectors are no hole. A clone is the same file.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk {
    file: Arc<Mutex<File>>,
}

type Hook = Box<dyn FnMut(&mut File, u64) + Send>;

#[derive(Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    held: Vec<bool>,
    /// The time of modification, or something like it.
    pub(crate) stamp: i128,
    /// Reads that touch this byte fail.
    pub(crate) fails_at: Option<u64>,
    /// What was read since the disk was opened.
    reads: Vec<(u64, u64)>,
    /// Called before each read, with its offset.
    hook: Option<Hook>,
}

impl File {
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.held[at / SECTOR..(at + bytes.len()).div_ceil(SECTOR)].fill(true);
        }
        self.stamp += 1;
    }

    fn unmap(&mut self, at: u64, len: u64) {
        let (from, to) = (at as usize / SECTOR, (at + len) as usize / SECTOR);
        self.bytes[from * SECTOR..to * SECTOR].fill(0);
        self.held[from..to].fill(false);
        self.stamp += 1;
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.bytes.resize(len as usize, 0);
        self.held.resize(len as usize / SECTOR, false);
        self.stamp += 1;
    }
}

impl FakeDisk {
    /// A disk that is one hole.
    pub(crate) fn new(len: u64) -> Self {
        let disk = Self::default();
        disk.file().set_len(len);
        disk
    }

    /// A disk whose chunks hold what `chunks` says: 0 is a hole, every other number its own noise.
    pub(crate) fn of(chunks: &[u64]) -> Self {
        let disk = Self::new(chunks.len() as u64 * CHUNK);
        for (chunk, &seed) in (0..).zip(chunks) {
            if seed > 0 {
                disk.write(chunk * CHUNK, &noise(seed, CHUNK));
            }
        }
        disk
    }

    /// Another file with the same content.
    pub(crate) fn copy(&self) -> Self {
        let File { bytes, held, .. } = &*self.file();
        let file = File {
            bytes: bytes.clone(),
            held: held.clone(),
            ..File::default()
        };
        Self {
            file: Arc::new(Mutex::new(file)),
        }
    }

    pub(crate) fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap()
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.file().write(at, bytes);
    }

    /// Fills a chunk with the noise of `seed`.
    pub(crate) fn set(&self, chunk: u64, seed: u64) {
        self.write(chunk * CHUNK, &noise(seed, CHUNK));
    }

    /// Fills a chunk with zeros that are allocated.
    pub(crate) fn clear(&self, chunk: u64) {
        self.write(chunk * CHUNK, &vec![0; CHUNK as usize]);
    }

    /// Makes whole sectors a hole.
    pub(crate) fn unmap(&self, at: u64, len: u64) {
        self.file().unmap(at, len);
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.file().set_len(len);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.file().bytes.clone()
    }

    /// Opens it, and forgets what the opening read.
    pub(crate) fn open(&self) -> VirtualDisk {
        let storage: Box<dyn ReadAt> = Box::new(self.clone());
        let disk = VirtualDisk::from_storage(vec![("disk.raw".to_owned(), storage)]).unwrap();
        self.file().reads.clear();
        disk
    }

    /// Where was read since it was opened: sorted, in bytes.
    pub(crate) fn reads(&self) -> Vec<(u64, u64)> {
        let mut reads = self.file().reads.clone();
        reads.sort_unstable();
        reads
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.reads().iter().map(|(_, len)| len).sum()
    }

    /// Which chunks were read since it was opened: sorted, each as often as it was read.
    pub(crate) fn read_chunks(&self) -> Vec<u64> {
        let mut chunks: Vec<u64> = self
            .reads()
            .iter()
            .flat_map(|&(at, len)| at / CHUNK..(at + len).div_ceil(CHUNK))
            .collect();
        chunks.sort_unstable();
        chunks
    }

    /// Calls `hook` before each read.
    pub(crate) fn on_read(&self, hook: impl FnMut(&mut File, u64) + Send + 'static) {
        self.file().hook = Some(Box::new(hook));
    }
}

impl ReadAt for FakeDisk {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let mut file = self.file();
        if let Some(mut hook) = file.hook.take() {
            hook(&mut file, at.0);
            file.hook = Some(hook);
        }
        let (at, len) = (at.0, buf.len() as u64);
        file.reads.push((at, len));
        if file
            .fails_at
            .is_some_and(|bad| (at..at + len).contains(&bad))
        {
            return Err(io::Error::other("bad sector"));
        }
        let bytes = file.bytes.get(at as usize..(at + len) as usize);
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        Ok(ByteLen(self.file().bytes.len() as u64))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let file = self.file();
        let sector = SECTOR as u64;
        let held = (0..).zip(&file.held).filter(|(_, held)| **held);
        Ok(held
            .map(|(number, _)| extent(number * sector, sector))
            .collect())
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        Ok(Some(self.file().stamp))
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

pub(crate) fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

/// Changed extents from offsets and lengths, in any order.
pub(crate) fn changes(pairs: &[(u64, u64)]) -> Extents {
    Extents::from_unsorted(pairs.iter().map(|&(at, len)| extent(at, len)).collect())
}

/// The extents of whole chunks.
pub(crate) fn chunks(numbers: &[u64]) -> Extents {
    let pairs: Vec<_> = numbers.iter().map(|chunk| (chunk * CHUNK, CHUNK)).collect();
    changes(&pairs)
}
