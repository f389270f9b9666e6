//! What the guest and the backup were promised, and from which operation on.
//!
//! A moment is a number of operations of the machine: what was promised at a cut is what was promised by then.

use hypercbt_rct::RctId;

use crate::support::{KIB, MIB, SECTOR};

/// The sectors that the stories write to: few, so that they meet, and at borders of blocks, regions and grains.
pub(crate) const SECTORS: [u64; 20] = [
    0,
    512,
    4 * KIB - 512,
    4 * KIB,
    63 * KIB,
    64 * KIB - 512,
    64 * KIB,
    200 * KIB,
    MIB - 1024,
    MIB - 512,
    MIB,
    MIB + 512,
    MIB + 70 * KIB,
    2 * MIB - 512,
    2 * MIB,
    2 * MIB + 300 * KIB,
    3 * MIB - 512,
    3 * MIB,
    3 * MIB + 100 * KIB,
    4 * MIB - 512,
];

/// A value of a sector: its bytes are this number again and again. Zero is zero.
pub(crate) type Value = u64;
/// The values of all sectors.
pub(crate) type Values = Vec<Value>;

/// A write, or anything that gives a sector another value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) begun: usize,
    pub(crate) value: Value,
}

/// An id, and what the disk held when it was sealed.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) id: RctId,
    pub(crate) at: usize,
    /// From here on nobody may ask for it.
    pub(crate) forgotten: usize,
    pub(crate) values: Values,
}

/// A checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Freeze {
    pub(crate) begun: usize,
    pub(crate) ended: usize,
    pub(crate) thaw_begun: usize,
    pub(crate) thaw_ended: usize,
    pub(crate) values: Values,
}

/// A flush, or what flushes as well.
#[derive(Debug, Clone)]
pub(crate) struct Flush {
    pub(crate) ended: usize,
    /// How many changes of each sector had ended when it began. Some change nothing but the memory of the process, so
    /// a moment cannot tell it.
    pub(crate) changes: Vec<usize>,
}

/// Everything that was promised in a story.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// When the disk was first open: from here on it is tracked.
    pub(crate) tracked: usize,
    /// For each sector.
    pub(crate) changes: Vec<Vec<Change>>,
    pub(crate) flushes: Vec<Flush>,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) freezes: Vec<Freeze>,
}

impl Promises {
    /// The values that a sector may have after a cut: the last one that was flushed, and all that came later.
    pub(crate) fn allowed(&self, sector: usize, at: usize) -> Vec<Value> {
        let mut flushes = self.flushes.iter();
        let last = flushes.rfind(|flush| flush.ended <= at);
        let durable = last.map_or(0, |flush| flush.changes[sector]);
        let changes = &self.changes[sector];
        let later = changes[durable..]
            .iter()
            .filter(|change| change.begun <= at);
        let last = durable.checked_sub(1).map_or(0, |last| changes[last].value);
        [last]
            .into_iter()
            .chain(later.map(|change| change.value))
            .collect()
    }
}

/// The bytes of a sector with this value.
pub(crate) fn bytes_of(value: Value) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    for place in bytes.chunks_mut(8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// The value of a sector; none if it is torn, which a sector never is.
pub(crate) fn value_of(bytes: &[u8]) -> Option<Value> {
    let value = Value::from_le_bytes(bytes.first_chunk().copied()?);
    (bytes == bytes_of(value)).then_some(value)
}
