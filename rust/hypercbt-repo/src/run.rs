//! One run: what a backup writes, from its lease to its restore point.
//!
//! ```text
//! lease → packs → index segments → restore point → baseline → closed
//! ```
//!
//! Each arrow is a promise: what stands before it is durable before what stands after it is begun (format §1).
//! So a run may end anywhere: before the restore point there is nothing that anybody refers to, and after it
//! everything that it refers to is there.

mod packer;
mod pending;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hypercbt_file::step;

use crate::{
    Base, Baseline, ChunkId, DamagedPlace, Error, Lease, NodeId, Outcome, PointId, Record,
    RecordKind, Repository, RestorePoint, Result, RunId, Suspect, Timestamp, View, VmState,
    catalog::Catalog,
    leases::end,
    name,
    object::{self, ObjectKind},
    points::{self, Named},
    tree::{Node, NodeSink, NodeSource},
    view::decode_node,
};
use packer::{Packer, Settings};

/// What is decided when a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// 16 random bytes. They name the restore point too.
    pub id: RunId,
    /// Now.
    pub created: Timestamp,
    /// The restore points that the run builds on.
    pub bases: Vec<PointId>,
    /// What is backed up: `file:NAME` or `vm:GUID`.
    pub machine: String,
    /// Who runs it, so that others can judge later whether that one still lives.
    pub owner: Option<String>,
    /// What stands on the host of the machine, if there is one.
    pub vm: Option<VmState>,
    /// The zstd level of tree nodes.
    pub level: i32,
    /// The size at which a pack is finished.
    pub pack_bytes: u64,
    /// How many plain bytes of new chunks there are to one index segment.
    pub segment_bytes: u64,
}

/// What a run has written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunStats {
    /// Chunks, as stored.
    pub stored_bytes: u64,
    /// Nodes, footers, headers and index segments.
    pub metadata_bytes: u64,
    /// Finished packs (a number).
    pub packs: u64,
    /// Index segments (a number).
    pub segments: u64,
}

/// A run that has begun. What several threads share of it takes `&self`.
///
/// Dropped without [`close`](Self::close), it is aborted as well as that goes.
pub struct Run {
    repository: Repository,
    id: RunId,
    /// The greatest sequence number among the base points: the new point comes after them in any case.
    after: u64,
    packer: Packer,
    suspects: AtomicU64,
    committed: bool,
    closed: bool,
}

impl Repository {
    /// Begins a run: its lease first, then a look at what is there. Packs that no index segment tells of, such
    /// as those of a run that was killed, are indexed now, so that nothing is stored twice.
    ///
    /// # Errors
    /// [`Error::PointNotFound`] if a base point does not exist.
    pub fn begin(&self, options: RunOptions) -> Result<Run> {
        let storage = &**self.storage();
        let settings = Settings::from(&options);
        let RunOptions {
            id,
            created,
            bases,
            machine,
            owner,
            vm,
            ..
        } = options;
        let points = bases
            .into_iter()
            .map(|base| self.point(base))
            .collect::<Result<Vec<_>>>()?;
        let bases = points.iter().map(|point| Base {
            point: point.id,
            roots: point.roots().collect(),
        });
        let lease = Lease {
            run: id,
            created,
            machine,
            bases: bases.collect(),
            owner,
            vm,
        };
        let name = name::lease(id);
        lease
            .check(id)
            .map_err(|reason| Error::damaged(&name, reason))?;
        if !step::left_out("repo.lease") {
            object::create(storage, &name, ObjectKind::Lease, &lease)?;
        }
        let catalog = Catalog::open(self.storage(), Some(id));
        let view = catalog.and_then(|catalog| View::new(self, catalog));
        let view = view.inspect_err(|_| {
            // The lease stands already. That it cannot be closed either adds nothing to the error.
            let _ = end(storage, id, Outcome::Aborted);
        })?;
        Ok(Run {
            repository: self.clone(),
            id,
            after: points.iter().map(|point| point.sequence).max().unwrap_or(0),
            packer: Packer::new(self, view, settings),
            suspects: AtomicU64::new(0),
            committed: false,
            closed: false,
        })
    }
}

