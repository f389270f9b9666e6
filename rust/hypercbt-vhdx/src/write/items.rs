//! Metadata items: reading one, and what has to be written where to give it another value (MS-VHDX 2.6.1).
//!
//! A value that fits stays in its place. A longer one goes behind all others, and its entry in the table follows it.

use hypercbt_extent::ByteLen;
use zerocopy::{FromBytes, IntoBytes};

use super::WritableVhdx;
use super::map::Patch;
use crate::error::Defect;
use crate::format::{
    MAX_METADATA_ITEM_BYTES, METADATA_TABLE_BYTES, METADATA_USER, MetadataEntry,
    MetadataTableHeader,
};
use crate::{Error, FileOffset, Guid, Part, Reason, Result};

/// Bytes to be written, and where, from the start of the metadata region.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    at: u64,
    bytes: Vec<u8>,
}

/// Where an item is in the metadata region, and its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    number: u64,
    at: u64,
    len: u64,
}

/// Finds an item of the system in the metadata table, which was checked when the file was opened.
fn find(table: &[u8], item: Guid) -> std::result::Result<Found, Defect> {
    let missing = Defect::new(Part::Metadata, Reason::Missing(item));
    let is_it =
        |entry: &MetadataEntry| entry.item == item.0 && entry.flags.get() & METADATA_USER == 0;
    let entries = entries(table).unwrap_or_default();
    let found = (0..).zip(entries).find(|(_, entry)| is_it(entry));
    let (number, entry) = found.ok_or(missing)?;
    Ok(Found {
        number,
        at: u64::from(entry.offset.get()),
        len: u64::from(entry.length.get()),
    })
}

/// What gives the item the value `value`.
///
/// # Errors
/// There is no such item, or no room for it.
fn set(
    table: &[u8],
    region_len: ByteLen,
    item: Guid,
    value: &[u8],
) -> std::result::Result<Vec<Edit>, Defect> {
    let found = find(table, item)?;
    let len = value.len() as u64;
    let at = if len <= found.len {
        found.at
    } else {
        let ends = entries(table).unwrap_or_default().iter();
        let ends = ends.map(|entry| u64::from(entry.offset.get()) + u64::from(entry.length.get()));
        let end = ends.max().unwrap_or_default();
        end.max(METADATA_TABLE_BYTES as u64).next_multiple_of(8)
    };
    let room = region_len.0.saturating_sub(at).min(MAX_METADATA_ITEM_BYTES);
    let too_small = Defect::new(
        Part::Metadata,
        Reason::TooSmall {
            found: room,
            needed: len,
        },
    );
    let new_offset = u32::try_from(at).map_err(|_| too_small)?;
    let new_length = u32::try_from(len).map_err(|_| too_small)?;
    if len > room || len == 0 {
        return Err(too_small);
    }
    let mut edits = vec![Edit {
        at,
        bytes: value.to_vec(),
    }];
    if (at, len) != (found.at, found.len) {
        // The two fields of the entry that say where the item is, behind its GUID.
        let entry = (size_of::<MetadataTableHeader>() as u64)
            + found.number * size_of::<MetadataEntry>() as u64;
        edits.push(Edit {
            at: entry + size_of::<Guid>() as u64,
            bytes: [new_offset.to_le_bytes(), new_length.to_le_bytes()]
                .as_bytes()
                .to_vec(),
        });
    }
    Ok(edits)
}

impl WritableVhdx {
    /// The value of a metadata item.
    pub(super) fn item(&self, item: Guid) -> Result<Vec<u8>> {
        let found = find(&self.metadata_table()?, item);
        let found = found.map_err(|defect| self.blame(defect))?;
        let at = FileOffset(self.metadata.at.0.saturating_add(found.at));
        self.metadata_bytes(at, usize::try_from(found.len).unwrap_or_default())
    }

