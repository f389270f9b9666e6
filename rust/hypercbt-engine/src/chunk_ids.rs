//! The ids of the chunks of a piece of memory: for pipelines that hash on their own.

use hypercbt_repo::{ChunkId, codec};

/// The id of each chunk of `data`; `None` where it is all zero. The last chunk is padded with zeros.
///
/// # Panics
/// If `chunk_bytes` is zero.
pub fn chunk_ids(data: &[u8], chunk_bytes: usize) -> Vec<Option<ChunkId>> {
    data.chunks(chunk_bytes)
        .map(|part| {
            if codec::is_zero(part) {
                None
            } else if part.len() == chunk_bytes {
                Some(codec::chunk_id(part))
            } else {
                let mut padded = part.to_vec();
                padded.resize(chunk_bytes, 0);
                Some(codec::chunk_id(&padded))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_chunk_is_padded_and_a_zero_one_has_no_id() {
        let ids = chunk_ids(&[1, 2, 0, 0, 3], 2);
        let id = |plain: &[u8]| Some(codec::chunk_id(plain));
        assert_eq!(ids, [id(&[1, 2]), None, id(&[3, 0])]);
    }
}
