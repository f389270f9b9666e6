//! Changing the header: always the copy that does not count, then the other (MS-VHDX 2.2.2.1).

use hypercbt_file::step;
use zerocopy::{FromZeros, IntoBytes};

use super::live_file::LiveFile;
use crate::format::{HEADER_OFFSETS, HEADER_SIGNATURE, LOG_VERSION, RawHeader, VERSION};
use crate::header::{self, Header};
use crate::{Error, FileOffset, Guid, Part, Reason, Result};

/// The header that counts, and in which of the two places it is.
#[derive(Debug)]
pub(super) struct Headers {
    slot: usize,
    header: Header,
}

impl Headers {
    /// Reads both and keeps the one that counts.
    pub(super) fn read(file: &LiveFile) -> Result<Self> {
        let examine = |source| Error::Examine {
            file: file.path().to_owned(),
            source,
        };
        let headers = header::read_both(&file.shared()).map_err(examine)?;
        let number = |header: Option<Header>| header.map(|header| header.sequence_number);
        // Of equal numbers header 1 counts, as `header::current` has it.
        let slot = usize::from(number(headers[1]) > number(headers[0]));
        let header = header::current(headers).map_err(|defect| Error::Corrupt {
            file: file.path().to_owned(),
            part: defect.part,
            reason: defect.reason,
        })?;
        Ok(Self { slot, header })
    }

    /// The header that counts.
    pub(super) fn current(&self) -> &Header {
        &self.header
    }

    /// `FileWriteGuid` and `DataWriteGuid`: they name this state of the file.
    pub(super) fn stamp(&self) -> [u8; 32] {
        stamp(self.header.file_write_guid, self.header.data_write_guid)
    }

    /// The stamp after a header with another `FileWriteGuid`, and nothing changed that a guest sees.
    pub(super) fn stamp_with(&self, file_write: Guid) -> [u8; 32] {
        stamp(file_write, self.header.data_write_guid)
    }

    /// Changes the header, durably. It is written twice, so that both copies are fresh: the damage of either one
    /// later then loses nothing. Never are both on their way at once: on a disk that tears sectors neither might
    /// arrive. Where sectors are whole, one sync would do, so a test misses them only together.
    pub(super) fn update(
        &mut self,
        file: &LiveFile,
        change: impl FnOnce(&mut Header),
    ) -> Result<()> {
        file.check()?;
        let mut header = self.header;
        change(&mut header);
        for _ in 0..2 {
            self.write_next(file, header)?;
            if !step::left_out("vhdx.header.sync") {
                file.sync()?;
            }
        }
        Ok(())
    }

    /// Writes the copy that does not count; it then does.
    fn write_next(&mut self, file: &LiveFile, mut header: Header) -> Result<()> {
        let number = self.header.sequence_number.checked_add(1);
        header.sequence_number = number.ok_or_else(|| Error::Corrupt {
            file: file.path().to_owned(),
            part: Part::Header,
            reason: Reason::NoNextNumber,
        })?;
        let slot = 1 - self.slot;
        let [first, second] = HEADER_OFFSETS;
        let at = FileOffset(if slot == 0 { first } else { second });
        if let Err(error) = file.write(encode(&header).as_bytes(), at) {
            file.give_up();
            return Err(error);
        }
        *self = Self { slot, header };
        Ok(())
    }
}

/// Both GUIDs, one after the other.
pub(super) fn stamp(file_write: Guid, data_write: Guid) -> [u8; 32] {
    let mut stamp = [0; 32];
    let (first, second) = stamp.split_at_mut(16);
    first.copy_from_slice(&file_write.0);
    second.copy_from_slice(&data_write.0);
    stamp
}

fn encode(header: &Header) -> RawHeader {
    let mut raw = RawHeader {
        signature: HEADER_SIGNATURE,
        sequence_number: header.sequence_number.into(),
        file_write_guid: header.file_write_guid.0,
        data_write_guid: header.data_write_guid.0,
        log_guid: header.log_guid.0,
        log_version: LOG_VERSION.into(),
        version: VERSION.into(),
        log_length: u32::try_from(header.log_len.0)
            .expect("it was read from 32 bits")
            .into(),
        log_offset: header.log_at.0.into(),
        ..RawHeader::new_zeroed()
    };
    raw.checksum = crc32c::crc32c(raw.as_bytes()).into();
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_the_file_write_guid_and_then_the_data_write_guid() {
        let stamp = stamp(Guid([1; 16]), Guid([2; 16]));
        assert_eq!(stamp[..16], [1; 16]);
        assert_eq!(stamp[16..], [2; 16]);
    }
}