    /// What gives a metadata item another value.
    pub(super) fn item_patches(&self, item: Guid, value: &[u8]) -> Result<Vec<Patch>> {
        let edits = set(&self.metadata_table()?, self.metadata.len, item, value);
        let edits = edits.map_err(|defect| self.blame(defect))?;
        let patches = edits.into_iter().map(|edit| Patch {
            at: FileOffset(self.metadata.at.0.saturating_add(edit.at)),
            bytes: edit.bytes,
        });
        Ok(patches.collect())
    }

    fn metadata_table(&self) -> Result<Vec<u8>> {
        self.metadata_bytes(self.metadata.at, METADATA_TABLE_BYTES)
    }

    /// The error that this file breaks a rule.
    pub(super) fn blame(&self, Defect { part, reason }: Defect) -> Error {
        let file = self.file.path().to_owned();
        Error::Corrupt { file, part, reason }
    }
}

fn entries(table: &[u8]) -> Option<&[MetadataEntry]> {
    let (header, rest) = MetadataTableHeader::ref_from_prefix(table).ok()?;
    let count = usize::from(header.entry_count.get());
    let (entries, _) = <[MetadataEntry]>::ref_from_prefix_with_elems(rest, count).ok()?;
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VhdxOptions;
    use crate::encode::{self, Form};
    use crate::format::{DISK_SIZE_ITEM, MIB, PARENT_LOCATOR_ITEM};

    const REGION: ByteLen = ByteLen(MIB);

    /// A table with a locator of 100 bytes, which is its last item.
    fn table() -> Vec<u8> {
        let options = VhdxOptions {
            size: ByteLen(MIB),
            block_bytes: 1 << 20,
            logical_sector_bytes: 512,
            physical_sector_bytes: 512,
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
        };
        let locator = vec![7; 100];
        encode::metadata(&options, &Form::Differencing { locator })
    }

    /// The region after the edits, and what it then says of the item.
    fn after(value: &[u8], item: Guid) -> (Found, Vec<u8>) {
        let mut region = table();
        region.resize(1 << 20, 0);
        for edit in set(&table(), REGION, item, value).unwrap() {
            let at = usize::try_from(edit.at).unwrap();
            region[at..at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        let found = find(&region, item).unwrap();
        let [at, len] = [found.at, found.len].map(|n| usize::try_from(n).unwrap());
        let value = region[at..at + len].to_vec();
        (found, value)
    }

    #[test]
    fn a_value_of_the_same_length_is_one_edit_in_its_place() {
        let edits = set(&table(), REGION, DISK_SIZE_ITEM, &[9; 8]).unwrap();
        let expected = Edit {
            at: 65_544,
            bytes: vec![9; 8],
        };
        assert_eq!(edits, [expected]);
    }

    #[test]
    fn a_shorter_value_stays_in_its_place_and_the_table_says_its_length() {
        let (found, value) = after(&[9; 60], PARENT_LOCATOR_ITEM);
        assert_eq!((found.at, value), (65_576, vec![9; 60]));
    }

    #[test]
    fn a_longer_value_goes_behind_all_others() {
        let (found, value) = after(&[9; 101], PARENT_LOCATOR_ITEM);
        assert_eq!((found.at, value), (65_680, vec![9; 101]));
        let (found, value) = after(&[8; 12], DISK_SIZE_ITEM);
        assert_eq!((found.at, value), (65_680, vec![8; 12]));
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        let room = (1 << 20) - 65_680;
        assert!(set(&table(), REGION, PARENT_LOCATOR_ITEM, &vec![9; room]).is_ok());
        let refused = set(&table(), REGION, PARENT_LOCATOR_ITEM, &vec![9; room + 1]).unwrap_err();
        assert!(matches!(refused.reason, Reason::TooSmall { .. }));
        assert!(set(&table(), REGION, PARENT_LOCATOR_ITEM, &[]).is_err());
        let unknown = set(&table(), REGION, Guid([9; 16]), &[1]).unwrap_err();
        assert_eq!(unknown.reason, Reason::Missing(Guid([9; 16])));
    }
}
