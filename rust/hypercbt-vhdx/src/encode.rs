//! The structures of a new VHDX, as bytes: what Windows writes, value for value.

use hypercbt_extent::ByteLen;

use crate::layout::{BAT_AT, LOG_AT, LOG_LEN, METADATA_AT, METADATA_LEN};
use crate::options::VhdxOptions;
use crate::{FileOffset, Guid};

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
        let bytes = identifier();
        assert_eq!(bytes.len(), 64 * KIB);
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
            let bytes = header(&options(), number);
            assert_eq!(bytes.len(), 4 * KIB);
            assert_eq!(&bytes[..4], b"head");
            assert_eq!(u32_at(&bytes, 4), checksum(&bytes));
            assert_eq!(u64_at(&bytes, 8), number);
            assert_eq!(bytes[16..32], [0xF1; 16]);
            assert_eq!(bytes[32..48], [0xDA; 16]);
            assert_eq!(bytes[48..64], [0; 16], "the log's GUID");
            assert_eq!(u32_at(&bytes, 64), 1 << 16, "log version 0, version 1");
            assert_eq!(u32_at(&bytes, 68), 1 << 20, "length of the log");
            assert_eq!(u64_at(&bytes, 72), 1 << 20, "place of the log");
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
        let bytes = metadata(&options());
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
    }

    #[test]
    fn the_metadata_items_hold_the_options() {
        let bytes = metadata(&options());
        let items = &bytes[64 * KIB..];
        assert_eq!(u64_at(items, 0), 32 << 20, "block, neither fixed nor a child");
        assert_eq!(u64_at(items, 8), 0x1234_5600);
        assert_eq!(u64_at(items, 16), 4096 << 32 | 512, "logical, physical sector");
        assert_eq!(items[24..40], [0xD1; 16]);
    }

    #[test]
    fn a_present_entry_is_a_place_in_mebibytes_and_the_state_six() {
        assert_eq!(present(FileOffset(7 << 20)), 7 << 20 | 6);
    }
}
