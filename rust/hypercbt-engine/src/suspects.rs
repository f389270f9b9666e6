//! Which older points may be wrong after a missed change was found.
//!
//! The bytes that the base holds at a missed place come from the last run that read the place, or is not known to
//! have left it alone: their *origin*. A point that holds bytes of the same origin, and did not read them itself,
//! is *suspect*: the change may have happened before it. Newer points than the base can be among them, where a
//! list is relative to an older one.

use std::{collections::BTreeMap, ops::Range};

use hypercbt_repo::{ChunkId, Method, PointDisk, RestorePoint, Run, Suspect, Timestamp};

use crate::{
    Error, Result,
    allocation::Grid,
    base::Base,
    base_tree::BaseTree,
    identity::{self, Identity},
    machine::is_lost,
};

/// A disk of which changes were missed.
pub(crate) struct Missed<'a> {
    pub(crate) run: &'a Run,
    /// When the run began.
    pub(crate) created: Timestamp,
    pub(crate) machine: &'a str,
    /// All points, newest first.
    pub(crate) points: &'a [RestorePoint],
    /// What the disk was built on.
    pub(crate) base: &'a Base,
    pub(crate) grid: Grid,
    /// The chunks: sorted, disjoint.
    pub(crate) chunks: &'a [Range<u64>],
}

/// Records, for each row of suspect points, the places that are in doubt.
pub(crate) fn record(missed: &Missed<'_>) -> Result<()> {
    let Missed { run, grid, .. } = *missed;
    let disk = &missed.base.disk;
    let steps = steps(missed);
    let base = missed.base.point;
    let Some(base) = steps.iter().position(|step| step.point.id == base) else {
        return Ok(());
    };
    let history = History { steps, base };
    let mut rows: BTreeMap<(usize, usize), Vec<Range<u64>>> = BTreeMap::new();
    for chunk in missed.chunks.iter().cloned().flatten() {
        let Some(row) = history.row(chunk)? else {
            continue;
        };
        let ranges = rows.entry(row).or_default();
        match ranges.last_mut() {
            Some(range) if range.end == chunk => range.end += 1,
            _ => ranges.push(chunk..chunk + 1),
        }
    }
    for ((first, last), ranges) in rows {
        let (Some(first), Some(last)) = (history.steps.get(first), history.steps.get(last)) else {
            continue;
        };
        run.add_suspect(Suspect {
            machine: missed.machine.to_owned(),
            disk: disk.disk_id.clone().unwrap_or_else(|| disk.name.clone()),
            extents: ranges
                .iter()
                .filter_map(|range| grid.extent(range))
                .map(|extent| (extent.start().0, extent.len().0))
                .collect(),
            first: first.point.id,
            last: last.point.id,
            found_by: run.id(),
            found_at: missed.created,
        })?;
    }
    Ok(())
}

/// A point, and its disk's tree.
struct Step<'a> {
    point: &'a RestorePoint,
    disk: &'a PointDisk,
    tree: BaseTree<'a>,
    /// The step that it was built on. Always an earlier one, so that no way back is a circle.
    base: Option<usize>,
}

/// All points of one disk, oldest first.
struct History<'a> {
    steps: Vec<Step<'a>>,
    /// The one that the run is built on.
    base: usize,
}

/// Whose bytes a point holds at one place.
#[derive(Clone, Copy)]
struct Origin {
    step: usize,
    /// Whether that run has read them. If not, it is only the oldest that is known to hold them.
    read: bool,
}

enum Source {
    Here { read: bool },
    Base(usize),
}

fn steps<'a>(missed: &Missed<'a>) -> Vec<Step<'a>> {
    let (disk, grid) = (&missed.base.disk, missed.grid);
    let tree = BaseTree::open(missed.run.view(), grid.chunk_bytes, None);
    let own = || missed.points.iter().filter(|p| p.machine == missed.machine);
    let base = own().find(|point| point.id == missed.base.point);
    let alone = base.is_some_and(|base| identity::is_alone(base, disk));
    let mut steps: Vec<Step<'_>> = Vec::new();
    for point in own().rev() {
        let found = Identity::of(disk).find(point, alone);
        let Some(disk) = found.filter(|found| found.size == disk.size) else {
            continue;
        };
        let base = disk
            .base
            .and_then(|base| steps.iter().position(|step| step.point.id == base));
        steps.push(Step {
            point,
            disk,
            tree: tree.another(grid, disk.root),
            base,
        });
    }
    steps
}

impl History<'_> {
    /// The first and the last point that may be wrong at this chunk, if any may.
    fn row(&self, chunk: u64) -> Result<Option<(usize, usize)>> {
        let mut known = vec![None; self.steps.len()];
        let origin = self.origin(self.base, chunk, &mut known)?;
        let mut row: Option<(usize, usize)> = None;
        for step in origin.step..self.steps.len() {
            let same = self.origin(step, chunk, &mut known)?.step == origin.step;
            let right = step == origin.step && origin.read;
            if same && !right {
                row = Some((row.map_or(step, |(first, _)| first), step));
            }
        }
        Ok(row)
    }

    /// Goes back from base to base, and notes for every point on the way what it found.
    fn origin(&self, step: usize, chunk: u64, known: &mut [Option<Origin>]) -> Result<Origin> {
        let mut way = Vec::new();
        let mut step = step;
        let origin = loop {
            if let Some(&Some(origin)) = known.get(step) {
                break origin;
            }
            way.push(step);
            match self.source(step, chunk)? {
                Source::Here { read } => break Origin { step, read },
                Source::Base(base) => step = base,
            }
        };
        for step in way {
            if let Some(known) = known.get_mut(step) {
                *known = Some(origin);
            }
        }
        Ok(origin)
    }

    fn source(&self, number: usize, chunk: u64) -> Result<Source> {
        let Some(step) = self.steps.get(number) else {
            return Ok(Source::Here { read: false });
        };
        if step.read(chunk) {
            return Ok(Source::Here { read: true });
        }
        let base = step
            .base
            .and_then(|base| Some((base, self.steps.get(base)?)));
        let Some((number, base)) = base else {
            // Its base is gone, and with it the proof that it did not read.
            return Ok(Source::Here { read: false });
        };
        Ok(match (step.ids(chunk)?, base.ids(chunk)?) {
            (Some(ids), Some(before)) if ids == before => Source::Base(number),
            // Its id differs from its base's: it was claimed there, and read.
            (Some(_), Some(_)) => Source::Here { read: true },
            // A tree that is damaged proves nothing either.
            _ => Source::Here { read: false },
        })
    }
}

impl Step<'_> {
    /// What stands there, in a list of one; `None` if that is lost.
    fn ids(&self, chunk: u64) -> Result<Option<Vec<Option<ChunkId>>>> {
        match self.tree.ids(&(chunk..chunk + 1)) {
            Err(Error::Repository(error)) if is_lost(&error) => Ok(None),
            ids => ids.map(Some),
        }
    }

    /// Whether this point is known to have read the chunk from the source. A span that is only younger than the
    /// point comes from a clock that went back.
    fn read(&self, chunk: u64) -> bool {
        matches!(self.disk.method, Method::Full | Method::Compare)
            || self
                .disk
                .audit
                .read
                .iter()
                .any(|span| span.at == self.point.created && (span.from..span.to).contains(&chunk))
    }
}
