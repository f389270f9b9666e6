//! What differs between two points, in the time that the difference takes.

use hypercbt_extent::{Extent, Extents};
use hypercbt_repo::{Repository, RestorePoint, tree};

use crate::{Result, allocation::Grid, restore::find_disk};

/// The extents of the second disk's length that differ between two disks, in whole chunks; the end of a
/// longer disk differs where it is not zero.
pub fn diff(
    repository: &Repository,
    first: (&RestorePoint, u32),
    second: (&RestorePoint, u32),
) -> Result<Extents> {
    let view = repository.view()?;
    let chunk_bytes = u64::from(repository.chunk_bytes());
    let [first, second] = [find_disk(first.0, first.1)?, find_disk(second.0, second.1)?];
    let chunks = |size: u64| {
        Grid {
            disk_bytes: size,
            chunk_bytes,
        }
        .chunks()
    };
    let grid = Grid {
        disk_bytes: first.size.max(second.size),
        chunk_bytes,
    };
    let mut extents: Vec<Extent> = Vec::new();
    for chunk in tree::diff(
        &*view,
        (first.root, chunks(first.size)),
        (second.root, chunks(second.size)),
    ) {
        let chunk = chunk?;
        extents.extend(grid.extent(&(chunk..chunk + 1)));
    }
    Ok(Extents::from_unsorted(extents))
}
