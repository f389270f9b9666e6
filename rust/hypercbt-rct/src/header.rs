//! What the `.mrt` file's header says, and its form on disk.
//!
//! The header stands in the file twice. Both copies are the same when a call that changed it has returned, so
//! either of them may rot without a loss. They are written one after the other, each synced: a cut leaves at
//! least one whole, and the one with the greater number counts. Both are true then: the older is what was
//! promised before, and the newer says nothing that is not durable already.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use hypercbt_extent::ByteLen;

use crate::clock::Clock;
use crate::format::{
    MAX_IDS, MAX_STAMPS, MRT_MAGIC, RawKeptId, RawMrtHeader, RawRctName, SECTOR_BYTES, VERSION,
};
use crate::{DiskIdentity, RctId, Stamp};

/// An id that is kept, and when it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptId {
    pub(crate) id: RctId,
    /// What was touched later than this has changed since.
    pub(crate) sealed_at: Clock,
}

/// Names one write-back of the `.rct` file. Clock and session together are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RctName {
    /// What was touched up to here is in the file; what was touched later may not be.
    pub(crate) clock: Clock,
    pub(crate) session: [u8; 16],
}

/// All that the tracker must remember beside the marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Grows with each header that is written.
    pub(crate) sequence: u64,
    /// This tracker's own id: sectors and `.rct` files of another are not ours to believe.
    pub(crate) tracker: [u8; 16],
    pub(crate) disk: DiskIdentity,
    pub(crate) region: ByteLen,
    /// The session that wrote this.
    pub(crate) session: [u8; 16],
    pub(crate) clock: Clock,
    /// The counter of the id that was issued last.
    pub(crate) last_counter: u32,
    /// The settled stamp first, then those that are expected.
    pub(crate) accepted: Vec<Stamp>,
    /// The `.rct` file that is there, and the one that comes.
    pub(crate) rct: [Option<RctName>; 2],
    /// Oldest first.
    pub(crate) kept: Vec<KeptId>,
}

/// What stands in one of the two places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    Whole(Box<Header>),
    /// Of a format that is newer than this program.
    Newer(u16),
    Damaged,
}

impl RctName {
    pub(crate) fn to_raw(self) -> RawRctName {
        RawRctName {
            clock: U64::new(self.clock.0),
            session: self.session,
        }
    }

    pub(crate) fn from_raw(raw: &RawRctName) -> Option<Self> {
        let clock = Clock::read(raw.clock.get()).filter(|clock| clock.0 > 0)?;
        Some(Self {
            clock,
            session: raw.session,
        })
    }
}

/// How many bytes the ids take that the first sector announces, if that is not nonsense.
fn ids_len(first: &RawMrtHeader) -> Option<usize> {
    let ids = usize::try_from(first.ids.get()).ok()?;
    (ids <= MAX_IDS).then_some(ids * size_of::<RawKeptId>())
}

/// How many bytes of a slot are used, by its first sector; none if this is no header of this format.
pub(crate) fn used_len(first: &[u8]) -> Option<usize> {
    let raw = RawMrtHeader::ref_from_bytes(first).ok()?;
    Some(size_of::<RawMrtHeader>() + ids_len(raw)?)
}

/// Decodes what stands in a slot, all of its used bytes.
pub(crate) fn decode(bytes: &[u8]) -> Slot {
    let Ok((raw, ids)) = RawMrtHeader::ref_from_prefix(bytes) else {
        return Slot::Damaged;
    };
    let checked = bytes.get(..size_of::<RawMrtHeader>() - 4);
    let is_whole = checked.is_some_and(|bytes| crc32c::crc32c(bytes) == raw.checksum.get());
    if raw.magic != MRT_MAGIC || !is_whole {
        return Slot::Damaged;
    }
    match raw.version.get() {
        VERSION => {
            decode_whole(raw, ids).map_or(Slot::Damaged, |header| Slot::Whole(header.into()))
        }
        newer => Slot::Newer(newer),
    }
}

fn decode_whole(raw: &RawMrtHeader, ids: &[u8]) -> Option<Header> {
    let ids = ids.get(..ids_len(raw)?)?;
    let stamps = usize::try_from(raw.stamps.get()).ok()?;
    let accepted = raw.accepted.get(..stamps).filter(|list| !list.is_empty())?;
    if crc32c::crc32c(ids) != raw.ids_checksum.get() {
        return None;
    }
    let mut kept = Vec::with_capacity(ids.len() / size_of::<RawKeptId>());
    for id in ids.chunks_exact(size_of::<RawKeptId>()) {
        let id = RawKeptId::ref_from_bytes(id).ok()?;
        kept.push(KeptId {
            id: RctId {
                session: id.session,
                counter: id.counter.get(),
            },
            sealed_at: Clock::read(id.sealed_at.get())?,
        });
    }
    // A region of no bytes would be divided by.
    let region = raw.region_bytes.get();
    let good = region.is_power_of_two() && kept.is_sorted_by_key(|kept| kept.sealed_at);
    good.then(|| Header {
        sequence: raw.sequence.get(),
        tracker: raw.tracker,
        disk: DiskIdentity {
            disk_id: raw.disk_id,
            size: ByteLen(raw.disk_bytes.get()),
        },
        region: ByteLen(region),
        session: raw.session,
        clock: Clock(raw.clock.get()),
        last_counter: raw.last_counter.get(),
        accepted: accepted.iter().map(|stamp| Stamp(*stamp)).collect(),
        rct: raw.rct.each_ref().map(RctName::from_raw),
        kept,
    })
    .filter(|header| Clock::read(header.clock.0).is_some() && header.sequence < u64::MAX / 2)
}

