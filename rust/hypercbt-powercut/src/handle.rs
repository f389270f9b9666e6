//! Open files.

use std::ffi::OsString;
use std::io;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_file::{DiskFile, FileOffset, ReadAt};

use crate::content::{SECTOR_BYTES, index};
use crate::fault::Call;
use crate::files::{Machine, SimFiles};
use crate::random::scramble;
use crate::volume::{Change, FileId, Op};

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Handle {
    files: SimFiles,
    /// As it was opened.
    path: OsString,
    file: FileId,
}

/// A file that is open for writing, and locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Writer(pub(crate) Handle);

impl Handle {
    pub(crate) fn new(files: SimFiles, path: OsString, file: FileId) -> Self {
        Self { files, path, file }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.files.lock().locks.remove(&self.0.file);
    }
}

impl ReadAt for Handle {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        let mut machine = self.files.alive()?;
        machine.faults.check(Call::Read, &[&self.path])?;
        let content = &machine.volume.file(self.file).seen;
        let end = at.0.checked_add(buf.len() as u64);
        if !buf.is_empty() && end.is_none_or(|end| end > content.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(at.0, buf);
        Ok(())
    }

    fn len(&self) -> io::Result<ByteLen> {
        let machine = self.files.alive()?;
        Ok(ByteLen(machine.volume.file(self.file).seen.len()))
    }

    fn data_extents(&self) -> io::Result<Extents> {
        let machine = self.files.alive()?;
        let pages = machine.volume.file(self.file).seen.pages();
        let extents =
            pages.filter_map(|page| Extent::between(DiskOffset(page.start), DiskOffset(page.end)));
        Ok(Extents::from_unsorted(extents.collect()))
    }
}

impl ReadAt for Writer {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.0.read_exact_at(buf, at)
    }

    fn len(&self) -> io::Result<ByteLen> {
        self.0.len()
    }

    fn data_extents(&self) -> io::Result<Extents> {
        self.0.data_extents()
    }
}

impl DiskFile for Writer {
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = at.0.checked_add(bytes.len() as u64);
        end.filter(|&end| i64::try_from(end).is_ok())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let mut machine = self.0.files.alive()?;
        let checked = machine.faults.check(Call::Write, &[&self.0.path]);
        let shown = match checked {
            Ok(()) => bytes.len(),
            Err(_) => part(&machine, bytes.len(), at),
        };
        let change = Change::Write {
            at: at.0,
            bytes: bytes.into(),
            shown,
        };
        machine.perform(Op::Change(self.0.file, change));
        checked
    }

    fn set_len(&self, len: ByteLen) -> io::Result<()> {
        i64::try_from(len.0).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut machine = self.0.files.alive()?;
        let checked = machine.faults.check(Call::SetLen, &[&self.0.path]);
        let change = Change::SetLen {
            len: len.0,
            shown: checked.is_ok(),
        };
        machine.perform(Op::Change(self.0.file, change));
        checked
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.0.files.alive()?;
        let checked = machine.faults.check(Call::Sync, &[&self.0.path]);
        machine.perform(match checked {
            Ok(()) => Op::Sync(self.0.file),
            Err(_) => Op::SyncFailed(self.0.file),
        });
        checked
    }
}

/// How much is seen of a write that fails: up to one of its sector borders, another one each time.
fn part(machine: &Machine, len: usize, at: FileOffset) -> usize {
    let sector = index(SECTOR_BYTES);
    let first = sector - index(at.0 % SECTOR_BYTES);
    let borders = len.saturating_sub(first).div_ceil(sector) + 1;
    match index(scramble(machine.ops() as u64) % (borders as u64 + 1)) {
        0 => 0,
        n => (first + (n - 1) * sector).min(len),
    }
}
