//! Where a restored disk goes: made beside its place under a temporary name, and renamed when it is whole.

use std::{
    io,
    path::{Path, PathBuf},
};

use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use hypercbt_file::{FileSystem as _, LocalFiles, folder_of};
use hypercbt_repo::{PointDisk, RunId};
use hypercbt_vhdx::{
    Format, Guid, RawWriter, VhdKind, VhdOptions, VhdWriter, VhdxOptions, VhdxWriter, WriteDisk,
};

use crate::{Error, Result};

/// A VHDX that was not made from one gets the blocks that Windows gives a new dynamic disk.
const DEFAULT_BLOCK_BYTES: u32 = 32 << 20;

/// The format of a restored disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// Dynamic VHDX.
    Vhdx,
    /// Legacy VHD, for hosts and clouds that take nothing else.
    Vhd(VhdKind),
    /// The bytes of the disk, with holes.
    Raw,
}

/// What a restore makes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Whether a file that is there is replaced, at the end and at once.
    pub overwrite: bool,
    /// Two random GUIDs that every VHDX gets anew, and one for a disk that has no id.
    pub guids: [Guid; 3],
    /// When the file is made, in seconds since 2000 began (UTC): a VHD says so.
    pub seconds_since_2000: u32,
    /// Whether the disk gets a new id: it is a clone.
    pub new_disk_id: bool,
}

/// A disk file that is being made.
pub(crate) struct Unfinished<'a> {
    target: &'a Target,
    temporary: PathBuf,
    writer: Option<Writer>,
}

enum Writer {
    Vhdx(VhdxWriter),
    Vhd(VhdWriter),
    Raw(RawWriter),
}

impl<'a> Unfinished<'a> {
    /// Makes the temporary file, with room for `present`.
    pub(crate) fn create(
        target: &'a Target,
        disk: &PointDisk,
        present: &Extents,
        run: RunId,
    ) -> Result<Self> {
        check_place(target)?;
        let temporary = temporary_name(&target.path, run)?;
        let writer = match target.format {
            DiskFormat::Raw => {
                RawWriter::create(&temporary, ByteLen(disk.size), present).map(Writer::Raw)
            }
            DiskFormat::Vhdx => {
                VhdxWriter::create(&temporary, &vhdx_options(target, disk), present)
                    .map(Writer::Vhdx)
            }
            DiskFormat::Vhd(kind) => {
                VhdWriter::create(&temporary, &vhd_options(target, kind, disk), present)
                    .map(Writer::Vhd)
            }
        };
        // A writer that cannot be made leaves no file.
        let writer = writer.map_err(Error::WriteDisk)?;
        Ok(Self {
            target,
            temporary,
            writer: Some(writer),
        })
    }

    /// Makes the file whole and durable and gives it its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.writer.take() {
            Some(Writer::Vhdx(writer)) => writer.finish().map_err(Error::WriteDisk)?,
            Some(Writer::Vhd(writer)) => writer.finish().map_err(Error::WriteDisk)?,
            Some(Writer::Raw(writer)) => writer.finish().map_err(Error::WriteDisk)?,
            None => {}
        }
        self.rename()?;
        sync_folder(&self.target.path)
    }

    fn rename(&self) -> Result<()> {
        let path = &self.target.path;
        if self.target.overwrite {
            return std::fs::rename(&self.temporary, path)
                .map_err(|source| failed("replace", path, source));
        }
        // A link, unlike a rename, never replaces what somebody put there meanwhile.
        match std::fs::hard_link(&self.temporary, path) {
            Ok(()) => std::fs::remove_file(&self.temporary)
                .map_err(|source| failed("remove", &self.temporary, source)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::TargetExists { path: path.clone() })
            }
            Err(_) if look_at(path)?.is_none() => std::fs::rename(&self.temporary, path)
                .map_err(|source| failed("create", path, source)),
            Err(source) => Err(failed("create", path, source)),
        }
    }
}

impl WriteDisk for Unfinished<'_> {
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> hypercbt_vhdx::Result<()> {
        match &self.writer {
            Some(Writer::Vhdx(writer)) => writer.write_at(at, bytes),
            Some(Writer::Vhd(writer)) => writer.write_at(at, bytes),
            Some(Writer::Raw(writer)) => writer.write_at(at, bytes),
            None => Ok(()),
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Windows removes no open file.
        self.writer = None;
        // After a finish there is nothing left to remove; after a failure its error is the one to tell.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn vhdx_options(target: &Target, disk: &PointDisk) -> VhdxOptions {
    let [file_write_guid, data_write_guid, _] = target.guids;
    // Blocks of other formats may be smaller than a VHDX has them.
    let from_vhdx = disk.format == Format::Vhdx.as_str();
    let block_bytes = disk.block_bytes.filter(|_| from_vhdx);
    VhdxOptions {
        size: ByteLen(disk.size),
        block_bytes: block_bytes.unwrap_or(DEFAULT_BLOCK_BYTES),
        logical_sector_bytes: disk.logical_sector_bytes,
        physical_sector_bytes: disk.physical_sector_bytes,
        disk_id: disk_id(target, disk),
        file_write_guid,
        data_write_guid,
    }
}

fn vhd_options(target: &Target, kind: VhdKind, disk: &PointDisk) -> VhdOptions {
    VhdOptions {
        kind,
        size: ByteLen(disk.size),
        logical_sector_bytes: disk.logical_sector_bytes,
        unique_id: disk_id(target, disk),
        seconds_since_2000: target.seconds_since_2000,
    }
}

/// The identity that the disk had, unless it is to be another disk.
fn disk_id(target: &Target, disk: &PointDisk) -> Guid {
    let [.., fresh] = target.guids;
    let old = disk.disk_id.as_deref().and_then(|id| id.parse().ok());
    old.filter(|_| !target.new_disk_id).unwrap_or(fresh)
}

/// Refuses a place that is taken, before anything is written. Only a regular file is ever replaced: who names a
/// device, a pipe or a link hopes for something else than to have it removed.
fn check_place(target: &Target) -> Result<()> {
    let path = &target.path;
    let Some(found) = look_at(path)? else {
        return Ok(());
    };
    if target.overwrite && found.is_file() {
        Ok(())
    } else if target.overwrite {
        Err(Error::TargetNotAFile { path: path.clone() })
    } else {
        Err(Error::TargetExists { path: path.clone() })
    }
}

fn temporary_name(path: &Path, run: RunId) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(failed("create", path, io::ErrorKind::InvalidInput.into()));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{run}.part"));
    Ok(path.with_file_name(temporary))
}

/// What stands there, a dangling link included.
fn look_at(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("look at", path, source)),
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    let synced = LocalFiles.sync_folder(folder);
    synced.map_err(|source| failed("sync", folder, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Target {
        action,
        path: path.to_owned(),
        source,
    }
}
