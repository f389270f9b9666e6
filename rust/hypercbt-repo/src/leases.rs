//! The runs that have not ended: which they are, and how others end them.
//!
//! A run that was killed leaves its lease open. Nobody can see from here whether a run still lives; who decides
//! that it does not fences it first, so that a wrong decision costs that run and nothing else, and then closes
//! its lease.

use std::collections::HashSet;

use hypercbt_file::step;

use crate::{
    Closed, Damage, Error, Lease, Outcome, Repository, Result, RunId, Storage, Timestamp,
    Tombstone,
    name::{self, CLOSED, LEASES},
    object::{self, ObjectKind},
    points::{self, Named},
};

/// A lease that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLease {
    /// What the run wrote when it began.
    pub lease: Lease,
    /// How far the run came: not [`RunState::Closed`].
    pub state: RunState,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its lease is open and its restore point does not stand: it may still come, or was deleted since.
    Open,
    /// Its lease is open, and its restore point stands.
    Committed,
    /// Its lease is open, and a tombstone stands: the restore point never comes.
    Fenced,
    /// Its lease is closed.
    Closed,
}

/// What came of an attempt to fence a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// A tombstone stands, ours or an earlier one: the run makes no restore point any more.
    Fenced,
    /// The run was first: its restore point stands.
    Committed,
}

impl Repository {
    /// The leases that are not closed, in order of creation; beside them what could not be read. What is deleted
    /// meanwhile is neither.
    pub fn leases(&self) -> Result<(Vec<OpenLease>, Vec<Error>)> {
        let storage = &**self.storage();
        // Leases first: a run that ends in between is then listed as closed, and not as a lease that never ends.
        let begun = run_ids(storage, LEASES)?;
        let ended: HashSet<_> = run_ids(storage, CLOSED)?.into_iter().collect();
        let (mut open, mut unreadable) = (Vec::new(), Vec::new());
        for run in begun.into_iter().filter(|run| !ended.contains(run)) {
            match open_lease(storage, run) {
                Ok(lease) => open.extend(lease),
                Err(error) => unreadable.push(error),
            }
        }
        open.sort_by_key(|open: &OpenLease| (open.lease.created, open.lease.run));
        Ok((open, unreadable))
    }

    /// How far a run came; `None` if this repository knows of no such run.
    pub fn run_state(&self, run: RunId) -> Result<Option<RunState>> {
        let storage = &**self.storage();
        // That they stand is enough: they are made whole, and damage later changes nothing of what happened.
        if object::exists(storage, &name::closed(run))? {
            Ok(Some(RunState::Closed))
        } else if object::exists(storage, &name::lease(run))? {
            state(storage, run).map(Some)
        } else {
            Ok(None)
        }
    }

    /// How a run ended: what its `closed` says. `None` while its lease is open, or if no such run ever was.
    pub fn outcome(&self, run: RunId) -> Result<Option<Outcome>> {
        let name = name::closed(run);
        match object::find::<Closed>(&**self.storage(), &name, ObjectKind::Closed)? {
            Some(closed) if closed.run != run => Err(Error::damaged(name, Damage::Id)),
            found => Ok(found.map(|closed| closed.outcome)),
        }
    }

    /// Declares a run dead: it can make no restore point from now on, unless it already has.
    ///
    /// Both create the same name exclusively, so whoever is first has won, and nobody has to look before.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what stands under that name cannot be told.
    pub fn fence(&self, run: RunId, created: Timestamp) -> Result<Fence> {
        let (storage, name) = (&**self.storage(), name::point(run));
        let tombstone = Tombstone { run, created };
        match object::create(storage, &name, ObjectKind::Tombstone, &tombstone) {
            Err(error) if error.is_already_exists() => {
                // Whoever made it may have been killed before it was durable: what is told must hold.
                if !step::left_out("repo.fence.settle") {
                    settle(storage, &name)?;
                }
                match state(storage, run)? {
                    RunState::Fenced => Ok(Fence::Fenced),
                    RunState::Committed => Ok(Fence::Committed),
                    _ => Err(error), // the point was deleted since: the next attempt fences
                }
            }
            made => made.map(|()| Fence::Fenced),
        }
    }

    /// Closes the lease of a run that is known to be over, and removes what it left unfinished. It is no error
    /// that it was closed before.
    ///
    /// # Errors
    /// [`Error::RunNotOver`] unless its restore point stands and it is closed as committed, or its tombstone and
    /// it is closed as aborted: nothing else proves that it refers to nothing any more.
    pub fn close_lease(&self, run: RunId, outcome: Outcome) -> Result<()> {
        let storage = &**self.storage();
        let proof = match outcome {
            Outcome::Committed => RunState::Committed,
            Outcome::Aborted => RunState::Fenced,
        };
        // A proof that is not durable could go, and the lease would be closed without one.
        if !step::left_out("repo.close.settle_proof") {
            settle(storage, &name::point(run))?;
        }
        if state(storage, run)? != proof {
            return Err(Error::RunNotOver { id: run });
        }
        match end(storage, run, outcome) {
            Err(error) if error.is_already_exists() && !step::left_out("repo.close.settle") => {
                settle(storage, &name::closed(run))
            }
            Err(error) if error.is_already_exists() => Ok(()),
            ended => ended,
        }
    }
}

/// Writes down how a run ended, and removes what it left unfinished. Tries both.
pub(crate) fn end(storage: &dyn Storage, run: RunId, outcome: Outcome) -> Result<()> {
    let closed = object::create(
        storage,
        &name::closed(run),
        ObjectKind::Closed,
        &Closed { run, outcome },
    );
    let removed = storage.remove_unfinished(&run.to_string());
    closed.and(removed.map_err(Error::storage("delete", name::UNFINISHED)))
}

fn run_ids(storage: &dyn Storage, folder: &str) -> Result<Vec<RunId>> {
    let listed = storage
        .list(folder)
        .map_err(Error::storage("list", folder))?;
    let ids = listed.iter().filter_map(|(name, _)| name::id(name));
    Ok(ids.collect())
}

fn open_lease(storage: &dyn Storage, run: RunId) -> Result<Option<OpenLease>> {
    let name = name::lease(run);
    let Some(lease) = object::find::<Lease>(storage, &name, ObjectKind::Lease)? else {
        return Ok(None);
    };
    lease
        .check(run)
        .map_err(|reason| Error::damaged(&name, reason))?;
    let state = state(storage, run)?;
    Ok(Some(OpenLease { lease, state }))
}

fn state(storage: &dyn Storage, run: RunId) -> Result<RunState> {
    Ok(match points::named(storage, run)? {
        Some(Named::Point(_)) => RunState::Committed,
        Some(Named::Tombstone) => RunState::Fenced,
        None => RunState::Open,
    })
}

fn settle(storage: &dyn Storage, name: &str) -> Result<()> {
    storage.settle(name).map_err(Error::storage("write", name))
}
