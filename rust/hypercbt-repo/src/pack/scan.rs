//! Reads what a pack holds record by record, where its footer is gone.

use super::{MAX_PACK_BYTES, format::HEADER_BYTES, read_error, read_header};
use crate::{
    Damage, Error, IndexEntry, PackName, Result, Storage, name,
    record::{self, RECORD_HEADER_BYTES, RecordHeader},
};

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The records whose stored bytes have their checksum, in order of place.
    pub entries: Vec<IndexEntry>,
    /// The records whose stored bytes have not.
    pub damaged: Vec<IndexEntry>,
    /// Where it stopped: no record's header is here. The footer starts here if the pack is whole.
    pub end: u64,
}

/// Walks a pack of `len` bytes from record to record, up to the first header that does not check.
///
/// It reads the whole pack, and holds one record at a time.
///
/// # Errors
/// [`Error::NewerFormat`], [`Damage::Encrypted`], and what the storage says. Other damage is no error.
pub fn scan(storage: &dyn Storage, pack: PackName, len: u64) -> Result<Scan> {
    let name = name::pack(pack);
    match read_header(storage, pack) {
        // Records say all about themselves: the header is not needed, unless it says that all is different.
        Ok(_) | Err(Error::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut found = Scan {
        entries: Vec::new(),
        damaged: Vec::new(),
        end: HEADER_BYTES as u64,
    };
    let mut stored = Vec::new();
    while let Some(header) = header_at(storage, &name, found.end, len)? {
        let Ok(offset) = u32::try_from(found.end) else {
            break; // never: no header is looked for past 512 MiB
        };
        let entry = IndexEntry {
            kind: header.kind,
            id: header.id,
            offset,
            stored_len: header.stored_len,
        };
        stored.resize(header.stored_len as usize, 0);
        let stored_at = found.end + u64::from(RECORD_HEADER_BYTES);
        storage
            .read_exact_at(&name, &mut stored, stored_at)
            .map_err(read_error(&name))?;
        if crc32c::crc32c(&stored) == header.stored_checksum {
            found.entries.push(entry);
        } else {
            found.damaged.push(entry);
        }
        found.end += u64::from(header.record_len());
    }
    Ok(found)
}

/// The header at this place, if there is one and the whole record lies within the pack.
fn header_at(storage: &dyn Storage, name: &str, at: u64, len: u64) -> Result<Option<RecordHeader>> {
    let len = len.min(MAX_PACK_BYTES);
    if len.saturating_sub(at) < u64::from(RECORD_HEADER_BYTES) {
        return Ok(None);
    }
    let mut bytes = [0; record::HEADER_BYTES];
    storage
        .read_exact_at(name, &mut bytes, at)
        .map_err(read_error(name))?;
    match RecordHeader::decode(&bytes) {
        Ok(header) if at + u64::from(header.record_len()) <= len => Ok(Some(header)),
        Err(Damage::Encrypted) => Err(Error::damaged(name, Damage::Encrypted)),
        _ => Ok(None),
    }
}
