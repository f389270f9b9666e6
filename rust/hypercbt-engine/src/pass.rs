//! The passes over one disk: the claimed chunks, the audit, and, if that finds anything, all of it.

use std::{ops::ControlFlow, ops::Range, time::Duration};

use hypercbt_repo::{
    AuditState, ChunkId, DiskStats, Method, NodeId, RecordKind, Run, Timestamp, tree::TreeBuilder,
};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    AuditPolicy, AuditStop, Clock, Error, Observer, Phase, Result,
    allocation::{Grid, stretches},
    audit,
    audit_stop::Stoppable,
    base::Basis,
    base_tree::BaseTree,
    claims::{AuditPass, Claims, Pass, Seen},
    deadlines::Deadlines,
    pipeline::Pipeline,
    slice::Slice,
    window::{Change, Outcome, Work},
};

/// One disk on its way into a run.
pub(crate) struct DiskRun<'a> {
    pub(crate) disk: &'a VirtualDisk,
    pub(crate) grid: Grid,
    pub(crate) run: &'a Run,
    /// When the run began.
    pub(crate) created: Timestamp,
    pub(crate) audit: AuditPolicy,
    pub(crate) audit_stop: &'a AuditStop,
    /// Picks the audit's random chunks.
    pub(crate) seed: u64,
    /// The zstd level.
    pub(crate) level: i32,
    pub(crate) workers: usize,
    pub(crate) clock: &'a dyn Clock,
}

/// What came of it.
pub(crate) struct DiskResult {
    pub(crate) root: Option<NodeId>,
    pub(crate) stats: DiskStats,
    pub(crate) audit: AuditState,
    /// Chunks that changed although nobody claimed them: sorted, disjoint.
    pub(crate) missed: Vec<Range<u64>>,
}

/// What the audit found.
#[derive(Default)]
struct Audited {
    work: Work,
    /// Chunks that differ from the base, and what they are now: sorted.
    updates: Vec<Outcome>,
    missed: bool,
    state: AuditState,
}

