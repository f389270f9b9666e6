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

/// A random GUID, version 4 (RFC 9562 5.4): the version is in the third field, which is little-endian.
pub(crate) fn guid() -> PyResult<Guid> {
    let mut guid: [u8; 16] = bytes()?;
    guid[7] = guid[7] & 0x0F | 0x40;
    guid[8] = guid[8] & 0x3F | 0x80;
    Ok(Guid(guid))
}

pub(crate) fn repository_id() -> PyResult<hypercbt_repo::RepositoryId> {
    Ok(hypercbt_repo::RepositoryId(bytes()?))
}
