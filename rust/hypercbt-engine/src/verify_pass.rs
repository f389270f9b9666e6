//! Reading packs back in parallel: whole ones, or single records of them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crossbeam_channel::{Receiver, Sender};
use hypercbt_repo::{Location, PackName, RecordKind, Repository, RestorePoint, View, pack};

use crate::{
    Error, Observer, Phase, Progress, Result, VerifyScope,
    check_pack::{PackCheck, PackChecker},
    crew,
    fetch::{self, Batch, Wanted},
    reach,
    stop::Stop,
};

/// One verification's reading.
pub(crate) struct VerifyPass<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) view: &'a View,
    /// What is left out of the points: the newest older point of each machine.
    pub(crate) bases: &'a [RestorePoint],
    pub(crate) workers: usize,
}

enum Task {
    Pack(PackName, u64),
    Batch(Batch<RecordKind>),
}

#[derive(Default)]
struct Shared {
    stop: Stop,
    planned: AtomicU64,
    done: AtomicU64,
    check: Mutex<PackCheck>,
}

impl VerifyPass<'_> {
    /// Reads what the scope says.
    pub(crate) fn run(
        &self,
        points: &[RestorePoint],
        scope: &VerifyScope,
        observer: &mut dyn Observer,
    ) -> Result<PackCheck> {
        let shared = Shared::default();
        let progress = || Progress {
            phase: Phase::Verify,
            done_bytes: shared.done.load(Ordering::Relaxed),
            total_bytes: shared.planned.load(Ordering::Relaxed),
        };
        crew::run(
            self.workers,
            &shared.stop,
            observer,
            progress,
            |tasks| self.plan(points, scope, tasks, &shared),
            |inbox| self.work(inbox, &shared),
        );
        shared.stop.into_result()?;
        Ok(shared
            .check
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn plan(
        &self,
        points: &[RestorePoint],
        scope: &VerifyScope,
        tasks: &Sender<Task>,
        shared: &Shared,
    ) -> Result<()> {
        match scope {
            VerifyScope::All => {
                let packs = self.view.packs();
                shared
                    .planned
                    .store(packs.iter().map(|(_, len)| len).sum(), Ordering::Relaxed);
                for (name, len) in packs {
                    send(tasks, Task::Pack(name, len))?;
                }
            }
            VerifyScope::Sample { percent, seed } => {
                for (name, len) in self.view.packs() {
                    Self::send_batches(
                        self.sample(name, len, *percent, *seed, shared)?,
                        tasks,
                        shared,
                    )?;
                }
            }
            VerifyScope::Since(_) => {
                let chunk_bytes = self.repository.chunk_bytes();
                let mut each = |wanted| Self::send_batches(wanted, tasks, shared);
                let nodes =
                    reach::new_chunks(points, self.bases, self.view, chunk_bytes, &mut each)?;
                lock(shared).nodes += nodes;
            }
        }
        Ok(())
    }

    /// Some records of a pack; the same ones for the same seed.
    fn sample(
        &self,
        name: PackName,
        len: u64,
        percent: f64,
        seed: u64,
        shared: &Shared,
    ) -> Result<Vec<Wanted<RecordKind>>> {
        let entries = match pack::read_footer(&**self.repository.storage(), name, len) {
            Ok(entries) => entries,
            Err(error @ hypercbt_repo::Error::Damaged { .. }) => {
                lock(shared).damage.push(error.to_string());
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let picked = entries
            .into_iter()
            .filter(|entry| share(&entry.id, seed) * 100.0 < percent);
        Ok(picked
            .map(|entry| Wanted {
                id: entry.id,
                place: Location {
                    pack: name,
                    offset: entry.offset,
                    stored_len: entry.stored_len,
                },
                purpose: entry.kind,
            })
            .collect())
    }

    fn send_batches(
        wanted: Vec<Wanted<RecordKind>>,
        tasks: &Sender<Task>,
        shared: &Shared,
    ) -> Result<()> {
        for batch in fetch::batches(wanted) {
            shared.planned.fetch_add(batch.len(), Ordering::Relaxed);
            send(tasks, Task::Batch(batch))?;
        }
        Ok(())
    }

    fn work(&self, inbox: &Receiver<Task>, shared: &Shared) {
        let mut checker = PackChecker::new(self.repository, self.view);
        for task in inbox {
            if shared.stop.is_set() {
                return;
            }
            let result = match task {
                Task::Pack(name, len) => checker.pack(name, len),
                Task::Batch(batch) => Ok(checker.batch(&batch)),
            };
            match result {
                Ok(check) => {
                    shared.done.fetch_add(check.read_bytes, Ordering::Relaxed);
                    lock(shared).add(check);
                }
                Err(error) => return shared.stop.fail(error),
            }
        }
    }
}

/// A number from 0 up to, but never, 1 that an id and a seed make: a hash of ids that are hashes themselves.
fn share(id: &[u8; 32], seed: u64) -> f64 {
    let (words, _) = id.as_chunks::<8>();
    let word = words.first().map_or(0, |word| u64::from_le_bytes(*word)) ^ seed;
    let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit into a double")]
    let share = mixed as f64 / (f64::from(u32::MAX) + 1.0);
    share
}

fn send(tasks: &Sender<Task>, task: Task) -> Result<()> {
    // The workers go only when everything stops; what stopped them is told before this.
    tasks.send(task).map_err(|_| Error::Cancelled)
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, PackCheck> {
    shared.check.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_has_a_share_that_a_sample_of_all_leaves_out() {
        // Times the odd constant, the upper half of this word is all ones.
        let mut inverse = 1_u64;
        for _ in 0..6 {
            let product = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(inverse);
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(product));
        }
        let mut id = [0; 32];
        id[..8].copy_from_slice(&u64::MAX.wrapping_mul(inverse).to_le_bytes());
        assert!(share(&id, 0) > 0.999_999_9);
        assert!(share(&id, 0) < 1.0);
    }
}
