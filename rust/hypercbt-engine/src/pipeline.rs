//! The pipeline: read → zero test and hash → known? → compress → pack.
//!
//! ```text
//! planner ──jobs──▶ readers ──loaded──▶ workers ──done──▶ the calling thread
//!                      ▲                   │ (claim, append: into the run)
//!                      └──── buffers ──────┘
//! ```
//!
//! Every channel is bounded and buffers are reused, so memory does not depend on the disk. A worker takes a
//! job through all its steps: the chunk stays in its cache, and nothing waits for a slower stage. The calling
//! thread puts windows back in order, tells the observer, and is the only one that touches the tree.

use std::{
    ops::{ControlFlow, Range},
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hypercbt_repo::{ChunkId, Run, codec};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    Error, Observer, Phase, Progress, Result,
    allocation::Grid,
    job::Job,
    observer::REPORT_EVERY,
    stop::Stop,
    store,
    threads::READERS,
    window::{Change, Message, Order, Outcome, Window, Work},
};

/// What all threads share.
pub(crate) struct Pipeline<'a> {
    pub(crate) disk: &'a VirtualDisk,
    pub(crate) grid: Grid,
    pub(crate) run: &'a Run,
    pub(crate) level: i32,
    pub(crate) workers: usize,
    pub(crate) phase: Phase,
    /// How much the whole pass will read, as far as that is known before it is planned.
    pub(crate) total_bytes: u64,
}

/// A job and the bytes of its chunks.
struct Loaded {
    job: Job,
    buffer: Vec<u8>,
    read_bytes: u64,
}