impl DiskRun<'_> {
    pub(crate) fn read(&self, basis: &Basis, observer: &mut dyn Observer) -> Result<DiskResult> {
        let base = BaseTree::open(
            self.run.view(),
            self.grid.chunk_bytes,
            basis.base.as_ref().map(|base| &base.disk),
        );
        let claims = &basis.claims;
        let reading = self.reading(claims, &base)?;
        let mut missed = false;
        let started = self.clock.elapsed();
        let mut seen = Seen::default();
        let chunks = self.grid.chunks();
        let (root, claimed) = self.pass(
            &reading,
            &base,
            base.to_build_on(chunks),
            Phase::Backup,
            &mut seen,
            observer,
            |outcome| missed |= outcome.change != Change::Same && !claims.contains(outcome.chunk),
        )?;
        let took = self.clock.elapsed().saturating_sub(started);
        let mut result = DiskResult {
            root,
            stats: stats(self.grid, &seen, &claimed),
            audit: audit::all_read(self.grid.chunks(), self.created),
            missed: Vec::new(),
        };
        if let (Method::List | Method::Rct, Some(before)) = (basis.method, &basis.base) {
            result.stats.changed_bytes = basis.changed_bytes;
            let elapsed = audit::elapsed(before.created, self.created);
            let before = &before.disk.audit;
            let audited = if missed {
                // What was read only because the repository had lost it shows already what an audit looks for.
                Audited {
                    missed,
                    ..Audited::default()
                }
            } else {
                self.audit(&reading, &base, &seen, before, elapsed, took, observer)?
            };
            self.settle(&mut result, audited, claims, &base, observer)?;
        }
        Ok(result)
    }

    /// What is read: the claims, and where the repository lost something what this disk needs of it. That is
    /// stored again, but nobody claims that it changed.
    fn reading(&self, claims: &Claims, base: &BaseTree<'_>) -> Result<Claims> {
        if matches!(claims, Claims::All) || self.run.view().all_known() {
            return Ok(claims.clone());
        }
        Ok(claims.clone().with(self.lost(claims, base)?))
    }

    /// Allocated chunks that the base holds and the repository does not any more.
    fn lost(&self, claims: &Claims, base: &BaseTree<'_>) -> Result<Vec<u64>> {
        const BATCH: u64 = 1024;
        let mut lost = Vec::new();
        for stretch in stretches(self.disk, self.grid, 0)?.filter(|stretch| stretch.allocated) {
            for range in claims.outside(&stretch.chunks) {
                for from in (range.start..range.end).step_by(usize::try_from(BATCH).expect("small"))
                {
                    let chunks = from..range.end.min(from + BATCH);
                    let held: Vec<(u64, ChunkId)> = chunks
                        .clone()
                        .zip(base.ids(&chunks)?)
                        .filter_map(|(chunk, id)| Some((chunk, id?)))
                        .collect();
                    let ids: Vec<[u8; 32]> = held.iter().map(|(_, id)| id.0).collect();
                    let places = self.run.view().places(RecordKind::Chunk, &ids)?;
                    lost.extend(
                        held.iter()
                            .zip(places)
                            .filter(|(_, place)| place.is_none())
                            .map(|((chunk, _), _)| *chunk),
                    );
                }
            }
        }
        Ok(lost)
    }

    /// One pass over the whole disk into a tree; `each` sees every outcome.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call of three; a struct would only rename them"
    )]
    fn pass(
        &self,
        claims: &Claims,
        base: &BaseTree<'_>,
        build_on: Option<(Option<NodeId>, u64)>,
        phase: Phase,
        seen: &mut Seen,
        observer: &mut dyn Observer,
        mut each: impl FnMut(&Outcome),
    ) -> Result<(Option<NodeId>, Work)> {
        let mut sink = self.run;
        let mut builder = TreeBuilder::new(build_on, self.grid.chunks(), self.run, &mut sink)?;
        let plan = Pass::new(self.disk, self.grid, claims, base.clone(), seen)?;
        let total_bytes = self.total_bytes(claims)?;
        let work = self
            .pipeline(phase, total_bytes)
            .run(plan, observer, |zeros, outcomes| {
                outcomes.iter().for_each(&mut each);
                update(&mut builder, &zeros, &outcomes)?;
                Ok(ControlFlow::Continue(()))
            })?;
        Ok((builder.finish()?, work))
    }

    /// What a pass is going to read, so that people see how long it will take. Another walk over the allocation is
    /// cheap beside reading what it says; a list is cheaper still, and the holes in it are few.
    fn total_bytes(&self, claims: &Claims) -> Result<u64> {
        let bytes = |chunks: &Range<u64>| self.grid.bytes(chunks);
        match claims {
            Claims::All => Ok(stretches(self.disk, self.grid, 0)?
                .filter(|stretch| stretch.allocated)
                .map(|stretch| bytes(&stretch.chunks))
                .sum()),
            Claims::Some(ranges) => Ok(ranges.iter().map(bytes).sum()),
        }
    }

    fn pipeline(&self, phase: Phase, total_bytes: u64) -> Pipeline<'_> {
        Pipeline {
            disk: self.disk,
            grid: self.grid,
            run: self.run,
            level: self.level,
            workers: self.workers,
            phase,
            total_bytes,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a fact of its own that the audit needs"
    )]
    fn audit(
        &self,
        claims: &Claims,
        base: &BaseTree<'_>,
        seen: &Seen,
        before: &AuditState,
        elapsed: Duration,
        claimed_took: Duration,
        observer: &mut dyn Observer,
    ) -> Result<Audited> {
        let policy = self.audit;
        let due = policy.due(seen.allocated, elapsed, before.owed_chunks);
        if policy == AuditPolicy::Off {
            return Ok(Audited {
                state: AuditState {
                    owed_chunks: due,
                    ..before.clone()
                },
                ..Audited::default()
            });
        }
        let (disk, grid) = (self.disk, self.grid);
        let deadlines = match policy.period() {
            Some(period) if due < seen.unclaimed => Deadlines {
                disk,
                grid,
                claims,
                state: before,
                now: self.created,
                elapsed,
                period,
            }
            .due()?,
            _ => 0,
        };
        let due_here = due.max(deadlines).min(seen.unclaimed);
        let slice = Slice::select(
            disk,
            grid,
            claims,
            before.cursor,
            due_here,
            seen.unclaimed,
            self.seed,
        )?;
        let budget = policy.budget(claimed_took);
        let started = self.clock.elapsed();
        let mut planned = 0;
        let plan = AuditPass {
            disk,
            grid,
            base: base.clone(),
            ranges: slice.ranges().into_iter().peekable(),
            over: |window| {
                let spent = || self.clock.elapsed().saturating_sub(started);
                // The first window is always read, or an audit that never gets anything done would owe for ever;
                // but not where whoever runs it says that there is no time at all.
                let over = window > 0 && budget.is_some_and(|budget| spent() >= budget);
                over || self.audit_stop.is_set()
            },
            number: 0,
            planned: &mut planned,
        };
        let total_bytes = slice.ranges().iter().map(|range| grid.bytes(range)).sum();
        let mut audited = Audited::default();
        audited.work =
            self.pipeline(Phase::Audit, total_bytes)
                .run(plan, observer, |_, outcomes| {
                    audited.updates.extend(
                        outcomes
                            .iter()
                            .filter(|outcome| outcome.change != Change::Same),
                    );
                    audited.missed |= outcomes
                        .iter()
                        .any(|outcome| outcome.change == Change::Different);
                    Ok(if audited.missed {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                })?;
        audited
            .updates
            .sort_unstable_by_key(|outcome| outcome.chunk);
        let (cursor, passed) = slice.passed(grid, before.cursor, planned);
        let random = u64::try_from(slice.random.len()).expect("a few");
        let done: u64 = planned.saturating_sub(random);
        audited.state = audit::advance(
            before,
            &passed,
            cursor,
            due_here.saturating_sub(done),
            self.created,
        );
        Ok(audited)
    }

    /// Compares the whole disk. Without it no point may be made: what was missed is known to be wrong in the tree.
    fn widen(
        &self,
        base: &BaseTree<'_>,
        build_on: Option<(Option<NodeId>, u64)>,
        observer: &mut dyn Observer,
        each: impl FnMut(&Outcome),
    ) -> Result<(Option<NodeId>, Work)> {
        if self.audit_stop.is_set() {
            return Err(Error::WideningStopped);
        }
        let mut observer = Stoppable::new(observer, self.audit_stop);
        let seen = &mut Seen::default();
        let (all, phase) = (&Claims::All, Phase::Widen);
        match self.pass(all, base, build_on, phase, seen, &mut observer, each) {
            Err(Error::Cancelled) if observer.stopped => Err(Error::WideningStopped),
            widened => widened,
        }
    }

    /// Puts what the audit found into the result: heals the tree, and widens where a change was missed.
    fn settle(
        &self,
        result: &mut DiskResult,
        audited: Audited,
        claims: &Claims,
        base: &BaseTree<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut work = audited.work;
        result.audit = audited.state;
        let chunk_bytes = |chunk: u64| self.grid.bytes(&(chunk..chunk + 1));
        let mut unmapped_bytes = 0;
        let build_on = Some((result.root, self.grid.chunks()));
        if audited.missed {
            let missed = &mut result.missed;
            let (root, widened) =
                self.widen(base, build_on, observer, |outcome| match outcome.change {
                    Change::Same => {}
                    _ if claims.contains(outcome.chunk) => {}
                    Change::Unmapped => unmapped_bytes += chunk_bytes(outcome.chunk),
                    Change::Different => push(missed, outcome.chunk),
                })?;
            work.add(widened);
            result.root = root;
            result.audit = audit::all_read(self.grid.chunks(), self.created);
        } else if !audited.updates.is_empty() {
            let mut sink = self.run;
            let mut builder = TreeBuilder::new(build_on, self.grid.chunks(), self.run, &mut sink)?;
            update(&mut builder, &[], &audited.updates)?;
            result.root = builder.finish()?;
            // Nothing was missed, so all of these are unmapped.
            unmapped_bytes = audited.updates.iter().map(|o| chunk_bytes(o.chunk)).sum();
        }
        let stats = &mut result.stats;
        stats.audited_bytes = work.read_bytes;
        stats.missed_chunks = result
            .missed
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        stats.unmapped_bytes += unmapped_bytes;
        add(stats, &work);
        Ok(())
    }
}

/// Puts a window into a tree: zeros and outcomes are both in order of the disk and disjoint.
fn update(builder: &mut TreeBuilder<'_>, zeros: &[Range<u64>], outcomes: &[Outcome]) -> Result<()> {
    let mut zeros = zeros.iter().peekable();
    for outcome in outcomes {
        while let Some(range) = zeros.next_if(|range| range.end <= outcome.chunk) {
            builder.set_zero(range.clone())?;
        }
        builder.set(outcome.chunk, outcome.id)?;
    }
    for range in zeros {
        builder.set_zero(range.clone())?;
    }
    Ok(())
}

/// Adds a chunk to sorted, disjoint ranges; it is greater than all of them.
fn push(ranges: &mut Vec<Range<u64>>, chunk: u64) {
    match ranges.last_mut() {
        Some(last) if last.end == chunk => last.end += 1,
        _ => ranges.push(chunk..chunk + 1),
    }
}

fn stats(grid: Grid, seen: &Seen, work: &Work) -> DiskStats {
    let mut stats = DiskStats {
        disk_bytes: grid.disk_bytes,
        allocated_bytes: seen.allocated_bytes,
        unmapped_bytes: seen.unmapped_bytes,
        ..DiskStats::default()
    };
    add(&mut stats, work);
    stats
}

fn add(stats: &mut DiskStats, work: &Work) {
    stats.read_bytes += work.read_bytes;
    stats.chunks += work.chunks;
    stats.new_chunks += work.new_chunks;
    stats.new_bytes += work.new_bytes;
    stats.stored_bytes += work.stored_bytes;
    stats.zero_bytes += work.zero_bytes;
}
