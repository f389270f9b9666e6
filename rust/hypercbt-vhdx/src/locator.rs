//! The parent locator: which file a differencing disk builds on (MS-VHDX 2.6.2.6).
//!
//! Everything in it is a claim of an untrusted file. The linkage decides whether a file is the parent; the paths
//! only help to find it, and of each only the file name is ever used.

use zerocopy::{FromBytes, IntoBytes};

use crate::Mismatch;
use crate::error::Defect;
use crate::format::{LocatorEntry, LocatorHeader, MAX_METADATA_ITEM_BYTES, VHDX_LOCATOR};
use crate::{Guid, Part, Reason};

/// More keys than this no writer makes; six are known.
const MAX_KEYS: u16 = 256;

/// The keys that we know (MS-VHDX 2.6.2.6.3).
pub(crate) const LINKAGE: &str = "parent_linkage";
pub(crate) const LINKAGE2: &str = "parent_linkage2";
pub(crate) const RELATIVE_PATH: &str = "relative_path";
pub(crate) const VOLUME_PATH: &str = "volume_path";
pub(crate) const ABSOLUTE_PATH: &str = "absolute_win32_path";

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
    /// Checks that a file with this `DataWriteGuid` is the parent.
    pub(crate) fn check(&self, found: Guid) -> Result<(), Mismatch> {
        if self.matches(found) {
            return Ok(());
        }
        let wanted = self.linkage;
        Err(Mismatch::Linkage { wanted, found })
    }

    /// A zero GUID proves nothing: Windows writes an all-zero `parent_linkage2` into every child.
    fn matches(&self, data_write_guid: Guid) -> bool {
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
    from_pairs(&pairs(item)?)
}

/// What the keys say that we know.
pub(crate) fn from_pairs(pairs: &[(String, String)]) -> Result<ParentLocator, Defect> {
    let refuse = |reason| Defect::new(Part::ParentLocator, reason);
    let find = |key: &str| {
        pairs
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    };
    let linkage = find(LINKAGE).and_then(|text| text.parse().ok());
    let linkage = linkage.ok_or(refuse(Reason::NoParentLinkage))?;
    let linkage2 = match find(LINKAGE2) {
        Some(text) => Some(text.parse().map_err(|_| refuse(Reason::NoParentLinkage))?),
        None => None,
    };
    let paths = [RELATIVE_PATH, VOLUME_PATH, ABSOLUTE_PATH];
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

/// All keys and their values, in the order of the item; no key twice.
pub(crate) fn pairs(item: &[u8]) -> Result<Vec<(String, String)>, Defect> {
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
    Ok(pairs)
}

/// The item with these keys and values, in this order; `None` if a text is too long for it, or there are too many.
pub(crate) fn encode(pairs: &[(String, String)]) -> Option<Vec<u8>> {
    let count = u16::try_from(pairs.len()).ok();
    let header = LocatorHeader {
        locator_type: VHDX_LOCATOR.0,
        reserved: 0.into(),
        key_value_count: count.filter(|count| *count <= MAX_KEYS)?.into(),
    };
    let mut item = header.as_bytes().to_vec();
    let first_text = item.len() + pairs.len() * size_of::<LocatorEntry>();
    let mut texts: Vec<u8> = Vec::new();
    for (key, value) in pairs {
        let mut place = |text: &str| {
            let at = u32::try_from(first_text + texts.len()).ok()?;
            let before = texts.len();
            texts.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            let len = u16::try_from(texts.len() - before).ok()?;
            Some((at, len))
        };
        let ((key_offset, key_length), (value_offset, value_length)) = (place(key)?, place(value)?);
        let entry = LocatorEntry {
            key_offset: key_offset.into(),
            value_offset: value_offset.into(),
            key_length: key_length.into(),
            value_length: value_length.into(),
        };
        item.extend_from_slice(entry.as_bytes());
    }
    item.append(&mut texts);
    (item.len() as u64 <= MAX_METADATA_ITEM_BYTES).then_some(item)
}

/// A GUID as a locator has it: lower case, in braces (MS-VHDX 2.6.2.6.3).
pub(crate) fn braced(guid: Guid) -> String {
    format!("{{{guid}}}")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (linkage, coming) = (Guid([0xAB; 16]), Guid([0xCD; 16]));
        let item = encode(&[
            pair(LINKAGE, &braced(linkage)),
            pair(ABSOLUTE_PATH, r"\\?\C:\disks\böse.vhdx"),
            pair(RELATIVE_PATH, r".\böse.vhdx"),
            pair(LINKAGE2, &braced(coming)),
        ]);
        let locator = decode(&item.unwrap()).unwrap();
        let expected = ParentLocator {
            linkage,
            linkage2: Some(coming),
            paths: vec![r".\böse.vhdx".into(), r"\\?\C:\disks\böse.vhdx".into()],
        };
        assert_eq!(locator, expected);
    }

    #[test]
    fn the_item_is_laid_out_as_windows_lays_it_out() {
        let item = encode(&[pair("key", "value"), pair("k2", "v2")]).unwrap();
        let text: Vec<u8> = "keyvaluek2v2"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(item[16..20], [0, 0, 2, 0], "reserved, count");
        assert_eq!(item[20..32], [44, 0, 0, 0, 50, 0, 0, 0, 6, 0, 10, 0]);
        assert_eq!(item[32..44], [60, 0, 0, 0, 64, 0, 0, 0, 4, 0, 4, 0]);
        assert_eq!(item[44..], text);
    }

    #[test]
    fn a_text_that_is_too_long_is_not_encoded() {
        assert!(encode(&[pair("k", &"x".repeat(32767))]).is_some());
        assert_eq!(encode(&[pair("k", &"x".repeat(32768))]), None);
    }

    #[test]
    fn the_second_linkage_matches_and_a_zero_one_never_does() {
        let [old, coming, other] = [1, 2, 3].map(|byte| Guid([byte; 16]));
        let locator = |linkage, linkage2| ParentLocator {
            linkage,
            linkage2,
            paths: Vec::new(),
        };
        let merging = locator(old, Some(coming));
        assert_eq!(
            [old, coming, other, Guid::ZERO].map(|guid| merging.matches(guid)),
            [true, true, false, false]
        );
        assert!(!locator(old, Some(Guid::ZERO)).matches(Guid::ZERO));
        assert!(!locator(Guid::ZERO, None).matches(Guid::ZERO));
    }
}
