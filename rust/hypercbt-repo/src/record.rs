//! One record of a pack: a chunk or a tree node as it is stored, and the header that says all about it.
//!
//! A record knows nothing of its place, so that it can be copied to another pack as it is
//! (`docs/repository-format.md` §3).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::{Damage, RecordKind};

/// The length of a record's header.
pub const RECORD_HEADER_BYTES: u32 = 96;

pub(crate) const HEADER_BYTES: usize = RECORD_HEADER_BYTES as usize;

/// The greatest plain length of a chunk.
pub const MAX_CHUNK_BYTES: u32 = 4 << 20;

/// The length of an inner node with all of its children.
pub const MAX_NODE_BYTES: u32 = 8 + 32 + 256 * 32;

const SIGNATURE: [u8; 4] = *b"HREC";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 4],
    kind: u8,
    codec: u8,
    reserved: U16,
    plain_len: U32,
    stored_len: U32,
    id: [u8; 32],
    key_id: [u8; 16],
    nonce: [u8; 24],
    stored_checksum: U32,
    checksum: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);

/// How the stored bytes of a record became what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// They are the plain bytes.
    Plain = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec that a byte of a record or a footer names, if it names one.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What a record says about itself. Its lengths are within the format's limits and fit its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record holds.
    pub kind: RecordKind,
    /// How it is stored.
    pub codec: Codec,
    /// The length of the chunk or node.
    pub plain_len: u32,
    /// The length of what follows the header.
    pub stored_len: u32,
    /// The id of the chunk or node.
    pub id: [u8; 32],
    /// CRC-32C of what follows the header.
    pub stored_checksum: u32,
}

impl RecordHeader {
    /// Decodes a header and checks all that can be checked without the stored bytes.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Damage> {
        let raw = RawHeader::ref_from_bytes(bytes).map_err(|_| Damage::Length)?;
        if raw.signature != SIGNATURE {
            return Err(Damage::Signature);
        }
        if checksum_of(raw) != raw.checksum.get() {
            return Err(Damage::Checksum);
        }
        if raw.key_id != [0; 16] {
            return Err(Damage::Encrypted);
        }
        if raw.reserved.get() != 0 || raw.nonce != [0; 24] {
            return Err(Damage::Field);
        }
        let header = Self {
            kind: RecordKind::from_byte(raw.kind).ok_or(Damage::Field)?,
            codec: Codec::from_byte(raw.codec).ok_or(Damage::Field)?,
            plain_len: raw.plain_len.get(),
            stored_len: raw.stored_len.get(),
            id: raw.id,
            stored_checksum: raw.stored_checksum.get(),
        };
        check_lengths(
            header.kind,
            header.codec,
            header.plain_len,
            header.stored_len,
        )?;
        Ok(header)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            signature: SIGNATURE,
            kind: self.kind.byte(),
            codec: self.codec as u8,
            reserved: U16::ZERO,
            plain_len: self.plain_len.into(),
            stored_len: self.stored_len.into(),
            id: self.id,
            key_id: [0; 16],
            nonce: [0; 24],
            stored_checksum: self.stored_checksum.into(),
            checksum: U32::ZERO,
        };
        raw.checksum = checksum_of(&raw).into();
        zerocopy::transmute!(raw)
    }

    /// The length of the whole record.
    pub fn record_len(&self) -> u32 {
        RECORD_HEADER_BYTES + self.stored_len // at most 4 MiB and a little
    }
}

/// The lengths that a record of this kind and codec can have.
///
/// Compressed bytes are fewer than plain ones: a writer that saved nothing stores them plain. So
/// nothing ever asks for more memory than the greatest chunk.
pub(crate) fn check_lengths(
    kind: RecordKind,
    codec: Codec,
    plain_len: u32,
    stored_len: u32,
) -> Result<(), Damage> {
    let most = match kind {
        RecordKind::Chunk => MAX_CHUNK_BYTES,
        RecordKind::Node => MAX_NODE_BYTES,
    };
    let fits = match codec {
        Codec::Plain => stored_len == plain_len,
        Codec::Zstd => stored_len < plain_len,
    };
    if plain_len == 0 || plain_len > most || stored_len == 0 || !fits {
        return Err(Damage::Field);
    }
    Ok(())
}

