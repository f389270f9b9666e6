//! The way to the parent of a differencing VHD: its unique id, and paths that help to find it.

use hypercbt_extent::ByteLen;

use super::footer::Footer;
use super::format::{ABSOLUTE_PATH, RELATIVE_PATH, RawHeader, RawLocator};
use crate::locator::ParentLocator;
use crate::source::Source;
use crate::{FileOffset, Guid, Part, Reason, Result};

/// No path is longer: Windows allows 32,767 units.
const MAX_PATH_BYTES: u32 = 65_534;

/// Reads the paths of all locators that Windows writes. Those of other systems mean nothing here.
///
/// The relative path comes first, then the absolute one, then the name in the header; of each only the file name is
/// ever used.
pub(crate) fn read(source: &Source, footer: &Footer, header: &RawHeader) -> Result<ParentLocator> {
    let linkage = Guid(header.parent_id);
    if linkage.is_zero() {
        return Err(source.corrupt(Part::ParentLocator, Reason::NoParentLinkage));
    }
    let mut paths = Vec::new();
    for platform in [RELATIVE_PATH, ABSOLUTE_PATH] {
        for (number, locator) in (0..).zip(&header.locators) {
            if locator.platform == platform && locator.is_used() {
                paths.push(path(source, footer, locator, number)?);
            }
        }
    }
    let name = header.parent_name.iter().map(|unit| unit.get());
    let name: Vec<u16> = name.take_while(|unit| *unit != 0).collect();
    // The name is shown to people, and cut where it is too long: what cannot be read is no reason to refuse.
    paths.extend(String::from_utf16(&name));
    Ok(ParentLocator {
        linkage,
        linkage2: None,
        paths,
    })
}

/// The path of one locator: UTF-16, little-endian, with or without a NUL at its end.
fn path(source: &Source, footer: &Footer, locator: &RawLocator, number: u16) -> Result<String> {
    let refuse = |reason| source.corrupt(Part::ParentLocator, reason);
    let (at, len) = (FileOffset(locator.at.get()), locator.length.get());
    if len > MAX_PATH_BYTES || len % 2 != 0 {
        return Err(refuse(Reason::LocatorEntry(number)));
    }
    if at
        .0
        .checked_add(u64::from(len))
        .is_none_or(|end| end > footer.data_end.0)
    {
        let len = ByteLen(u64::from(len));
        return Err(refuse(Reason::Place { at, len }));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read(&mut bytes, at)?;
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).map_err(|_| refuse(Reason::LocatorEntry(number)))
}
