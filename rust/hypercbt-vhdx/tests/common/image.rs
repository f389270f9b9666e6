//! A VHDX file by its parts. Each part can be wrong: nothing here checks anything.

use super::log::LogEntry;
use super::sparse::SparseFile;
use super::{KIB, MIB};

/// A GUID by its text.
pub fn guid(text: &str) -> [u8; 16] {
    text.parse::<hypercbt_vhdx::Guid>().unwrap().0
}

pub const BAT: &str = "2DC27766-F623-4200-9D64-115E9BFD4A08";
pub const METADATA: &str = "8B7CA206-4790-4B9A-B8FE-575F050F886E";
pub const FILE_PARAMETERS: &str = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B";
pub const DISK_SIZE: &str = "2FA54224-CD1B-4876-B211-5DBED83BF4B8";
pub const DISK_ID: &str = "BECA12AB-B2E6-4523-93EF-C309E000C746";
pub const LOGICAL: &str = "8141BF1D-A96F-4709-BA47-F233A8FAAB5F";
pub const PHYSICAL: &str = "CDA348C7-445D-4471-9CC9-E9885251C556";
pub const LOCATOR: &str = "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C";
pub const LOCATOR_TYPE: &str = "B04AEFB7-D19E-4A81-B789-25B8E9445913";

#[derive(Debug, Clone)]
pub struct Header {
    pub signature: [u8; 4],
    pub number: u64,
    pub file_write: [u8; 16],
    pub data_write: [u8; 16],
    pub log_guid: [u8; 16],
    pub log_version: u16,
    pub version: u16,
    pub log_len: u32,
    pub log_at: u64,
    /// Changes the checksum.
    pub damaged: bool,
}

#[derive(Debug, Clone)]
pub struct Region {
    pub guid: [u8; 16],
    pub at: u64,
    pub len: u32,
    pub flags: u32,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub guid: [u8; 16],
    pub flags: u32,
    pub bytes: Vec<u8>,
    /// Where to say that it is, instead of where it is.
    pub offset: Option<u32>,
    /// How long to say that it is, instead of how long it is.
    pub len: Option<u32>,
    pub reserved: u32,
}

/// What a block's payload is filled with.
#[derive(Debug, Clone)]
pub struct Payload {
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// All parts of a file.
#[derive(Debug, Clone)]
pub struct Image {
    pub signature: [u8; 8],
    pub creator: String,
    pub headers: [Header; 2],
    pub regions: [Vec<Region>; 2],
    /// Signature and count of each table, and whether its checksum is changed.
    pub region_counts: [Option<u32>; 2],
    pub regions_damaged: [bool; 2],
    pub metadata_signature: [u8; 8],
    pub metadata_count: Option<u16>,
    pub items: Vec<Item>,
    pub metadata_at: u64,
    pub bat_at: u64,
    /// Entry number and value.
    pub bat: Vec<(u64, u64)>,
    pub payload: Vec<Payload>,
    /// Where in the log, in sectors, and what.
    pub log: Vec<(u64, LogEntry)>,
    /// Sectors of the log to damage afterwards.
    pub torn_log_sectors: Vec<u64>,
    /// The length, if not just as long as needed.
    pub len: Option<u64>,
    pub block_bytes: u64,
    pub sector_bytes: u64,
    /// The first byte behind all structures that [`Image::dynamic`] lays out.
    pub first_free: u64,
}

impl Image {
    /// A dynamic disk as Windows lays it out, with nothing in it: log at 1 MiB, metadata at 2, BAT at 3.
    pub fn dynamic(size: u64, block_bytes: u64, sector_bytes: u64) -> Self {
        Self::new(size, block_bytes, sector_bytes, 0)
    }

    /// A differencing disk with nothing in it.
    pub fn differencing(size: u64, block_bytes: u64, sector_bytes: u64, linkage: [u8; 16]) -> Self {
        let mut image = Self::new(size, block_bytes, sector_bytes, 2);
        let linkage = format!("{{{}}}", hypercbt_vhdx::Guid(linkage));
        image.set_locator(&[
            ("parent_linkage", &linkage),
            ("parent_linkage2", "{00000000-0000-0000-0000-000000000000}"),
            ("relative_path", ".\\parent.vhdx"),
        ]);
        image
    }

