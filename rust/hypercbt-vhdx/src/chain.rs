//! A differencing disk and its parents: finding them, and making sure that they are the right ones.
//!
//! A parent locator is untrusted input, so a parent is only looked for where the caller allows it: among the files
//! that the caller names, beside the child, and in folders that the caller names. Of the paths in the locator only
//! the file name counts. A file is the parent if its `DataWriteGuid` is the child's `parent_linkage`; a file of the
//! right name with other data would give a plausible wrong disk, and is refused. For VHD both are the unique id of
//! the parent, which tells another disk but not a changed one; the time stamp that should tell is zero in the files
//! of Windows 10, so it is no reason to refuse.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Format, OpenOptions};
use crate::error::{Defect, Mismatch, Unsupported};
use crate::format::FILE_SIGNATURE;
use crate::header;
use crate::layer::OpenFile;
use crate::locator::ParentLocator;
use crate::storage::{self, Opener};
use crate::vhd;
use crate::{Error, FileOffset, Guid, NotADisk, ReadAt, Result};

/// The most files of a chain. Windows allows fewer checkpoints; Microsoft's own reader stops here, too.
pub(crate) const MAX_FILES: usize = 256;

/// What the caller knows of the leaf before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing: its content decides.
    AnyFormat,
    /// It is a VHDX file, or it is damaged.
    Vhdx,
    /// It is a VHD file, or it is damaged.
    Vhd,
}

impl Expected {
    /// A damaged file that is backed up as a raw disk would look fine and be worth nothing. And what stands at the
    /// start of a fixed VHD file or at the end of a VHDX file is their guests', who could make it look like the other.
    pub(crate) fn by_name(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default();
        let is = |names: [&str; 2]| {
            names
                .iter()
                .any(|name| extension.eq_ignore_ascii_case(name))
        };
        if is(["vhdx", "avhdx"]) {
            Self::Vhdx
        } else if is(["vhd", "avhd"]) {
            Self::Vhd
        } else {
            Self::AnyFormat
        }
    }

    /// What a parent of `child` is.
    fn parent_of(child: &OpenFile) -> Self {
        match child.format() {
            Format::Vhd => Self::Vhd,
            Format::Vhdx | Format::Raw => Self::AnyFormat,
        }
    }

    fn open(self, name: PathBuf, storage: Box<dyn ReadAt>) -> Result<OpenFile> {
        match self {
            Self::AnyFormat => OpenFile::open(name, storage),
            Self::Vhdx => OpenFile::open_vhdx(name, storage),
            Self::Vhd => OpenFile::open_vhd(name, storage),
        }
    }
}

/// Opens the file at `path` and all its parents, leaf first.
pub(crate) fn open(
    open_file: Opener<'_>,
    path: &Path,
    options: &OpenOptions,
    expected: Expected,
) -> Result<Vec<OpenFile>> {
    if path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("vhds"))
    {
        let format = Unsupported::VhdSet;
        return Err(Error::UnsupportedFormat {
            file: path.to_owned(),
            format,
        });
    }
    let storage = storage::open(open_file, path)?;
    let leaf = expected.open(path.to_owned(), Box::new(storage))?;
    with_parents(open_file, leaf, options)
}

/// Opens all parents of a file that is open already; the file itself comes first.
pub(crate) fn with_parents(
    open_file: Opener<'_>,
    leaf: OpenFile,
    options: &OpenOptions,
) -> Result<Vec<OpenFile>> {
    let path = leaf.source().name().to_owned();
    let mut met = vec![Identity::of(&path, leaf.source().storage())];
    let mut chain = vec![leaf];
    while let Some((child, locator)) = chain
        .last()
        .and_then(|child| Some((child, child.parent()?)))
    {
        if chain.len() >= MAX_FILES {
            return Err(Error::ChainTooLong {
                file: path,
                limit: MAX_FILES,
            });
        }
        let (parent_path, storage) = find_parent(open_file, child, locator, options)?;
        let identity = Identity::of(&parent_path, &storage);
        if met.contains(&identity) {
            return Err(Error::ParentCycle { file: parent_path });
        }
        let parent = Expected::parent_of(child).open(parent_path, Box::new(storage))?;
        check_pair(child, &parent)?;
        met.push(identity);
        chain.push(parent);
    }
    Ok(chain)
}

/// Opens a chain whose files the caller has, leaf first. Exactly the files that it needs must be there.
pub(crate) fn from_storage(files: Vec<(String, Box<dyn ReadAt>)>) -> Result<Vec<OpenFile>> {
    let mut chain: Vec<OpenFile> = Vec::with_capacity(files.len());
    for (name, storage) in files {
        let name = PathBuf::from(name);
        if let Some(child) = chain.last() {
            let file = child.source().name().to_owned();
            if child.parent().is_none() {
                return Err(Error::UnexpectedParent { file, parent: name });
            }
            if chain.len() >= MAX_FILES {
                return Err(Error::ChainTooLong {
                    file,
                    limit: MAX_FILES,
                });
            }
        }
        let expected = chain
            .last()
            .map_or(Expected::AnyFormat, Expected::parent_of);
        let opened = expected.open(name, storage)?;
        if let Some(child) = chain.last() {
            check_pair(child, &opened)?;
        }
        chain.push(opened);
    }
    match chain.last() {
        None => Err(Error::NotADisk {
            file: PathBuf::new(),
            reason: NotADisk::NoFile,
        }),
        Some(last) if last.parent().is_some() => Err(Error::ParentNotFound {
            file: last.source().name().to_owned(),
            tried: Vec::new(),
        }),
        Some(_) => Ok(chain),
    }
}

