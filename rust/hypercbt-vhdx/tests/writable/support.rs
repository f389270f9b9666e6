//! Small disks of every kind in files that can lose power, made from the specification and not by the crate.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "each test file uses its part; a test that is wrong may panic"
)]

use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::FileSystem;
use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{Guid, Guids, OpenOptions, Opening, Result, VirtualDisk, WritableVhdx};

use crate::common::image::{FILE_PARAMETERS, Image};
use crate::common::{KIB, MIB};

/// How the disk holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Fixed,
    Dynamic,
    /// Over a parent that holds something everywhere.
    Child,
}

pub const KINDS: [Kind; 3] = [Kind::Fixed, Kind::Dynamic, Kind::Child];

/// A disk to be made.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    pub kind: Kind,
    pub size: u64,
    pub block_bytes: u64,
    pub sector_bytes: u64,
}

pub const PATH: &str = "/disk.vhdx";
pub const PARENT: &str = "/parent.vhdx";

impl Disk {
    /// Four blocks of 1 MiB, of which the disk has three and a half.
    pub fn small(kind: Kind, sector_bytes: u64) -> Self {
        Self {
            kind,
            size: 3 * MIB + 512 * KIB,
            block_bytes: MIB,
            sector_bytes,
        }
    }

    /// So large that its table has two sectors of the log.
    pub fn large() -> Self {
        Self {
            kind: Kind::Dynamic,
            size: 601 * MIB,
            block_bytes: MIB,
            sector_bytes: 512,
        }
    }

    /// The stretches that tests of cuts look at: the first and the last bytes of each block of a small disk, and of
    /// the first and the last block of a large one.
    pub fn watched(&self) -> Vec<(u64, u64)> {
        let is_large = self.size > 8 * MIB;
        let starts = (0..self.size).step_by(self.block_bytes as usize);
        let starts =
            starts.filter(|at| !is_large || *at == 0 || at + self.block_bytes == self.size);
        let ends = starts.flat_map(|at| {
            let end = (at + self.block_bytes).min(self.size);
            [(at, 48 * KIB), (end - 16 * KIB, 16 * KIB)]
        });
        ends.collect()
    }

    /// The machine with the disk on it, and what the guest reads.
    pub fn build(&self) -> (SimFiles, Vec<u8>) {
        let mut state = SimFiles::new().now();
        let mut content = vec![0; self.size as usize];
        let mut image = match self.kind {
            Kind::Dynamic | Kind::Fixed => {
                Image::dynamic(self.size, self.block_bytes, self.sector_bytes)
            }
            Kind::Child => {
                Image::differencing(self.size, self.block_bytes, self.sector_bytes, [4; 16])
            }
        };
        let blocks = self.size.div_ceil(self.block_bytes);
        if self.kind == Kind::Fixed {
            image.item(FILE_PARAMETERS).bytes[4] = 1;
            for block in 0..blocks {
                let at = image.first_free + block * self.block_bytes;
                image.block(block, 6, at, &[]);
            }
        }
        if self.kind == Kind::Child {
            let mut parent = Image::dynamic(self.size, 2 * MIB, self.sector_bytes);
            for block in 0..self.size.div_ceil(2 * MIB) {
                let bytes = vec![0x50 + block as u8; 2 << 20];
                let at = parent.first_free + block * 2 * MIB;
                parent.block(block, 6, at, &bytes);
                let start = (block * 2 * MIB) as usize;
                let end = (start + bytes.len()).min(content.len());
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
            let file = parent.build();
            state.put(PARENT, file.read(0, file.bytes() as usize));
        }
        let file = image.build();
        state.put(PATH, file.read(0, file.bytes() as usize));
        (SimFiles::from_state(&state), content)
    }
}

/// The machine with a disk made of these parts.
pub fn machine(image: &Image) -> SimFiles {
    let mut state = SimFiles::new().now();
    let built = image.build();
    state.put(PATH, built.read(0, built.bytes() as usize));
    SimFiles::from_state(&state)
}

/// The GUIDs of the `n`-th session.
pub fn guids(n: u64) -> Guids {
    let guid = |kind| {
        let mut bytes = [kind; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        Guid(bytes)
    };
    Guids {
        file_write: guid(0xF0),
        data_write: guid(0xD0),
        log: guid(0x70),
    }
}

pub fn opening(files: &SimFiles) -> Result<Opening> {
    let files: Arc<dyn FileSystem> = Arc::new(files.clone());
    Opening::new(files, Path::new(PATH), &OpenOptions::default())
}

/// Opens the disk to be written, as the `n`-th session.
pub fn begin(files: &SimFiles, n: u64) -> WritableVhdx {
    opening(files).unwrap().begin(&guids(n)).unwrap()
}

pub fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

pub fn write(disk: &WritableVhdx, at: u64, bytes: &[u8]) {
    disk.write_at(DiskOffset(at), bytes).unwrap();
}

/// All of the disk.
pub fn content(disk: &WritableVhdx) -> Vec<u8> {
    let mut bytes = vec![0xA5; disk.size().0 as usize];
    disk.read_at(DiskOffset(0), &mut bytes).unwrap();
    bytes
}

/// The stretches of the disk, one after the other, as who only reads the files finds them.
pub fn read_watched(files: &SimFiles, watched: &[(u64, u64)]) -> Result<Vec<u8>> {
    let disk = VirtualDisk::open_in(files, Path::new(PATH), &OpenOptions::default())?;
    gather(watched, |at, buf| disk.read_at(at, buf))
}

/// The stretches of a disk, one after the other.
pub fn gather(
    watched: &[(u64, u64)],
    mut read: impl FnMut(DiskOffset, &mut [u8]) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for (at, len) in watched {
        let start = all.len();
        all.resize(start + *len as usize, 0xA5);
        read(DiskOffset(*at), &mut all[start..])?;
    }
    Ok(all)
}

/// All of the disk, as who only reads the files finds it.
pub fn read_only(files: &SimFiles) -> Result<Vec<u8>> {
    let disk = VirtualDisk::open_in(files, Path::new(PATH), &OpenOptions::default())?;
    let mut bytes = vec![0xA5; disk.size().0 as usize];
    disk.read_at(DiskOffset(0), &mut bytes)?;
    Ok(bytes)
}
