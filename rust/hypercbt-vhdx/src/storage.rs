//! Opening the files of a disk, with errors that name them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hypercbt_file::PatientFile;

use crate::{Error, NotADisk, ReadAt, Result};

/// How a regular file is opened for reading.
pub(crate) type Opener<'a> = &'a dyn Fn(&Path) -> io::Result<Arc<dyn ReadAt>>;

/// Opens a file of this machine, which may be on a share that breaks off and comes back while the disk is read.
pub(crate) fn local(path: &Path) -> io::Result<Arc<dyn ReadAt>> {
    Ok(Arc::new(PatientFile::open(path)?))
}

/// Opens a regular file for reading.
pub(crate) fn open(open_file: Opener<'_>, path: &Path) -> Result<Arc<dyn ReadAt>> {
    open_file(path).map_err(|source| refusal(path, source))
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
