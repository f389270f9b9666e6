//! Opening the files of a disk, with errors that name them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hypercbt_file::FileSystem;

use crate::{Error, NotADisk, ReadAt, Result};

/// Opens a regular file for reading.
pub(crate) fn open(files: &dyn FileSystem, path: &Path) -> Result<Arc<dyn ReadAt>> {
    files
        .open_to_read(path)
        .map_err(|source| refusal(path, source))
}

/// Why a file was not opened.
pub(crate) fn refusal(path: &Path, source: io::Error) -> Error {
    let file = path.to_owned();
    match source.kind() {
        io::ErrorKind::InvalidInput => Error::NotADisk {
            file,
            reason: NotADisk::NotAFile,
        },
        _ => Error::Open { file, source },
    }
}
