//! Puts records into packs, and packs into index segments.
//!
//! ```text
//! append ──▶ open pack ──▶ (one waits) ──▶ helper: finish, sync ──▶ every 4 GiB: index segment
//! ```
//!
//! Chunks and nodes have packs of their own: whoever walks a tree reads a few packs and not all of them. But a
//! pack costs two syncs, so the few nodes of a small run go into its one pack of chunks.

use std::{
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use hypercbt_file::step;

use super::{RunOptions, RunStats, pending::Pending};
use crate::{
    ChunkId, Error, NodeId, Record, RecordKind, Repository, RepositoryId, Result, RunId, Storage,
    View,
    catalog::{IndexedPack, MOST_REPLACED},
    codec::Encoder,
    index,
    pack::{FinishedPack, PackBuilder},
    record::RECORD_HEADER_BYTES,
};

/// At which size a pack of nodes is written. They wait in memory until then.
const NODE_PACK_BYTES: u64 = 8 << 20;
/// So many bytes of nodes go into the pack of chunks that is open.
const FEW_NODE_BYTES: u64 = 1 << 20;
/// Nodes stay in memory until a segment tells of them, so this many bytes of them make one due.
const NODE_SEGMENT_BYTES: u64 = 32 << 20;
/// One pack waits while the helper works on another: two that are not durable.
const WAITING_PACKS: usize = 1;

pub(super) struct Packer {
    open: Mutex<Open>,
    shared: Arc<Shared>,
    helper: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Copy)]
pub(super) struct Settings {
    run: RunId,
    level: i32,
    pack_bytes: u64,
    segment_bytes: u64,
}

impl From<&RunOptions> for Settings {
    fn from(options: &RunOptions) -> Self {
        let RunOptions {
            id,
            level,
            pack_bytes,
            segment_bytes,
            ..
        } = *options;
        Self {
            run: id,
            level,
            pack_bytes,
            segment_bytes,
        }
    }
}

/// What is being filled.
struct Open {
    pack: Option<OpenPack>,
    nodes: Vec<(NodeId, Arc<[u8]>)>,
    node_bytes: u64,
    encoder: Encoder,
    /// To the helper; none once it was stopped, or if there is none.
    helper: Option<SyncSender<OpenPack>>,
}

struct OpenPack {
    builder: PackBuilder,
    chunk_bytes: u64,
    node_bytes: u64,
}

/// What the helper sees too.
struct Shared {
    storage: Arc<dyn Storage>,
    repository: RepositoryId,
    settings: Settings,
    view: View,
    pending: Mutex<Pending>,
    progress: Mutex<Progress>,
    idle: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Packs handed to the helper and not done.
    in_flight: usize,
    /// Durable, and told of by no segment.
    finished: Vec<IndexedPack>,
    /// Plain bytes in those.
    chunk_bytes: u64,
    node_bytes: u64,
    /// Why the run cannot go on.
    failed: Option<Error>,
    stats: RunStats,
}

