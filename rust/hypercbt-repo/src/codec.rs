//! From plain bytes to a record and back: ids, the zero test, zstd and when not to use it.
//!
//! There is no probe before compression. zstd gives up on incompressible bytes by itself: a record of
//! 256 KiB of noise is made in 28 µs, 16 of them in zstd, where one of text takes 700 (level 1, zstd 1.5.7,
//! `benches/codec.rs`). The cheapest probe that we could think of, a count of the byte values in 16 KiB,
//! takes 4 µs from every chunk, and does not see what only repeats.

use std::io::Cursor;

use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe,
};

use crate::{
    ChunkId, Damage, Error, NodeId, RecordKind, Result,
    record::{Codec, HEADER_BYTES, Record, RecordHeader},
};

/// The namespace of tree nodes: no chunk, whatever a guest writes, has the id of a node (format §4).
const NODE_CONTEXT: &str = "hypercbt 2026 disk tree node v0";

/// The id of a chunk.
pub fn chunk_id(plain: &[u8]) -> ChunkId {
    ChunkId(*blake3::hash(plain).as_bytes())
}

/// The id of a tree node.
pub fn node_id(bytes: &[u8]) -> NodeId {
    NodeId(blake3::derive_key(NODE_CONTEXT, bytes))
}

/// Whether every byte is zero.
///
/// Most chunks show it in the first block, so only zeros are read to their end: in blocks that the
/// compiler turns into wide registers, and that are short enough to leave early.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<512>();
    let zero = |block: &[u8; 512]| {
        let (words, _) = block.as_chunks();
        let any = words
            .iter()
            .fold(0, |any, word| any | u64::from_ne_bytes(*word));
        any == 0
    };
    blocks.iter().all(zero) && rest.iter().all(|&byte| byte == 0)
}

/// Makes records. One per thread: it keeps its zstd context.
pub struct Encoder {
    zstd: Compressor<'static>,
}

impl Encoder {
    /// An encoder at a zstd level. Levels that zstd does not have mean the nearest one.
    ///
    /// # Panics
    /// If there is no memory for a zstd context.
    pub fn new(level: i32) -> Self {
        let zstd = Compressor::new(level).expect("zstd takes every level, to its nearest");
        Self { zstd }
    }

    /// The record of a chunk. `id` is its id.
    ///
    /// # Panics
    /// If the chunk is longer than 4 GiB; records over 4 MiB are not readable.
    pub fn encode_chunk(&mut self, id: ChunkId, plain: &[u8]) -> Record {
        debug_assert_eq!(id, chunk_id(plain));
        self.encode(RecordKind::Chunk, id.0, plain)
    }

    /// The record of a tree node. `id` is its id.
    ///
    /// # Panics
    /// If the node is longer than 4 GiB, which none is.
    pub fn encode_node(&mut self, id: NodeId, bytes: &[u8]) -> Record {
        debug_assert_eq!(id, node_id(bytes));
        self.encode(RecordKind::Node, id.0, bytes)
    }

    fn encode(&mut self, kind: RecordKind, id: [u8; 32], plain: &[u8]) -> Record {
        let plain_len = u32::try_from(plain.len()).expect("a chunk is a few MiB at most");
        let mut place = Cursor::new(Record::buffer(plain.len()));
        place.set_position(HEADER_BYTES as u64);
        // It can fail only for want of room: the bytes do not compress.
        let stored = self.zstd.compress_to_buffer(plain, &mut place);
        let mut bytes = place.into_inner();
        if stored.is_ok_and(|stored| stored < worth_it(plain.len())) {
            return Record::seal(kind, id, Codec::Zstd, plain_len, bytes);
        }
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(plain);
        Record::seal(kind, id, Codec::Plain, plain_len, bytes)
    }
}

/// Fewer stored bytes than this are worth the time that every reader needs to decompress them: 97 %.
fn worth_it(plain_len: usize) -> usize {
    plain_len - plain_len / 32
}

/// Reads records. One per thread: it keeps its zstd context.
pub struct Decoder {
    zstd: Decompressor<'static>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder.
    ///
    /// # Panics
    /// If there is no memory for a zstd context.
    pub fn new() -> Self {
        let zstd = Decompressor::new().expect("a zstd context fits into memory");
        Self { zstd }
    }

    /// Fills `out` with the plain bytes of a whole record, and checks that they are what `id` names.
    ///
    /// Untrusted all through: nothing is allocated before the header checks, and never more than
    /// `plain_limit` (and than any chunk has).
    ///
    /// # Errors
    /// [`Error::Damaged`], named by the id. `out` is then empty or holds bytes without meaning.
    pub fn decode(
        &mut self,
        record: &[u8],
        kind: RecordKind,
        id: &[u8; 32],
        plain_limit: u32,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        self.decode_checked(record, kind, id, plain_limit, out)
            .map_err(|reason| Error::Damaged {
                name: record_name(kind, id),
                reason,
            })
    }

    fn decode_checked(
        &mut self,
        record: &[u8],
        kind: RecordKind,
        id: &[u8; 32],
        plain_limit: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        let (header, stored) = record.split_first_chunk().ok_or(Damage::Length)?;
        let header = RecordHeader::decode(header)?;
        if header.kind != kind || header.id != *id {
            return Err(Damage::Id);
        }
        if header.plain_len > plain_limit {
            return Err(Damage::Field);
        }
        if stored.len() != header.stored_len as usize {
            return Err(Damage::Length);
        }
        // Before decompression, which need not see damaged bytes, and because some bits of a zstd
        // frame change nothing: they would stay unseen.
        if crc32c::crc32c(stored) != header.stored_checksum {
            return Err(Damage::Checksum);
        }
        match header.codec {
            Codec::Plain => out.extend_from_slice(stored),
            Codec::Zstd => self.decompress(stored, header.plain_len as usize, out)?,
        }
        let found = match kind {
            RecordKind::Chunk => chunk_id(out).0,
            RecordKind::Node => node_id(out).0,
        };
        if found == *id {
            Ok(())
        } else {
            Err(Damage::Id)
        }
    }

    /// One whole frame that gives exactly `plain_len` bytes, whatever it claims itself.
    fn decompress(
        &mut self,
        stored: &[u8],
        plain_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        if zstd_safe::find_frame_compressed_size(stored) != Ok(stored.len()) {
            return Err(Damage::Codec);
        }
        out.reserve_exact(plain_len);
        match self.zstd.decompress_to_buffer(stored, out) {
            Ok(len) if len == plain_len => Ok(()),
            _ => Err(Damage::Codec),
        }
    }
}

/// What a record is called in an error.
pub(crate) fn record_name(kind: RecordKind, id: &[u8; 32]) -> String {
    match kind {
        RecordKind::Chunk => format!("chunk {}", ChunkId(*id)),
        RecordKind::Node => format!("tree node {}", NodeId(*id)),
    }
}

#[cfg(test)]
mod tests;
