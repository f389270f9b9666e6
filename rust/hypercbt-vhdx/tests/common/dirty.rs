//! A dirty file whose log says where block 0 is.

use super::image::{Image, Payload};
use super::log::{Change, LogEntry};
use super::{MIB, open, read};
use hypercbt_vhdx::VirtualDisk;

pub const GUID: [u8; 16] = [0x10; 16];
pub const SECTORS: u64 = 256;

/// A dirty file whose block 0, once replayed, may be at any MiB from 4 to 15; each begins with its number.
pub fn dirty(log: Vec<(u64, LogEntry)>) -> Image {
    let mut image = Image::dynamic(4 * MIB, MIB, 512);
    image.entry(0, (4 * MIB) | 6);
    for mib in 4..16 {
        let payload = Payload {
            at: mib * MIB,
            bytes: vec![u8::try_from(mib).unwrap()],
        };
        image.payload.push(payload);
    }
    image.each_header(|header| header.log_guid = GUID);
    image.log = log;
    image
}

/// A sector of the BAT with block 0 at `mib`.
pub fn bat_sector(mib: u64) -> Vec<u8> {
    let mut bytes = ((mib * MIB) | 6).to_le_bytes().to_vec();
    bytes.resize(4096, 0);
    bytes
}

pub fn moves_to(mib: u64) -> Change {
    Change::Data {
        at: 3 * MIB,
        bytes: bat_sector(mib),
    }
}

/// An entry that puts block 0 at `mib`.
pub fn entry(number: u64, tail: u64, mib: u64) -> LogEntry {
    LogEntry::new(GUID, number, tail, vec![moves_to(mib)])
}

/// At which MiB block 0 is.
pub fn found(image: &Image) -> u8 {
    at_block_0(&open([image.build()]).unwrap())
}

pub fn at_block_0(disk: &VirtualDisk) -> u8 {
    read(disk, 0, 1)[0]
}

pub const NO_SEQUENCE: &str = "log: no complete sequence of entries";
