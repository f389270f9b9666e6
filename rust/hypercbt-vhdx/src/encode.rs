//! The structures of a new VHDX, as bytes: what Windows writes, value for value.

use hypercbt_extent::ByteLen;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::format::{
    BAT_REGION, BLOCK_FULLY_PRESENT, BatEntry, DISK_ID_ITEM, DISK_SIZE_ITEM, FILE_PARAMETERS_ITEM,
    FILE_SIGNATURE, FileIdentifier, HAS_PARENT, HEADER_SIGNATURE, LEAVE_BLOCKS_ALLOCATED,
    LOG_VERSION, LOGICAL_SECTOR_ITEM, METADATA_REGION, METADATA_REQUIRED, METADATA_SIGNATURE,
    METADATA_TABLE_BYTES, METADATA_VIRTUAL_DISK, MetadataEntry, MetadataTableHeader,
    PARENT_LOCATOR_ITEM, PHYSICAL_SECTOR_ITEM, REGION_REQUIRED, REGION_TABLE_BYTES,
    REGION_TABLE_SIGNATURE, RawHeader, RegionEntry, RegionTableHeader, VERSION,
};
use crate::layout::{BAT_AT, LOG_AT, LOG_LEN, METADATA_AT, METADATA_LEN};
use crate::options::VhdxOptions;
use crate::{FileOffset, Guid};

/// Who made the file; for people only (MS-VHDX 2.2.1).
const CREATOR: &str = concat!("hypercbt ", env!("CARGO_PKG_VERSION"));

/// The identifier at the start of the file.
pub(crate) fn identifier() -> FileIdentifier {
    let mut creator = [U16::ZERO; 256];
    for (place, unit) in creator.iter_mut().zip(CREATOR.encode_utf16()) {
        place.set(unit);
    }
    FileIdentifier {
        signature: FILE_SIGNATURE,
        creator,
    }
}

/// The header of the number `sequence_number`, of a file whose log is empty.
pub(crate) fn header(options: &VhdxOptions, sequence_number: u64) -> RawHeader {
    let mut header = RawHeader {
        signature: HEADER_SIGNATURE,
        sequence_number: U64::new(sequence_number),
        file_write_guid: options.file_write_guid.0,
        data_write_guid: options.data_write_guid.0,
        log_guid: Guid::ZERO.0,
        log_version: U16::new(LOG_VERSION),
        version: U16::new(VERSION),
        log_length: length(LOG_LEN),
        log_offset: U64::new(LOG_AT.0),
        ..RawHeader::new_zeroed()
    };
    header.checksum = U32::new(crc32c::crc32c(header.as_bytes()));
    header
}

/// A region table, for a block allocation table of `bat_len` bytes.
pub(crate) fn region_table(bat_len: ByteLen) -> Vec<u8> {
    let region = |guid: Guid, at: FileOffset, len| RegionEntry {
        guid: guid.0,
        file_offset: U64::new(at.0),
        length: length(len),
        flags: U32::new(REGION_REQUIRED),
    };
    let regions = [
        region(BAT_REGION, BAT_AT, bat_len),
        region(METADATA_REGION, METADATA_AT, METADATA_LEN),
    ];
    let table = |checksum| {
        let header = RegionTableHeader {
            signature: REGION_TABLE_SIGNATURE,
            checksum: U32::new(checksum),
            entry_count: U32::new(u32::from(count(&regions))),
            reserved: U32::ZERO,
        };
        let mut bytes = [header.as_bytes(), regions.as_bytes()].concat();
        bytes.resize(REGION_TABLE_BYTES, 0); // the checksum covers all of it
        bytes
    };
    table(crc32c::crc32c(&table(0)))
}

/// How a new file holds its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Every block allocated, for good.
    Fixed,
    /// Blocks are allocated when they are written.
    Dynamic,
    /// What differs from a parent; the item says which.
    Differencing { locator: Vec<u8> },
}

impl Form {
    /// The flags of the file parameters (MS-VHDX 2.6.2.1).
    fn flags(&self) -> u32 {
        match self {
            Self::Fixed => LEAVE_BLOCKS_ALLOCATED,
            Self::Dynamic => 0,
            Self::Differencing { .. } => HAS_PARENT,
        }
    }
}

