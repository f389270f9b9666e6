//! The parent locator: which file a differencing disk builds on (MS-VHDX 2.6.2.6).
//!
//! Everything in it is a claim of an untrusted file. The linkage decides whether a file is the parent; the paths
//! only help to find it, and of each only the file name is ever used.

use zerocopy::FromBytes;

use crate::error::Defect;
use crate::format::{LocatorEntry, LocatorHeader, VHDX_LOCATOR};
use crate::{Guid, Part, Reason};

/// More keys than this no writer makes; six are known.
const MAX_KEYS: u16 = 256;

/// What a differencing disk says of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParentLocator {
    /// The `DataWriteGuid` that the parent had when the child was made.
    pub(crate) linkage: Guid,
    /// A second one that is allowed while a merge is under way.
    pub(crate) linkage2: Option<Guid>,
    /// `relative_path`, `volume_path`, `absolute_win32_path`: as many as there are, in the order of MS-VHDX 2.6.2.6.3.
    pub(crate) paths: Vec<String>,
}

impl ParentLocator {
    /// Whether a file with this `DataWriteGuid` is the parent. A zero GUID proves nothing: Windows writes an
    /// all-zero `parent_linkage2` into every child.
    pub(crate) fn matches(&self, data_write_guid: Guid) -> bool {
        !data_write_guid.is_zero()
            && (self.linkage == data_write_guid || self.linkage2 == Some(data_write_guid))
    }

    /// The file names of the paths, each once, in order.
    pub(crate) fn file_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for path in &self.paths {
            let name = path.rsplit(['\\', '/']).next().unwrap_or_default();
            if is_plain_name(name) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Whether joining `name` to a folder gives a file in that folder and nowhere else, on any system.
fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains([':', '\0'])
}

/// Decodes the item.
pub(crate) fn decode(item: &[u8]) -> Result<ParentLocator, Defect> {
    let refuse = |reason| Defect::new(Part::ParentLocator, reason);
    let too_small = || {
        refuse(Reason::TooSmall {
            found: item.len() as u64,
            needed: size_of::<LocatorHeader>() as u64,
        })
    };
    let (header, rest) = LocatorHeader::ref_from_prefix(item).map_err(|_| too_small())?;
    if Guid(header.locator_type) != VHDX_LOCATOR {
        return Err(refuse(Reason::LocatorType(Guid(header.locator_type))));
    }
    let count = header.key_value_count.get();
    if count > MAX_KEYS {
        return Err(refuse(Reason::TooManyEntries(u64::from(count))));
    }
    let (entries, _) = <[LocatorEntry]>::ref_from_prefix_with_elems(rest, usize::from(count))
        .map_err(|_| too_small())?;
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(entries.len());
    for (number, entry) in (0..).zip(entries) {
        let key = text(item, entry.key_offset.get(), entry.key_length.get());
        let value = text(item, entry.value_offset.get(), entry.value_length.get());
        let (Some(key), Some(value)) = (key, value) else {
            return Err(refuse(Reason::LocatorEntry(number)));
        };
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(refuse(Reason::LocatorDuplicate(number)));
        }
        pairs.push((key, value));
    }
    let find = |key: &str| {
        pairs
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    };
    let linkage = find("parent_linkage").and_then(|text| text.parse().ok());
    let linkage = linkage.ok_or(refuse(Reason::NoParentLinkage))?;
    let linkage2 = match find("parent_linkage2") {
        Some(text) => Some(text.parse().map_err(|_| refuse(Reason::NoParentLinkage))?),
        None => None,
    };
    let paths = ["relative_path", "volume_path", "absolute_win32_path"];
    let paths = paths
        .into_iter()
        .filter_map(find)
        .map(str::to_owned)
        .collect();
    Ok(ParentLocator {
        linkage,
        linkage2,
        paths,
    })
}

/// The UTF-16 text at `offset`, if there is one: inside the item, not empty, well-formed.
fn text(item: &[u8], offset: u32, length: u16) -> Option<String> {
    let start = usize::try_from(offset).ok()?;
    let bytes = item.get(start..start.checked_add(usize::from(length))?)?;
    let (units, odd) = bytes.as_chunks::<2>();
    if units.is_empty() || !odd.is_empty() {
        return None;
    }
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .ok()
}