/// The bytes of a slot, in whole sectors.
pub(crate) fn encode(header: &Header) -> Vec<u8> {
    debug_assert!(header.kept.len() <= MAX_IDS && header.accepted.len() <= MAX_STAMPS);
    let mut ids = Vec::with_capacity(header.kept.len() * size_of::<RawKeptId>());
    for kept in &header.kept {
        let raw = RawKeptId {
            session: kept.id.session,
            counter: U32::new(kept.id.counter),
            sealed_at: U64::new(kept.sealed_at.0),
        };
        ids.extend_from_slice(raw.as_bytes());
    }
    let mut raw = RawMrtHeader::new_zeroed();
    raw.magic = MRT_MAGIC;
    raw.version = U16::new(VERSION);
    raw.sequence = U64::new(header.sequence);
    raw.tracker = header.tracker;
    raw.disk_id = header.disk.disk_id;
    raw.disk_bytes = U64::new(header.disk.size.0);
    raw.region_bytes = U64::new(header.region.0);
    raw.session = header.session;
    raw.clock = U64::new(header.clock.0);
    raw.last_counter = U32::new(header.last_counter);
    raw.ids = U32::new(u32::try_from(header.kept.len()).unwrap_or(u32::MAX));
    raw.stamps = U32::new(u32::try_from(header.accepted.len()).unwrap_or(u32::MAX));
    for (place, stamp) in raw.accepted.iter_mut().zip(&header.accepted) {
        *place = stamp.0;
    }
    for (place, name) in raw.rct.iter_mut().zip(header.rct) {
        *place = name.map_or_else(RawRctName::new_zeroed, RctName::to_raw);
    }
    raw.ids_checksum = U32::new(crc32c::crc32c(&ids));
    let mut bytes = raw.as_bytes().to_vec();
    let (checked, checksum) = bytes.split_at_mut(size_of::<RawMrtHeader>() - 4);
    checksum.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
    bytes.extend_from_slice(&ids);
    bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn header(ids: u32) -> Header {
        let kept = (1..=ids).map(|counter| KeptId {
            id: RctId {
                session: [9; 16],
                counter,
            },
            sealed_at: Clock(u64::from(counter)),
        });
        Header {
            sequence: 7,
            tracker: [1; 16],
            disk: DiskIdentity {
                disk_id: [2; 16],
                size: ByteLen(1 << 30),
            },
            region: ByteLen(2 << 20),
            session: [3; 16],
            clock: Clock(5000),
            last_counter: ids,
            accepted: (1..=8).map(|stamp| Stamp([stamp; 32])).collect(),
            rct: [
                Some(RctName {
                    clock: Clock(3),
                    session: [6; 16],
                }),
                None,
            ],
            kept: kept.collect(),
        }
    }

    #[test]
    fn a_header_with_as_many_ids_as_fit_comes_back_as_it_was() {
        for ids in [0, 1, u32::try_from(MAX_IDS).unwrap()] {
            let header = header(ids);
            let bytes = encode(&header);
            assert!(bytes.len() <= crate::format::SLOT_BYTES);
            let used = used_len(&bytes[..512]).unwrap();
            assert_eq!(decode(&bytes[..used]), Slot::Whole(header.into()));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let whole = encode(&header(20));
        let used = used_len(&whole[..512]).unwrap();
        for at in 0..used {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(decode(&bytes[..used]), Slot::Damaged, "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = encode(&header(1));
        bytes[8] = 9;
        assert_eq!(decode(&bytes), Slot::Damaged);
        let checksum = crc32c::crc32c(&bytes[..508]).to_le_bytes();
        bytes[508..512].copy_from_slice(&checksum);
        assert_eq!(decode(&bytes), Slot::Newer(9));
    }

    #[test]
    fn a_header_that_announces_too_many_ids_is_not_read_further() {
        let mut bytes = encode(&header(1));
        bytes[100..104].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(used_len(&bytes[..512]), None);
        let checksum = crc32c::crc32c(&bytes[..508]).to_le_bytes();
        bytes[508..512].copy_from_slice(&checksum);
        assert_eq!(decode(&bytes), Slot::Damaged);
    }
}
