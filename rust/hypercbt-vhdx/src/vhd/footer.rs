//! The footer: what kind of disk a VHD file holds, how large it is, and who it is.
//!
//! A fixed disk has its footer at the end alone, so nothing at the start tells what the file is, and the start may
//! hold whatever its guest wrote. All others have a copy at the start. Virtual PC once wrote footers of 511 bytes.

use std::io;

use hypercbt_extent::ByteLen;
use zerocopy::{FromZeros, IntoBytes};

use super::format::{
    FOOTER_BYTES, FOOTER_SIGNATURE, MAX_DISK_BYTES, RawFooter, SECTOR_BYTES, TYPE_DIFFERENCING,
    TYPE_DYNAMIC, TYPE_FIXED, VERSION,
};
use crate::disk::Kind;
use crate::error::Defect;
use crate::{FileOffset, Guid, Part, ReadAt, Reason};

/// What counts of a footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) kind: Kind,
    /// The current size. Virtual PC and old qemus show their guests what cylinders, heads and sectors make, up to
    /// one cylinder less; Hyper-V shows this, and so do we: it is never the smaller one in a file that they made.
    pub(crate) size: ByteLen,
    pub(crate) header_at: FileOffset,
    pub(crate) unique_id: Guid,
    pub(crate) creator: String,
    /// Where data must end: where the footer begins, or the file ends.
    pub(crate) data_end: FileOffset,
    /// The footer at the end is damaged or missing, and its copy at the start was used.
    pub(crate) is_copy: bool,
}

/// Where footers can be, and whether something there claims to be one.
struct Found {
    /// The one at the end, and where it begins.
    end: Option<(FileOffset, RawFooter)>,
    copy: Option<RawFooter>,
}

/// Whether a footer, valid or not, stands where one can be: then the file is a VHD file, or was one.
pub(crate) fn is_there(storage: &dyn ReadAt) -> io::Result<bool> {
    let found = find(storage)?;
    Ok(found.end.is_some() || found.copy.is_some())
}

/// Reads and checks the footer.
///
/// # Errors
/// The inner one where no copy is valid, or two valid ones contradict each other.
pub(crate) fn read(storage: &dyn ReadAt) -> io::Result<Result<Footer, Defect>> {
    let file_end = FileOffset(storage.len()?.0);
    let found = find(storage)?;
    Ok(choose(&found, file_end).map_err(|reason| Defect::new(Part::Footer, reason)))
}

/// The first and the last 512 bytes of the file, for comparing.
pub(crate) fn both_ends(storage: &dyn ReadAt) -> io::Result<Box<[[u8; FOOTER_BYTES]; 2]>> {
    let mut ends = Box::new([[0; FOOTER_BYTES]; 2]);
    let len = storage.len()?.0;
    let part = usize::try_from(len).map_or(FOOTER_BYTES, |len| len.min(FOOTER_BYTES));
    for (end, at) in ends.iter_mut().zip([0, len - part as u64]) {
        let (bytes, _) = end.split_at_mut(part);
        storage.read_exact_at(bytes, FileOffset(at))?;
    }
    Ok(ends)
}

fn find(storage: &dyn ReadAt) -> io::Result<Found> {
    let len = storage.len()?.0;
    let mut end = None;
    for bytes in [FOOTER_BYTES, FOOTER_BYTES - 1] {
        let at = len.checked_sub(bytes as u64).map(FileOffset);
        let footer = at.map(|at| footer_at(storage, at, bytes)).transpose()?;
        end = end.or(at.zip(footer.flatten()));
    }
    let copy = if len >= FOOTER_BYTES as u64 {
        footer_at(storage, FileOffset(0), FOOTER_BYTES)?
    } else {
        None
    };
    Ok(Found { end, copy })
}

/// What stands at `at`, if it has the signature. What is missing of 512 bytes is zero.
fn footer_at(storage: &dyn ReadAt, at: FileOffset, bytes: usize) -> io::Result<Option<RawFooter>> {
    let mut footer = RawFooter::new_zeroed();
    let (there, _) = footer.as_mut_bytes().split_at_mut(bytes);
    storage.read_exact_at(there, at)?;
    Ok((footer.signature == FOOTER_SIGNATURE).then_some(footer))
}

/// The footer that counts: the one at the end, or its copy where that one is damaged and the disk is not fixed.
fn choose(found: &Found, file_end: FileOffset) -> Result<Footer, Reason> {
    let sealed = |footer: &RawFooter| footer.sum() == footer.checksum.get();
    let data_end = found.end.as_ref().map_or(file_end, |(at, _)| *at);
    let end = found.end.as_ref().map(|(_, footer)| footer);
    let end = end.filter(|footer| sealed(footer));
    // What stands at the start of a fixed disk is its guest's.
    let copy = found.copy.as_ref().filter(|footer| sealed(footer));
    let copy = copy.filter(|footer| footer.disk_type.get() != TYPE_FIXED);
    match (end, copy) {
        (None, None) => Err(Reason::NoValidCopy),
        (None, Some(copy)) => decode(copy, data_end, true),
        (Some(end), Some(copy)) if end.disk_type.get() != TYPE_FIXED && !agree(end, copy) => {
            Err(Reason::Contradiction)
        }
        (Some(end), _) => decode(end, data_end, false),
    }
}

/// Whether two copies say the same of everything that decides what is read.
fn agree(one: &RawFooter, other: &RawFooter) -> bool {
    let decisive = |footer: &RawFooter| {
        (
            footer.version,
            footer.header_at,
            footer.current_size,
            footer.disk_type,
            footer.unique_id,
        )
    };
    decisive(one) == decisive(other)
}

fn decode(raw: &RawFooter, data_end: FileOffset, is_copy: bool) -> Result<Footer, Reason> {
    check_version(raw.version.get())?;
    let kind = match raw.disk_type.get() {
        TYPE_FIXED => Kind::Fixed,
        TYPE_DYNAMIC => Kind::Dynamic,
        TYPE_DIFFERENCING => Kind::Differencing,
        other => return Err(Reason::DiskType(other)),
    };
    let size = raw.current_size.get();
    if size == 0 || size > MAX_DISK_BYTES || !size.is_multiple_of(SECTOR_BYTES) {
        return Err(Reason::DiskSize(size));
    }
    if kind == Kind::Fixed && size > data_end.0 {
        return Err(Reason::Truncated {
            file_len: ByteLen(data_end.0),
            needed: ByteLen(size),
        });
    }
    Ok(Footer {
        kind,
        size: ByteLen(size),
        header_at: FileOffset(raw.header_at.get()),
        unique_id: Guid(raw.unique_id),
        creator: printable(raw.creator),
        data_end,
        is_copy,
    })
}

/// Refuses another major version than the only one. Minor ones are compatible.
pub(crate) fn check_version(version: u32) -> Result<(), Reason> {
    let major = |version: u32| u16::try_from(version >> 16).unwrap_or_default();
    if major(version) == major(VERSION) {
        Ok(())
    } else {
        Err(Reason::Version(major(version)))
    }
}

/// Four letters of a creator, safe to print: anybody can write anything into them.
fn printable(creator: [u8; 4]) -> String {
    let text = creator.map(|byte| match byte {
        b' '..=b'~' => char::from(byte),
        0 => ' ',
        _ => char::REPLACEMENT_CHARACTER,
    });
    text.iter().collect::<String>().trim_end().to_owned()
}