    fn new(size: u64, block_bytes: u64, sector_bytes: u64, parameters: u32) -> Self {
        let header = |number| Header {
            signature: *b"head",
            number,
            file_write: [3; 16],
            data_write: [4; 16],
            log_guid: [0; 16],
            log_version: 0,
            version: 1,
            log_len: MIB as u32,
            log_at: MIB,
            damaged: false,
        };
        let parameters = [(block_bytes as u32).to_le_bytes(), parameters.to_le_bytes()].concat();
        let sector = (sector_bytes as u32).to_le_bytes().to_vec();
        let items = vec![
            Item::new(FILE_PARAMETERS, 4, parameters),
            Item::new(DISK_SIZE, 6, size.to_le_bytes().to_vec()),
            Item::new(LOGICAL, 6, sector.clone()),
            Item::new(PHYSICAL, 6, sector),
            Item::new(DISK_ID, 6, vec![9; 16]),
        ];
        let mut image = Self {
            signature: *b"vhdxfile",
            creator: "test".to_owned(),
            headers: [header(10), header(11)],
            regions: [Vec::new(), Vec::new()],
            region_counts: [None; 2],
            regions_damaged: [false; 2],
            metadata_signature: *b"metadata",
            metadata_count: None,
            items,
            metadata_at: 2 * MIB,
            bat_at: 3 * MIB,
            bat: Vec::new(),
            payload: Vec::new(),
            log: Vec::new(),
            torn_log_sectors: Vec::new(),
            len: None,
            block_bytes,
            sector_bytes,
            first_free: 0,
        };
        // The most that either kind of disk needs.
        let blocks = size.div_ceil(block_bytes);
        let entries = blocks.div_ceil(image.ratio()) * (image.ratio() + 1);
        let bat_len = (entries * 8).next_multiple_of(MIB);
        image.first_free = 3 * MIB + bat_len;
        image.set_regions(vec![
            Region {
                guid: guid(METADATA),
                at: 2 * MIB,
                len: MIB as u32,
                flags: 1,
            },
            Region {
                guid: guid(BAT),
                at: 3 * MIB,
                len: bat_len as u32,
                flags: 1,
            },
        ]);
        image
    }

    /// Payload blocks per sector bitmap.
    pub fn ratio(&self) -> u64 {
        (1 << 23) * self.sector_bytes / self.block_bytes
    }

    /// Both copies of the table.
    pub fn set_regions(&mut self, regions: Vec<Region>) {
        self.regions = [regions.clone(), regions];
    }

    pub fn each_region(&mut self, mut change: impl FnMut(&mut Vec<Region>)) {
        self.regions.iter_mut().for_each(&mut change);
    }

    pub fn item(&mut self, name: &str) -> &mut Item {
        self.items
            .iter_mut()
            .find(|item| item.guid == guid(name))
            .unwrap()
    }

    pub fn each_header(&mut self, mut change: impl FnMut(&mut Header)) {
        self.headers.iter_mut().for_each(&mut change);
    }

    /// Replaces the parent locator.
    pub fn set_locator(&mut self, pairs: &[(&str, &str)]) {
        self.items.retain(|item| item.guid != guid(LOCATOR));
        self.items.push(Item::new(LOCATOR, 4, locator(pairs)));
    }

    /// Sets the raw entry of a payload block.
    pub fn entry(&mut self, block: u64, raw: u64) {
        self.bat.push((block + block / self.ratio(), raw));
    }

    /// Sets the raw entry of a sector bitmap.
    pub fn bitmap_entry(&mut self, chunk: u64, raw: u64) {
        self.bat.push(((chunk + 1) * self.ratio() + chunk, raw));
    }

    /// Puts a block at `at` with `bytes` at its start.
    pub fn block(&mut self, block: u64, state: u64, at: u64, bytes: &[u8]) {
        self.entry(block, at | state);
        self.payload.push(Payload {
            at,
            bytes: bytes.to_vec(),
        });
        self.len = Some(self.len.unwrap_or(0).max(at + self.block_bytes));
    }

    /// Puts a sector bitmap at `at`, with these sectors (counted from the chunk's first) set.
    pub fn bitmap(&mut self, chunk: u64, at: u64, sectors: impl IntoIterator<Item = u64>) {
        self.bitmap_entry(chunk, at | 6);
        let mut bits = vec![0; MIB as usize];
        for sector in sectors {
            bits[(sector / 8) as usize] |= 1 << (sector % 8);
        }
        self.payload.push(Payload { at, bytes: bits });
    }

