//! Which packs there are, and what stands in them.
//!
//! The index tells, and the listing of packs decides: an entry counts as *known* only if its pack is listed with
//! the length that was indexed. Packs that no whole segment tells of are indexed from their own footers: a run
//! that was killed leaves some, and so does a segment that is damaged or gone. Who writes makes new segments for
//! them; who only reads keeps them in memory.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hypercbt_file::step;

use crate::{
    Error, IndexEntry, Location, PackName, RecordKind, Result, RunId, SegmentName, Storage,
    index::{self, Index, IndexedPlace, PageCache, Places, Written},
    name::{self, PACKS},
    pack,
};

/// Pages of the index in memory, for each open catalog: a part of what a backup may use.
const PAGE_CACHE_BYTES: usize = 16 << 20;
/// Entries in a segment that is made from footers: 12 MiB of memory.
const ENTRIES_IN_A_SEGMENT: usize = 1 << 18;

/// How many damaged segments are replaced before a look-up or a merge gives up: a storage that damages what was
/// just written is beyond help.
pub(crate) const MOST_REPLACED: usize = 16;

/// A pack, its length, and what stands in it: what a segment is written from.
pub(crate) type IndexedPack = (PackName, u64, Vec<IndexEntry>);

pub(crate) struct Catalog {
    storage: Arc<dyn Storage>,
    index: Index,
    /// The run that may write segments.
    writer: Option<RunId>,
    state: RwLock<State>,
    /// Written while a damaged segment is replaced: nobody must look into the index meanwhile.
    replacing: RwLock<()>,
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

/// A place that may hold what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) location: Location,
    /// Whether its pack is listed with the length that it had when it was indexed.
    pub(crate) listed: bool,
}

impl Catalog {
    /// Opens the index and lists the packs, in this order: what the index tells of was there before. Then reads
    /// what stands in the packs that it does not tell of.
    pub(crate) fn open(storage: &Arc<dyn Storage>, writer: Option<RunId>) -> Result<Self> {
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
        let state = State {
            packs,
            complete: whole,
            ..State::default()
        };
        let catalog = Self {
            storage: Arc::clone(storage),
            index,
            writer,
            state: RwLock::new(state),
            replacing: RwLock::new(()),
        };
        for error in damaged {
            catalog.discard(error)?;
        }
        catalog.settle(&unindexed)?;
        catalog.index_packs(unindexed)?;
        Ok(catalog)
    }

    /// The places of each id: those that count as known come first.
    pub(crate) fn places(&self, kind: RecordKind, ids: &[[u8; 32]]) -> Result<Vec<Vec<Candidate>>> {
        let indexed = self.lookup(kind, ids)?;
        let state = self.state();
        let mut found = Vec::with_capacity(ids.len());
        for (id, places) in ids.iter().zip(indexed.iter()) {
            let unindexed = state.unindexed.get(&(kind, *id));
            let places = places.iter().chain(unindexed.into_iter().flatten());
            let mut candidates: Vec<_> = places.map(|place| state.candidate(place)).collect();
            candidates.sort_by_key(|candidate| !candidate.listed);
            found.push(candidates);
        }
        Ok(found)
    }

    /// Looks into the index, and replaces segments that turn out to be damaged.
    fn lookup(&self, kind: RecordKind, ids: &[[u8; 32]]) -> Result<Places> {
        let lookup = || {
            let _steady = self
                .replacing
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            self.index.lookup(kind, ids)
        };
        for _ in 0..MOST_REPLACED {
            match lookup() {
                Err(error @ Error::Damaged { .. }) => self.replace(error)?,
                found => return found,
            }
        }
        lookup()
    }

    /// Whether no pack is missing or short, and every segment could be read.
    pub(crate) fn is_complete(&self) -> bool {
        self.state().complete
    }

    /// Whether a run looks here, and not somebody who only reads.
    pub(crate) fn is_of_run(&self) -> bool {
        self.writer.is_some()
    }

    /// Takes note of something that could not be read: not everything is known then.
    pub(crate) fn note(&self, error: Error) {
        let mut state = self.state_mut();
        state.complete = false;
        state.problems.push(Arc::new(error));
    }

    pub(crate) fn problems(&self) -> Vec<Arc<Error>> {
        self.state().problems.clone()
    }

