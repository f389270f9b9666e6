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
use crate::{Error, IndexEntry, PackName, RecordKind, Result, SegmentName, Storage, name};

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

impl State {
    /// Puts the segments that were listed in the place of those before. What was added while the
    /// list was read stays: it may be missing there.
    fn replace(&mut self, before: &[Arc<Segment>], listed: Vec<Arc<Segment>>) {
        let old = std::mem::replace(&mut self.segments, listed);
        for segment in old {
            let has = |list: &[Arc<Segment>]| list.iter().any(|open| open.name() == segment.name());
            if !has(before) && !has(&self.segments) {
                self.segments.push(segment);
            }
        }
    }
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
        let before = self.segments();
        let (segments, damaged) = open_all(&self.storage, &self.cache, before.clone())?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.replace(&before, segments);
        state.damaged = damaged.iter().map(|(name, _)| *name).collect();
        Ok(damaged.into_iter().map(|(_, error)| error).collect())
    }

    /// Adds a segment that was just written, or what another run's merge has made of it already.
    pub fn add(&self, segment: SegmentName) -> Result<()> {
        let opened = Segment::open(Arc::clone(&self.storage), Arc::clone(&self.cache), segment);
        let opened = match opened {
            Err(error) if error.is_not_found() => return self.replace_merged(),
            opened => opened?,
        };
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
        self.despite_merges(|| self.find(batch))
    }

    /// All that the segments tell of one pack, in order of place, each entry once. Reads every entry of each
    /// segment that has the pack: for when the pack cannot tell itself.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the segment.
    pub fn entries_of(&self, pack: PackName) -> Result<Vec<IndexEntry>> {
        self.despite_merges(|| {
            let mut entries = Vec::new();
            for segment in self.segments() {
                if segment.packs().any(|(name, _)| name == pack) {
                    for entry in segment.entries() {
                        let entry = entry?;
                        entries
                            .extend((entry.place.location.pack == pack).then(|| entry.in_pack()));
                    }
                }
            }
            entries.sort_unstable_by_key(|entry| (entry.offset, entry.id));
            entries.dedup();
            Ok(entries)
        })
    }

    /// Asks again, of the segments that stand now, where another run's merge has deleted one meanwhile: what was
    /// in it stands in the merge's result.
    fn despite_merges<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 0..LISTINGS {
            match ask() {
                Err(error) if error.is_not_found() => self.replace_merged()?,
                result => return result,
            }
        }
        ask()
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
        let before = self.segments();
        let (mut segments, damaged) = open_all(&self.storage, &self.cache, before.clone())?;
        let told = self.state().damaged.clone();
        segments.retain(|segment| !told.contains(&segment.name()));
        if let Some((_, error)) = damaged.into_iter().find(|(name, _)| !told.contains(name)) {
            return Err(error);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.replace(&before, segments);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Damage, MemoryStorage,
        index::{
            merge_if_due, object_name,
            testing::{self, Call, Hooked, id, pack, pack_name, place, try_open, write},
        },
    };

    const CHUNK: RecordKind = RecordKind::Chunk;

    fn open(storage: &(impl Storage + Clone + 'static)) -> Index {
        let cache = Arc::new(PageCache::new(0));
        let (index, damaged) = Index::open(Arc::new(storage.clone()), cache).unwrap();
        assert!(damaged.is_empty());
        index
    }

    /// Eight segments, of which number `n` has chunk `n` in pack `n`.
    fn eight() -> MemoryStorage {
        let storage = MemoryStorage::new();
        for number in 0..8 {
            write(&storage, &[pack(number, [number.into()])]);
        }
        storage
    }

    fn merge(storage: &MemoryStorage) {
        let storage: Arc<dyn Storage> = Arc::new(storage.clone());
        assert_eq!(merge_if_due(&storage, "test").unwrap().written.len(), 1);
    }

    fn assert_knows_eight(index: &Index) {
        for number in 0..8 {
            let places = index.lookup(CHUNK, &[id(number.into())]).unwrap();
            assert_eq!(places.of(0), [place(number, number.into())]);
        }
    }

    #[test]
    fn a_segment_that_is_added_is_asked_at_once_and_once() {
        let storage = MemoryStorage::new();
        let index = open(&storage);
        let name = write(&storage, &[pack(1, [1])]);
        assert_eq!(index.lookup(CHUNK, &[id(1)]).unwrap().of(0), []);
        index.add(name).unwrap();
        index.add(name).unwrap();
        assert_eq!(index.lookup(CHUNK, &[id(1)]).unwrap().of(0), [place(1, 1)]);
        assert_eq!(index.segments().len(), 1);
    }

    #[test]
    fn a_segment_that_was_merged_before_it_is_added_is_known_all_the_same() {
        let storage = MemoryStorage::new();
        let index = open(&storage);
        let names: Vec<_> = (0..8)
            .map(|n| write(&storage, &[pack(n, [n.into()])]))
            .collect();
        merge(&storage);
        index.add(names[0]).unwrap();
        assert_knows_eight(&index);
    }

    #[test]
    fn a_listing_that_misses_what_a_merge_has_just_made_is_not_believed() {
        let storage = eight();
        merge(&storage);
        let torn = Hooked::new(&storage, |call| {
            let Call::List(listed) = call else {
                return false;
            };
            listed.clear();
            true
        });
        assert_knows_eight(&open(&torn));
    }

    #[test]
    fn a_segment_that_goes_between_listing_and_opening_is_found_in_its_merge() {
        let storage = eight();
        let inner = storage.clone();
        let overtaken = Hooked::new(&storage, move |call| {
            let opening = matches!(call, Call::Len);
            if opening {
                merge(&inner);
            }
            opening
        });
        let index = open(&overtaken);
        assert!(overtaken.has_fired());
        assert_knows_eight(&index);
    }

    #[test]
    fn what_is_added_while_the_list_is_read_again_stays() {
        let storage = eight();
        let index = open(&storage);
        let before = index.segments();
        let name = write(&storage, &[pack(9, [9])]);
        index.add(name).unwrap();
        index.state.write().unwrap().replace(&before, Vec::new());
        assert_eq!(
            index
                .segments()
                .iter()
                .map(|open| open.name())
                .collect::<Vec<_>>(),
            [name]
        );
    }

    #[test]
    fn damaged_segments_are_told_and_the_others_answer() {
        let storage = eight();
        let damaged = write(&storage, &[pack(9, [9])]);
        storage.overwrite(&object_name(damaged), &[0; 5000]);
        let (index, errors) = try_open(&storage);
        let [
            Error::Damaged {
                name,
                reason: Damage::Signature,
            },
        ] = &errors[..]
        else {
            panic!("{errors:?}")
        };
        assert_eq!(*name, object_name(damaged));
        assert_knows_eight(&index);
        merge(&storage);
        assert_knows_eight(&index); // told once: a look-up does not fail for it again
    }

    #[test]
    fn files_that_are_not_named_like_segments_are_none() {
        let storage = eight();
        storage.overwrite("index/notes.txt", b"x");
        assert_knows_eight(&testing::open(&storage));
    }

    #[test]
    fn packs_are_those_of_all_segments() {
        let storage = MemoryStorage::new();
        write(&storage, &[pack(2, []), pack(1, [1])]);
        write(&storage, &[pack(3, [1]), pack(1, [1])]);
        let expected = [1, 2, 3].map(|number| (pack_name(number), 1000));
        assert_eq!(testing::open(&storage).packs(), expected);
    }
}
