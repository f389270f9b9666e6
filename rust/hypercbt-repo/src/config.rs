//! What holds for the whole repository, written once.

use serde::{Deserialize, Serialize};

use crate::{
    Damage, Error, RepositoryId, Result, Storage, Timestamp, name::CONFIG, object,
    object::ObjectKind,
};

/// The payload of `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The name of the repository among all repositories.
    pub repository: RepositoryId,
    /// The size of a chunk: a power of two from 64 KiB to 4 MiB.
    pub chunk_bytes: u32,
    /// When the repository was made.
    pub created: Timestamp,
}

impl Config {
    /// Refuses a chunk size that is not allowed.
    ///
    /// # Errors
    /// [`Error::ChunkSize`].
    pub fn check(&self) -> Result<()> {
        if self.chunk_bytes.is_power_of_two() && (64 << 10..=4 << 20).contains(&self.chunk_bytes) {
            Ok(())
        } else {
            Err(Error::ChunkSize {
                chunk_bytes: u64::from(self.chunk_bytes),
            })
        }
    }

    /// # Errors
    /// [`Error::NotARepository`] if there is no config.
    pub(crate) fn load(storage: &dyn Storage, place: &str) -> Result<Self> {
        let found = object::find::<Self>(storage, CONFIG, ObjectKind::Config)?;
        let config = found.ok_or_else(|| Error::NotARepository {
            place: place.to_owned(),
        })?;
        config
            .check()
            .map_err(|_| Error::damaged(CONFIG, Damage::Field))?;
        Ok(config)
    }

    /// # Errors
    /// [`Error::AlreadyExists`] if somebody was first.
    pub(crate) fn create(&self, storage: &dyn Storage, place: &str) -> Result<()> {
        match object::create(storage, CONFIG, ObjectKind::Config, self) {
            Err(error) if error.is_already_exists() => Err(Error::AlreadyExists {
                place: place.to_owned(),
            }),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_powers_of_two_within_bounds() {
        let allowed = |chunk_bytes| {
            let config = Config {
                repository: RepositoryId([1; 16]),
                chunk_bytes,
                created: Timestamp(0),
            };
            config.check().is_ok()
        };
        for good in [64 << 10, 256 << 10, 4 << 20] {
            assert!(allowed(good), "{good}");
        }
        for bad in [0, 1, 32 << 10, (64 << 10) + 1, 96 << 10, 8 << 20, 1 << 31] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