/// The metadata table and its items, up to the end of the last item.
pub(crate) fn metadata(options: &VhdxOptions, form: &Form) -> Vec<u8> {
    const OF_DISK: u32 = METADATA_REQUIRED | METADATA_VIRTUAL_DISK;
    let parameters = [U32::new(options.block_bytes), U32::new(form.flags())];
    let size = U64::new(options.size.0);
    let logical = U32::new(options.logical_sector_bytes);
    let physical = U32::new(options.physical_sector_bytes);
    let mut items = vec![
        (
            FILE_PARAMETERS_ITEM,
            METADATA_REQUIRED,
            parameters.as_bytes(),
        ),
        (DISK_SIZE_ITEM, OF_DISK, size.as_bytes()),
        (LOGICAL_SECTOR_ITEM, OF_DISK, logical.as_bytes()),
        (PHYSICAL_SECTOR_ITEM, OF_DISK, physical.as_bytes()),
        (DISK_ID_ITEM, OF_DISK, &options.disk_id.0),
    ];
    if let Form::Differencing { locator } = form {
        items.push((PARENT_LOCATOR_ITEM, METADATA_REQUIRED, locator));
    }

    let header = MetadataTableHeader {
        signature: METADATA_SIGNATURE,
        reserved: U16::ZERO,
        entry_count: U16::new(count(&items)),
        reserved2: [0; 20],
    };
    let mut table = header.as_bytes().to_vec();
    let mut values = Vec::new();
    for (item, flags, value) in items {
        let entry = MetadataEntry {
            item: item.0,
            offset: length(ByteLen((METADATA_TABLE_BYTES + values.len()) as u64)),
            length: length(ByteLen(value.len() as u64)),
            flags: U32::new(flags),
            reserved: U32::ZERO,
        };
        table.extend_from_slice(entry.as_bytes());
        values.extend_from_slice(value);
    }
    table.resize(METADATA_TABLE_BYTES, 0);
    table.append(&mut values);
    table
}

/// The entry of a block that is in the file, at `at`, a multiple of 1 MiB.
pub(crate) fn present(at: FileOffset) -> BatEntry {
    BatEntry(U64::new(at.0 | BLOCK_FULLY_PRESENT))
}

/// A number of entries as the structures hold it.
fn count<T>(entries: &[T]) -> u16 {
    u16::try_from(entries.len()).expect("two regions and six items")
}

