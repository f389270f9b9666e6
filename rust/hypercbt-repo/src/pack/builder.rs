//! Writes one pack, from its first byte to its last, hashing as it goes.

use zerocopy::{
    IntoBytes,
    little_endian::{U16, U32},
};

use super::{
    MAX_PACK_BYTES, PackHeader,
    format::{ENTRY_BYTES, RawEntry, RawTrailer, TRAILER_BYTES, TRAILER_SIGNATURE},
};
use crate::{
    Error, IndexEntry, PackName, Record, RepositoryId, Result, RunId, Storage, Upload, name,
};

/// What an unfinished pack is called in an error.
const UNNAMED: &str = "a new pack";

/// A pack that is being written. Dropped before `finish`, it leaves nothing behind.
///
/// After an error it is of no use any more: what was written of the last record is unknown.
pub struct PackBuilder {
    upload: Box<dyn Upload>,
    hasher: blake3::Hasher,
    len: u64,
    entries: Vec<IndexEntry>,
    footer: Vec<u8>,
}

/// A pack whose last byte is written, and which has no name yet.
pub struct SealedPack {
    upload: Box<dyn Upload>,
    /// What it will be.
    pub finished: FinishedPack,
}

/// A pack that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPack {
    /// Its name: the BLAKE3 of its file.
    pub name: PackName,
    /// The length of its file.
    pub len: u64,
    /// Its records, in order of place.
    pub entries: Vec<IndexEntry>,
}

impl PackBuilder {
    /// Begins a pack.
    pub fn new(storage: &dyn Storage, run: RunId, repository: RepositoryId) -> Result<Self> {
        let upload = storage
            .begin(&run.to_string())
            .map_err(Error::storage("write", UNNAMED))?;
        let mut builder = Self {
            upload,
            hasher: blake3::Hasher::new(),
            len: 0,
            entries: Vec::new(),
            footer: Vec::new(),
        };
        builder.write(&PackHeader { run, repository }.encode())?;
        Ok(builder)
    }

    /// The length of the file so far, without footer and trailer.
    #[expect(clippy::len_without_is_empty, reason = "the header is always there")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The number of records so far.
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// Adds a record and returns the offset of its header.
    ///
    /// # Errors
    /// [`Error::PackFull`] if the pack would pass [`MAX_PACK_BYTES`]; it can still be finished then.
    pub fn append(&mut self, record: &Record) -> Result<u32> {
        let header = record.header();
        let after = self.len + u64::from(header.record_len());
        let footer = (self.footer.len() + ENTRY_BYTES + TRAILER_BYTES) as u64;
        if after + footer > MAX_PACK_BYTES {
            return Err(Error::PackFull);
        }
        let offset = u32::try_from(self.len).map_err(|_| Error::PackFull)?;
        self.write(record.bytes())?;
        self.entries.push(IndexEntry {
            kind: header.kind,
            id: header.id,
            offset,
            stored_len: header.stored_len,
        });
        let entry = RawEntry {
            id: header.id,
            kind: header.kind.byte(),
            codec: header.codec as u8,
            reserved: U16::ZERO,
            offset: offset.into(),
            stored_len: header.stored_len.into(),
            plain_len: header.plain_len.into(),
        };
        self.footer.extend_from_slice(entry.as_bytes());
        Ok(offset)
    }

    /// Writes footer and trailer, and makes the pack durable and visible under its name.
    pub fn finish(self) -> Result<FinishedPack> {
        self.seal()?.publish()
    }

    /// Writes footer and trailer.
    pub fn seal(mut self) -> Result<SealedPack> {
        let entries = u32::try_from(self.entries.len()).map_err(|_| Error::PackFull)?;
        let footer = std::mem::take(&mut self.footer);
        let mut trailer = RawTrailer {
            entries: entries.into(),
            entries_checksum: crc32c::crc32c(&footer).into(),
            first_entry: self.len.into(),
            reserved: U32::ZERO,
            checksum: U32::ZERO,
            signature: TRAILER_SIGNATURE,
        };
        trailer.checksum = trailer.checksum_now().into();
        self.write(&footer)?;
        self.write(trailer.as_bytes())?;

        Ok(SealedPack {
            upload: self.upload,
            finished: FinishedPack {
                name: PackName(*self.hasher.finalize().as_bytes()),
                len: self.len,
                entries: self.entries,
            },
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.upload
            .append(bytes)
            .map_err(Error::storage("write", UNNAMED))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl SealedPack {
    /// Makes the pack durable and visible under its name.
    pub fn publish(self) -> Result<FinishedPack> {
        let name = name::pack(self.finished.name);
        self.upload
            .finish(&name)
            .map_err(Error::storage("write", name))?;
        Ok(self.finished)
    }
}