    /// Writes everything.
    pub fn build(&self) -> SparseFile {
        let mut file = SparseFile::default();
        file.write(0, &self.signature);
        let creator: Vec<u8> = self
            .creator
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        file.write(8, &creator);
        file.write(64 * KIB, &self.headers[0].bytes());
        file.write(128 * KIB, &self.headers[1].bytes());
        for copy in 0..2 {
            let bytes = self.region_table(copy);
            file.write((192 + 64 * copy as u64) * KIB, &bytes);
        }
        file.write(MIB - 1, &[0]);
        self.write_metadata(&mut file);
        for (number, raw) in &self.bat {
            file.write(self.bat_at + number * 8, &raw.to_le_bytes());
        }
        for payload in &self.payload {
            // A bitmap is mostly zeros; leave them holes.
            for (number, page) in payload.bytes.chunks(4096).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    file.write(payload.at + number as u64 * 4096, page);
                }
            }
        }
        let ends = self
            .payload
            .iter()
            .map(|payload| payload.at + payload.bytes.len() as u64);
        let needed = ends.fold(self.first_free.max(self.len.unwrap_or(0)), u64::max);
        file.set_len(needed.max(file.bytes()).next_multiple_of(MIB));
        let (log_at, log_len) = (self.headers[0].log_at, u64::from(self.headers[0].log_len));
        for (sector, entry) in &self.log {
            for (number, bytes) in entry.bytes().chunks(4096).enumerate() {
                let place = (sector * 4096 + number as u64 * 4096) % log_len;
                file.write(log_at + place, bytes);
            }
        }
        for sector in &self.torn_log_sectors {
            file.write(log_at + sector * 4096, &[0xEE; 4096]);
        }
        file
    }

    fn region_table(&self, copy: usize) -> Vec<u8> {
        let regions = &self.regions[copy];
        let count = self.region_counts[copy].unwrap_or(regions.len() as u32);
        let mut bytes = [b"regi".as_slice(), &[0; 4], &count.to_le_bytes(), &[0; 4]].concat();
        for region in regions {
            bytes.extend(region.guid);
            bytes.extend(region.at.to_le_bytes());
            bytes.extend(region.len.to_le_bytes());
            bytes.extend(region.flags.to_le_bytes());
        }
        bytes.resize(64 * KIB as usize, 0);
        seal(&mut bytes, self.regions_damaged[copy]);
        bytes
    }

    fn write_metadata(&self, file: &mut SparseFile) {
        let count = self.metadata_count.unwrap_or(self.items.len() as u16);
        let mut table = [
            self.metadata_signature.as_slice(),
            &[0; 2],
            &count.to_le_bytes(),
            &[0; 20],
        ]
        .concat();
        let mut offset = 64 * KIB as u32;
        for item in &self.items {
            let own_offset = if item.bytes.is_empty() { 0 } else { offset };
            table.extend(item.guid);
            table.extend(item.offset.unwrap_or(own_offset).to_le_bytes());
            table.extend(item.len.unwrap_or(item.bytes.len() as u32).to_le_bytes());
            table.extend(item.flags.to_le_bytes());
            table.extend(item.reserved.to_le_bytes());
            file.write(self.metadata_at + u64::from(offset), &item.bytes);
            offset += item.bytes.len() as u32;
        }
        file.write(self.metadata_at, &table);
    }
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.signature.to_vec();
        bytes.extend([0; 4]);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.file_write);
        bytes.extend(self.data_write);
        bytes.extend(self.log_guid);
        bytes.extend(self.log_version.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.log_len.to_le_bytes());
        bytes.extend(self.log_at.to_le_bytes());
        bytes.resize(4096, 0);
        seal(&mut bytes, self.damaged);
        bytes
    }
}

impl Item {
    pub fn new(name: &str, flags: u32, bytes: Vec<u8>) -> Self {
        Self {
            guid: guid(name),
            flags,
            bytes,
            offset: None,
            len: None,
            reserved: 0,
        }
    }
}

/// Puts the CRC-32C at byte 4, or a wrong one.
pub fn seal(bytes: &mut [u8], damaged: bool) {
    bytes[4..8].fill(0);
    let crc = crc32c(bytes) ^ u32::from(damaged);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32C, a bit at a time, so that the crate's own is compared with something else.
pub fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: std::sync::LazyLock<[u32; 256]> = std::sync::LazyLock::new(|| {
        std::array::from_fn(|byte| {
            (0..8).fold(byte as u32, |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ 0x82F6_3B78
                } else {
                    crc >> 1
                }
            })
        })
    });
    !bytes.iter().fold(!0, |crc: u32, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8
    })
}

/// A parent locator of these keys and values.
pub fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = guid(LOCATOR_TYPE).to_vec();
    bytes.extend([0; 2]);
    bytes.extend((pairs.len() as u16).to_le_bytes());
    let mut text: Vec<u8> = Vec::new();
    let text_at = 20 + 12 * pairs.len();
    for (key, value) in pairs {
        let key: Vec<u8> = key.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let value: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let key_at = (text_at + text.len()) as u32;
        bytes.extend(key_at.to_le_bytes());
        bytes.extend((key_at + key.len() as u32).to_le_bytes());
        bytes.extend((key.len() as u16).to_le_bytes());
        bytes.extend((value.len() as u16).to_le_bytes());
        text.extend(key);
        text.extend(value);
    }
    bytes.extend(text);
    bytes
}
