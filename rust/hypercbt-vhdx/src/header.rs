//! The two headers: which one counts, and where the log is (MS-VHDX 2.2.2).
//!
//! A writer always overwrites the header that does not count, so a power cut leaves at least one valid. The one
//! with the greater number counts. Equal numbers are undefined by the specification, but Disk2vhd writes two
//! identical headers and other tools two that differ; Windows takes them. Our rule: header 1 counts.

use hypercbt_extent::ByteLen;
use zerocopy::FromBytes;

use crate::error::Defect;
use crate::format::{
    HEADER_OFFSETS, HEADER_SECTION_BYTES, HEADER_SIGNATURE, LOG_VERSION, MIB, RawHeader, VERSION,
};
use crate::stamp::HeaderStamp;
use crate::{FileOffset, Guid, Part, ReadAt, Reason};

/// The header that counts, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) sequence_number: u64,
    pub(crate) file_write_guid: Guid,
    pub(crate) data_write_guid: Guid,
    /// Zero: the log is empty, the file was closed properly.
    pub(crate) log_guid: Guid,
    pub(crate) log_at: FileOffset,
    pub(crate) log_len: ByteLen,
    version: u16,
    log_version: u16,
}

/// Decodes one header, or `None` if its signature or checksum is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
    let raw = RawHeader::ref_from_bytes(bytes).ok()?;
    if raw.signature != HEADER_SIGNATURE || raw.checksum.get() != checksum_without_field(bytes, 4)?
    {
        return None;
    }
    Some(Header {
        sequence_number: raw.sequence_number.get(),
        file_write_guid: Guid(raw.file_write_guid),
        data_write_guid: Guid(raw.data_write_guid),
        log_guid: Guid(raw.log_guid),
        log_at: FileOffset(raw.log_offset.get()),
        log_len: ByteLen(u64::from(raw.log_length.get())),
        version: raw.version.get(),
        log_version: raw.log_version.get(),
    })
}

/// The CRC-32C of `bytes` with the four bytes at `field` taken as zero.
pub(crate) fn checksum_without_field(bytes: &[u8], field: usize) -> Option<u32> {
    let before = crc32c::crc32c(bytes.get(..field)?);
    let field_zero = crc32c::crc32c_append(before, &[0; 4]);
    Some(crc32c::crc32c_append(field_zero, bytes.get(field + 4..)?))
}

/// Reads both headers; `None` for one that is not valid.
pub(crate) fn read_both(storage: &dyn ReadAt) -> std::io::Result<[Option<Header>; 2]> {
    let mut headers = [None; 2];
    let mut bytes = [0; size_of::<RawHeader>()];
    for (header, at) in headers.iter_mut().zip(HEADER_OFFSETS) {
        storage.read_exact_at(&mut bytes, FileOffset(at))?;
        *header = decode(&bytes);
    }
    Ok(headers)
}

/// The header that counts.
pub(crate) fn current(headers: [Option<Header>; 2]) -> Result<Header, Defect> {
    let header = match headers {
        [Some(first), Some(second)] if second.sequence_number > first.sequence_number => second,
        [Some(header), _] | [None, Some(header)] => header,
        [None, None] => return Err(Defect::new(Part::Header, Reason::NoValidCopy)),
    };
    header.check()?;
    Ok(header)
}

impl Header {
    fn check(&self) -> Result<(), Defect> {
        let refuse = |reason| Err(Defect::new(Part::Header, reason));
        if self.version != VERSION {
            return refuse(Reason::Version(self.version));
        }
        // MS-VHDX 2.2.2: another version of the log does not matter when there is nothing to replay.
        if self.log_version != LOG_VERSION && !self.log_guid.is_zero() {
            return refuse(Reason::LogVersion(self.log_version));
        }
        let (at, len) = (self.log_at, self.log_len);
        let fits = at.0.checked_add(len.0).is_some();
        if len.0 % MIB != 0 || at.0 % MIB != 0 || at.0 < HEADER_SECTION_BYTES || !fits {
            return refuse(Reason::Place { at, len });
        }
        Ok(())
    }

