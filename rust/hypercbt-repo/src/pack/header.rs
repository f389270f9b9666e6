//! The first bytes of a pack: who wrote it.

use zerocopy::{FromBytes, little_endian::U32};

use super::{
    format::{HEADER_BYTES, HEADER_SIGNATURE, RawHeader},
    read_error,
};
use crate::{Damage, Error, PackName, RepositoryId, Result, RunId, Storage, name};

const FORMAT: u16 = 0;

/// Who wrote a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// The run: no two runs ever make a pack of the same name.
    pub run: RunId,
    /// The repository that it was written for.
    pub repository: RepositoryId,
}

impl PackHeader {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            signature: HEADER_SIGNATURE,
            format: FORMAT.into(),
            reserved: [0; 6],
            run: self.run.0,
            repository: self.repository.0,
            reserved_too: [0; 12],
            checksum: U32::ZERO,
        };
        raw.checksum = raw.checksum_now().into();
        zerocopy::transmute!(raw)
    }

    /// Decodes the header of the pack that errors call `name`.
    pub(super) fn decode(name: &str, bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let damaged = |reason| Error::damaged(name, reason);
        let raw = RawHeader::ref_from_bytes(bytes).map_err(|_| damaged(Damage::Length))?;
        if raw.signature != HEADER_SIGNATURE {
            return Err(damaged(Damage::Signature));
        }
        if raw.checksum_now() != raw.checksum.get() {
            return Err(damaged(Damage::Checksum));
        }
        if raw.format.get() != FORMAT {
            return Err(Error::NewerFormat {
                name: name.to_owned(),
                found: raw.format.get(),
                supported: FORMAT,
            });
        }
        if raw.reserved != [0; 6] || raw.reserved_too != [0; 12] {
            return Err(damaged(Damage::Field));
        }
        Ok(Self {
            run: RunId(raw.run),
            repository: RepositoryId(raw.repository),
        })
    }
}

/// Reads who wrote a pack.
pub fn read_header(storage: &dyn Storage, pack: PackName) -> Result<PackHeader> {
    let name = name::pack(pack);
    let mut bytes = [0; HEADER_BYTES];
    storage
        .read_exact_at(&name, &mut bytes, 0)
        .map_err(read_error(&name))?;
    PackHeader::decode(&name, &bytes)
}
