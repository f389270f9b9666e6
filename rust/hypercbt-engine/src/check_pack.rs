//! Reading one whole pack back: its name, and every record in it.

use hypercbt_repo::{
    ChunkId, DamagedPlace, Error as RepoError, IndexEntry, NodeId, PackName, RECORD_HEADER_BYTES,
    RecordKind, Repository, Storage, View, codec::Decoder, pack,
};

use crate::{Error, Result, fetch::Batch};

/// A pack is read in pieces of about this length, cut between records.
const PIECE_BYTES: u64 = 4 << 20;

/// A record that does not hold what its id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: RecordKind,
    pub(crate) id: [u8; 32],
    pub(crate) pack: PackName,
    pub(crate) offset: u32,
    pub(crate) reason: String,
    /// Whether the bytes were read and are wrong. What could not be read may be right.
    pub(crate) certain: bool,
}

impl Finding {
    /// As the damage list has it.
    pub(crate) fn place(&self) -> DamagedPlace {
        DamagedPlace {
            kind: self.kind,
            id: self.id,
            pack: self.pack,
            offset: self.offset,
        }
    }
}

/// What was read of a pack, and what does not check.
#[derive(Debug, Default)]
pub(crate) struct PackCheck {
    /// Packs that were read whole.
    pub(crate) packs: u64,
    pub(crate) chunks: u64,
    pub(crate) nodes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) findings: Vec<Finding>,
    /// The pack's own damage, if it is not only its records'.
    pub(crate) damage: Vec<String>,
}

/// Reads packs; one per thread.
pub(crate) struct PackChecker<'a> {
    view: &'a View,
    storage: &'a dyn Storage,
    chunk_bytes: u32,
    decoder: Decoder,
    buffer: Vec<u8>,
    plain: Vec<u8>,
}

impl<'a> PackChecker<'a> {
    pub(crate) fn new(repository: &'a Repository, view: &'a View) -> Self {
        Self {
            view,
            storage: &**repository.storage(),
            chunk_bytes: repository.chunk_bytes(),
            decoder: Decoder::new(),
            buffer: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// Reads all of a pack.
    pub(crate) fn pack(&mut self, name: PackName, len: u64) -> Result<PackCheck> {
        let mut check = PackCheck {
            packs: 1,
            ..PackCheck::default()
        };
        let entries = match pack::read_footer(self.storage, name, len) {
            Ok(entries) => entries,
            Err(error) => {
                check.damage.push(error.to_string());
                self.view.index().entries_of(name)?
            }
        };
        let hash = self.records(name, len, &entries, &mut check);
        if hash != Some(name) && check.findings.is_empty() && check.damage.is_empty() {
            check
                .damage
                .push(format!("pack {name} does not have its name's hash"));
        }
        Ok(check)
    }

    /// Reads some records that lie near each other.
    pub(crate) fn batch(&mut self, batch: &Batch<RecordKind>) -> PackCheck {
        let mut check = PackCheck::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = batch.read(self.view, &mut buffer);
        check.read_bytes += buffer.len() as u64;
        for record in &batch.records {
            let entry = IndexEntry {
                kind: record.purpose,
                id: record.id,
                offset: record.place.offset,
                stored_len: record.place.stored_len,
            };
            match &read {
                Ok(()) => self.record(
                    record.place.pack,
                    &entry,
                    batch.bytes(record, &buffer),
                    &mut check,
                ),
                Err(error) => check
                    .findings
                    .push(unread(record.place.pack, &entry, error)),
            }
        }
        self.buffer = buffer;
        check
    }

    /// Decodes the entries, which are in order of place, and hashes the whole file on the way. `None` if not all
    /// of it could be read.
    fn records(
        &mut self,
        name: PackName,
        len: u64,
        entries: &[IndexEntry],
        check: &mut PackCheck,
    ) -> Option<PackName> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut at, mut rest, mut whole) = (0, entries, true);
        while at < len {
            let (records, after) = rest.split_at(piece(rest, at));
            let end = records
                .last()
                .map_or(at + PIECE_BYTES, record_end)
                .clamp(at + 1, len);
            buffer.resize(to_usize(end - at), 0);
            let offset = u32::try_from(at).expect("packs are at most 512 MiB");
            let read = self
                .view
                .read_pack_range(name, offset, &mut buffer)
                .map_err(Error::from);
            check.read_bytes += end - at;
            hasher.update(&buffer);
            for entry in records {
                match &read {
                    Ok(()) => self.record(name, entry, within(&buffer, at, entry), check),
                    Err(error) => check.findings.push(unread(name, entry, error)),
                }
            }
            if let (Err(error), true) = (&read, records.is_empty()) {
                check.damage.push(error.to_string());
            }
            whole &= read.is_ok();
            (at, rest) = (end, after);
        }
        // What lies past the end of a pack that was cut off.
        for entry in rest {
            self.record(name, entry, &[], check);
        }
        self.buffer = buffer;
        whole.then(|| PackName(*hasher.finalize().as_bytes()))
    }

    fn record(&mut self, pack: PackName, entry: &IndexEntry, bytes: &[u8], check: &mut PackCheck) {
        let limit = match entry.kind {
            RecordKind::Chunk => self.chunk_bytes,
            RecordKind::Node => hypercbt_repo::MAX_NODE_BYTES,
        };
        match entry.kind {
            RecordKind::Chunk => check.chunks += 1,
            RecordKind::Node => check.nodes += 1,
        }
        if let Err(error) =
            self.decoder
                .decode(bytes, entry.kind, &entry.id, limit, &mut self.plain)
        {
            let reason = error.to_string();
            check.findings.push(Finding {
                kind: entry.kind,
                id: entry.id,
                pack,
                offset: entry.offset,
                reason,
                certain: true,
            });
        }
    }
}

/// The bytes of a record in a piece that starts at `at`; empty if it is not all there.
fn within<'a>(piece: &'a [u8], at: u64, entry: &IndexEntry) -> &'a [u8] {
    let range = u64::from(entry.offset)
        .checked_sub(at)
        .map(|start| to_usize(start)..to_usize(record_end(entry) - at));
    range.and_then(|range| piece.get(range)).unwrap_or_default()
}

fn unread(pack: PackName, entry: &IndexEntry, error: &Error) -> Finding {
    let reason = error.to_string();
    Finding {
        kind: entry.kind,
        id: entry.id,
        pack,
        offset: entry.offset,
        reason,
        certain: false,
    }
}

/// How many of `entries` make up the next piece: at least one, if there is one.
fn piece(entries: &[IndexEntry], at: u64) -> usize {
    entries
        .iter()
        .position(|entry| record_end(entry) - at.min(record_end(entry)) > PIECE_BYTES)
        .map_or(entries.len(), |count| count.max(1))
}

fn record_end(entry: &IndexEntry) -> u64 {
    u64::from(entry.offset) + u64::from(RECORD_HEADER_BYTES) + u64::from(entry.stored_len)
}

/// What a record is called in a report.
pub(crate) fn lost(kind: RecordKind, id: &[u8; 32]) -> String {
    match kind {
        RecordKind::Chunk => RepoError::ChunkLost { id: ChunkId(*id) }.to_string(),
        RecordKind::Node => RepoError::NodeLost { id: NodeId(*id) }.to_string(),
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a pack is at most 512 MiB")
}

impl PackCheck {
    pub(crate) fn add(&mut self, other: Self) {
        self.packs += other.packs;
        self.chunks += other.chunks;
        self.nodes += other.nodes;
        self.read_bytes += other.read_bytes;
        self.findings.extend(other.findings);
        self.damage.extend(other.damage);
    }
}
