//! Every error of the core as the exception that a caller can act on.

use std::io;

use hypercbt_engine::Error as Engine;
use hypercbt_rct::Error as Tracker;
use hypercbt_repo::Error as Repo;
use hypercbt_tracked::Error as Tracked;
use hypercbt_vhdx::Error as Disk;
use pyo3::{exceptions::PyValueError, import_exception, prelude::*};

import_exception!(hypercbt.errors, AuditUnfinishedError);
import_exception!(hypercbt.errors, ChangeTrackingLostError);
import_exception!(hypercbt.errors, DiskIdentityError);
import_exception!(hypercbt.errors, DiskInUseError);
import_exception!(hypercbt.errors, HypercbtError);
import_exception!(hypercbt.errors, IntegrityError);
import_exception!(hypercbt.errors, ParentDiskError);
import_exception!(hypercbt.errors, PointNotFoundError);
import_exception!(hypercbt.errors, RepositoryError);
import_exception!(hypercbt.errors, RepositoryExistsError);
import_exception!(hypercbt.errors, RepositoryFormatError);
import_exception!(hypercbt.errors, RepositoryFullError);
import_exception!(hypercbt.errors, RepositoryNotFoundError);
import_exception!(hypercbt.errors, RepositoryUnavailableError);
import_exception!(hypercbt.errors, RepositoryUnsuitableError);
import_exception!(hypercbt.errors, RunFencedError);
import_exception!(hypercbt.errors, SourceChangedError);
import_exception!(hypercbt.errors, SourceError);
import_exception!(hypercbt.errors, TargetError);
import_exception!(hypercbt.errors, TargetExistsError);
import_exception!(hypercbt.errors, TrackerFileError);
import_exception!(hypercbt.errors, UnsupportedDiskError);
import_exception!(hypercbt.errors, VhdxCorruptError);

/// The message of an error and of everything that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message.push_str(": ");
        message.push_str(&error.to_string());
        source = error.source();
    }
    message
}

pub(crate) fn disk_error(error: Disk) -> PyErr {
    let message = chain(&error);
    match error {
        Disk::Corrupt { .. } => VhdxCorruptError::new_err(message),
        Disk::UnsupportedFormat { .. } | Disk::NotADisk { .. } => {
            UnsupportedDiskError::new_err(message)
        }
        Disk::ParentNotFound { .. }
        | Disk::WrongParent { .. }
        | Disk::ParentCycle { .. }
        | Disk::ChainTooLong { .. }
        | Disk::UnexpectedParent { .. } => ParentDiskError::new_err(message),
        Disk::OutOfRange { .. } | Disk::Misaligned { .. } | Disk::InvalidOptions { .. } => {
            PyValueError::new_err(message)
        }
        Disk::InUse { .. } => DiskInUseError::new_err(message),
        _ => SourceError::new_err(message),
    }
}

pub(crate) fn tracked_error(error: Tracked) -> PyErr {
    let message = chain(&error);
    match error {
        Tracked::Disk(error) => disk_error(error),
        Tracked::Tracker(Tracker::InUse { .. }) => DiskInUseError::new_err(message),
        Tracked::Tracker(Tracker::NotOurs { .. }) => TrackerFileError::new_err(message),
        Tracked::Tracker(Tracker::OutOfRange { .. } | Tracker::InvalidOptions { .. })
        | Tracked::TooManyCheckpoints { .. }
        | Tracked::MergeUnfinished { .. }
        | Tracked::ReservedName { .. }
        | Tracked::Frozen
        | Tracked::NotFrozen => PyValueError::new_err(message),
        Tracked::TrackingLost { .. } | Tracked::UnknownId { .. } => {
            ChangeTrackingLostError::new_err(message)
        }
        Tracked::NotABase { .. } => UnsupportedDiskError::new_err(message),
        _ => SourceError::new_err(message),
    }
}

pub(crate) fn repository_error(error: Repo) -> PyErr {
    let message = chain(&error);
    match error {
        Repo::Storage { source, .. } => storage_error(&source, message),
        Repo::NotARepository { .. } => RepositoryNotFoundError::new_err(message),
        Repo::AlreadyExists { .. } => RepositoryExistsError::new_err(message),
        Repo::NewerFormat { .. } => RepositoryFormatError::new_err(message),
        Repo::Unsuitable { .. } => RepositoryUnsuitableError::new_err(message),
        Repo::Damaged { .. } | Repo::ChunkLost { .. } | Repo::NodeLost { .. } => {
            IntegrityError::new_err(message)
        }
        Repo::PointNotFound { .. } => PointNotFoundError::new_err(message),
        Repo::Fenced { .. } => RunFencedError::new_err(message),
        Repo::ChunkSize { .. } | Repo::RunNotOver { .. } => PyValueError::new_err(message),
        _ => RepositoryError::new_err(message),
    }
}

fn storage_error(source: &io::Error, message: String) -> PyErr {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            RepositoryFullError::new_err(message)
        }
        _ => RepositoryUnavailableError::new_err(message),
    }
}

pub(crate) fn engine_error(error: Engine) -> PyErr {
    match error {
        Engine::Disk(error) => disk_error(error),
        Engine::Repository(error) => repository_error(error),
        error => {
            let message = chain(&error);
            match error {
                Engine::SourceChanged | Engine::FileChanged { .. } => {
                    SourceChangedError::new_err(message)
                }
                Engine::AnotherDisk { .. }
                | Engine::WrongSince { .. }
                | Engine::SameDisk { .. } => DiskIdentityError::new_err(message),
                Engine::ChangeOutside { .. }
                | Engine::OutOfRange { .. }
                | Engine::OutOfTurn { .. } => PyValueError::new_err(message),
                Engine::File { .. } | Engine::FileName { .. } => SourceError::new_err(message),
                Engine::WideningStopped => AuditUnfinishedError::new_err(message),
                Engine::NoSuchDisk { .. } | Engine::NoSuchFile { .. } => {
                    PointNotFoundError::new_err(message)
                }
                Engine::TargetExists { .. } => TargetExistsError::new_err(message),
                Engine::Target { .. } | Engine::TargetNotAFile { .. } | Engine::WriteDisk(_) => {
                    TargetError::new_err(message)
                }
                _ => HypercbtError::new_err(message),
            }
        }
    }
}
