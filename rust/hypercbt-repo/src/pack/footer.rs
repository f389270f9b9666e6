//! Reads what a pack holds from its end.

use zerocopy::FromBytes;

use super::{
    MAX_PACK_BYTES,
    format::{ENTRY_BYTES, HEADER_BYTES, RawEntry, RawTrailer, TRAILER_BYTES, TRAILER_SIGNATURE},
    read_error, read_header,
};
use crate::{
    Damage, Error, IndexEntry, PackName, RecordKind, Result, Storage, name,
    record::{Codec, RECORD_HEADER_BYTES, check_lengths},
};

/// The tail that is read at once. A pack of 64 MiB has some 650 entries of 256 KiB chunks that compress
/// to the half: 31 KiB.
const TAIL_BYTES: u64 = 64 << 10;

/// The length of a pack without records.
const MIN_PACK_BYTES: u64 = (HEADER_BYTES + TRAILER_BYTES) as u64;

/// Where a pack's entries stand.
struct Footer {
    first_entry: u64,
    entries_len: usize,
    entries_checksum: u32,
}

/// Reads the entries of a pack of `len` bytes, in order of place: header and tail, and once more where
/// the footer is longer than the tail.
///
/// What it returns covers the pack without a gap, and every length is one that a record can have.
pub fn read_footer(storage: &dyn Storage, pack: PackName, len: u64) -> Result<Vec<IndexEntry>> {
    let name = name::pack(pack);
    let damaged = |reason| Error::damaged(&name, reason);
    if !(MIN_PACK_BYTES..=MAX_PACK_BYTES).contains(&len) {
        return Err(damaged(Damage::Length));
    }
    read_header(storage, pack)?;

    let mut tail = read(storage, &name, len - len.min(TAIL_BYTES)..len)?;
    let (rest, trailer) = tail
        .split_last_chunk()
        .ok_or_else(|| damaged(Damage::Length))?;
    let footer = decode_trailer(trailer, len).map_err(damaged)?;
    let entries = if let Some(before) = rest.len().checked_sub(footer.entries_len) {
        rest.split_at(before).1
    } else {
        let entries_end = footer.first_entry + footer.entries_len as u64;
        tail = read(storage, &name, footer.first_entry..entries_end)?;
        &tail
    };
    if crc32c::crc32c(entries) != footer.entries_checksum {
        return Err(damaged(Damage::Checksum));
    }
    decode_entries(entries, footer.first_entry).map_err(damaged)
}

fn read(storage: &dyn Storage, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
    let len = usize::try_from(range.end - range.start);
    let mut bytes = vec![0; len.map_err(|_| Error::damaged(name, Damage::Length))?];
    storage
        .read_exact_at(name, &mut bytes, range.start)
        .map_err(read_error(name))?;
    Ok(bytes)
}

fn decode_trailer(bytes: &[u8; TRAILER_BYTES], len: u64) -> Result<Footer, Damage> {
    let raw = RawTrailer::ref_from_bytes(bytes).map_err(|_| Damage::Length)?;
    if raw.signature != TRAILER_SIGNATURE {
        return Err(Damage::Signature);
    }
    if raw.checksum_now() != raw.checksum.get() {
        return Err(Damage::Checksum);
    }
    if raw.reserved.get() != 0 {
        return Err(Damage::Field);
    }
    let first_entry = raw.first_entry.get();
    let entries_len = u64::from(raw.entries.get()) * ENTRY_BYTES as u64; // 32 bits times 48
    let whole = first_entry
        .checked_add(entries_len)
        .and_then(|end| end.checked_add(TRAILER_BYTES as u64));
    if whole != Some(len) {
        return Err(Damage::Length);
    }
    Ok(Footer {
        first_entry,
        entries_len: usize::try_from(entries_len).map_err(|_| Damage::Length)?,
        entries_checksum: raw.entries_checksum.get(),
    })
}

/// The records follow each other from the header to the footer, so every offset is known before it is read.
fn decode_entries(bytes: &[u8], footer_at: u64) -> Result<Vec<IndexEntry>, Damage> {
    let raw_entries = <[RawEntry]>::ref_from_bytes(bytes).map_err(|_| Damage::Length)?;
    let mut at = HEADER_BYTES as u64;
    let mut entries = Vec::with_capacity(raw_entries.len());
    for raw in raw_entries {
        let kind = RecordKind::from_byte(raw.kind).ok_or(Damage::Field)?;
        let codec = Codec::from_byte(raw.codec).ok_or(Damage::Field)?;
        let (offset, stored_len) = (raw.offset.get(), raw.stored_len.get());
        check_lengths(kind, codec, raw.plain_len.get(), stored_len)?;
        if raw.reserved.get() != 0 || u64::from(offset) != at {
            return Err(Damage::Field);
        }
        at += u64::from(RECORD_HEADER_BYTES) + u64::from(stored_len);
        entries.push(IndexEntry {
            kind,
            id: raw.id,
            offset,
            stored_len,
        });
    }
    if at != footer_at {
        return Err(Damage::Field);
    }
    Ok(entries)
}
