//! What can go wrong in a repository.

use std::io;

use crate::{ChunkId, NodeId, PointId, RunId};

/// The result of a call into the repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a repository could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed. `out of space` and `read-only` are told apart by the source's kind.
    #[error("cannot {action} {name} in the repository")]
    Storage {
        /// What was tried: read, write, list, delete.
        action: &'static str,
        /// The object, or the folder.
        name: String,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
    /// There is no repository here.
    #[error("{place} holds no repository; `hypercbt init` makes one")]
    NotARepository {
        /// Where was looked.
        place: String,
    },
    /// There is a repository here already.
    #[error("{place} already holds a repository or other files")]
    AlreadyExists {
        /// Where it should have been made.
        place: String,
    },
    /// The repository, or an object in it, was written by a newer version.
    #[error("{name} has format {found}; this version reads up to {supported}")]
    NewerFormat {
        /// The object.
        name: String,
        /// Its format number.
        found: u16,
        /// The newest that we know.
        supported: u16,
    },
    /// The storage cannot keep the promises that a repository needs.
    #[error("this storage cannot hold a repository: {lack}")]
    Unsuitable {
        /// What it does not do.
        lack: &'static str,
    },
    /// An object does not hold what was written.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// The object.
        name: String,
        /// What does not check.
        reason: Damage,
    },
    /// A chunk is needed and stands nowhere, or nowhere unharmed.
    #[error("chunk {id} is missing or damaged in every place that holds it")]
    ChunkLost {
        /// The chunk.
        id: ChunkId,
    },
    /// A node of a disk tree is needed and stands nowhere, or nowhere unharmed.
    #[error("tree node {id} is missing or damaged in every place that holds it")]
    NodeLost {
        /// The node.
        id: NodeId,
    },
    /// There is no such restore point.
    #[error("there is no restore point {id}")]
    PointNotFound {
        /// What was asked for.
        id: String,
    },
    /// Somebody declared this run dead; its restore point cannot be made any more.
    #[error("run {id} was fenced by a collection; start the backup again")]
    Fenced {
        /// The run.
        id: PointId,
    },
    /// A lease was to be closed, but nothing proves that its run is over: neither its restore point nor its
    /// tombstone stands, or the other of them.
    #[error("run {id} is not known to have ended like this; fence it first")]
    RunNotOver {
        /// The run.
        id: RunId,
    },
    /// A pack has no room for another record. It can still be finished.
    #[error("a pack cannot grow past 512 MiB")]
    PackFull,
    /// A tree builder was told of a chunk behind its back, or past the end of the disk.
    #[error(
        "chunk {chunk} of a disk tree came where only chunks from {from} up to {end} can follow"
    )]
    TreeOrder {
        /// The chunk.
        chunk: u64,
        /// The first that can follow.
        from: u64,
        /// One past the last chunk of the disk.
        end: u64,
    },
    /// A tree builder was given the tree of a larger disk to start from.
    #[error("a disk tree of {chunks} chunks cannot start from one of {base_chunks}")]
    TreeShrank {
        /// Chunks of the new disk.
        chunks: u64,
        /// Chunks of the disk to start from.
        base_chunks: u64,
    },
    /// A run was to be committed although chunks that it had claimed were never stored: a defect of the caller.
    #[error("{chunks} claimed chunks were never stored")]
    Unstored {
        /// How many.
        chunks: usize,
    },
    /// A value that the caller gave is not allowed.
    #[error("chunk size {chunk_bytes} is not a power of two from 64 KiB to 4 MiB")]
    ChunkSize {
        /// What was asked for.
        chunk_bytes: u64,
    },
}

impl Error {
    /// Makes an error of the storage's, with what was tried and where.
    pub(crate) fn storage(
        action: &'static str,
        name: impl ToString,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage {
            action,
            name: name.to_string(),
            source,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether bytes are simply not there: no object, or one that ends before them.
    pub(crate) fn is_absence(&self) -> bool {
        use io::ErrorKind::{NotFound, UnexpectedEof};
        matches!(self, Self::Storage { source, .. } if matches!(source.kind(), NotFound | UnexpectedEof))
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// The same error once more: a failed run tells each of its threads.
    pub(crate) fn copy(&self) -> Self {
        let again = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Storage {
                action,
                name,
                source,
            } => Self::Storage {
                action,
                name: name.clone(),
                source: again(source),
            },
            Self::NotARepository { place } => Self::NotARepository {
                place: place.clone(),
            },
            Self::AlreadyExists { place } => Self::AlreadyExists {
                place: place.clone(),
            },
            &Self::NewerFormat {
                ref name,
                found,
                supported,
            } => Self::NewerFormat {
                name: name.clone(),
                found,
                supported,
            },
            Self::Unsuitable { lack } => Self::Unsuitable { lack },
            Self::Damaged { name, reason } => Self::damaged(name, *reason),
            &Self::ChunkLost { id } => Self::ChunkLost { id },
            &Self::NodeLost { id } => Self::NodeLost { id },
            Self::PointNotFound { id } => Self::PointNotFound { id: id.clone() },
            &Self::Fenced { id } => Self::Fenced { id },
            &Self::RunNotOver { id } => Self::RunNotOver { id },
            Self::PackFull => Self::PackFull,
            &Self::TreeOrder { chunk, from, end } => Self::TreeOrder { chunk, from, end },
            &Self::TreeShrank {
                chunks,
                base_chunks,
            } => Self::TreeShrank {
                chunks,
                base_chunks,
            },
            &Self::Unstored { chunks } => Self::Unstored { chunks },
            &Self::ChunkSize { chunk_bytes } => Self::ChunkSize { chunk_bytes },
        }
    }

    /// Makes an error of an object that does not hold what was written.
    pub(crate) fn damaged(name: impl Into<String>, reason: Damage) -> Self {
        Self::Damaged {
            name: name.into(),
            reason,
        }
    }
}

/// What does not check in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It is shorter or longer than it says.
    #[error("its length is wrong")]
    Length,
    /// It does not start as its kind does.
    #[error("its signature is wrong")]
    Signature,
    /// A checksum or hash differs.
    #[error("its checksum does not match")]
    Checksum,
    /// Its id is not the hash of its bytes.
    #[error("its content does not have its id")]
    Id,
    /// A field has a value that no writer makes.
    #[error("a field has an impossible value")]
    Field,
    /// The compressed bytes do not decompress to the stated length.
    #[error("its compressed bytes do not decode")]
    Codec,
    /// It is encrypted, which this version cannot read.
    #[error("it is encrypted, which this version cannot read")]
    Encrypted,
}