impl Pipeline<'_> {
    /// Runs all windows of `plan`, which must be in order of the disk. `finish` gets each window's zeros and
    /// outcomes, in the same order; with `Break` from it no further window is planned.
    pub(crate) fn run<P>(
        &self,
        plan: P,
        observer: &mut dyn Observer,
        mut finish: impl FnMut(Vec<Range<u64>>, Vec<Outcome>) -> Result<ControlFlow<()>>,
    ) -> Result<Work>
    where
        P: Iterator<Item = Result<Window>> + Send,
    {
        let stop = Stop::default();
        let enough = AtomicBool::new(false);
        let (jobs, to_read) = bounded::<Job>(2 * READERS);
        let (loaded, to_work) = bounded::<Loaded>(self.workers);
        let (messages, inbox) = bounded::<Message>(4 * self.workers + 16);
        let (free, buffers) = bounded::<Vec<u8>>(READERS + 2 * self.workers);
        for _ in 0..READERS + 2 * self.workers {
            free.send(Vec::new())
                .expect("the channel has room for every buffer");
        }
        let work = std::thread::scope(|scope| {
            let planned = messages.clone();
            let (stopping, enough) = (&stop, &enough);
            scope.spawn(move || self.plan(plan, &jobs, &planned, stopping, enough));
            for _ in 0..READERS {
                let (to_read, loaded, buffers) = (to_read.clone(), loaded.clone(), buffers.clone());
                let stop = &stop;
                scope.spawn(move || self.read(&to_read, &loaded, &buffers, stop));
            }
            for _ in 0..self.workers {
                let (to_work, messages, free) = (to_work.clone(), messages.clone(), free.clone());
                let stop = &stop;
                scope.spawn(move || self.work(&to_work, &messages, &free, stop));
            }
            // Each thread holds its own ends; these would keep the channels open for ever.
            drop((to_read, loaded, to_work, messages, free, buffers));
            let mut order = Order::default();
            let result = self.collect(
                &inbox,
                &stop,
                &mut order,
                observer,
                &mut |zeros, outcomes| {
                    if finish(zeros, outcomes)?.is_break() {
                        enough.store(true, Ordering::Relaxed);
                    }
                    Ok(())
                },
            );
            if let Err(error) = result {
                stop.fail(error);
            }
            // Threads that wait to send find the channel closed.
            drop(inbox);
            order.work
        });
        stop.into_result()?;
        Ok(work)
    }

    fn plan<P: Iterator<Item = Result<Window>>>(
        &self,
        plan: P,
        jobs: &Sender<Job>,
        messages: &Sender<Message>,
        stop: &Stop,
        enough: &AtomicBool,
    ) {
        for window in plan {
            if stop.is_set() || enough.load(Ordering::Relaxed) {
                return;
            }
            let mut window = match window {
                Ok(window) => window,
                Err(error) => return stop.fail(error),
            };
            let bytes = window
                .jobs
                .iter()
                .map(|job| self.grid.bytes(&job.chunks))
                .sum();
            let planned = Message::Planned {
                zeros: window.zeros,
                jobs: window.jobs.len(),
                bytes,
            };
            if messages.send(planned).is_err() {
                return;
            }
            // A disk's blocks lie in order of first write; reading in file order is what disks like.
            window.jobs.sort_by_key(Job::file_place);
            for job in window.jobs {
                if jobs.send(job).is_err() {
                    return;
                }
            }
        }
    }

    fn read(
        &self,
        jobs: &Receiver<Job>,
        loaded: &Sender<Loaded>,
        buffers: &Receiver<Vec<u8>>,
        stop: &Stop,
    ) {
        for job in jobs {
            let Ok(mut buffer) = buffers.recv() else {
                return;
            };
            if stop.is_set() {
                return;
            }
            match job.read(self.disk, self.grid, &mut buffer) {
                Ok(read_bytes) => {
                    if loaded
                        .send(Loaded {
                            job,
                            buffer,
                            read_bytes,
                        })
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) => return stop.fail(error),
            }
        }
    }

    fn work(
        &self,
        loaded: &Receiver<Loaded>,
        messages: &Sender<Message>,
        free: &Sender<Vec<u8>>,
        stop: &Stop,
    ) {
        let mut encoder = codec::Encoder::new(self.level);
        for Loaded {
            job,
            buffer,
            read_bytes,
        } in loaded
        {
            if stop.is_set() {
                return;
            }
            let (outcomes, mut work) = match self.store(&job, &buffer, &mut encoder, stop) {
                Ok(done) => done,
                Err(error) => return stop.fail(error),
            };
            work.read_bytes = read_bytes;
            // The other end may be gone already when everything stops.
            let _ = free.send(buffer);
            let bytes = self.grid.bytes(&job.chunks);
            if messages
                .send(Message::Done {
                    window: job.window,
                    bytes,
                    outcomes,
                    work,
                })
                .is_err()
            {
                return;
            }
        }
    }

    /// Hashes the chunks of a job and stores those that nobody knows.
    fn store(
        &self,
        job: &Job,
        buffer: &[u8],
        encoder: &mut codec::Encoder,
        stop: &Stop,
    ) -> Result<(Vec<Outcome>, Work)> {
        let chunk_len = usize::try_from(self.grid.chunk_bytes).expect("a chunk fits in memory");
        let chunks = || {
            job.chunks
                .clone()
                .zip(buffer.chunks_exact(chunk_len))
                .enumerate()
        };
        let mut work = Work {
            chunks: job.chunks.end - job.chunks.start,
            ..Work::default()
        };
        let mut outcomes = Vec::with_capacity(job.expected.len());
        let mut candidates = Vec::new();
        for (index, (chunk, plain)) in chunks() {
            let id = if codec::is_zero(plain) {
                work.zero_bytes += self.grid.bytes(&(chunk..chunk + 1));
                None
            } else {
                Some(codec::chunk_id(plain))
            };
            let expected = job.expected_at(index);
            let change = self.compare(job, chunk, plain, id, expected)?;
            // What the base tree holds is known, unless the repository has lost something.
            if let Some(id) = id.filter(|_| id != expected || !self.run.view().all_known()) {
                candidates.push((id, plain));
            }
            outcomes.push(Outcome { chunk, id, change });
        }
        work.add(store::unknown(self.run, &candidates, encoder, stop)?);
        Ok((outcomes, work))
    }

    /// A mismatch is the tracker's fault only if bytes that were read differ (design §5.3).
    fn compare(
        &self,
        job: &Job,
        chunk: u64,
        plain: &[u8],
        id: Option<ChunkId>,
        expected: Option<ChunkId>,
    ) -> Result<Change> {
        if id == expected {
            return Ok(Change::Same);
        }
        if self.phase == Phase::Backup {
            return Ok(Change::Different);
        }
        let present = job.present(self.grid, chunk);
        if present.iter().map(ExactSizeIterator::len).sum::<usize>() == plain.len() {
            return Ok(Change::Different);
        }
        let before = match expected {
            Some(expected) => match self.run.view().chunk(expected) {
                // Nobody can tell any more, so it is not called harmless.
                Err(hypercbt_repo::Error::ChunkLost { .. }) => return Ok(Change::Different),
                before => before?,
            },
            None => vec![0; plain.len()],
        };
        let same = present
            .iter()
            .all(|range| plain.get(range.clone()) == before.get(range.clone()));
        Ok(if same {
            Change::Unmapped
        } else {
            Change::Different
        })
    }

    fn collect(
        &self,
        inbox: &Receiver<Message>,
        stop: &Stop,
        order: &mut Order,
        observer: &mut dyn Observer,
        finish: &mut dyn FnMut(Vec<Range<u64>>, Vec<Outcome>) -> Result<()>,
    ) -> Result<()> {
        let mut reported = std::time::Instant::now();
        loop {
            match inbox.recv_timeout(REPORT_EVERY) {
                Ok(message) => order.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if stop.is_set() {
                return Ok(());
            }
            while let Some((zeros, outcomes)) = order.next_complete() {
                finish(zeros, outcomes)?;
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = std::time::Instant::now();
                self.report(order, observer)?;
            }
        }
        self.report(order, observer)
    }

    fn report(&self, order: &Order, observer: &mut dyn Observer) -> Result<()> {
        let progress = Progress {
            phase: self.phase,
            done_bytes: order.done_bytes,
            total_bytes: order.planned_bytes.max(self.total_bytes),
        };
        match observer.progress(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
