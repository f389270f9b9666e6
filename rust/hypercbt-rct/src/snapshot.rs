//! The `.rct` file: the map as it was at one clock. It is never changed, only replaced.

use std::io;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::{DiskFile, FileOffset, ReadAt};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::DiskIdentity;
use crate::clock::Clock;
use crate::format::{PAGE_BYTES, RCT_MAGIC, RUNS_PER_PAGE, RawPage, RawRctHeader, RawRun, VERSION};
use crate::header::{Header, RctName};

/// Pages that are written at once.
const PAGES_AT_ONCE: usize = 64;

/// What an `.rct` file is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds all touches up to this clock.
    Whole(RctName),
    /// Damaged, of another tracker, or not one that the `.mrt` file names. The `.mrt` file alone decides.
    Useless,
    /// The `.mrt` file does not know that it was written: that one is older than it should be.
    FromTheFuture,
    Newer(u16),
}

/// Writes pages of runs behind the room for the header.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    file: &'a dyn DiskFile,
    name: RctName,
    page: Box<RawPage>,
    filled: usize,
    pages: u64,
    runs: u64,
    buffer: Vec<u8>,
    /// Where the buffer will be written.
    at: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, name: RctName) -> Self {
        Self {
            file,
            name,
            page: Box::new(RawPage::new_zeroed()),
            filled: 0,
            pages: 0,
            runs: 0,
            buffer: Vec::with_capacity(PAGES_AT_ONCE * PAGE_BYTES),
            at: PAGE_BYTES as u64,
        }
    }

    /// Adds a run; they come in order.
    pub(crate) fn push(&mut self, extent: Extent, touched: Clock) -> io::Result<()> {
        if self.filled == RUNS_PER_PAGE {
            self.end_page()?;
        }
        if let Some(run) = self.page.run.get_mut(self.filled) {
            *run = RawRun {
                start: U64::new(extent.start().0),
                len: U64::new(extent.len().0),
                touched: U64::new(touched.0),
            };
            self.filled += 1;
            self.runs += 1;
        }
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        let page = &mut self.page;
        page.runs = U16::new(u16::try_from(self.filled).unwrap_or_default());
        page.number = U64::new(self.pages);
        page.name = self.name.to_raw();
        page.checksum = U32::new(page_checksum(page.as_bytes()));
        self.buffer.extend_from_slice(page.as_bytes());
        **page = RawPage::new_zeroed();
        self.pages += 1;
        self.filled = 0;
        if self.buffer.len() >= PAGES_AT_ONCE * PAGE_BYTES {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, FileOffset(self.at))?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and the header.
    pub(crate) fn finish(
        mut self,
        tracker: [u8; 16],
        disk: &DiskIdentity,
        unit: ByteLen,
    ) -> io::Result<()> {
        if self.filled > 0 {
            self.end_page()?;
        }
        if !self.buffer.is_empty() {
            self.write_buffer()?;
        }
        let mut raw = Box::new(RawRctHeader::new_zeroed());
        raw.magic = RCT_MAGIC;
        raw.version = U16::new(VERSION);
        raw.tracker = tracker;
        raw.disk_id = disk.disk_id;
        raw.disk_bytes = U64::new(disk.size.0);
        raw.unit_bytes = U64::new(unit.0);
        raw.name = self.name.to_raw();
        raw.pages = U64::new(self.pages);
        raw.runs = U64::new(self.runs);
        raw.magic_again = RCT_MAGIC;
        raw.checksum = U32::new(header_checksum(raw.as_bytes()));
        self.file.write_all_at(raw.as_bytes(), FileOffset(0))
    }
}

fn header_checksum(page: &[u8]) -> u32 {
    crc32c::crc32c(page.get(..PAGE_BYTES - 4).unwrap_or_default())
}

fn page_checksum(page: &[u8]) -> u32 {
    crc32c::crc32c(page.get(4..).unwrap_or_default())
}

/// Reads an `.rct` file that belongs to this `.mrt` header, and hands on each run.
///
/// Runs may have been handed on before the file turns out to be useless. They were true once, so whoever takes
/// them reports too much at worst.
pub(crate) fn read(
    file: &dyn ReadAt,
    header: &Header,
    mut each: impl FnMut(Extent, Clock),
) -> io::Result<Verdict> {
    let mut bytes = vec![0; PAGE_BYTES];
    let len = file.len()?.0;
    if len < PAGE_BYTES as u64 {
        return Ok(Verdict::Useless);
    }
    file.read_exact_at(&mut bytes, FileOffset(0))?;
    let (name, pages) = match judge(&bytes, header) {
        Ok(found) => found,
        Err(verdict) => return Ok(verdict),
    };
    if pages
        .checked_add(1)
        .and_then(|pages| pages.checked_mul(PAGE_BYTES as u64))
        != Some(len)
    {
        return Ok(Verdict::Useless);
    }
    let mut end = 0;
    for number in 0..pages {
        file.read_exact_at(&mut bytes, FileOffset((number + 1) * PAGE_BYTES as u64))?;
        let runs = decode_page(&bytes, number, name, header.disk.size, &mut end);
        let Some(runs) = runs else {
            return Ok(Verdict::Useless);
        };
        for (extent, touched) in runs {
            each(extent, touched);
        }
    }
    Ok(Verdict::Whole(name))
}

/// What the first page says: which write-back it is, and how many pages follow.
fn judge(bytes: &[u8], header: &Header) -> Result<(RctName, u64), Verdict> {
    let raw = RawRctHeader::ref_from_bytes(bytes).map_err(|_| Verdict::Useless)?;
    if raw.magic != RCT_MAGIC || raw.checksum.get() != header_checksum(bytes) {
        return Err(Verdict::Useless);
    }
    if raw.version.get() != VERSION {
        return Err(Verdict::Newer(raw.version.get()));
    }
    let same_disk =
        raw.disk_id == header.disk.disk_id && raw.disk_bytes.get() == header.disk.size.0;
    let name = RctName::from_raw(&raw.name).ok_or(Verdict::Useless)?;
    if raw.tracker != header.tracker || !same_disk {
        return Err(Verdict::Useless);
    }
    let known = || header.rct.iter().flatten();
    if known().all(|known| known.clock < name.clock) {
        return Err(Verdict::FromTheFuture);
    }
    // One of another session with an old clock may be of a branch of the disk that was given up.
    if known().any(|known| *known == name) {
        Ok((name, raw.pages.get()))
    } else {
        Err(Verdict::Useless)
    }
}

/// The runs of a page; none if anything in it cannot be. `end` is where the run before ended.
fn decode_page(
    bytes: &[u8],
    number: u64,
    name: RctName,
    disk: ByteLen,
    end: &mut u64,
) -> Option<Vec<(Extent, Clock)>> {
    let page = RawPage::ref_from_bytes(bytes).ok()?;
    let is_this = page.number.get() == number && RctName::from_raw(&page.name) == Some(name);
    if page.checksum.get() != page_checksum(bytes) || !is_this {
        return None;
    }
    let runs = page.run.get(..usize::from(page.runs.get()))?.iter();
    runs.map(|run| {
        let extent = Extent::new(DiskOffset(run.start.get()), ByteLen(run.len.get()))?;
        let in_order = *end <= extent.start().0 && extent.end().0 <= disk.0;
        *end = extent.end().0;
        in_order.then_some((extent, Clock::read(run.touched.get())?))
    })
    .collect()
}
