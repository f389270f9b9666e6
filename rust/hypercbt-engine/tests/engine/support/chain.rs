//! A disk of a virtual machine in real files, as a host keeps it: a base, checkpoints on top, and what a guest wrote.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use hypercbt_file::{FileSystem, LocalFiles};
use hypercbt_vhdx::{
    Guid, Guids, NewKind, NewVhdx, OpenOptions, Opening, VhdxOptions, VirtualDisk, WritableVhdx,
    create_vhdx, merge,
};

use super::{CHUNK, changes, extent, noise};

/// The files of one disk, the one that the guest writes to last.
pub(crate) struct Chain {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    /// What the guest sees.
    pub(crate) bytes: Vec<u8>,
    /// What it wrote since the last seal.
    written: Vec<(u64, u64)>,
    /// GUIDs of sessions that wrote: each is used once.
    next: u64,
}

impl Chain {
    /// A disk of whole chunks that holds noise in each.
    pub(crate) fn new(disk_id: u8, chunks: u64) -> Self {
        let mut chain = Self {
            folder: tempfile::tempdir().unwrap(),
            files: Vec::new(),
            bytes: vec![0; (chunks * CHUNK) as usize],
            written: Vec::new(),
            next: 0,
        };
        let options = VhdxOptions {
            size: ByteLen(chunks * CHUNK),
            block_bytes: 1 << 20,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            disk_id: Guid([disk_id; 16]),
            file_write_guid: chain.guid(),
            data_write_guid: chain.guid(),
        };
        let kind = NewKind::Dynamic;
        let base = chain.folder.path().join("disk.vhdx");
        create_vhdx(&LocalFiles, &base, &NewVhdx { kind, options }).unwrap();
        chain.files.push(base);
        for chunk in 0..chunks {
            chain.set(chunk, u64::from(disk_id) * 1_000 + chunk + 1);
        }
        chain
    }

    fn guid(&mut self) -> Guid {
        self.next += 1;
        let mut guid = [0x77; 16];
        guid[..8].copy_from_slice(&self.next.to_le_bytes());
        Guid(guid)
    }

    fn guids(&mut self) -> Guids {
        Guids {
            file_write: self.guid(),
            data_write: self.guid(),
            log: self.guid(),
        }
    }

    pub(crate) fn leaf(&self) -> &Path {
        self.files.last().unwrap()
    }

    fn session(&mut self, path: &Path, work: impl FnOnce(&WritableVhdx)) {
        let guids = self.guids();
        let files: Arc<dyn FileSystem> = Arc::new(LocalFiles);
        let opening = Opening::new(files, path, &self.options()).unwrap();
        let file = opening.begin(&guids).unwrap();
        work(&file);
        let closed = self.guid();
        file.close(closed).unwrap();
    }

    /// The guest writes.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let leaf = self.leaf().to_owned();
        self.session(&leaf, |file| file.write_at(DiskOffset(at), bytes).unwrap());
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        self.written.push((at, bytes.len() as u64));
    }

    /// The guest fills a chunk with the noise of `seed`.
    pub(crate) fn set(&mut self, chunk: u64, seed: u64) {
        self.write(chunk * CHUNK, &noise(seed, CHUNK));
    }

    /// The guest says that it needs a stretch no more; a layer then says that it is zero.
    pub(crate) fn zero(&mut self, at: u64, len: u64) {
        let leaf = self.leaf().to_owned();
        self.session(&leaf, |file| file.zero(extent(at, len)).unwrap());
        self.bytes[at as usize..(at + len) as usize].fill(0);
        self.written.push((at, len));
    }

    /// What change tracking says was written since the last time.
    pub(crate) fn seal(&mut self) -> Extents {
        changes(&std::mem::take(&mut self.written))
    }

    /// The guest goes on in a new file, as after a checkpoint that somebody made.
    pub(crate) fn push(&mut self, name: &str) {
        let path = self.new_layer(name);
        self.files.push(path);
    }

    /// An empty file on top, in a folder of its own if the name has one.
    fn new_layer(&mut self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (file_write, data_write) = (self.guid(), self.guid());
        let new = NewVhdx::child_of(self.leaf(), file_write, data_write);
        create_vhdx(&LocalFiles, &path, &new).unwrap();
        path
    }

    /// The checkpoint goes away: its file is merged into the one below.
    pub(crate) fn merge(&mut self) {
        let child = self.files.pop().unwrap();
        let files: Arc<dyn FileSystem> = Arc::new(LocalFiles);
        let options = self.options();
        let (of_child, of_parent) = (self.guids(), self.guids());
        let opening = Opening::new(Arc::clone(&files), &child, &options).unwrap();
        let child = opening.begin(&of_child).unwrap();
        let merged = merge(child, &files, self.leaf(), &options, &of_parent).unwrap();
        let closed = self.guid();
        merged.close(closed).unwrap();
    }

    pub(crate) fn resize(&mut self, chunks: u64) {
        let leaf = self.leaf().to_owned();
        let len = chunks * CHUNK;
        self.session(&leaf, |file| file.resize(ByteLen(len)).unwrap());
        self.bytes.resize(len as usize, 0);
    }

    /// The disk as it is frozen.
    pub(crate) fn open(&self) -> VirtualDisk {
        VirtualDisk::open(self.leaf(), &self.options()).unwrap()
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            parents: self.files.clone(),
            parent_folders: Vec::new(),
        }
    }

    /// The disk as an application-consistent checkpoint freezes it: under a layer in which applications wrote, and
    /// which is thrown away with the checkpoint. Returns the bytes, too.
    pub(crate) fn open_under(&mut self, writes: &[(u64, &[u8])]) -> (VirtualDisk, Vec<u8>) {
        let name = format!("disk_{}.avhdx", self.next);
        let path = self.new_layer(&name);
        let mut bytes = self.bytes.clone();
        self.session(&path, |file| {
            for (at, part) in writes {
                file.write_at(DiskOffset(*at), part).unwrap();
                bytes[*at as usize..*at as usize + part.len()].copy_from_slice(part);
            }
        });
        let disk = VirtualDisk::open(&path, &self.options()).unwrap();
        (disk, bytes)
    }
}
