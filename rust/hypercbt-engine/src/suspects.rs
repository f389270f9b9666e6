//! Which older points may be wrong after a missed change was found.
//!
//! A point that holds the base's id at a missed place, and did not read that place itself, is *suspect*: the
//! change may have happened before it. From the base backwards, the first point that read the place
//! physically ends the row; it is right.

use std::{collections::BTreeMap, ops::Range};

use hypercbt_repo::{ChunkId, Method, PointDisk, PointId, RestorePoint, Run, Suspect};

use crate::{BackupRequest, Result, allocation::Grid, base::Basis, base_tree::BaseTree};

/// Records, for each row of suspect points, the places that are in doubt.
pub(crate) fn record(
    run: &Run,
    request: &BackupRequest<'_>,
    grid: Grid,
    points: &[RestorePoint],
    basis: &Basis,
    missed: &[Range<u64>],
) -> Result<()> {
    let Some((last, disk)) = &basis.base else {
        return Ok(());
    };
    let history = history(points, *last, grid, run);
    let mut rows: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
    for range in missed {
        for chunk in range.clone() {
            let length = row_length(&history, chunk)?;
            if length == 0 {
                continue;
            }
            let ranges = rows.entry(length).or_default();
            match ranges.last_mut() {
                Some(range) if range.end == chunk => range.end += 1,
                _ => ranges.push(chunk..chunk + 1),
            }
        }
    }
    for (length, ranges) in rows {
        let Some(first) = history.get(length - 1) else {
            continue;
        };
        run.add_suspect(Suspect {
            machine: request.machine.clone(),
            disk: disk.disk_id.clone().unwrap_or_else(|| disk.name.clone()),
            extents: ranges
                .iter()
                .filter_map(|range| grid.extent(range))
                .map(|extent| (extent.start().0, extent.len().0))
                .collect(),
            first: first.id,
            last: *last,
            found_by: request.run,
            found_at: request.created,
        })?;
    }
    Ok(())
}

/// A point of the row, and its disk's tree.
struct Step<'a> {
    id: PointId,
    disk: &'a PointDisk,
    created: hypercbt_repo::Timestamp,
    tree: BaseTree<'a>,
}

/// The base, its base, and so on, as far as they stand and hold a disk of this size.
fn history<'a>(
    points: &'a [RestorePoint],
    last: PointId,
    grid: Grid,
    run: &'a Run,
) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut next = Some(last);
    while let Some(point) = next.and_then(|id| points.iter().find(|point| point.id == id)) {
        let Some(disk) = point
            .disks
            .first()
            .filter(|disk| disk.size == grid.disk_bytes)
        else {
            break;
        };
        let tree = BaseTree::open(run.view(), grid.chunk_bytes, Some(disk));
        steps.push(Step {
            id: point.id,
            disk,
            created: point.created,
            tree,
        });
        // A base is older than its point, so the row ends; a forged circle would not.
        next = disk
            .base
            .filter(|base| steps.iter().all(|step| step.id != *base));
    }
    steps
}

/// How many points from the base backwards hold the same id there and did not read it themselves.
fn row_length(history: &[Step<'_>], chunk: u64) -> Result<usize> {
    let id_in = |step: &Step<'_>| -> Result<Option<ChunkId>> {
        Ok(step
            .tree
            .ids(&(chunk..chunk + 1))?
            .first()
            .copied()
            .flatten())
    };
    for (length, step) in history.iter().enumerate() {
        if step.read(chunk) {
            return Ok(length);
        }
        match history.get(length + 1) {
            // Its id differs from its base's: it was claimed there, and read.
            Some(base) if id_in(base)? != id_in(step)? => return Ok(length),
            Some(_) => {}
            // Its base is gone, and with it the proof that it did not read.
            None => return Ok(length + 1),
        }
    }
    Ok(history.len())
}

impl Step<'_> {
    /// Whether this point is known to have read the chunk from the source.
    fn read(&self, chunk: u64) -> bool {
        matches!(self.disk.method, Method::Full | Method::Compare)
            || self
                .disk
                .audit
                .read
                .iter()
                .any(|span| span.at >= self.created && (span.from..span.to).contains(&chunk))
    }
}
