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
    /// From here on it is of a branch that was given up: it is refused, or its answer is right.
    pub(crate) given_up: usize,
    pub(crate) values: Values,
}

/// What the frozen files hold, oldest first.
pub(crate) type Stack = Vec<Values>;

/// A freeze or a thaw, which has been tried, or done: between the two moments there is the older stack or this one.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) begun: usize,
    pub(crate) ended: usize,
    pub(crate) stack: Stack,
}

/// A time in which the disk may go back to its newest checkpoint, and lose tracking.
#[derive(Debug, Clone)]
pub(crate) struct Revert {
    pub(crate) begun: usize,
    pub(crate) ended: usize,
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
    pub(crate) turns: Vec<Turn>,
    pub(crate) reverts: Vec<Revert>,
}

impl Promises {
    /// The stacks that there may be after a cut: the last one that was settled, and all that were tried later.
    pub(crate) fn stacks(&self, at: usize) -> Vec<Stack> {
        let settled = self.turns.iter().rposition(|turn| turn.ended <= at);
        let later = &self.turns[settled.map_or(0, |last| last + 1)..];
        let last = settled.map_or_else(Stack::new, |last| self.turns[last].stack.clone());
        let later = later.iter().filter(|turn| turn.begun < at);
        [last]
            .into_iter()
            .chain(later.map(|turn| turn.stack.clone()))
            .collect()
    }

    /// Whether the disk may be found to have gone back to its newest checkpoint, before its new tracker had started.
    pub(crate) fn is_reverting(&self, at: usize) -> bool {
        let mut reverts = self.reverts.iter();
        reverts.any(|revert| revert.begun < at && at < revert.ended)
    }

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
