//! Fetching many chunks or nodes: in order of place in the packs, near ones in one read.

use hypercbt_repo::{Location, PackName, RecordKind, View};

use crate::Result;

/// The length of a record's header, which a location does not count.
const HEADER_BYTES: u64 = hypercbt_repo::RECORD_HEADER_BYTES as u64;

/// One read is at most this long, unless a single record is longer.
const READ_BYTES: u64 = 4 << 20;

/// Skipping fewer bytes than this costs more than reading them.
const GAP_BYTES: u64 = 64 << 10;

/// A record that is wanted, and what for.
#[derive(Debug)]
pub(crate) struct Wanted<T> {
    pub(crate) id: [u8; 32],
    pub(crate) place: Location,
    pub(crate) purpose: T,
}

/// Records that lie near each other in one pack.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pack: PackName,
    offset: u32,
    len: usize,
    pub(crate) records: Vec<Wanted<T>>,
}

impl<T> Wanted<T> {
    fn end(&self) -> u64 {
        u64::from(self.place.offset) + HEADER_BYTES + u64::from(self.place.stored_len)
    }
}

/// Sorts what is wanted by place and joins what lies near.
pub(crate) fn batches<T>(mut wanted: Vec<Wanted<T>>) -> Vec<Batch<T>> {
    wanted.sort_unstable_by_key(|record| record.place);
    let mut batches: Vec<Batch<T>> = Vec::new();
    for record in wanted {
        let (start, end) = (u64::from(record.place.offset), record.end());
        match batches.last_mut() {
            Some(batch) if batch.takes(&record) => {
                let from = u64::from(batch.offset);
                batch.len = batch.len.max(to_usize(end - from));
                batch.records.push(record);
            }
            _ => batches.push(Batch {
                pack: record.place.pack,
                offset: record.place.offset,
                len: to_usize(end - start),
                records: vec![record],
            }),
        }
    }
    batches
}

impl<T> Batch<T> {
    fn takes(&self, record: &Wanted<T>) -> bool {
        let end = u64::from(self.offset) + self.len as u64;
        record.place.pack == self.pack
            && u64::from(record.place.offset) <= end + GAP_BYTES
            && record.end() - u64::from(self.offset) <= READ_BYTES
    }

    /// How many bytes a read of it reads.
    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Reads all of it. A pack that is shorter than the index says gives an error.
    pub(crate) fn read(&self, view: &View, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.resize(self.len, 0);
        Ok(view.read_pack_range(self.pack, self.offset, buffer)?)
    }

    /// The bytes of one of its records, header and all.
    pub(crate) fn bytes<'a>(&self, record: &Wanted<T>, buffer: &'a [u8]) -> &'a [u8] {
        let start = to_usize(u64::from(record.place.offset - self.offset));
        buffer
            .get(start..to_usize(record.end() - u64::from(self.offset)))
            .unwrap_or_default()
    }
}

/// What stands somewhere, and the ids that stand nowhere.
pub(crate) type Located<T> = (Vec<Wanted<T>>, Vec<([u8; 32], T)>);

/// Looks up where `ids` stand and splits them into those that stand somewhere and those that are lost.
pub(crate) fn locate<T>(
    view: &View,
    kind: RecordKind,
    ids: Vec<([u8; 32], T)>,
) -> Result<Located<T>> {
    let keys: Vec<[u8; 32]> = ids.iter().map(|(id, _)| *id).collect();
    let places = view.places(kind, &keys)?;
    let mut found = Vec::with_capacity(ids.len());
    let mut lost = Vec::new();
    for ((id, purpose), place) in ids.into_iter().zip(places) {
        match place {
            Some(place) => found.push(Wanted { id, place, purpose }),
            None => lost.push((id, purpose)),
        }
    }
    Ok((found, lost))
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a read fits in memory")
}
