//! Which packs there are, and what stands in them.
//!
//! The index tells, and the listing of packs decides: an entry counts as *known* only if its pack is listed with
//! the length that was indexed. Packs that no segment tells of are indexed from their own footers: a run that
//! was killed leaves some, and so does a segment that is damaged or gone.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    Error, IndexEntry, Location, PackName, RecordKind, Result, SegmentName, Storage,
    index::{Index, IndexedPlace, PageCache},
    name::{self, PACKS},
    pack,
};

/// Pages of the index in memory, for each open catalog: a part of what a backup may use.
const PAGE_CACHE_BYTES: usize = 16 << 20;

/// A pack, its length, and what stands in it: what a segment is written from.
pub(crate) type IndexedPack = (PackName, u64, Vec<IndexEntry>);

pub(crate) struct Catalog {
    storage: Arc<dyn Storage>,
    index: Index,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Listed packs and their lengths.
    packs: HashMap<PackName, u64>,
    /// What stands in packs that no segment tells of.
    unindexed: HashMap<(RecordKind, [u8; 32]), Vec<IndexedPlace>>,
    /// No pack is missing or short, and every segment could be read.
    complete: bool,
    /// What could not be read, for those who can do something about it.
    problems: Vec<Arc<Error>>,
}

/// A catalog that knows which packs no segment tells of, but not yet what stands in them.
pub(crate) struct Opened {
    catalog: Catalog,
    pub(crate) unindexed: Vec<(PackName, u64)>,
}

impl Catalog {
    /// Opens the index and lists the packs, in this order: what the index tells of was there before.
    pub(crate) fn open(storage: &Arc<dyn Storage>) -> Result<Opened> {
        let cache = Arc::new(PageCache::new(PAGE_CACHE_BYTES));
        let (index, damaged) = Index::open(Arc::clone(storage), cache)?;
        let packs = list_packs(&**storage)?;
        let indexed: HashSet<_> = index.packs().into_iter().collect();
        let whole = indexed
            .iter()
            .all(|(name, len)| packs.get(name) == Some(len));
        let unindexed = packs.iter().map(|(&name, &len)| (name, len));
        let mut unindexed: Vec<_> = unindexed.filter(|pack| !indexed.contains(pack)).collect();
        unindexed.sort_unstable();
        let complete = whole && damaged.is_empty();
        let problems = damaged.into_iter().map(Arc::new).collect();
        let state = State {
            packs,
            complete,
            problems,
            ..State::default()
        };
        let catalog = Self {
            storage: Arc::clone(storage),
            index,
            state: RwLock::new(state),
        };
        Ok(Opened { catalog, unindexed })
    }

    /// The places of each id: those that count as known come first.
    pub(crate) fn places(&self, kind: RecordKind, ids: &[[u8; 32]]) -> Result<Vec<Vec<Candidate>>> {
        let indexed = self.index.lookup(kind, ids)?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::with_capacity(ids.len());
        for (id, places) in ids.iter().zip(indexed.iter()) {
            let unindexed = state
                .unindexed
                .get(&(kind, *id))
                .map(Vec::as_slice)
                .unwrap_or_default();
            let places = places.iter().chain(unindexed);
            let mut candidates: Vec<_> = places.map(|place| state.candidate(place)).collect();
            candidates.sort_by_key(|candidate| !candidate.listed);
            found.push(candidates);
        }
        Ok(found)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .complete
    }

    pub(crate) fn problems(&self) -> Vec<Arc<Error>> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .problems
            .clone()
    }

    pub(crate) fn packs(&self) -> Vec<(PackName, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut packs: Vec<_> = state
            .packs
            .iter()
            .map(|(&name, &len)| (name, len))
            .collect();
        packs.sort_unstable();
        packs
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Adds a segment that was just written, over packs that were just written.
    pub(crate) fn add(
        &self,
        segment: SegmentName,
        packs: impl Iterator<Item = (PackName, u64)>,
    ) -> Result<()> {
        self.state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .packs
            .extend(packs);
        self.index.add(segment)
    }
}