/// Checks an opened parent against its child: the linkage and the sectors. Blocks may differ, and sizes where the
/// format is VHDX; Windows refuses a VHD file whose parent has another size.
fn check_pair(child: &OpenFile, parent: &OpenFile) -> Result<()> {
    mismatch_of(child, parent).map_err(|mismatch| Error::WrongParent {
        file: child.source().name().to_owned(),
        parent: parent.source().name().to_owned(),
        mismatch,
    })
}

/// What of a pair does not fit.
fn mismatch_of(child: &OpenFile, parent: &OpenFile) -> std::result::Result<(), Mismatch> {
    let (Some(locator), Some(found)) = (child.parent(), parent.linkage()) else {
        return Err(Mismatch::Format);
    };
    if child.format() != parent.format() {
        return Err(Mismatch::Format);
    }
    locator.check(found)?;
    let sizes = (child.size(), parent.size());
    if child.format() == Format::Vhd && sizes.0 != sizes.1 {
        return Err(Mismatch::Size {
            child: sizes.0,
            parent: sizes.1,
        });
    }
    Mismatch::check_sectors(child.logical_sector_bytes(), parent.logical_sector_bytes())
}

/// Finds the parent of `child` among all places where it may be.
///
/// # Errors
/// The first thing that was wrong with a file which could have been it, or [`Error::ParentNotFound`].
fn find_parent(
    open_file: Opener<'_>,
    child: &OpenFile,
    locator: &ParentLocator,
    options: &OpenOptions,
) -> Result<(PathBuf, Arc<dyn ReadAt>)> {
    let mut named_error = None;
    for path in &options.parents {
        // A file that the caller names must be there, but it may be the parent of another file of the chain.
        let storage = storage::open(open_file, path)?;
        match check_linkage(child, locator, path, &storage) {
            Ok(()) => return Ok((path.clone(), storage)),
            Err(error) => named_error = named_error.or(Some(error)),
        }
    }
    let mut near_error = None;
    let near = candidates(child.source().name(), locator, options);
    for path in &near {
        let opened = match storage::open(open_file, path) {
            Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            opened => opened,
        };
        match opened
            .and_then(|storage| check_linkage(child, locator, path, &storage).map(|()| storage))
        {
            Ok(storage) => return Ok((path.clone(), storage)),
            Err(error) => near_error = near_error.or(Some(error)),
        }
    }
    // A wrong file under the right name says more than one that may be meant for another child.
    let tried = options.parents.iter().cloned().chain(near).collect();
    let not_found = Error::ParentNotFound {
        file: child.source().name().to_owned(),
        tried,
    };
    Err(near_error.or(named_error).unwrap_or(not_found))
}

/// Each file name of the locator in each allowed folder, the child's own first.
fn candidates(child: &Path, locator: &ParentLocator, options: &OpenOptions) -> Vec<PathBuf> {
    let own = child.parent().unwrap_or(Path::new(""));
    let folders = std::iter::once(own).chain(options.parent_folders.iter().map(PathBuf::as_path));
    let names = locator.file_names();
    folders
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .collect()
}

/// Reads just enough of a file to tell whether it is the parent.
fn check_linkage(
    child: &OpenFile,
    locator: &ParentLocator,
    path: &Path,
    storage: &dyn ReadAt,
) -> Result<()> {
    let wrong = |mismatch| Error::WrongParent {
        file: child.source().name().to_owned(),
        parent: path.to_owned(),
        mismatch,
    };
    let examine = |source| Error::Examine {
        file: path.to_owned(),
        source,
    };
    let found = match child.format() {
        Format::Vhd => vhd_linkage(storage),
        Format::Vhdx | Format::Raw => vhdx_linkage(storage),
    };
    let found = found
        .map_err(examine)?
        .ok_or_else(|| wrong(Mismatch::Format))?;
    let found = found.map_err(|Defect { part, reason }| Error::Corrupt {
        file: path.to_owned(),
        part,
        reason,
    })?;
    locator.check(found).map_err(wrong)
}

/// By what a child would know the file. `None`: it is of another format.
type Linkage = Option<std::result::Result<Guid, Defect>>;

fn vhdx_linkage(storage: &dyn ReadAt) -> io::Result<Linkage> {
    let mut signature = [0; FILE_SIGNATURE.len()];
    let read = storage.read_exact_at(&mut signature, FileOffset(0));
    if read.is_err() || signature != FILE_SIGNATURE {
        return Ok(None);
    }
    let header = header::current(header::read_both(storage)?);
    Ok(Some(header.map(|header| header.data_write_guid)))
}

fn vhd_linkage(storage: &dyn ReadAt) -> io::Result<Linkage> {
    if !vhd::is_there(storage)? {
        return Ok(None);
    }
    let footer = vhd::read_footer(storage)?;
    Ok(Some(footer.map(|footer| footer.unique_id)))
}

/// What makes a file the same file under another name.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    #[cfg(unix)]
    Inode {
        device: u64,
        inode: u64,
    },
    Path(PathBuf),
}

impl Identity {
    fn of(path: &Path, storage: &dyn ReadAt) -> Self {
        #[cfg(unix)]
        if let Some(Ok(metadata)) = storage.as_file().map(std::fs::File::metadata) {
            use std::os::unix::fs::MetadataExt;
            return Self::Inode {
                device: metadata.dev(),
                inode: metadata.ino(),
            };
        }
        let _ = storage;
        Self::Path(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }
}
