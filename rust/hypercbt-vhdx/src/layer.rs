//! One file of a chain, opened, whatever its format.

use std::io;
use std::path::PathBuf;

use hypercbt_extent::{ByteLen, DiskOffset};

use crate::disk::{Format, Kind, Layer, LogState};
use crate::error::Unsupported;
use crate::format::FILE_SIGNATURE;
use crate::locator::ParentLocator;
use crate::raw::{self, RawMap};
use crate::segments::Run;
use crate::source::Source;
use crate::stamp::{FileStamp, HeaderStamp};
use crate::vhd::{self, Vhd};
use crate::vhdx::Vhdx;
use crate::{Error, FileOffset, Guid, Part, ReadAt, Reason, Result, header};

/// An opened file and what it holds.
#[derive(Debug)]
pub(crate) struct OpenFile {
    source: Source,
    content: Content,
    /// The headers of a VHDX file, before anything else was read of it.
    headers: [Option<HeaderStamp>; 2],
    /// The same of a VHD file: its first and its last 512 bytes.
    footers: Option<Box<[[u8; 512]; 2]>>,
}

#[derive(Debug)]
enum Content {
    Vhdx(Box<Vhdx>),
    Vhd(Box<Vhd>),
    Raw(RawMap),
}

impl OpenFile {
    /// Opens a file; its content decides what it is.
    pub(crate) fn open(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        if has_at(&source, 0, FILE_SIGNATURE)? {
            return Self::vhdx_from(source);
        }
        if has_footer(&source)? {
            return Self::vhd_from(source);
        }
        Self::raw_from(source)
    }

    /// Opens a file that must be a VHDX file.
    pub(crate) fn open_vhdx(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        if has_at(&source, 0, FILE_SIGNATURE)? {
            return Self::vhdx_from(source);
        }
        if has_footer(&source)? {
            return Err(unsupported(&source, Unsupported::Vhd));
        }
        Err(source.corrupt(Part::FileIdentifier, Reason::Signature))
    }

    /// Opens a file that must be a VHD file. What a fixed one begins with is its guest's, and does not count.
    pub(crate) fn open_vhd(name: PathBuf, storage: Box<dyn ReadAt>) -> Result<Self> {
        let source = Source::new(name, storage)?;
        if has_footer(&source)? {
            return Self::vhd_from(source);
        }
        if has_at(&source, 0, FILE_SIGNATURE)? {
            return Err(unsupported(&source, Unsupported::Vhdx));
        }
        Err(source.corrupt(Part::Footer, Reason::Signature))
    }

    fn vhdx_from(mut source: Source) -> Result<Self> {
        // Where they cannot be read, opening says so better.
        let headers = read_headers(source.storage()).unwrap_or_default();
        let content = Content::Vhdx(Box::new(Vhdx::open(&mut source)?));
        Ok(Self {
            source,
            content,
            headers,
            footers: None,
        })
    }

    fn vhd_from(source: Source) -> Result<Self> {
        // Before anything is believed that they say.
        let footers = vhd::both_ends(source.storage());
        let footers = footers.map_err(|error| source.examine_failed(error))?;
        let content = Content::Vhd(Box::new(Vhd::open(&source)?));
        Ok(Self {
            source,
            content,
            headers: [None, None],
            footers: Some(footers),
        })
    }

