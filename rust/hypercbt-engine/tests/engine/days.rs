//! Simulated days: a disk that is backed up day after day, and what each run reads of it.

use std::collections::BTreeSet;

use hypercbt_engine::AuditPolicy;
use hypercbt_extent::Extents;
use hypercbt_repo::{RestorePoint, Suspect};

use crate::support::{CHUNK, DAY, FakeDisk, Lab, chunks, noise};

/// Allocated chunks of the disk: 20 for each of the 28 days.
pub(crate) const CHUNKS: u64 = 560;
pub(crate) const SLICE: u64 = CHUNKS / 28;

/// A disk of which each chunk holds one sector of noise, and its first backup.
pub(crate) struct Days {
    pub(crate) lab: Lab,
    pub(crate) source: FakeDisk,
    pub(crate) points: Vec<RestorePoint>,
    /// What the audit reads besides its slice, as long as nothing is claimed: the seed is always the same.
    pub(crate) random: BTreeSet<u64>,
}

impl Days {
    pub(crate) fn new() -> Self {
        Self::holding(CHUNKS)
    }

    /// A disk of which only the first chunks hold anything yet.
    pub(crate) fn holding(allocated: u64) -> Self {
        let source = FakeDisk::new(CHUNKS * CHUNK);
        for chunk in 0..allocated {
            source.write(chunk * CHUNK, &noise(chunk + 1, 512));
        }
        let mut lab = Lab::new();
        lab.audit = AuditPolicy::DEFAULT;
        lab.seed = 3;
        let first = lab.full(&source);
        // No time has passed: only the random chunks are read.
        let mut looking = lab.fork();
        looking.seed = lab.seed;
        looking.list(&source, Extents::new(), &first);
        let random = source.read_chunks().into_iter().collect();
        Self {
            lab,
            source,
            points: vec![first],
            random,
        }
    }

    /// The same history, to be continued in another way.
    pub(crate) fn fork(&self) -> Self {
        let mut lab = self.lab.fork();
        lab.seed = self.lab.seed;
        Self {
            lab,
            source: self.source.copy(),
            points: self.points.clone(),
            random: self.random.clone(),
        }
    }

    pub(crate) fn last(&self) -> &RestorePoint {
        self.points.last().unwrap()
    }

    /// The guest writes a sector of a chunk. Whether anybody reports it is another matter.
    pub(crate) fn guest_writes(&self, chunk: u64, seed: u64) {
        // Next to what is there, so that a chunk is read in one go.
        self.source.write(chunk * CHUNK + 512, &noise(seed, 512));
    }

    /// A run after `micros`, with what is reported.
    pub(crate) fn run_after(&mut self, micros: i64, claimed: &[u64]) -> &RestorePoint {
        self.lab.now += micros;
        let since = self.last().clone();
        let point = self.lab.list(&self.source, chunks(claimed), &since);
        self.points.push(point);
        self.last()
    }

    pub(crate) fn day(&mut self, claimed: &[u64]) -> &RestorePoint {
        self.run_after(DAY, claimed)
    }

    /// Chunks that the last run read.
    pub(crate) fn read(&self) -> BTreeSet<u64> {
        let read = self.source.read_chunks();
        let set: BTreeSet<u64> = read.iter().copied().collect();
        assert_eq!(set.len(), read.len(), "a chunk was read twice");
        set
    }

    pub(crate) fn suspects(&self) -> Vec<Suspect> {
        self.lab.repository.suspects().unwrap()
    }

    pub(crate) fn last_is_right(&self) {
        assert!(self.lab.content(self.last()).unwrap() == self.source.bytes());
    }
}

pub(crate) fn set(range: std::ops::Range<u64>) -> BTreeSet<u64> {
    range.collect()
}