/// CRC-32C of a header without its own checksum.
fn checksum_of(raw: &RawHeader) -> u32 {
    let (checked, _) = raw.as_bytes().split_at(size_of::<RawHeader>() - 4);
    crc32c::crc32c(checked)
}

/// One record, as it will stand in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    header: RecordHeader,
    bytes: Vec<u8>,
}

impl Record {
    /// Space for a header, and room for stored bytes after it.
    pub(crate) fn buffer(stored_len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + stored_len);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    /// Puts a header before stored bytes that are already in their place.
    ///
    /// # Panics
    /// If `bytes` does not come from [`Record::buffer`], or is longer than any record.
    pub(crate) fn seal(
        kind: RecordKind,
        id: [u8; 32],
        codec: Codec,
        plain_len: u32,
        mut bytes: Vec<u8>,
    ) -> Self {
        let (place, stored) = bytes
            .split_first_chunk_mut()
            .expect("the buffer starts with space for a header");
        let header = RecordHeader {
            kind,
            codec,
            plain_len,
            stored_len: u32::try_from(stored.len()).expect("a record is a few MiB at most"),
            id,
            stored_checksum: crc32c::crc32c(stored),
        };
        *place = header.encode();
        Self { header, bytes }
    }

    /// What the record says about itself.
    pub fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The whole record: header and stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Chunk,
            codec: Codec::Zstd,
            plain_len: 4096,
            stored_len: 100,
            id: [7; 32],
            stored_checksum: 0x1234_5678,
        }
    }

    /// A header with some bytes changed, and its checksum made right again.
    fn forged(at: usize, value: &[u8]) -> [u8; 96] {
        let mut bytes = header().encode();
        bytes[at..at + value.len()].copy_from_slice(value);
        let checksum = crc32c::crc32c(&bytes[..92]);
        bytes[92..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        assert_eq!(RecordHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn the_fields_stand_where_the_format_says() {
        let bytes = header().encode();
        assert_eq!(&bytes[..8], b"HREC\x01\x01\x00\x00");
        assert_eq!(&bytes[8..16], b"\x00\x10\x00\x00\x64\x00\x00\x00");
        assert_eq!(&bytes[16..48], &[7; 32]);
        assert_eq!(&bytes[48..88], &[0; 40]);
        assert_eq!(&bytes[88..92], b"\x78\x56\x34\x12");
        assert_eq!(bytes[92..], crc32c::crc32c(&bytes[..92]).to_le_bytes());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        for bit in 0..96 * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_key_means_encrypted_and_is_not_called_damage_of_another_kind() {
        assert_eq!(
            RecordHeader::decode(&forged(48, &[1])),
            Err(Damage::Encrypted)
        );
    }

    #[test]
    fn fields_that_no_writer_makes_are_refused_even_with_a_right_checksum() {
        let cases: [(usize, &[u8]); 9] = [
            (4, &[0]),              // no such kind
            (4, &[3]),              // no such kind
            (5, &[2]),              // no such codec
            (6, &[1]),              // reserved
            (64, &[1]),             // a nonce without a key
            (8, &[0, 0, 0, 0]),     // an empty chunk
            (8, &[1, 0, 64, 0]),    // more than 4 MiB
            (12, &[0, 0x10, 0, 0]), // compression that saved nothing
            (12, &[0, 0, 0, 0]),    // nothing stored
        ];
        for (at, value) in cases {
            let decoded = RecordHeader::decode(&forged(at, value));
            assert_eq!(decoded, Err(Damage::Field), "{value:?} at {at}");
        }
        let plain_with_other_length = forged(5, &[0]);
        assert_eq!(
            RecordHeader::decode(&plain_with_other_length),
            Err(Damage::Field)
        );
        let node_of_a_chunks_length = forged(4, &[2, 1, 0, 0, 0x29, 0x20, 0, 0]);
        assert_eq!(
            RecordHeader::decode(&node_of_a_chunks_length),
            Err(Damage::Field)
        );
    }
}
