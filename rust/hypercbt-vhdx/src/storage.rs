//! Opening the files of a disk, with errors that name them.

use std::io;
use std::path::Path;

use hypercbt_file::LocalFile;

use crate::{Error, NotADisk, Result};

/// Opens a regular file for reading.
pub(crate) fn open(path: &Path) -> Result<LocalFile> {
    LocalFile::open(path).map_err(|source| {
        let file = path.to_owned();
        match source.kind() {
            io::ErrorKind::InvalidInput => Error::NotADisk {
                file,
                reason: NotADisk::NotAFile,
            },
            _ => Error::Open { file, source },
        }
    })
}
