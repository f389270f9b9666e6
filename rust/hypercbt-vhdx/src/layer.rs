//! One file of a chain, opened, whatever its format.

use std::io;
use std::path::PathBuf;

use hypercbt_extent::{ByteLen, DiskOffset};

use crate::disk::{Format, Kind, Layer, LogState};
use crate::error::Unsupported;
use crate::format::{FILE_SIGNATURE, VHD_SIGNATURE};
use crate::locator::ParentLocator;
use crate::raw::{self, RawMap};
use crate::segments::Run;
use crate::source::Source;
use crate::stamp::{FileStamp, HeaderStamp};
use crate::vhdx::Vhdx;
use crate::{Error, FileOffset, Part, ReadAt, Reason, Result, header};

/// An opened file and what it holds.
#[derive(Debug)]
pub(crate) struct OpenFile {
    source: Source,
    content: Content,
    /// The headers of a VHDX file, before anything else was read of it.
    headers: [Option<HeaderStamp>; 2],
}

#[derive(Debug)]
enum Content {
    Vhdx(Box<Vhdx>),
    Raw(RawMap),
}

impl OpenFile {
    /// Opens a file; its content decides what it is.
    pub(crate) fn open(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        if has_at(&source, 0, FILE_SIGNATURE)? {
            return Self::vhdx_from(source);
        }
        refuse_vhd(&source)?;
        Self::raw_from(source)
    }

    /// Opens a file that must be a VHDX file.
    pub(crate) fn open_vhdx(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        if !has_at(&source, 0, FILE_SIGNATURE)? {
            refuse_vhd(&source)?;
            return Err(source.corrupt(Part::FileIdentifier, Reason::Signature));
        }
        Self::vhdx_from(source)
    }

    fn vhdx_from(mut source: Source) -> Result<Self> {
        // Where they cannot be read, opening says so better.
        let headers = read_headers(source.storage()).unwrap_or_default();
        let content = Content::Vhdx(Box::new(Vhdx::open(&mut source)?));
        Ok(Self {
            source,
            content,
            headers,
        })
    }

    fn raw_from(source: Source) -> Result<Self> {
        let content = Content::Raw(RawMap::open(&source)?);
        Ok(Self {
            source,
            content,
            headers: [None, None],
        })
    }

    /// Opens a file as a raw disk, whatever is in it.
    pub(crate) fn open_raw(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        Self::raw_from(source)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn vhdx(&self) -> Option<&Vhdx> {
        match &self.content {
            Content::Vhdx(vhdx) => Some(vhdx),
            Content::Raw(_) => None,
        }
    }

    /// What the file says of its parent, if it has one.
    pub(crate) fn parent(&self) -> Option<&ParentLocator> {
        self.vhdx().and_then(|vhdx| vhdx.metadata.parent.as_ref())
    }

    /// The size of the disk that this file was made for.
    pub(crate) fn size(&self) -> ByteLen {
        match &self.content {
            Content::Vhdx(vhdx) => vhdx.map.size(),
            Content::Raw(raw) => raw.size(),
        }
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, at: DiskOffset) -> Run {
        match &self.content {
            Content::Vhdx(vhdx) => vhdx.map.run_at(at),
            Content::Raw(raw) => raw.run_at(&self.source, at),
        }
    }

    /// Whether a plain read of the file gives the truth.
    pub(crate) fn is_plain(&self) -> bool {
        self.vhdx().is_none_or(|vhdx| vhdx.plain)
    }

    pub(crate) fn logical_sector_bytes(&self) -> u32 {
        self.vhdx()
            .map_or(raw::SECTOR_BYTES, |vhdx| vhdx.metadata.logical_sector_bytes)
    }

    pub(crate) fn physical_sector_bytes(&self) -> u32 {
        self.vhdx().map_or(raw::SECTOR_BYTES, |vhdx| {
            vhdx.metadata.physical_sector_bytes
        })
    }

    /// The facts for people.
    pub(crate) fn facts(&self) -> Layer {
        let vhdx = self.vhdx();
        Layer {
            name: self.source.name().to_string_lossy().into_owned(),
            format: if vhdx.is_some() {
                Format::Vhdx
            } else {
                Format::Raw
            },
            kind: vhdx.map_or(Kind::Raw, Vhdx::kind),
            file_bytes: self.source.file_len(),
            size: self.size(),
            block_bytes: vhdx.map(|vhdx| vhdx.metadata.block_bytes),
            log: vhdx.map_or(LogState::None, |vhdx| vhdx.log),
            present_blocks: vhdx.map_or(0, |vhdx| vhdx.present_blocks),
            partial_blocks: vhdx.map_or(0, |vhdx| vhdx.partial_blocks),
            missing_tail: vhdx.map_or(ByteLen(0), |vhdx| vhdx.missing_tail),
            disk_id: vhdx.map(|vhdx| vhdx.metadata.disk_id),
            file_write_guid: vhdx.map(|vhdx| vhdx.header.file_write_guid),
            data_write_guid: vhdx.map(|vhdx| vhdx.header.data_write_guid),
            creator: vhdx.map(|vhdx| vhdx.creator.clone()),
        }
    }

    /// What tells whether somebody wrote to the file, as it was when it was opened.
    pub(crate) fn opened_stamp(&self) -> FileStamp {
        FileStamp {
            bytes: self.source.file_len(),
            modified: self.source.modified(),
            headers: self.headers.clone(),
        }
    }

    /// Reads anew what tells whether somebody wrote to the file.
    pub(crate) fn stamp(&self) -> Result<FileStamp> {
        let storage = self.source.storage();
        let failed = |error| self.source.examine_failed(error);
        Ok(FileStamp {
            bytes: storage.len().map_err(failed)?,
            modified: storage.modified().map_err(failed)?,
            headers: match self.content {
                Content::Vhdx(_) => read_headers(storage).map_err(failed)?,
                Content::Raw(_) => [None, None],
            },
        })
    }
}

fn read_headers(storage: &dyn ReadAt) -> io::Result<[Option<HeaderStamp>; 2]> {
    let headers = header::read_both(storage)?;
    Ok(headers.map(|header| header.map(|header| header.stamp())))
}

/// A legacy VHD is not read yet, and never taken for anything else.
fn refuse_vhd(source: &Source) -> Result<()> {
    if !is_vhd(source)? {
        return Ok(());
    }
    let format = Unsupported::Vhd;
    Err(Error::UnsupportedFormat {
        file: source.name().to_owned(),
        format,
    })
}

/// A legacy VHD has its footer in the last 512 bytes (very old ones: 511), and all but fixed ones also at the start.
fn is_vhd(source: &Source) -> Result<bool> {
    let len = source.file_len().0;
    for at in [Some(0), len.checked_sub(512), len.checked_sub(511)]
        .into_iter()
        .flatten()
    {
        if has_at(source, at, VHD_SIGNATURE)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_at(source: &Source, at: u64, signature: [u8; 8]) -> Result<bool> {
    let mut found = [0; 8];
    if source.file_len().0.saturating_sub(at) < found.len() as u64 {
        return Ok(false);
    }
    source.read_storage(&mut found, FileOffset(at))?;
    Ok(found == signature)
}
