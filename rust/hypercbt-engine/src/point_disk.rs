//! Reading a disk of a restore point, or a file of its configuration, at any place, without restoring it.

use std::sync::Arc;

use hypercbt_extent::{Extent, Extents};
use hypercbt_repo::{ChunkId, NodeId, Repository, RestorePoint, View};

use crate::{
    Error, Result, allocation::Grid, base_tree::BaseTree, chunk_cache::ChunkCache,
    node_cache::NodeCache, restore::find_disk,
};

/// Bytes of chunks that are kept: file system parsers read small pieces near each other.
const CACHE_BYTES: u64 = 16 << 20;

/// Chunks that are kept, however large: clients read a disk from several places at once.
const CACHE_CHUNKS: usize = 8;

/// A disk or a file of a restore point, for reading. Any number of threads may read at once.
pub struct PointDiskReader {
    view: Arc<View>,
    root: Option<NodeId>,
    grid: Grid,
    nodes: Arc<NodeCache>,
    chunks: ChunkCache,
}

impl PointDiskReader {
    /// Opens one disk of a point.
    pub fn open(repository: &Repository, point: &RestorePoint, index: u32) -> Result<Self> {
        let disk = find_disk(point, index)?;
        Self::of_tree(repository, disk.root, disk.size)
    }

    /// Opens one file of the machine's configuration.
    pub fn open_file(repository: &Repository, point: &RestorePoint, name: &str) -> Result<Self> {
        let file = point.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| Error::NoSuchFile {
            point: point.id,
            name: name.to_owned(),
        })?;
        Self::of_tree(repository, file.root, file.size)
    }

    fn of_tree(repository: &Repository, root: Option<NodeId>, size: u64) -> Result<Self> {
        let grid = Grid {
            disk_bytes: size,
            chunk_bytes: u64::from(repository.chunk_bytes()),
        };
        Ok(Self {
            view: repository.view()?,
            root,
            grid,
            nodes: Arc::default(),
            chunks: ChunkCache::new(to_usize(CACHE_BYTES / grid.chunk_bytes).max(CACHE_CHUNKS)),
        })
    }

    /// The length of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.grid.disk_bytes
    }

    /// Where `extent` holds data. Everything else in it reads as zeros, and costs no read.
    pub fn data(&self, extent: Extent) -> Result<Extents> {
        self.tree().data(self.grid, extent)
    }

    /// Fills `buffer` from position `at` of the disk.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len() as u64;
        let outside = Error::OutOfRange {
            at,
            len,
            disk_len: self.size(),
        };
        let end = at
            .checked_add(len)
            .filter(|end| *end <= self.size())
            .ok_or(outside)?;
        if len == 0 {
            return Ok(());
        }
        let chunks = at / self.grid.chunk_bytes..end.div_ceil(self.grid.chunk_bytes);
        let ids = self.tree().ids(&chunks)?;
        let mut rest = buffer;
        let mut position = at;
        for (chunk, id) in chunks.zip(ids) {
            let within = to_usize(position - chunk * self.grid.chunk_bytes);
            let part_len = to_usize(self.grid.chunk_bytes)
                .saturating_sub(within)
                .min(rest.len());
            let (part, after) = rest.split_at_mut(part_len);
            match id {
                None => part.fill(0),
                Some(id) => {
                    let plain = self.chunk(id)?;
                    let bytes = plain
                        .get(within..within + part_len)
                        .ok_or(hypercbt_repo::Error::ChunkLost { id })?;
                    part.copy_from_slice(bytes);
                }
            }
            position += part_len as u64;
            rest = after;
        }
        Ok(())
    }

    fn tree(&self) -> BaseTree<'_> {
        let none = BaseTree::none(&self.view, Arc::clone(&self.nodes));
        none.another(self.grid, self.root)
    }

    fn chunk(&self, id: ChunkId) -> Result<Arc<Vec<u8>>> {
        self.chunks.get(id, || Ok(self.view.chunk(id)?))
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a chunk fits in memory")
}