impl Packer {
    pub(super) fn new(repository: &Repository, view: View, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            storage: Arc::clone(repository.storage()),
            repository: repository.id(),
            settings,
            view,
            pending: Mutex::default(),
            progress: Mutex::default(),
            idle: Condvar::new(),
        });
        let (sender, receiver) = sync_channel(WAITING_PACKS);
        let of_helper = Arc::clone(&shared);
        let helper = thread::Builder::new().name("packs".to_owned());
        let helper = helper
            .spawn(step::carried(move || of_helper.finish_all(&receiver)))
            .ok();
        let open = Open {
            pack: None,
            nodes: Vec::new(),
            node_bytes: 0,
            encoder: Encoder::new(settings.level),
            helper: helper.is_some().then_some(sender), // without one, packs are finished by their fillers
        };
        Self {
            open: Mutex::new(open),
            shared,
            helper: Mutex::new(helper),
        }
    }

    pub(super) fn view(&self) -> &View {
        &self.shared.view
    }

    pub(super) fn stats(&self) -> RunStats {
        self.shared.progress().stats
    }

    pub(super) fn claim(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        let raw: Vec<_> = ids.iter().map(|id| id.0).collect();
        loop {
            self.shared.check()?;
            let generation = self.shared.pending().generation;
            let places = self.view().places(RecordKind::Chunk, &raw)?;
            let mut pending = self.shared.pending();
            if pending.generation == generation {
                let claims = ids
                    .iter()
                    .zip(places)
                    .map(|(&id, place)| place.is_none() && pending.claim(id));
                return Ok(claims.collect());
            }
        }
    }

    pub(super) fn check_stored(&self) -> Result<()> {
        match self.shared.pending().unstored() {
            0 => Ok(()),
            chunks => Err(Error::Unstored { chunks }),
        }
    }

    pub(super) fn append(&self, records: Vec<Record>) -> Result<()> {
        let mut open = self.open();
        self.shared.check()?;
        for record in records {
            let header = record.header();
            let is_chunk = header.kind == RecordKind::Chunk;
            if !is_chunk || self.shared.pending().store(&header.id) {
                self.guard(|| self.add(&mut open, &record))?;
            }
        }
        Ok(())
    }

    pub(super) fn put_node(&self, id: NodeId, bytes: Vec<u8>) -> Result<()> {
        self.shared.check()?;
        if self.shared.pending().node(id).is_some() {
            return Ok(());
        }
        if let [Some(_)] = *self.view().places(RecordKind::Node, &[id.0])? {
            return Ok(());
        }
        let bytes: Arc<[u8]> = bytes.into();
        let mut open = self.open();
        if self.shared.pending().put_node(id, &bytes) {
            open.node_bytes += bytes.len() as u64 + u64::from(RECORD_HEADER_BYTES);
            open.nodes.push((id, bytes));
        }
        if open.node_bytes >= NODE_PACK_BYTES.min(self.shared.settings.pack_bytes) {
            self.guard(|| self.write_nodes(&mut open))?;
        }
        Ok(())
    }

    pub(super) fn node_bytes(&self, id: NodeId) -> Result<Vec<u8>> {
        // In this order: what is no longer pending is in the view.
        let pending = self.shared.pending().node(id);
        pending.map_or_else(|| self.view().node_bytes(id), |bytes| Ok(bytes.to_vec()))
    }

    /// Finishes everything that is open, waits for all packs, and writes a segment over them.
    pub(super) fn flush(&self) -> Result<()> {
        let mut open = self.open();
        self.shared.check()?;
        self.guard(|| {
            self.write_nodes(&mut open)?;
            if let Some(pack) = open.pack.take() {
                self.finish(&open, pack)?;
            }
            self.shared.wait()?;
            self.shared.write_segment()
        })
    }

    /// Ends the helper. What is open is dropped; what is finished is indexed, even if the run has failed.
    pub(super) fn stop(&self) -> Result<()> {
        let mut open = self.open();
        open.pack = None;
        open.helper = None;
        let helper = self
            .helper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let joined = helper.map(JoinHandle::join);
        debug_assert!(!matches!(joined, Some(Err(_))), "the helper does not panic");
        self.shared.write_segment()
    }

    /// Merges index segments where there are many of one size. One that turns out to be damaged is replaced.
    pub(super) fn merge(&self) -> Result<()> {
        let owner = self.shared.settings.run.to_string();
        for _ in 0..MOST_REPLACED {
            match index::merge_if_due(&self.shared.storage, &owner) {
                Err(error @ Error::Damaged { .. }) => self.view().catalog().replace(error)?,
                merged => return merged.map(drop),
            }
        }
        Ok(()) // The next run merges.
    }

    /// Adds a record to the open pack, beginning one or finishing it where needed.
    fn add(&self, open: &mut Open, record: &Record) -> Result<()> {
        let shared = &*self.shared;
        let mut pack = match open.pack.take() {
            Some(pack) => pack,
            None => OpenPack::new(shared)?,
        };
        match pack.append(record) {
            Err(Error::PackFull) => {
                self.finish(open, mem::replace(&mut pack, OpenPack::new(shared)?))?;
                pack.append(record)?;
            }
            appended => appended?,
        }
        if record.header().kind == RecordKind::Chunk {
            shared.progress().stats.stored_bytes += u64::from(record.header().stored_len);
        }
        if pack.builder.len() >= shared.settings.pack_bytes {
            self.finish(open, pack)?;
        } else {
            open.pack = Some(pack);
        }
        Ok(())
    }

    /// Puts the nodes that wait into a pack.
    fn write_nodes(&self, open: &mut Open) -> Result<()> {
        let nodes = mem::take(&mut open.nodes);
        let node_bytes = mem::take(&mut open.node_bytes);
        if nodes.is_empty() {
            return Ok(());
        }
        let few = node_bytes <= FEW_NODE_BYTES;
        let chunks = open.pack.take();
        let (mut pack, chunks) = match chunks {
            Some(chunks) if few => (chunks, None),
            chunks => (OpenPack::new(&self.shared)?, chunks),
        };
        for (id, bytes) in nodes {
            let record = open.encoder.encode_node(id, &bytes);
            if let Err(error) = pack.append(&record) {
                let Error::PackFull = error else {
                    return Err(error);
                };
                self.finish(open, mem::replace(&mut pack, OpenPack::new(&self.shared)?))?;
                pack.append(&record)?;
            }
        }
        open.pack = chunks;
        self.finish(open, pack)
    }

    /// Hands a pack to the helper.
    fn finish(&self, open: &Open, pack: OpenPack) -> Result<()> {
        self.shared.progress().in_flight += 1;
        let unsent = match &open.helper {
            Some(helper) => helper.send(pack).err().map(|unsent| unsent.0),
            None => Some(pack),
        };
        if let Some(pack) = unsent {
            self.shared.finish(pack);
        }
        self.shared.check()
    }

    /// Notes a failure, after which nothing goes on: part of a record may have been written.
    fn guard(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        work().inspect_err(|error| self.shared.fail(error.copy()))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenPack {
    fn new(shared: &Shared) -> Result<Self> {
        let builder = PackBuilder::new(&*shared.storage, shared.settings.run, shared.repository)?;
        Ok(Self {
            builder,
            chunk_bytes: 0,
            node_bytes: 0,
        })
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        self.builder.append(record)?;
        let header = record.header();
        match header.kind {
            RecordKind::Chunk => self.chunk_bytes += u64::from(header.plain_len),
            RecordKind::Node => self.node_bytes += u64::from(header.plain_len),
        }
        Ok(())
    }
}

impl Shared {
    /// The helper: finishes packs until nobody can send any more.
    fn finish_all(&self, packs: &Receiver<OpenPack>) {
        for pack in packs {
            self.finish(pack);
        }
    }

    /// Makes a pack durable, and a segment where one is due. A failure is noted for the next call.
    fn finish(&self, pack: OpenPack) {
        let _done = InFlight(self);
        let goes_on = self.progress().failed.is_none();
        if goes_on && let Err(error) = self.try_finish(pack) {
            self.fail(error);
        }
    }

    fn try_finish(&self, pack: OpenPack) -> Result<()> {
        let OpenPack {
            builder,
            chunk_bytes,
            node_bytes,
        } = pack;
        let sealed = builder.seal()?;
        let finished = if step::left_out("repo.packs.before_segment") {
            let FinishedPack { name, len, entries } = sealed.finished.clone();
            let packs = [(name, len, entries)];
            self.view
                .catalog()
                .write_segment(self.settings.run, &packs)?;
            sealed.publish()?
        } else {
            sealed.publish()?
        };
        let chunks = finished
            .entries
            .iter()
            .filter(|entry| entry.kind == RecordKind::Chunk);
        let stored: u64 = chunks.map(|entry| u64::from(entry.stored_len)).sum();
        let mut progress = self.progress();
        progress.stats.packs += 1;
        progress.stats.metadata_bytes += finished.len - stored;
        progress
            .finished
            .push((finished.name, finished.len, finished.entries));
        progress.chunk_bytes += chunk_bytes;
        progress.node_bytes += node_bytes;
        let due = progress.chunk_bytes >= self.settings.segment_bytes
            || progress.node_bytes >= NODE_SEGMENT_BYTES;
        drop(progress);
        if due { self.write_segment() } else { Ok(()) }
    }

    /// Writes a segment over the finished packs, if there are any. Never by two threads at once: the helper is
    /// idle or gone when another does it.
    fn write_segment(&self) -> Result<()> {
        let packs = mem::take(&mut self.progress().finished);
        if packs.is_empty() {
            return Ok(());
        }
        match self.view.catalog().write_segment(self.settings.run, &packs) {
            Ok(segment) => {
                let mut progress = self.progress();
                progress.stats.segments += 1;
                progress.stats.metadata_bytes += segment.len;
                (progress.chunk_bytes, progress.node_bytes) = (0, 0);
                drop(progress);
                self.pending()
                    .indexed(packs.iter().flat_map(|(.., entries)| entries));
                Ok(())
            }
            Err(error) => {
                self.progress().finished = packs;
                Err(error)
            }
        }
    }

    /// Waits until the helper has nothing to do.
    fn wait(&self) -> Result<()> {
        let mut progress = self.progress();
        while progress.in_flight > 0 {
            progress = self
                .idle
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(progress);
        self.check()
    }

    fn check(&self) -> Result<()> {
        self.progress()
            .failed
            .as_ref()
            .map_or(Ok(()), |error| Err(error.copy()))
    }

    /// The first failure is the cause of all others.
    fn fail(&self, error: Error) {
        self.progress().failed.get_or_insert(error);
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a pack as done, also where finishing it panicked: nobody must wait for ever.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.progress().in_flight -= 1;
        self.0.idle.notify_all();
    }
}
