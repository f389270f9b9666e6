//! The tree of a disk of a point, for looking up what stands where.

use std::{ops::Range, sync::Arc};

use hypercbt_extent::{Extent, Extents};
use hypercbt_repo::{ChunkId, NodeId, PointDisk, View, tree::TreeReader};

use crate::{
    Result,
    allocation::Grid,
    node_cache::{CachedNodes, NodeCache},
};

/// The tree of one disk; empty without one. Cheap to clone, and any thread may use it.
#[derive(Clone)]
pub(crate) struct BaseTree<'a> {
    nodes: CachedNodes<'a>,
    root: Option<NodeId>,
    /// Chunks of the disk that it maps, which may be of another size; `None` without a tree.
    chunks: Option<u64>,
}

impl<'a> BaseTree<'a> {
    /// The tree of `disk`, or of nothing.
    pub(crate) fn open(view: &'a View, chunk_bytes: u64, disk: Option<&PointDisk>) -> Self {
        let none = Self::none(view, Arc::default());
        match disk {
            Some(disk) => {
                let grid = Grid {
                    disk_bytes: disk.size,
                    chunk_bytes,
                };
                none.another(grid, disk.root)
            }
            None => none,
        }
    }

    /// The tree of nothing; others that are made from it keep what they read in `cache`.
    pub(crate) fn none(view: &'a View, cache: Arc<NodeCache>) -> Self {
        Self {
            nodes: CachedNodes { view, cache },
            root: None,
            chunks: None,
        }
    }

    /// The tree below `root`, which shares what was read of this one.
    pub(crate) fn another(&self, grid: Grid, root: Option<NodeId>) -> Self {
        Self {
            nodes: self.nodes.clone(),
            root,
            chunks: Some(grid.chunks()),
        }
    }

    /// Root and number of chunks, for a tree that is to be built on this one. A disk that shrank shares nothing.
    pub(crate) fn to_build_on(&self, chunks: u64) -> Option<(Option<NodeId>, u64)> {
        let own = self.chunks.filter(|own| *own <= chunks)?;
        Some((self.root, own))
    }

    /// What stands at these chunks; empty without a tree, and null past its end.
    pub(crate) fn ids(&self, chunks: &Range<u64>) -> Result<Vec<Option<ChunkId>>> {
        let Some(reader) = self.reader() else {
            return Ok(Vec::new());
        };
        let mut ids =
            vec![None; usize::try_from(chunks.end - chunks.start).expect("a job is small")];
        for leaf in reader.leaves(chunks.clone()) {
            for (chunk, id) in leaf?.present() {
                let index = usize::try_from(chunk - chunks.start).expect("within the job");
                if let Some(place) = ids.get_mut(index) {
                    *place = Some(id);
                }
            }
        }
        Ok(ids)
    }

    /// The bytes of `extent` in chunks that are not null.
    pub(crate) fn data(&self, grid: Grid, extent: Extent) -> Result<Extents> {
        let Some(reader) = self.reader() else {
            return Ok(Extents::default());
        };
        let mut found = Vec::new();
        for leaf in reader.leaves(grid.touched(extent)) {
            let chunks = leaf?;
            let extents = chunks
                .present()
                .filter_map(|(chunk, _)| grid.extent(&(chunk..chunk + 1))?.intersection(extent));
            found.extend(extents);
        }
        Ok(found.into_iter().collect())
    }

    /// How many bytes of these chunks are not zero here, in whole chunks clipped to the disk.
    pub(crate) fn non_null_bytes(&self, grid: Grid, chunks: &Range<u64>) -> Result<u64> {
        let Some(reader) = self.reader() else {
            return Ok(0);
        };
        let mut bytes = 0;
        for leaf in reader.leaves(chunks.clone()) {
            bytes += leaf?
                .present()
                .map(|(chunk, _)| grid.bytes(&(chunk..chunk + 1)))
                .sum::<u64>();
        }
        Ok(bytes)
    }

    /// Every chunk that is not null, with its number, in order.
    pub(crate) fn present(&self) -> impl Iterator<Item = Result<(u64, ChunkId)>> {
        let leaves = self
            .reader()
            .map(|reader| reader.leaves(0..reader.chunks()));
        leaves.into_iter().flatten().flat_map(|leaf| match leaf {
            Ok(leaf) => leaf.present().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error.into())],
        })
    }

    fn reader(&self) -> Option<TreeReader<'_>> {
        Some(TreeReader::new(&self.nodes, self.root, self.chunks?))
    }
}
