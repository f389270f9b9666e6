//! A look at a repository for reading: where chunks and nodes stand, and their bytes.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    ChunkId, Damage, DamageList, DamagedPlace, Error, Location, NodeId, PackName, RecordKind,
    Repository, Result, Storage,
    catalog::{Candidate, Catalog},
    codec::{Decoder, record_name},
    index::Index,
    met::{self, Met},
    name,
    record::{MAX_NODE_BYTES, RECORD_HEADER_BYTES},
    tree::{Node, NodeSource},
};

/// A look at a repository, as it was when this was made. Shared between threads as it is.
pub struct View {
    storage: Arc<dyn Storage>,
    catalog: Catalog,
    damage: DamageList,
    /// What turned out to be damaged or gone since.
    met: Met,
    chunk_bytes: u32,
    /// Decoders that nobody uses at the moment: each holds a zstd context, which is slow to make.
    decoders: Mutex<Vec<Decoder>>,
}

impl Repository {
    /// A look at the repository as it is now.
    ///
    /// Packs that no index segment tells of are indexed from their footers, in memory.
    pub fn view(&self) -> Result<Arc<View>> {
        let catalog = Catalog::open(self.storage(), None)?;
        View::new(self, catalog).map(Arc::new)
    }
}

impl View {
    pub(crate) fn new(repository: &Repository, catalog: Catalog) -> Result<Self> {
        let (damage, unreadable) = repository.readable_damage()?;
        for error in unreadable {
            // Whoever reads goes on without: each byte is checked anyhow. Whoever writes must not take for known
            // what is on a list that only the storage cannot give at the moment.
            if catalog.is_of_run() && !matches!(error, Error::Damaged { .. }) {
                return Err(error);
            }
            catalog.note(error);
        }
        Ok(Self {
            storage: Arc::clone(repository.storage()),
            catalog,
            damage,
            met: Met::default(),
            chunk_bytes: repository.chunk_bytes(),
            decoders: Mutex::default(),
        })
    }

    /// For each id a place where it is known to stand: indexed, its pack listed with the indexed length, not on
    /// the damage list, and not met damaged or missing through this look. In the order of `ids`.
    pub fn places(&self, kind: RecordKind, ids: &[[u8; 32]]) -> Result<Vec<Option<Location>>> {
        let found = self.catalog.places(kind, ids)?;
        let met = self.met.places();
        let known = ids.iter().zip(found).map(|(id, candidates)| {
            let known = candidates
                .iter()
                .find(|candidate| self.knows(&met, kind, id, candidate));
            known.map(|candidate| candidate.location)
        });
        Ok(known.collect())
    }

    /// Whether no pack is missing or short, every index segment could be read, nothing is on the damage list,
    /// which could be read too, and nothing damaged was met: then a chunk or node that a restore point refers to is known without a look-up.
    pub fn all_known(&self) -> bool {
        self.damage.is_empty() && self.met.places().is_empty() && self.catalog.is_complete()
    }

    /// The plain bytes of a chunk.
    ///
    /// Each place is tried until one holds what it should, those on the damage list last.
    ///
    /// # Errors
    /// [`Error::ChunkLost`] if none does.
    pub fn chunk(&self, id: ChunkId) -> Result<Vec<u8>> {
        let bytes = self.read(RecordKind::Chunk, &id.0, self.chunk_bytes)?;
        bytes.ok_or(Error::ChunkLost { id })
    }

    /// The bytes of a tree node.
    ///
    /// # Errors
    /// [`Error::NodeLost`] if no place holds them.
    pub fn node_bytes(&self, id: NodeId) -> Result<Vec<u8>> {
        let bytes = self.read(RecordKind::Node, &id.0, MAX_NODE_BYTES)?;
        bytes.ok_or(Error::NodeLost { id })
    }

    /// Fills `buf` from a pack, unchecked.
    pub fn read_pack_range(&self, pack: PackName, offset: u32, buf: &mut [u8]) -> Result<()> {
        let name = name::pack(pack);
        self.storage
            .read_exact_at(&name, buf, u64::from(offset))
            .map_err(Error::storage("read", name))
    }

    /// The packs that are listed, with their lengths, in order of name.
    pub fn packs(&self) -> Vec<(PackName, u64)> {
        self.catalog.packs()
    }

    /// The index, for those who want all of it.
    pub fn index(&self) -> &Index {
        self.catalog.index()
    }

    /// The places that are known to be damaged.
    pub fn damage(&self) -> &DamageList {
        &self.damage
    }

    /// What could not be read while this look was made or used: index segments, packs that none tells of, parts
    /// of the damage list.
    pub fn problems(&self) -> Vec<Arc<Error>> {
        self.catalog.problems()
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The places that turned out to be damaged when they were read through this look, in order.
    pub(crate) fn met_damaged(&self) -> Vec<DamagedPlace> {
        self.met.damaged()
    }

    fn knows(
        &self,
        met: &met::Places,
        kind: RecordKind,
        id: &[u8; 32],
        candidate: &Candidate,
    ) -> bool {
        let Candidate { location, listed } = candidate;
        *listed && !self.damage.contains(kind, id, location) && !met.contains(kind, id, location)
    }

    /// The plain bytes from the first place that holds them; `None` if there is none.
    fn read(&self, kind: RecordKind, id: &[u8; 32], plain_limit: u32) -> Result<Option<Vec<u8>>> {
        let found = self.catalog.places(kind, std::slice::from_ref(id))?;
        let mut candidates = found.into_iter().next().unwrap_or_default();
        let known = |candidate: &Candidate| self.knows(&self.met.places(), kind, id, candidate);
        candidates.sort_by_key(|candidate| !known(candidate));
        let mut failed = None;
        for Candidate { location, .. } in candidates {
            match self.read_at(kind, id, location, plain_limit) {
                Ok(plain) => return Ok(Some(plain)),
                // A place that is damaged is one that does not count. One that cannot be read now may hold it.
                Err(error) if error.is_absence() || matches!(error, Error::Damaged { .. }) => {
                    let place = DamagedPlace::new(kind, id, &location);
                    self.met.note(place, &error);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn read_at(
        &self,
        kind: RecordKind,
        id: &[u8; 32],
        place: Location,
        plain_limit: u32,
    ) -> Result<Vec<u8>> {
        let decoders = || self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        if place.stored_len > plain_limit {
            // No writer stores more than the plain bytes.
            return Err(Error::damaged(name::pack(place.pack), Damage::Field));
        }
        let mut record = vec![0; (RECORD_HEADER_BYTES + place.stored_len) as usize];
        self.read_pack_range(place.pack, place.offset, &mut record)?;
        let mut decoder = decoders().pop().unwrap_or_default();
        let mut plain = Vec::new();
        let result = decoder.decode(&record, kind, id, plain_limit, &mut plain);
        decoders().push(decoder);
        result.map(|()| plain)
    }
}

impl NodeSource for View {
    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        decode_node(id, &self.node_bytes(id)?)
    }
}

/// Decodes bytes that have this id. Where it fails, somebody wrote nonsense under its right hash.
pub(crate) fn decode_node(id: NodeId, bytes: &[u8]) -> Result<Arc<Node>> {
    let damaged = |reason| Error::damaged(record_name(RecordKind::Node, &id.0), reason);
    Node::decode(bytes).map(Arc::new).map_err(damaged)
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("damage", &self.damage.len())
            .finish_non_exhaustive()
    }
}
