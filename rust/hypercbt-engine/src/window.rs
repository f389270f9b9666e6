//! Windows: stretches of a disk that are planned, read and put into the tree as one, and how they come back in order.

use std::{collections::BTreeMap, ops::Range};

use hypercbt_repo::ChunkId;

use crate::job::Job;

/// A stretch of the disk that is planned, read and put into the tree as one.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// What is to be read, in order of the disk.
    pub(crate) jobs: Vec<Job>,
    /// Chunks that are zero without a read: in order, disjoint, none of them in a job.
    pub(crate) zeros: Vec<Range<u64>>,
}

/// What a chunk was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Its number.
    pub(crate) chunk: u64,
    /// Its id; `None` if it is all zero.
    pub(crate) id: Option<ChunkId>,
    /// How it compares with what was expected.
    pub(crate) change: Change,
}

/// How a chunk compares with what the base holds at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Equal.
    Same,
    /// Different, but only where the source now declares zeros.
    Unmapped,
    /// Different in bytes that were read.
    Different,
}

/// What the pipeline did, in the units of `DiskStats`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) read_bytes: u64,
    pub(crate) chunks: u64,
    pub(crate) new_chunks: u64,
    pub(crate) new_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) zero_bytes: u64,
}

impl Work {
    pub(crate) fn add(&mut self, other: Self) {
        self.read_bytes += other.read_bytes;
        self.chunks += other.chunks;
        self.new_chunks += other.new_chunks;
        self.new_bytes += other.new_bytes;
        self.stored_bytes += other.stored_bytes;
        self.zero_bytes += other.zero_bytes;
    }
}

/// What the threads tell the one that called.
pub(crate) enum Message {
    Planned {
        zeros: Vec<Range<u64>>,
        jobs: usize,
        bytes: u64,
    },
    Done {
        window: u64,
        bytes: u64,
        outcomes: Vec<Outcome>,
        work: Work,
    },
}

/// Windows that are not complete yet, and how far all is.
#[derive(Default)]
pub(crate) struct Order {
    planned: u64,
    finished: u64,
    open: BTreeMap<u64, Open>,
    pub(crate) planned_bytes: u64,
    pub(crate) done_bytes: u64,
    pub(crate) work: Work,
}

#[derive(Default)]
struct Open {
    zeros: Vec<Range<u64>>,
    /// `None` until the plan is here: a worker's message may overtake the planner's.
    jobs: Option<usize>,
    done: usize,
    outcomes: Vec<Outcome>,
}

impl Order {
    pub(crate) fn take(&mut self, message: Message) {
        match message {
            Message::Planned { zeros, jobs, bytes } => {
                let open = self.open.entry(self.planned).or_default();
                open.zeros = zeros;
                open.jobs = Some(jobs);
                self.planned += 1;
                self.planned_bytes += bytes;
            }
            Message::Done {
                window,
                bytes,
                outcomes,
                work,
            } => {
                let open = self.open.entry(window).or_default();
                open.outcomes.extend(outcomes);
                open.done += 1;
                self.done_bytes += bytes;
                self.work.add(work);
            }
        }
    }

    /// The next window in order, if all of it is there; its outcomes in order of the disk.
    pub(crate) fn next_complete(&mut self) -> Option<(Vec<Range<u64>>, Vec<Outcome>)> {
        let entry = self.open.first_entry()?;
        if *entry.key() != self.finished || entry.get().jobs != Some(entry.get().done) {
            return None;
        }
        self.finished += 1;
        let Open {
            zeros,
            mut outcomes,
            ..
        } = entry.remove();
        outcomes.sort_unstable_by_key(|outcome| outcome.chunk);
        Some((zeros, outcomes))
    }
}