/// A length as the structures hold it.
fn length(len: ByteLen) -> U32 {
    U32::new(u32::try_from(len.0).expect("the longest is the table of 64 TiB: 513 MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn options() -> VhdxOptions {
        VhdxOptions {
            size: ByteLen(0x1234_5600),
            block_bytes: 32 << 20,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            disk_id: Guid([0xD1; 16]),
            file_write_guid: Guid([0xF1; 16]),
            data_write_guid: Guid([0xDA; 16]),
        }
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn guid_at(bytes: &[u8], at: usize) -> String {
        Guid(bytes[at..at + 16].try_into().unwrap()).to_string()
    }

    /// CRC-32C bit by bit, with the field at 4 taken as zero (MS-VHDX 2).
    fn checksum(bytes: &[u8]) -> u32 {
        let mut bytes = bytes.to_vec();
        bytes[4..8].fill(0);
        let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0x82F6_3B78 * (crc & 1))
            })
        });
        crc ^ u32::MAX
    }

    #[test]
    fn the_identifier_names_us() {
        let identifier = identifier();
        let bytes = identifier.as_bytes();
        assert_eq!(&bytes[..8], b"vhdxfile");
        let creator: Vec<u8> = "hypercbt 0.1.0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(bytes[8..8 + creator.len()], creator);
        assert!(bytes[8 + creator.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_header_has_no_log_to_replay_and_a_right_checksum() {
        for number in [1, 2] {
            let header = header(&options(), number);
            let bytes = header.as_bytes();
            assert_eq!(bytes.len(), 4 * KIB);
            assert_eq!(&bytes[..4], b"head");
            assert_eq!(u32_at(bytes, 4), checksum(bytes));
            assert_eq!(u64_at(bytes, 8), number);
            assert_eq!(bytes[16..32], [0xF1; 16]);
            assert_eq!(bytes[32..48], [0xDA; 16]);
            assert_eq!(bytes[48..64], [0; 16], "the log's GUID");
            assert_eq!(u32_at(bytes, 64), 1 << 16, "log version 0, version 1");
            assert_eq!(u32_at(bytes, 68), 1 << 20, "length of the log");
            assert_eq!(u64_at(bytes, 72), 1 << 20, "place of the log");
            assert!(bytes[80..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_region_table_requires_both_regions_and_has_a_right_checksum() {
        let bytes = region_table(ByteLen(5 << 20));
        assert_eq!(bytes.len(), 64 * KIB);
        assert_eq!(&bytes[..4], b"regi");
        assert_eq!(u32_at(&bytes, 4), checksum(&bytes));
        assert_eq!(u64_at(&bytes, 8), 2, "count, reserved");
        let region = |at| {
            let place = (u64_at(&bytes, at + 16), u32_at(&bytes, at + 24));
            (guid_at(&bytes, at), place, u32_at(&bytes, at + 28))
        };
        let bat = "2dc27766-f623-4200-9d64-115e9bfd4a08".to_owned();
        assert_eq!(region(16), (bat, (3 << 20, 5 << 20), 1));
        let metadata = "8b7ca206-4790-4b9a-b8fe-575f050f886e".to_owned();
        assert_eq!(region(48), (metadata, (2 << 20, 1 << 20), 1));
        assert!(bytes[80..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_metadata_items_stand_in_the_order_and_with_the_flags_of_windows() {
        let bytes = metadata(&options(), &Form::Dynamic);
        assert_eq!(&bytes[..8], b"metadata");
        assert_eq!(bytes[8..12], [0, 0, 5, 0], "reserved, count");
        assert!(bytes[12..32].iter().all(|byte| *byte == 0));
        let entry = |n: usize| {
            let at = 32 + 32 * n;
            let numbers = [16, 20, 24, 28].map(|field| u32_at(&bytes, at + field));
            (guid_at(&bytes, at), numbers)
        };
        let expected = [
            ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", [65_536, 8, 4, 0]),
            ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", [65_544, 8, 6, 0]),
            ("8141bf1d-a96f-4709-ba47-f233a8faab5f", [65_552, 4, 6, 0]),
            ("cda348c7-445d-4471-9cc9-e9885251c556", [65_556, 4, 6, 0]),
            ("beca12ab-b2e6-4523-93ef-c309e000c746", [65_560, 16, 6, 0]),
        ];
        for (n, (id, numbers)) in expected.into_iter().enumerate() {
            assert_eq!(entry(n), (id.to_owned(), numbers));
        }
        assert!(bytes[192..64 * KIB].iter().all(|byte| *byte == 0));
        assert_eq!(bytes.len(), 64 * KIB + 40);
    }

    #[test]
    fn the_metadata_items_hold_the_options() {
        let bytes = metadata(&options(), &Form::Dynamic);
        let items = &bytes[64 * KIB..];
        assert_eq!(
            u64_at(items, 0),
            32 << 20,
            "block, neither fixed nor a child"
        );
        assert_eq!(u64_at(items, 8), 0x1234_5600);
        assert_eq!(
            u64_at(items, 16),
            4096 << 32 | 512,
            "logical, physical sector"
        );
        assert_eq!(items[24..40], [0xD1; 16]);
    }

    #[test]
    fn a_fixed_disk_and_a_child_say_so_and_the_child_names_its_parent_last() {
        let fixed = metadata(&options(), &Form::Fixed);
        assert_eq!(u32_at(&fixed, 64 * KIB + 4), 1, "leave blocks allocated");
        let locator = vec![7; 12];
        let child = metadata(&options(), &Form::Differencing { locator });
        assert_eq!(u32_at(&child, 64 * KIB + 4), 2, "has a parent");
        assert_eq!(child[8..12], [0, 0, 6, 0], "reserved, count");
        let entry = 32 + 32 * 5;
        assert_eq!(
            guid_at(&child, entry),
            "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
        );
        let numbers = [16, 20, 24, 28].map(|field| u32_at(&child, entry + field));
        assert_eq!(numbers, [65_576, 12, 4, 0]);
        assert_eq!(child[64 * KIB + 40..], [7; 12]);
    }

    #[test]
    fn a_present_entry_is_a_place_in_mebibytes_and_the_state_six() {
        assert_eq!(present(FileOffset(7 << 20)).0.get(), 7 << 20 | 6);
    }
}
