//! Verify: read back what is stored, and say what is damaged and which restore points need it.

use std::{collections::BTreeMap, num::NonZeroUsize};

use hypercbt_repo::{
    DamagedPlace, Error as RepoError, PointId, RecordKind, Repository, RestorePoint, RunId,
    Timestamp,
};

use crate::{
    Clock, Observer, Result,
    check_pack::{self, Finding},
    reach::{self, Key, Reached},
    threads,
    verify_pass::VerifyPass,
};

/// How much is read back.
#[derive(Debug, Clone)]
pub enum VerifyScope {
    /// Every pack, every tree.
    All,
    /// A share of the chunks, and every tree.
    Sample {
        /// More than 0, at most 100.
        percent: f64,
        /// Picks them.
        seed: u64,
    },
    /// What later points hold and this one does not.
    Since(RestorePoint),
}

/// What is verified, and how.
pub struct VerifyRequest<'a> {
    /// How much.
    pub scope: VerifyScope,
    /// 16 random bytes that name the damage list, if there is damage.
    pub id: RunId,
    /// Now.
    pub created: Timestamp,
    /// Threads that read and hash; one for each core if not given.
    pub workers: Option<NonZeroUsize>,
    /// Measures how long it took.
    pub clock: &'a dyn Clock,
}

/// A chunk or node that is damaged in some place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Chunk or node.
    pub kind: RecordKind,
    /// Its id.
    pub id: [u8; 32],
    /// What does not check.
    pub reason: String,
    /// Whether a point needs it and no place holds it.
    pub lost: bool,
    /// Whether it was on the damage list before and harms nobody any more: it was stored again, or no point needs it.
    pub healed: bool,
    /// The points that need it, newest first.
    pub points: Vec<PointId>,
}

/// What was read and found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Points whose trees were walked.
    pub points: u64,
    /// Packs that were read whole.
    pub packs: u64,
    /// Chunks that were decoded and hashed.
    pub chunks: u64,
    /// Nodes that were decoded and hashed.
    pub nodes: u64,
    /// Read from the repository.
    pub read_bytes: u64,
    /// Damaged records, by kind and id.
    pub damaged: Vec<DamagedRecord>,
    /// Damaged objects that are no records, a line each: points, packs, index segments.
    pub damaged_objects: Vec<String>,
    /// Why the damage could not be put on the repository's list, if it could not: the next backup does not know of it.
    pub unlisted: Option<hypercbt_repo::Error>,
    /// How long it took.
    pub elapsed_micros: u64,
}

/// Reads back what is stored. Damage is no error: it stands in the report, and on the repository's damage list.
pub fn verify(
    repository: &Repository,
    request: &VerifyRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let started = request.clock.elapsed();
    let (points, damaged_points) = repository.points_with_damage()?;
    let view = repository.view()?;
    let (points, bases) = in_scope(points, &request.scope);
    let known = view.damage().places();
    let pass = VerifyPass {
        repository,
        view: &view,
        bases: &bases,
        workers: threads::workers(request.workers),
    };
    let check = pass.run(&points, &request.scope, observer)?;
    // A full repository is no reason to keep to ourselves what was found.
    let unlisted = note(repository, request.id, &check.findings, &known).err();
    // A new look: what was just found damaged counts as not there.
    let view = repository.view()?;
    let reached = reach::walk(
        &points,
        &bases,
        &view,
        repository.chunk_bytes(),
        &check.findings,
    )?;
    let mut objects: Vec<_> = damaged_points.iter().map(ToString::to_string).collect();
    objects.extend(view.problems().iter().map(ToString::to_string));
    if matches!(request.scope, VerifyScope::All) {
        add_files(repository, &mut objects)?;
    }
    let elapsed = request.clock.elapsed().saturating_sub(started);
    Ok(VerifyReport {
        points: reached.points,
        packs: check.packs,
        chunks: check.chunks,
        nodes: check.nodes,
        read_bytes: check.read_bytes,
        damaged_objects: objects.into_iter().chain(check.damage).collect(),
        unlisted,
        damaged: damaged(&check.findings, &known, reached),
        elapsed_micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    })
}

/// The points whose trees are walked, and those whose part is left out: none, or what stood at `since`.
///
/// Two runs that end at once can have one sequence number: what is not certainly older is verified.
fn in_scope(
    points: Vec<RestorePoint>,
    scope: &VerifyScope,
) -> (Vec<RestorePoint>, Vec<RestorePoint>) {
    let VerifyScope::Since(since) = scope else {
        return (points, Vec::new());
    };
    let (older, mut later): (Vec<_>, Vec<_>) = points
        .into_iter()
        .partition(|point| point.sequence < since.sequence);
    later.retain(|point| point.id != since.id);
    let mut bases = vec![since.clone()];
    for point in older {
        if bases.iter().all(|base| base.machine != point.machine) {
            bases.push(point);
        }
    }
    (later, bases)
}

/// Puts what was found on the damage list.
fn note(
    repository: &Repository,
    id: RunId,
    findings: &[Finding],
    known: &[DamagedPlace],
) -> hypercbt_repo::Result<()> {
    let places: Vec<DamagedPlace> = findings
        .iter()
        .filter(|finding| finding.certain)
        .map(Finding::place)
        .filter(|place| !known.contains(place))
        .collect();
    if places.is_empty() {
        Ok(())
    } else {
        repository.add_damage(id, &places)
    }
}

/// Adds the files that no restore needs and that are damaged, where reading has not come upon them already.
fn add_files(repository: &Repository, objects: &mut Vec<String>) -> Result<()> {
    for error in repository.damaged_files()? {
        let told = match &error {
            RepoError::Damaged { name, .. } => objects.iter().any(|line| line.contains(name)),
            _ => false,
        };
        if !told {
            objects.push(error.to_string());
        }
    }
    Ok(())
}

/// Joins what was found in packs with what the trees miss.
fn damaged(
    findings: &[Finding],
    known: &[DamagedPlace],
    mut reached: Reached,
) -> Vec<DamagedRecord> {
    let mut reasons: BTreeMap<Key, String> = BTreeMap::new();
    for finding in findings {
        reasons
            .entry((finding.kind, finding.id))
            .or_insert_with(|| finding.reason.clone());
    }
    for (kind, id) in &reached.lost {
        reasons
            .entry((*kind, *id))
            .or_insert_with(|| check_pack::lost(*kind, id));
    }
    let is_news = |key: Key| {
        let mut of_key = findings
            .iter()
            .filter(|finding| (finding.kind, finding.id) == key);
        of_key.any(|finding| !known.contains(&finding.place()))
    };
    let record = |(key, reason): (Key, String)| DamagedRecord {
        healed: !reached.lost.contains(&key) && !is_news(key),
        kind: key.0,
        id: key.1,
        reason,
        lost: reached.lost.contains(&key),
        points: reached.needed_by.remove(&key).unwrap_or_default(),
    };
    reasons.into_iter().map(record).collect()
}