impl State {
    fn candidate(&self, place: &IndexedPlace) -> Candidate {
        let IndexedPlace { location, pack_len } = *place;
        Candidate {
            location,
            listed: self.packs.get(&location.pack) == Some(&pack_len),
        }
    }
}

/// A place that may hold what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) location: Location,
    /// Whether its pack is listed with the length that it had when it was indexed.
    pub(crate) listed: bool,
}

impl Opened {
    /// The names of the segments that are damaged.
    pub(crate) fn damaged_segments(&self) -> Vec<String> {
        let problems = self.catalog.problems();
        let damaged = problems.iter().filter_map(|problem| match &**problem {
            Error::Damaged { name, .. } => Some(name.clone()),
            _ => None,
        });
        damaged.collect()
    }

    /// Reads what stands in the unindexed packs, and keeps it in memory: for those who only read.
    pub(crate) fn into_catalog(self) -> Catalog {
        let Self { catalog, unindexed } = self;
        for (name, len) in unindexed {
            let contents = catalog.contents(name, len).unwrap_or_default();
            let mut state = catalog
                .state
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for IndexEntry {
                kind,
                id,
                offset,
                stored_len,
            } in contents
            {
                let location = Location {
                    pack: name,
                    offset,
                    stored_len,
                };
                let place = IndexedPlace {
                    location,
                    pack_len: len,
                };
                state.unindexed.entry((kind, id)).or_default().push(place);
            }
        }
        catalog
    }

    /// Reads what stands in the unindexed packs, and hands it on in pieces of about so many entries, which
    /// `persist` makes a segment of: for those who write.
    pub(crate) fn persist(
        self,
        most_entries: usize,
        mut persist: impl FnMut(&[IndexedPack]) -> Result<SegmentName>,
    ) -> Result<Catalog> {
        let Self { catalog, unindexed } = self;
        let mut piece: Vec<IndexedPack> = Vec::new();
        let mut entries = 0;
        let mut flush = |piece: &mut Vec<IndexedPack>| {
            if piece.is_empty() {
                return Ok(());
            }
            let segment = persist(piece)?;
            catalog.add(segment, piece.drain(..).map(|(name, len, _)| (name, len)))
        };
        for (name, len) in unindexed {
            // What cannot be read now stays unindexed, and is tried again by the next run.
            let Some(contents) = catalog.contents(name, len) else {
                continue;
            };
            entries += contents.len();
            piece.push((name, len, contents));
            if entries >= most_entries {
                flush(&mut piece)?;
                entries = 0;
            }
        }
        flush(&mut piece)?;
        Ok(catalog)
    }
}

impl Catalog {
    /// What stands in a pack, by its own word: its footer, or its records where it has none. `None`, and
    /// noted, if it cannot be read.
    fn contents(&self, name: PackName, len: u64) -> Option<Vec<IndexEntry>> {
        let storage = &*self.storage;
        let problem = match pack::read_footer(storage, name, len) {
            Ok(entries) => return Some(entries),
            // Gone since it was listed, which is no loss: nothing told of it.
            Err(error) if error.is_not_found() => return None,
            Err(error) => error,
        };
        let scanned = match problem {
            Error::Damaged { .. } => pack::scan(storage, name, len).ok(),
            _ => None,
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.complete = false;
        state.problems.push(Arc::new(problem));
        scanned.map(|scan| scan.entries)
    }
}

fn list_packs(storage: &dyn Storage) -> Result<HashMap<PackName, u64>> {
    let listed = storage.list(PACKS).map_err(Error::storage("list", PACKS))?;
    let packs = listed
        .into_iter()
        .filter_map(|(name, len)| Some((name::id(&name)?, len)));
    Ok(packs.collect())
}
