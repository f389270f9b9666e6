//! Making a new, empty VHDX: whole and durable under its name, or not there.
//!
//! ```text
//! create     a temporary name beside it      no name that anybody opens
//! complete   structures; sync; headers; sync     every reader refuses it until the last write
//! link       its own name, if that is free       the whole file, or nothing
//! remove     the temporary name
//! sync       the folder                          from now on it is there
//! ```
//!
//! A power cut may leave the temporary name behind; no two attempts have the same one.

use std::io;
use std::path::{Path, PathBuf};

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::{FileSystem, step};
use zerocopy::IntoBytes;

use super::headers;
use crate::create::complete;
use crate::encode::{self, Form};
use crate::error::Mismatch;
use crate::layer::OpenFile;
use crate::layout::Layout;
use crate::parent_path;
use crate::target::NewFile;
use crate::{Error, FileOffset, Guid, Result, VhdxOptions};

/// A VHDX to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVhdx {
    /// How it holds its disk.
    pub kind: NewKind,
    /// Its properties. A differencing disk has the size, the sectors and the disk id of its parent, whatever is said
    /// here.
    pub options: VhdxOptions,
}

/// How a new VHDX holds its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewKind {
    /// Every block is in the file from the start, and stays there.
    Fixed,
    /// Blocks come into the file when they are written.
    Dynamic,
    /// What differs from the parent.
    Differencing {
        /// The file of the parent, which must not change any more.
        parent: PathBuf,
    },
}

impl NewVhdx {
    /// A child of `parent` with blocks of 2 MiB, as Windows makes them.
    pub fn child_of(parent: &Path, file_write_guid: Guid, data_write_guid: Guid) -> Self {
        let kind = NewKind::Differencing {
            parent: parent.to_owned(),
        };
        let options = VhdxOptions {
            size: ByteLen(0),
            block_bytes: 2 << 20,
            logical_sector_bytes: 0,
            physical_sector_bytes: 0,
            disk_id: Guid::ZERO,
            file_write_guid,
            data_write_guid,
        };
        Self { kind, options }
    }

    /// What will name the state of the file: its `FileWriteGuid` and `DataWriteGuid`.
    pub fn stamp(&self) -> [u8; 32] {
        headers::stamp(self.options.file_write_guid, self.options.data_write_guid)
    }
}

/// Makes the file `path`, which must not exist: an empty disk, or a child in which nothing differs yet.
///
/// When this returns, the file is durable under its name. A power cut before leaves all of it or none.
///
/// # Errors
/// There is then no file of that name, or it is the one that was there before.
pub fn create_vhdx(files: &dyn FileSystem, path: &Path, new: &NewVhdx) -> Result<()> {
    let (options, form) = match &new.kind {
        NewKind::Fixed => (new.options.clone(), Form::Fixed),
        NewKind::Dynamic => (new.options.clone(), Form::Dynamic),
        NewKind::Differencing { parent } => child(files, path, parent, &new.options)?,
    };
    options.check().map_err(|reason| Error::InvalidOptions {
        file: path.to_owned(),
        reason,
    })?;
    let layout = match form {
        Form::Fixed => {
            let whole = Extent::new(DiskOffset(0), options.size);
            Layout::new(&options, &whole.into_iter().collect())
        }
        Form::Dynamic => Layout::new(&options, &Extents::new()),
        Form::Differencing { .. } => Layout::of_child(&options),
    };
    let temporary = temporary_name(path, options.file_write_guid)?;
    let file = files.create_new(&temporary);
    let file = NewFile::new(file.map_err(|source| failed(path, source))?, path);
    let written = write(&file, &options, &form, &layout);
    drop(file); // Windows removes no open file
    let named = written.and_then(|()| give_name(files, &temporary, path));
    if named.is_err() {
        forget(files, &temporary);
    }
    named?;
    sync_name(files, path).inspect_err(|_| forget(files, path))
}

/// What a child of `parent` is like.
fn child(
    files: &dyn FileSystem,
    path: &Path,
    parent: &Path,
    options: &VhdxOptions,
) -> Result<(VhdxOptions, Form)> {
    let storage = files.open_to_read(parent).map_err(|source| Error::Open {
        file: parent.to_owned(),
        source,
    })?;
    let refuse = |mismatch| Error::WrongParent {
        file: path.to_owned(),
        parent: parent.to_owned(),
        mismatch,
    };
    let opened = OpenFile::open(parent.to_owned(), Box::new(storage))?;
    let vhdx = opened.vhdx().ok_or_else(|| refuse(Mismatch::Format))?;
    let linkage = vhdx.header.data_write_guid;
    if linkage.is_zero() {
        return Err(refuse(Mismatch::NoIdentity));
    }
    let locator =
        parent_path::locator(path, parent, linkage).ok_or_else(|| refuse(Mismatch::Path))?;
    let options = VhdxOptions {
        size: vhdx.metadata.size,
        logical_sector_bytes: vhdx.metadata.logical_sector_bytes,
        physical_sector_bytes: vhdx.metadata.physical_sector_bytes,
        disk_id: vhdx.metadata.disk_id,
        ..options.clone()
    };
    Ok((options, Form::Differencing { locator }))
}

/// Writes all of a new file, which does not have its name yet.
fn write(file: &NewFile, options: &VhdxOptions, form: &Form, layout: &Layout) -> Result<()> {
    file.reserve(layout.file_len())?;
    file.write_at(FileOffset(0), encode::identifier().as_bytes())?;
    complete(file, options, form, layout)
}

/// A name beside `path` that nobody else has: no other file has this GUID.
fn temporary_name(path: &Path, unique: Guid) -> Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(failed(path, io::ErrorKind::InvalidInput.into()));
    }
    Ok(path.with_file_name(format!(".hypercbt-{unique}.new")))
}

/// Gives the file, which is durable, its name, if that is free.
fn give_name(files: &dyn FileSystem, temporary: &Path, path: &Path) -> Result<()> {
    // A link, unlike a rename, never replaces what somebody put there meanwhile.
    match files.link(temporary, path) {
        Ok(()) => files.remove(temporary).map_err(|source| {
            forget(files, path);
            failed(path, source)
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(failed(path, error)),
        // Not every file system has links.
        Err(error) => match files.open_to_read(path) {
            Err(found) if found.kind() == io::ErrorKind::NotFound => files
                .rename(temporary, path)
                .map_err(|source| failed(path, source)),
            _ => Err(failed(path, error)),
        },
    }
}

/// Removes what must not stay. What went wrong first is what the caller must hear; a leftover is only litter.
fn forget(files: &dyn FileSystem, path: &Path) {
    let _ = files.remove(path);
}

/// Makes the name durable.
fn sync_name(files: &dyn FileSystem, path: &Path) -> Result<()> {
    if step::left_out("vhdx.create.sync_folder") {
        return Ok(());
    }
    files.sync_name(path).map_err(|source| Error::Sync {
        file: path.to_owned(),
        source,
    })
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Create {
        file: path.to_owned(),
        source,
    }
}
