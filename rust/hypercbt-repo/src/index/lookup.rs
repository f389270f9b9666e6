//! The index: all segments together.

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    FOLDER,
    cache::PageCache,
    layout::prefix,
    places::Places,
    segment::{Batch, Scratch, Segment, Wanted},
};
use crate::{Error, PackName, RecordKind, Result, SegmentName, Storage, name};

/// How often the list of segments is read again because merges changed it meanwhile.
const LISTINGS: usize = 16;

/// Tells where chunks and tree nodes stand. Shared between threads as it is.
///
/// It holds what it found when it was opened, what was [added](Self::add) since, and, where another
/// run's merge has replaced a segment meanwhile, the segments that stand now: at least as much.
pub struct Index {
    storage: Arc<dyn Storage>,
    cache: Arc<PageCache>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    segments: Vec<Arc<Segment>>,
    /// Those that could not be opened, which the caller was told.
    damaged: BTreeSet<SegmentName>,
}

impl Index {
    /// Opens all segments. Those that are damaged are left out and told: the caller indexes the
    /// packs that no segment tells of from their footers, and may then delete them.
    pub fn open(storage: Arc<dyn Storage>, cache: Arc<PageCache>) -> Result<(Self, Vec<Error>)> {
        let index = Self {
            storage,
            cache,
            state: RwLock::default(),
        };
        let damaged = index.refresh()?;
        Ok((index, damaged))
    }

    /// Looks at what segments there are now. Returns those that are damaged, as [`open`](Self::open).
    pub fn refresh(&self) -> Result<Vec<Error>> {
        let (segments, damaged) = open_all(&self.storage, &self.cache, self.segments())?;
        let names = damaged.iter().map(|(name, _)| *name).collect();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State {
            segments,
            damaged: names,
        };
        Ok(damaged.into_iter().map(|(_, error)| error).collect())
    }

    /// Adds a segment that was just written.
    pub fn add(&self, segment: SegmentName) -> Result<()> {
        let opened = Segment::open(Arc::clone(&self.storage), Arc::clone(&self.cache), segment)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.damaged.remove(&segment);
        if state.segments.iter().all(|known| known.name() != segment) {
            state.segments.push(Arc::new(opened));
        }
        Ok(())
    }

    /// Asks this segment no more: its pages are damaged, and what its packs hold is told elsewhere.
    pub fn set_aside(&self, segment: SegmentName) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.segments.retain(|open| open.name() != segment);
        state.damaged.insert(segment);
    }

    /// The open segments.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.state().segments.clone()
    }

    /// All places of each id, in the order of `ids`, which need no order of their own.
    ///
    /// Each page is read at most once for a batch: a thousand ids at once cost less than a thousand
    /// times one.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the segment; nothing is said about any id then.
    pub fn lookup(&self, kind: RecordKind, ids: &[[u8; 32]]) -> Result<Places> {
        let mut sorted: Vec<_> = ids
            .iter()
            .zip(0..)
            .map(|(id, position)| Wanted {
                prefix: prefix(id),
                position,
            })
            .collect();
        sorted.sort_unstable();
        let batch = Batch {
            kind,
            ids,
            sorted: &sorted,
        };
        for _ in 0..LISTINGS {
            match self.find(batch) {
                // A merge deletes what it has replaced. What we need stands in its result.
                Err(error) if error.is_not_found() => self.replace_merged()?,
                result => return result,
            }
        }
        self.find(batch)
    }

    /// The packs that the segments tell of, with their lengths when they were indexed; sorted. A
    /// pack of which two lengths are told is there twice: at most one of them is right.
    pub fn packs(&self) -> Vec<(PackName, u64)> {
        let mut packs: Vec<_> = self
            .segments()
            .iter()
            .flat_map(|segment| segment.packs().collect::<Vec<_>>())
            .collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// How much memory the segments take, the cache of pages not counted.
    pub fn memory_bytes(&self) -> usize {
        self.segments()
            .iter()
            .map(|segment| segment.memory_bytes())
            .sum()
    }

    /// As `refresh`, but damage that nobody was told of yet is an error.
    fn replace_merged(&self) -> Result<()> {
        let (mut segments, damaged) = open_all(&self.storage, &self.cache, self.segments())?;
        let told = self.state().damaged.clone();
        segments.retain(|segment| !told.contains(&segment.name()));
        if let Some((_, error)) = damaged.into_iter().find(|(name, _)| !told.contains(name)) {
            return Err(error);
        }
        self.state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .segments = segments;
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, batch: Batch<'_>) -> Result<Places> {
        let mut found = Vec::new();
        let mut scratch = Scratch::new();
        for segment in self.segments() {
            segment.find(batch, &mut scratch, &mut found)?;
        }
        Ok(Places::collect(batch.ids.len(), found))
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Index").field(&self.segments()).finish()
    }
}

type Opened = (Vec<Arc<Segment>>, Vec<(SegmentName, Error)>);

/// Opens what the storage lists; `known` ones are not opened again.
fn open_all(
    storage: &Arc<dyn Storage>,
    cache: &Arc<PageCache>,
    mut known: Vec<Arc<Segment>>,
) -> Result<Opened> {
    'again: for _ in 0..LISTINGS {
        let listed = list(&**storage)?;
        let (mut segments, mut damaged) = (Vec::new(), Vec::new());
        for &segment in &listed {
            if let Some(open) = known.iter().find(|open| open.name() == segment) {
                segments.push(Arc::clone(open));
                continue;
            }
            match Segment::open(Arc::clone(storage), Arc::clone(cache), segment) {
                Ok(open) => {
                    known.push(Arc::new(open));
                    segments.extend(known.last().cloned());
                }
                Err(error) if error.is_not_found() => continue 'again,
                Err(error @ Error::Damaged { .. }) => damaged.push((segment, error)),
                Err(error) => return Err(error),
            }
        }
        // A listing is no moment in time: it may miss a merge's result, made after its part of the
        // folder was read, and the last of its inputs, deleted before theirs was. If nothing changed
        // until now, it did not.
        if list(&**storage)? == listed {
            return Ok((segments, damaged));
        }
    }
    Err(Error::storage("list", FOLDER)(
        io::ErrorKind::Interrupted.into(),
    ))
}

/// The names of all segments. What is not named like one is none.
pub(super) fn list(storage: &dyn Storage) -> Result<BTreeSet<SegmentName>> {
    let objects = storage
        .list(FOLDER)
        .map_err(Error::storage("list", FOLDER))?;
    Ok(objects
        .iter()
        .filter_map(|(object, _)| name::id(object))
        .collect())
}
