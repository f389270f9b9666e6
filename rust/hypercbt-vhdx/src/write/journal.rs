//! The log of a session: where its next entry goes, and what it holds that is not in its place yet.
//!
//! The log is used as two halves. A half is filled from its start; when the next entry does not fit any more, all
//! that was logged is written in its place, and the log begins anew in the other half, under a new GUID:
//!
//! ```text
//! first half                       second half
//! [ entry 1 | entry 2 | entry 3 ]  [ entry 4 | …                 ]   the header names the second half's GUID
//! ```
//!
//! The format would allow to go around as in a ring. Then stale entries of the last round could follow the newest
//! one, and qemu, which does not check the number of a run's second entry, replays them. With a GUID of its own for
//! each half there is never a stale entry under the GUID that counts. It costs two syncs more per 500 KiB of log.
//!
//! The header is what moves the log's tail, and the sync of the new half's first entry is also the sync of all that
//! was written in place before.

use hypercbt_extent::ByteLen;
use hypercbt_file::step;

use super::entry::{self, EntryFacts, Sector, Sectors};
use super::headers::Headers;
use super::live_file::LiveFile;
use crate::format::LOG_SECTOR_BYTES;
use crate::header::Header;
use crate::{Error, FileOffset, Guid, Part, Reason, Result};

/// The log of an open file.
#[derive(Debug)]
pub(super) struct Journal {
    at: FileOffset,
    half_len: u64,
    /// Where in the log the current half begins.
    start: u64,
    /// How much of the current half is used.
    used: u64,
    guid: Guid,
    /// The number of the last entry.
    number: u64,
    /// What the current half holds.
    logged: Sectors,
}

impl Journal {
    /// Opens a log with one empty entry in a file that has none. The header names it afterwards.
    pub(super) fn begin(
        file: &LiveFile,
        headers: &mut Headers,
        guid: Guid,
        file_len: ByteLen,
    ) -> Result<Self> {
        let Header {
            log_at, log_len, ..
        } = *headers.current();
        let half_len = log_len.0 / LOG_SECTOR_BYTES / 2 * LOG_SECTOR_BYTES;
        let needed = entry::len(entry::MAX_SECTORS);
        if half_len < needed {
            let (found, needed) = (log_len.0, 2 * needed);
            return Err(Error::Corrupt {
                file: file.path().to_owned(),
                part: Part::Log,
                reason: Reason::TooSmall { found, needed },
            });
        }
        let mut journal = Self {
            at: log_at,
            half_len,
            start: 0,
            used: 0,
            guid,
            number: 0,
            logged: Sectors::new(),
        };
        journal.write_entry(file, &Sectors::new(), file_len)?;
        // MS-VHDX 2.3.3: a header that names a log without a valid entry is a corrupt file.
        if !step::left_out("vhdx.log.first_sync") {
            file.sync()?;
        }
        headers.update(file, |header| header.log_guid = guid)?;
        Ok(journal)
    }

    /// A sector of the file as the log has it.
    pub(super) fn sector(&self, file: &LiveFile, at: u64) -> Result<Sector> {
        if let Some(logged) = self.logged.get(&at) {
            return Ok(logged.clone());
        }
        let mut sector = Box::new([0; 4096]);
        file.read(sector.as_mut_slice(), FileOffset(at))?;
        Ok(sector)
    }

    /// Logs `sectors`, at most [`entry::MAX_SECTORS`], as one entry: after a cut all of them hold or none.
    /// Durable on return. `file_len` is durable already.
    pub(super) fn append(
        &mut self,
        file: &LiveFile,
        headers: &std::sync::Mutex<Headers>,
        sectors: Sectors,
        file_len: ByteLen,
    ) -> Result<()> {
        file.check()?;
        let is_full = self.used + entry::len(sectors.len()) > self.half_len;
        if is_full {
            // The header that forgets the old half comes after the sync of the new half's first entry, and so after
            // that of all that the old half holds.
            if !step::left_out("vhdx.log.place_before_tail") {
                self.write_in_place(file)?;
            }
            self.start = self.half_len - self.start;
            self.used = 0;
            self.guid = after(self.guid);
        }
        self.write_entry(file, &sectors, file_len)?;
        if !step::left_out("vhdx.log.sync") {
            file.sync()?;
        }
        if is_full {
            let guid = self.guid;
            super::lock(headers).update(file, |header| header.log_guid = guid)?;
            self.logged.clear();
        }
        self.logged.extend(sectors);
        Ok(())
    }

    /// Writes all that was logged in its place; not yet synced.
    pub(super) fn write_in_place(&self, file: &LiveFile) -> Result<()> {
        for (at, sector) in &self.logged {
            let written = file.write(sector.as_slice(), FileOffset(*at));
            written.inspect_err(|_| file.give_up())?;
        }
        Ok(())
    }

    /// Writes an entry behind the last one. Every entry's tail is the start of its half.
    fn write_entry(&mut self, file: &LiveFile, sectors: &Sectors, file_len: ByteLen) -> Result<()> {
        self.number += 1;
        let facts = EntryFacts {
            guid: self.guid,
            number: self.number,
            tail: self.start,
            file_len: file_len.0,
        };
        let bytes = entry::encode(&facts, sectors);
        let at = FileOffset(self.at.0.saturating_add(self.start + self.used));
        file.write(&bytes, at).inspect_err(|_| file.give_up())?;
        self.used += bytes.len() as u64;
        Ok(())
    }
}

/// The name of the next half: new, as the first one is random and nobody else counts on from it.
fn after(guid: Guid) -> Guid {
    let next = u128::from_le_bytes(guid.0).wrapping_add(1).max(1);
    Guid(next.to_le_bytes())
}
