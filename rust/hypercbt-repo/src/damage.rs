//! The places whose bytes do not check, as `verify` found them and as runs came upon them.
//!
//! What stands there does not count as known: a backup that meets the same bytes stores them again.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Location, PackName, RecordKind, Repository, Result, RunId,
    name::{self, DAMAGE},
    object::{self, ObjectKind},
};

/// How many places one object lists: about 200 bytes each, so a quarter of what a payload may have.
const PLACES_IN_AN_OBJECT: usize = 80_000;

/// One record that does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DamagedPlace {
    /// Chunk or tree node.
    pub kind: RecordKind,
    /// Its id.
    #[serde(with = "hex_id")]
    pub id: [u8; 32],
    /// The pack.
    pub pack: PackName,
    /// Where the record's header starts in it.
    pub offset: u32,
}

impl DamagedPlace {
    pub(crate) fn new(kind: RecordKind, id: &[u8; 32], place: &Location) -> Self {
        Self {
            kind,
            id: *id,
            pack: place.pack,
            offset: place.offset,
        }
    }
}

/// The payload of `damage/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamageObject {
    pub(crate) places: Vec<DamagedPlace>,
}

/// All the places that are known to be damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DamageList {
    places: HashSet<DamagedPlace>,
}

impl DamageList {
    /// Whether nothing is damaged.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The places, in order.
    pub fn places(&self) -> Vec<DamagedPlace> {
        let mut places: Vec<_> = self.places.iter().copied().collect();
        places.sort_unstable();
        places
    }

    pub(crate) fn lists(&self, place: &DamagedPlace) -> bool {
        self.places.contains(place)
    }

    /// Whether this record is on the list at this place.
    pub fn contains(&self, kind: RecordKind, id: &[u8; 32], place: &Location) -> bool {
        !self.places.is_empty() && self.lists(&DamagedPlace::new(kind, id, place))
    }
}

impl Repository {
    /// All the places that are known to be damaged.
    ///
    /// # Errors
    /// Also if one of the objects that list them cannot be read itself.
    pub fn damage(&self) -> Result<DamageList> {
        let (list, unreadable) = self.readable_damage()?;
        unreadable.into_iter().next().map_or(Ok(list), Err)
    }

    /// The places that can be read, and why others cannot.
    pub(crate) fn readable_damage(&self) -> Result<(DamageList, Vec<Error>)> {
        let storage = &**self.storage();
        let (mut list, mut unreadable) = (DamageList::default(), Vec::new());
        let listed = storage
            .list(DAMAGE)
            .map_err(Error::storage("list", DAMAGE))?;
        for (name, _) in listed {
            if name::id::<RunId>(&name).is_none() {
                continue;
            }
            match object::find::<DamageObject>(storage, &name, ObjectKind::Damage) {
                Ok(found) => list
                    .places
                    .extend(found.into_iter().flat_map(|object| object.places)),
                Err(error) => unreadable.push(error),
            }
        }
        Ok((list, unreadable))
    }

    /// Puts places on the list. `id` is 16 random bytes; a second call with it adds nothing.
    pub fn add_damage(&self, id: RunId, places: &[DamagedPlace]) -> Result<()> {
        for (id, object) in objects(id, places) {
            match object::create(
                &**self.storage(),
                &name::damage(id),
                ObjectKind::Damage,
                &object,
            ) {
                Err(error) if error.is_already_exists() => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The objects that hold these places, named after `id`.
pub(crate) fn objects(
    id: RunId,
    places: &[DamagedPlace],
) -> impl Iterator<Item = (RunId, DamageObject)> {
    places.chunks(PLACES_IN_AN_OBJECT).scan(id, |next, places| {
        let id = *next;
        let mut bytes = [0; 16];
        blake3::Hasher::new()
            .update(&id.0)
            .finalize_xof()
            .fill(&mut bytes);
        *next = RunId(bytes);
        Some((
            id,
            DamageObject {
                places: places.to_vec(),
            },
        ))
    })
}

mod hex_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::ChunkId;

    pub(super) fn serialize<S: Serializer>(
        id: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        ChunkId(*id).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        ChunkId::deserialize(deserializer).map(|id| id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u32) -> DamagedPlace {
        DamagedPlace {
            kind: RecordKind::Chunk,
            id: [1; 32],
            pack: PackName([2; 32]),
            offset,
        }
    }

    #[test]
    fn only_the_place_itself_is_on_the_list() {
        let mut list = DamageList::default();
        list.places.insert(place(64));
        let at = |offset| Location {
            pack: PackName([2; 32]),
            offset,
            stored_len: 10,
        };
        assert!(list.contains(RecordKind::Chunk, &[1; 32], &at(64)));
        assert!(!list.contains(RecordKind::Chunk, &[1; 32], &at(65)));
        assert!(!list.contains(RecordKind::Node, &[1; 32], &at(64)));
        assert!(!list.contains(RecordKind::Chunk, &[3; 32], &at(64)));
    }

    #[test]
    fn a_long_list_is_cut_into_objects_of_different_names() {
        let places: Vec<_> = (0..200_000).map(place).collect();
        let objects: Vec<_> = objects(RunId([7; 16]), &places).collect();
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[0].0, RunId([7; 16]));
        assert_eq!(
            objects
                .iter()
                .map(|(id, _)| id)
                .collect::<HashSet<_>>()
                .len(),
            3
        );
        assert_eq!(
            objects
                .into_iter()
                .flat_map(|(_, object)| object.places)
                .collect::<Vec<_>>(),
            places
        );
    }

    #[test]
    fn a_place_is_written_with_words_and_hex() {
        let json = serde_json::to_string(&place(64)).unwrap();
        let expected = format!(
            r#"{{"kind":"chunk","id":"{}","pack":"{}","offset":64}}"#,
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(json, expected);
        assert_eq!(
            serde_json::from_str::<DamagedPlace>(&json).unwrap(),
            place(64)
        );
    }
}