    fn raw_from(source: Source) -> Result<Self> {
        let content = Content::Raw(RawMap::open(&source)?);
        Ok(Self {
            source,
            content,
            headers: [None, None],
            footers: None,
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

    /// A VHDX file by its parts.
    pub(crate) fn into_vhdx(self) -> Option<(Source, Box<Vhdx>)> {
        match self.content {
            Content::Vhdx(vhdx) => Some((self.source, vhdx)),
            Content::Vhd(_) | Content::Raw(_) => None,
        }
    }

    pub(crate) fn vhdx(&self) -> Option<&Vhdx> {
        match &self.content {
            Content::Vhdx(vhdx) => Some(vhdx),
            Content::Vhd(_) | Content::Raw(_) => None,
        }
    }

    pub(crate) fn format(&self) -> Format {
        match &self.content {
            Content::Vhdx(_) => Format::Vhdx,
            Content::Vhd(_) => Format::Vhd,
            Content::Raw(_) => Format::Raw,
        }
    }

    /// What the file says of its parent, if it has one.
    pub(crate) fn parent(&self) -> Option<&ParentLocator> {
        match &self.content {
            Content::Vhdx(vhdx) => vhdx.metadata.parent.as_ref(),
            Content::Vhd(vhd) => vhd.parent.as_ref(),
            Content::Raw(_) => None,
        }
    }

    /// By what a child of the same format knows this file.
    pub(crate) fn linkage(&self) -> Option<Guid> {
        match &self.content {
            Content::Vhdx(vhdx) => Some(vhdx.header.data_write_guid),
            Content::Vhd(vhd) => Some(vhd.footer.unique_id),
            Content::Raw(_) => None,
        }
    }

    /// The size of the disk that this file was made for.
    pub(crate) fn size(&self) -> ByteLen {
        match &self.content {
            Content::Vhdx(vhdx) => vhdx.map.size(),
            Content::Vhd(vhd) => vhd.size(),
            Content::Raw(raw) => raw.size(),
        }
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, at: DiskOffset) -> Run {
        match &self.content {
            Content::Vhdx(vhdx) => vhdx.map.run_at(at),
            Content::Vhd(vhd) => vhd.run_at(&self.source, at),
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
        let plain = Layer {
            name: self.source.name().to_string_lossy().into_owned(),
            format: self.format(),
            kind: Kind::Raw,
            file_bytes: self.source.file_len(),
            size: self.size(),
            block_bytes: None,
            log: LogState::None,
            present_blocks: 0,
            partial_blocks: 0,
            missing_tail: ByteLen(0),
            footer_is_copy: false,
            disk_id: None,
            file_write_guid: None,
            data_write_guid: None,
            creator: None,
        };
        match &self.content {
            Content::Vhdx(vhdx) => Layer {
                kind: vhdx.kind(),
                block_bytes: Some(vhdx.metadata.block_bytes),
                log: vhdx.log,
                present_blocks: vhdx.present_blocks,
                partial_blocks: vhdx.partial_blocks,
                missing_tail: vhdx.missing_tail,
                disk_id: Some(vhdx.metadata.disk_id),
                file_write_guid: Some(vhdx.header.file_write_guid),
                data_write_guid: Some(vhdx.header.data_write_guid),
                creator: Some(vhdx.creator.clone()),
                ..plain
            },
            Content::Vhd(vhd) => Layer {
                kind: vhd.footer.kind,
                block_bytes: vhd.block_bytes,
                present_blocks: vhd.present_blocks,
                partial_blocks: vhd.partial_blocks,
                footer_is_copy: vhd.footer.is_copy,
                disk_id: Some(vhd.footer.unique_id),
                creator: Some(vhd.footer.creator.clone()),
                ..plain
            },
            Content::Raw(_) => plain,
        }
    }

    /// What tells whether somebody wrote to the file, as it was when it was opened.
    pub(crate) fn opened_stamp(&self) -> FileStamp {
        FileStamp {
            bytes: self.source.file_len(),
            modified: self.source.modified(),
            headers: self.headers.clone(),
            footers: self.footers.clone(),
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
                Content::Vhd(_) | Content::Raw(_) => [None, None],
            },
            footers: match self.content {
                Content::Vhd(_) => Some(vhd::both_ends(storage).map_err(failed)?),
                Content::Vhdx(_) | Content::Raw(_) => None,
            },
        })
    }
}

fn read_headers(storage: &dyn ReadAt) -> io::Result<[Option<HeaderStamp>; 2]> {
    let headers = header::read_both(storage)?;
    Ok(headers.map(|header| header.map(|header| header.stamp())))
}

fn unsupported(source: &Source, format: Unsupported) -> Error {
    let file = source.name().to_owned();
    Error::UnsupportedFormat { file, format }
}

/// Whether the file is a VHD, perhaps a damaged one.
fn has_footer(source: &Source) -> Result<bool> {
    vhd::is_there(source.storage()).map_err(|error| source.examine_failed(error))
}

fn has_at(source: &Source, at: u64, signature: [u8; 8]) -> Result<bool> {
    let mut found = [0; 8];
    if source.file_len().0.saturating_sub(at) < found.len() as u64 {
        return Ok(false);
    }
    source.read_storage(&mut found, FileOffset(at))?;
    Ok(found == signature)
}