    /// One past the last byte of the log. Cannot overflow: [`current`] checked it.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_at.0.saturating_add(self.log_len.0)
    }

    /// What changes in it when somebody writes to the file.
    pub(crate) fn stamp(&self) -> HeaderStamp {
        HeaderStamp {
            sequence_number: self.sequence_number,
            file_write_guid: self.file_write_guid,
            data_write_guid: self.data_write_guid,
            log_guid: self.log_guid,
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    fn raw(sequence_number: u64, mark: u8) -> RawHeader {
        let mut raw = RawHeader::new_zeroed();
        raw.signature = HEADER_SIGNATURE;
        raw.sequence_number = sequence_number.into();
        raw.data_write_guid = [mark; 16];
        raw.version = 1.into();
        raw.log_offset = MIB.into();
        raw.log_length = (1 << 20).into();
        raw
    }

    fn sealed(mut raw: RawHeader) -> Vec<u8> {
        raw.checksum = 0.into();
        raw.checksum = crc32c::crc32c(raw.as_bytes()).into();
        raw.as_bytes().to_vec()
    }

    fn header(sequence_number: u64, mark: u8) -> Option<Header> {
        decode(&sealed(raw(sequence_number, mark)))
    }

    fn refusal(raw: &RawHeader) -> Option<Reason> {
        current([decode(&sealed(*raw)), None])
            .err()
            .map(|defect| defect.reason)
    }

    #[test]
    fn the_greater_number_counts_in_either_slot() {
        let mark = |headers| current(headers).unwrap().data_write_guid.0[0];
        assert_eq!(mark([header(10, 1), header(11, 2)]), 2);
        assert_eq!(mark([header(12, 1), header(11, 2)]), 1);
    }

    #[test]
    fn of_equal_numbers_header_1_counts() {
        let both = [header(1, 1), header(1, 2)];
        assert_eq!(current(both).unwrap().data_write_guid.0[0], 1);
    }

    #[test]
    fn a_torn_newer_header_leaves_the_older_one() {
        let mut torn = sealed(raw(11, 2));
        torn[100] ^= 1;
        assert_eq!(decode(&torn), None);
        let both = [header(10, 1), decode(&torn)];
        assert_eq!(current(both).unwrap().data_write_guid.0[0], 1);
        let both = [decode(&torn), header(10, 1)];
        assert_eq!(current(both).unwrap().data_write_guid.0[0], 1);
    }

    #[test]
    fn no_valid_header_is_refused() {
        assert_eq!(
            current([None, None]).unwrap_err().reason,
            Reason::NoValidCopy
        );
        let mut wrong = raw(1, 1);
        wrong.signature = *b"HEAD";
        assert_eq!(decode(&sealed(wrong)), None);
    }

    #[test]
    fn another_version_is_refused() {
        let mut other = raw(1, 1);
        other.version = 2.into();
        assert_eq!(refusal(&other), Some(Reason::Version(2)));
    }

    #[test]
    fn another_log_version_is_refused_only_where_there_is_a_log() {
        let mut other = raw(1, 1);
        other.log_version = 7.into();
        assert_eq!(refusal(&other), None);
        other.log_guid = [1; 16];
        assert_eq!(refusal(&other), Some(Reason::LogVersion(7)));
    }

    #[test]
    fn a_misplaced_log_is_refused() {
        for (at, len) in [
            (0, 1 << 20),
            (MIB + 4096, 1 << 20),
            (MIB, 4096),
            (!0xF_FFFF, 1 << 20),
        ] {
            let mut wrong = raw(1, 1);
            wrong.log_offset = at.into();
            wrong.log_length = len.into();
            let place = Reason::Place {
                at: FileOffset(at),
                len: ByteLen(u64::from(len)),
            };
            assert_eq!(refusal(&wrong), Some(place));
        }
    }
}