impl Run {
    /// The id of the run, and of the restore point that it makes.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The repository as it was when the run began, and what the run itself has indexed since.
    pub fn view(&self) -> &View {
        self.packer.view()
    }

    /// For each id whether it is unknown and now the caller's to store. Nobody else is told so in this run.
    pub fn claim(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        self.packer.claim(ids)
    }

    /// Puts records of chunks into packs. Waits while two finished packs are not yet durable.
    ///
    /// # Errors
    /// Also what went wrong with earlier packs since the last call.
    pub fn append(&self, records: Vec<Record>) -> Result<()> {
        self.packer.append(records)
    }

    /// Stores a tree node, unless it is known.
    pub fn put_node(&self, id: NodeId, bytes: Vec<u8>) -> Result<()> {
        self.packer.put_node(id, bytes)
    }

    /// The bytes of a tree node, those that this run has just put included.
    ///
    /// # Errors
    /// [`Error::NodeLost`] if it stands nowhere unharmed.
    pub fn node_bytes(&self, id: NodeId) -> Result<Vec<u8>> {
        self.packer.node_bytes(id)
    }

    /// What the run has written so far. Complete after [`flush`](Self::flush).
    pub fn stats(&self) -> RunStats {
        self.packer.stats()
    }

    /// Makes everything durable that was appended or put: packs, then an index segment over them.
    pub fn flush(&self) -> Result<()> {
        self.packer.flush()
    }

    /// Makes the restore point, and gives it back with its sequence number. It is the only commit.
    ///
    /// # Errors
    /// [`Error::Fenced`] if the run was declared dead meanwhile, [`Error::Unstored`] if a claimed chunk was
    /// not appended, [`Error::NodeLost`] if the root of a disk or file does not stand.
    pub fn commit(&mut self, mut point: RestorePoint) -> Result<RestorePoint> {
        if step::left_out("repo.commit.order") {
            self.create_point(&mut point)?;
            self.flush_all(&point)?;
        } else {
            self.flush_all(&point)?;
            self.create_point(&mut point)?;
        }
        self.committed = true;
        Ok(point)
    }

    /// Makes durable all that the point refers to.
    fn flush_all(&self, point: &RestorePoint) -> Result<()> {
        self.flush()?;
        self.packer.check_stored()?;
        self.check_roots(point)
    }

    fn create_point(&self, point: &mut RestorePoint) -> Result<()> {
        point.sequence = self.next_sequence()?;
        let (storage, name) = (&**self.repository.storage(), name::point(self.id));
        // What cannot be read back is not written.
        point
            .check(self.id)
            .map_err(|reason| Error::damaged(&name, reason))?;
        let bytes = object::sealed(&name, ObjectKind::Point, &*point)?;
        match storage
            .create_exclusive(&name, &bytes)
            .map_err(Error::storage("create", &name))
        {
            Err(error) if error.is_already_exists() => self.check_ours(point, error),
            made => made,
        }
    }

    /// Adds what a later incremental can start from. It comes after the restore point.
    ///
    /// # Errors
    /// [`Error::PointNotFound`] if it is not of this run's restore point, or that was not made.
    pub fn add_baseline(&self, baseline: &Baseline) -> Result<()> {
        if !self.committed || baseline.point != self.id {
            return Err(Error::PointNotFound {
                id: baseline.point.to_string(),
            });
        }
        let name = name::baseline(self.id);
        baseline
            .check(self.id)
            .map_err(|reason| Error::damaged(&name, reason))?;
        object::create(
            &**self.repository.storage(),
            &name,
            ObjectKind::Baseline,
            baseline,
        )
    }

