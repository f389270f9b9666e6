//! Random ids, made here because the core takes randomness as an argument.

use hypercbt_repo::RunId;
use hypercbt_vhdx::Guid;
use pyo3::{exceptions::PyOSError, prelude::*};

fn bytes<const N: usize>() -> PyResult<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| PyOSError::new_err(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

pub(crate) fn run_id() -> PyResult<RunId> {
    Ok(RunId(bytes()?))
}

pub(crate) fn seed() -> PyResult<u64> {
    Ok(u64::from_le_bytes(bytes()?))
}

pub(crate) fn guid() -> PyResult<Guid> {
    Ok(Guid::version_4(bytes()?))
}

/// Random bytes for as long as a disk is open: a seed from the system, drawn out by a hash, which cannot fail.
pub(crate) fn stream() -> PyResult<hypercbt_tracked::Random> {
    let seed: [u8; 32] = bytes()?;
    let mut drawn = 0_u64;
    Ok(Box::new(move || {
        drawn += 1;
        let hash = blake3::keyed_hash(&seed, &drawn.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        bytes
    }))
}

pub(crate) fn repository_id() -> PyResult<hypercbt_repo::RepositoryId> {
    Ok(hypercbt_repo::RepositoryId(bytes()?))
}