    pub(crate) fn packs(&self) -> Vec<(PackName, u64)> {
        let packs = &self.state().packs;
        let mut packs: Vec<_> = packs.iter().map(|(&name, &len)| (name, len)).collect();
        packs.sort_unstable();
        packs
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Writes a segment over packs that are durable, and counts them as listed from now on.
    pub(crate) fn write_segment(&self, run: RunId, packs: &[IndexedPack]) -> Result<Written> {
        let segment = index::write(&*self.storage, &run.to_string(), packs, 0)?;
        let listed = packs.iter().map(|&(name, len, _)| (name, len));
        self.state_mut().packs.extend(listed);
        self.index.add(segment.name)?;
        Ok(segment)
    }

    /// Replaces a segment of which a page is damaged by what its packs say themselves.
    ///
    /// # Errors
    /// The error itself, if it is not of a segment that is open here.
    pub(crate) fn replace(&self, error: Error) -> Result<()> {
        let Error::Damaged { name, .. } = &error else {
            return Err(error);
        };
        let Some(segment) = name::id::<SegmentName>(name) else {
            return Err(error);
        };
        let _alone = self
            .replacing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let segments = self.index.segments();
        let Some(damaged) = segments.iter().find(|open| open.name() == segment) else {
            // Another thread has replaced it while we waited; or it never was ours.
            let replaced = self.state().tells_of(name);
            return if replaced { Ok(()) } else { Err(error) };
        };
        let others = segments.iter().filter(|open| open.name() != segment);
        let indexed: HashSet<_> = others.flat_map(|open| open.packs()).collect();
        let listed = |pack: &(PackName, u64)| self.state().packs.get(&pack.0) == Some(&pack.1);
        let unindexed = damaged
            .packs()
            .filter(|pack| !indexed.contains(pack) && listed(pack));
        let unindexed = unindexed.collect();
        self.index.set_aside(segment);
        self.discard(error)?;
        self.index_packs(unindexed)
    }

    /// Notes that a segment is damaged, and removes it where its packs will be indexed anew: the same packs give
    /// the same bytes, so the segment that takes its place can have its name.
    fn discard(&self, error: Error) -> Result<()> {
        if let (Some(_), Error::Damaged { name, .. }) = (self.writer, &error) {
            self.storage
                .delete(name)
                .map_err(Error::storage("delete", name))?;
        }
        self.note(error);
        Ok(())
    }

    /// Makes segments durable, and packs that none tells of: they may be of a run that was killed before it synced
    /// their folders, and what is built on them now would fall with them when power goes. Packs that a segment
    /// tells of were durable before it was written.
    fn settle(&self, packs: &[(PackName, u64)]) -> Result<()> {
        if self.writer.is_none() || step::left_out("repo.adopt.settle") {
            return Ok(());
        }
        let segments = self.index.segments().into_iter();
        let segments = segments.map(|segment| index::object_name(segment.name()));
        let names = packs.iter().map(|&(pack, _)| name::pack(pack));
        let folder = |name: &str| name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let mut settled = HashSet::new();
        for name in segments.chain(names) {
            if settled.insert(folder(&name)) {
                self.storage
                    .settle(&name)
                    .map_err(Error::storage("write", name))?;
            }
        }
        Ok(())
    }

    /// Reads what stands in packs that no segment tells of.
    fn index_packs(&self, packs: Vec<(PackName, u64)>) -> Result<()> {
        let mut piece: Vec<IndexedPack> = Vec::new();
        let mut entries = 0;
        for (name, len) in packs {
            // What cannot be read now stays unindexed, and is tried again by the next run.
            let Some(contents) = self.contents(name, len) else {
                continue;
            };
            entries += contents.len();
            piece.push((name, len, contents));
            if entries >= ENTRIES_IN_A_SEGMENT {
                self.add(mem::take(&mut piece))?;
                entries = 0;
            }
        }
        if piece.is_empty() {
            Ok(())
        } else {
            self.add(piece)
        }
    }

    /// Takes note of what stands in some packs: in a new segment, or in memory.
    fn add(&self, packs: Vec<IndexedPack>) -> Result<()> {
        if let Some(run) = self.writer {
            return self.write_segment(run, &packs).map(drop);
        }
        let mut state = self.state_mut();
        for (pack, pack_len, entries) in packs {
            for IndexEntry {
                kind,
                id,
                offset,
                stored_len,
            } in entries
            {
                let location = Location {
                    pack,
                    offset,
                    stored_len,
                };
                let place = IndexedPlace { location, pack_len };
                state.unindexed.entry((kind, id)).or_default().push(place);
            }
        }
        Ok(())
    }

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
        self.note(problem);
        scanned.map(|scan| scan.entries)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn candidate(&self, place: &IndexedPlace) -> Candidate {
        let IndexedPlace { location, pack_len } = *place;
        let listed = self.packs.get(&location.pack) == Some(&pack_len);
        Candidate { location, listed }
    }

    fn tells_of(&self, damaged: &str) -> bool {
        let mut problems = self.problems.iter();
        problems.any(|problem| matches!(&**problem, Error::Damaged { name, .. } if name == damaged))
    }
}

fn list_packs(storage: &dyn Storage) -> Result<HashMap<PackName, u64>> {
    let listed = storage.list(PACKS).map_err(Error::storage("list", PACKS))?;
    let packs = listed
        .into_iter()
        .filter_map(|(name, len)| Some((name::id(&name)?, len)));
    Ok(packs.collect())
}
