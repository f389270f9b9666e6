//! One repository: making it, opening it, and what stands in it by name.

use std::{fmt, sync::Arc};

use crate::{Config, Error, RepositoryId, Result, Storage, Timestamp, name::CONFIG, probe};

/// An open repository. A clone is the same one.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    config: Config,
}

/// What is decided when a repository is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateOptions {
    /// The size of a chunk: a power of two from 64 KiB to 4 MiB.
    pub chunk_bytes: u32,
    /// 16 random bytes.
    pub id: RepositoryId,
    /// Now.
    pub created: Timestamp,
}

impl Repository {
    /// Makes a repository, after a test that the storage does what a repository needs. `place` is what
    /// people call the storage, for messages.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if there is one; [`Error::Unsuitable`] if the storage will not do.
    pub fn create(storage: Arc<dyn Storage>, place: &str, options: &CreateOptions) -> Result<Self> {
        let CreateOptions {
            id,
            chunk_bytes,
            created,
        } = *options;
        let config = Config {
            repository: id,
            chunk_bytes,
            created,
        };
        config.check()?;
        if storage.len(CONFIG).is_ok() {
            return Err(Error::AlreadyExists {
                place: place.to_owned(),
            });
        }
        probe::probe(&*storage, id)?;
        config.create(&*storage, place)?;
        Ok(Self {
            inner: Arc::new(Inner { storage, config }),
        })
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if there is none; [`Error::NewerFormat`] if it is of a later version.
    pub fn open(storage: Arc<dyn Storage>, place: &str) -> Result<Self> {
        let config = Config::load(&*storage, place)?;
        Ok(Self {
            inner: Arc::new(Inner { storage, config }),
        })
    }

    /// The name of this repository among all repositories.
    pub fn id(&self) -> RepositoryId {
        self.inner.config.repository
    }

    /// The size of a chunk.
    pub fn chunk_bytes(&self) -> u32 {
        self.inner.config.chunk_bytes
    }

    /// What was decided when it was made.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Where its objects lie.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.inner.storage
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