    /// Writes down what the audit found wrong in older restore points.
    pub fn add_suspect(&self, suspect: Suspect) -> Result<()> {
        // The run's id is random and used for nothing else here, so this is as good as 16 random bytes.
        let number = self.suspects.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        let mut hash = blake3::Hasher::new();
        hash.update(&self.id.0)
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut id);
        self.repository.add_suspect(RunId(id), suspect)
    }

    /// Ends the run: merges index segments where that is due, and closes the lease. A run without a restore
    /// point is aborted.
    pub fn close(mut self) -> Result<()> {
        if !self.committed {
            return self.abort();
        }
        self.closed = true;
        let merged = self.packer.stop().and_then(|()| self.packer.merge());
        // The lease is closed even if the merge failed: the next run merges.
        merged.and(self.list_damage()).and(end(
            &**self.repository.storage(),
            self.id,
            Outcome::Committed,
        ))
    }

    /// Ends the run without a restore point. Finished packs are indexed, so that the next run knows them.
    pub fn abort(mut self) -> Result<()> {
        self.end_early()
    }

    /// Lets go of the run and leaves its lease open: for somebody who could not clean up all that it made
    /// elsewhere, so that a later run sees that there is something to do. Without a restore point, it is as killed.
    pub fn leave_open(mut self) {
        self.closed = true;
        // What is not indexed now is indexed by the next run, and damage is met again.
        let _ = self.packer.stop();
        let _ = self.list_damage();
    }

    fn end_early(&mut self) -> Result<()> {
        self.closed = true;
        let stopped = self.packer.stop();
        let outcome = if self.committed {
            Outcome::Committed
        } else {
            Outcome::Aborted
        };
        stopped
            .and(self.list_damage())
            .and(end(&**self.repository.storage(), self.id, outcome))
    }

    /// Puts what the run has met damaged on the damage list: later runs must not take it for known either, and
    /// `verify` sees that it is no news.
    fn list_damage(&self) -> Result<()> {
        let met = self.view().met_damaged();
        let listed = |place: &DamagedPlace| self.view().damage().lists(place);
        let new: Vec<_> = met.into_iter().filter(|place| !listed(place)).collect();
        // The run's id is random, and nothing else on the list is named by it.
        self.repository.add_damage(self.id, &new)
    }

    /// The order of commit: one more than the greatest that stands.
    fn next_sequence(&self) -> Result<u64> {
        let greatest = self.repository.greatest_sequence()?.max(self.after);
        Ok(greatest.saturating_add(1))
    }

    /// Refuses a restore point whose disks and files do not even have their roots.
    fn check_roots(&self, point: &RestorePoint) -> Result<()> {
        let roots: Vec<_> = point.roots().collect();
        let ids: Vec<_> = roots.iter().map(|root| root.0).collect();
        let places = self.view().places(RecordKind::Node, &ids)?;
        match roots.iter().zip(places).find(|(_, place)| place.is_none()) {
            Some((&id, _)) => Err(Error::NodeLost { id }),
            None => Ok(()),
        }
    }

    /// The name of the point was taken: by a collection, or by ourselves, where a storage repeats a request
    /// whose answer was lost.
    fn check_ours(&self, point: &RestorePoint, error: Error) -> Result<()> {
        match points::named(&**self.repository.storage(), self.id)? {
            Some(Named::Point(found)) if *found == *point => Ok(()),
            Some(Named::Tombstone) => Err(Error::Fenced { id: self.id }),
            _ => Err(error),
        }
    }
}

impl NodeSource for Run {
    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        decode_node(id, &self.node_bytes(id)?)
    }
}

/// A run is shared, and so is what takes its nodes.
impl NodeSink for &Run {
    fn put(&mut self, id: NodeId, bytes: Vec<u8>) -> Result<()> {
        self.put_node(id, bytes)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.closed {
            // Nobody is left to be told. The lease stays open then, and a collection will fence the run.
            let _ = self.end_early();
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, committed, .. } = self;
        f.debug_struct("Run")
            .field("id", id)
            .field("committed", committed)
            .finish_non_exhaustive()
    }
}
