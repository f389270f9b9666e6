//! Storing what the repository does not know: claim, compress, hand over.

use hypercbt_repo::{ChunkId, Run, codec::Encoder};

use crate::{Error, Result, stop::Stop, window::Work};

/// Stores those of `chunks`, all of one size, that nobody knows, and counts them.
pub(crate) fn unknown(
    run: &Run,
    chunks: &[(ChunkId, &[u8])],
    encoder: &mut Encoder,
    stop: &Stop,
) -> Result<Work> {
    let mut work = Work::default();
    if chunks.is_empty() {
        return Ok(work);
    }
    let ids: Vec<ChunkId> = chunks.iter().map(|&(id, _)| id).collect();
    let claimed = run.claim(&ids)?;
    let mut records = Vec::new();
    for (&(id, plain), _) in chunks.iter().zip(&claimed).filter(|&(_, &ours)| ours) {
        // What was claimed is stored: nobody else will be told to, and no commit goes without it.
        if stop.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let record = encoder.encode_chunk(id, plain);
        work.new_chunks += 1;
        work.new_bytes += plain.len() as u64;
        // Headers are metadata, which the run itself counts.
        work.stored_bytes += u64::from(record.header().stored_len);
        records.push(record);
    }
    if !records.is_empty() {
        run.append(records)?;
    }
    Ok(work)
}
