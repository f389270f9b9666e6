//! Legacy VHD files in memory, from the format's description and not from the crate.

use super::sparse::SparseFile;

pub const SECTOR: u64 = 512;
pub const ABSENT: u32 = u32::MAX;

/// A footer, all of whose fields can be wrong.
#[derive(Debug, Clone)]
pub struct VhdFooter {
    pub signature: [u8; 8],
    pub version: u32,
    pub header_at: u64,
    pub creator: [u8; 4],
    pub size: u64,
    /// Cylinders, heads, sectors.
    pub geometry: (u16, u8, u8),
    pub kind: u32,
    pub id: [u8; 16],
    /// Added to the right checksum.
    pub checksum_error: u32,
}

impl VhdFooter {
    pub fn bytes(&self) -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[..8].copy_from_slice(&self.signature);
        bytes[8..12].copy_from_slice(&2_u32.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.version.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.header_at.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.creator);
        bytes[32..36].copy_from_slice(&0x000A_0000_u32.to_be_bytes());
        bytes[36..40].copy_from_slice(b"Wi2k");
        bytes[40..48].copy_from_slice(&self.size.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.size.to_be_bytes());
        bytes[56..58].copy_from_slice(&self.geometry.0.to_be_bytes());
        (bytes[58], bytes[59]) = (self.geometry.1, self.geometry.2);
        bytes[60..64].copy_from_slice(&self.kind.to_be_bytes());
        bytes[68..84].copy_from_slice(&self.id);
        let sum = sum(&bytes).wrapping_add(self.checksum_error);
        bytes[64..68].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// The complement of the sum of all bytes; the checksum field is still zero.
pub fn sum(bytes: &[u8]) -> u32 {
    !bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>()
}

/// One parent locator.
#[derive(Debug, Clone)]
pub struct VhdLocator {
    pub platform: [u8; 4],
    pub len: u32,
    pub at: u64,
    pub text: Vec<u8>,
}

/// A dynamic or differencing file, or with `header` gone a fixed one.
#[derive(Debug, Clone)]
pub struct VhdImage {
    pub footer: VhdFooter,
    /// The copy at the start, where it is not the footer.
    pub copy: Option<[u8; 512]>,
    /// Whether the file has a footer at its end.
    pub has_footer: bool,
    /// Of how many bytes it is: 512, or 511.
    pub footer_bytes: usize,
    pub block_bytes: u32,
    pub header_signature: [u8; 8],
    pub header_version: u32,
    pub header_error: u32,
    pub max_entries: u32,
    pub table_at: u64,
    /// As many entries as are in the file; more than the disk has blocks, or fewer.
    pub table: Vec<u32>,
    pub parent_id: [u8; 16],
    pub parent_name: String,
    pub locators: Vec<VhdLocator>,
    /// Bitmaps and payload, by place in the file.
    pub pieces: Vec<(u64, Vec<u8>)>,
    /// Where the footer goes; behind everything if not said.
    pub footer_at: Option<u64>,
}

impl VhdImage {
    /// A disk of `size` without a block, as Windows 10 makes it.
    pub fn dynamic(size: u64, block_bytes: u64) -> Self {
        let count = size.div_ceil(block_bytes);
        Self {
            footer: VhdFooter {
                signature: *b"conectix",
                version: 0x0001_0000,
                header_at: 512,
                creator: *b"win ",
                size,
                geometry: (1, 4, 17),
                kind: 3,
                id: [0xD1; 16],
                checksum_error: 0,
            },
            copy: None,
            has_footer: true,
            footer_bytes: 512,
            block_bytes: block_bytes as u32,
            header_signature: *b"cxsparse",
            header_version: 0x0001_0000,
            header_error: 0,
            max_entries: count as u32,
            table_at: 1536,
            table: vec![ABSENT; count as usize],
            parent_id: [0; 16],
            parent_name: String::new(),
            locators: Vec::new(),
            pieces: Vec::new(),
            footer_at: None,
        }
    }

    /// A child of the file with the unique id `parent`, which is called `name` and lies beside it.
    pub fn differencing(size: u64, block_bytes: u64, parent: [u8; 16], name: &str) -> Self {
        let mut image = Self::dynamic(size, block_bytes);
        image.footer.kind = 4;
        image.footer.id = [0xC1; 16];
        image.parent_id = parent;
        image.parent_name = format!("C:\\vm\\{name}");
        image.table_at = 8192;
        image.locator(*b"W2ku", 4096, &utf16(&format!("C:\\vm\\{name}")));
        image.locator(*b"W2ru", 4608, &utf16(&format!(".\\{name}")));
        image
    }

    pub fn locator(&mut self, platform: [u8; 4], at: u64, text: &[u8]) {
        let (len, text) = (text.len() as u32, text.to_vec());
        self.locators.push(VhdLocator {
            platform,
            len,
            at,
            text,
        });
    }

    pub fn bitmap_bytes(&self) -> u64 {
        (u64::from(self.block_bytes) / SECTOR)
            .div_ceil(8)
            .next_multiple_of(SECTOR)
    }

    /// Where the data of a block whose bitmap begins at `sector` begin.
    pub fn data_at(&self, sector: u64) -> u64 {
        sector * SECTOR + self.bitmap_bytes()
    }

    /// What a block takes, in sectors.
    pub fn span(&self) -> u64 {
        (self.bitmap_bytes() + u64::from(self.block_bytes)) / SECTOR
    }

    /// Puts a block at a sector of the file: its bits, the first sector's in the uppermost bit, and its first bytes.
    pub fn block(&mut self, index: usize, sector: u64, bits: &[u8], payload: &[u8]) {
        self.table[index] = sector as u32;
        self.pieces.push((sector * SECTOR, bits.to_vec()));
        self.pieces.push((self.data_at(sector), payload.to_vec()));
    }

    /// The same with all bits set, as in all real dynamic disks.
    pub fn full(&mut self, index: usize, sector: u64, payload: &[u8]) {
        let bits = vec![0xFF; self.bitmap_bytes() as usize];
        self.block(index, sector, &bits, payload);
    }

    fn header(&self) -> [u8; 1024] {
        let mut bytes = [0; 1024];
        bytes[..8].copy_from_slice(&self.header_signature);
        bytes[8..16].fill(0xFF);
        bytes[16..24].copy_from_slice(&self.table_at.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.header_version.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.max_entries.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.block_bytes.to_be_bytes());
        bytes[40..56].copy_from_slice(&self.parent_id);
        for (place, unit) in self.parent_name.encode_utf16().enumerate() {
            bytes[64 + 2 * place..66 + 2 * place].copy_from_slice(&unit.to_be_bytes());
        }
        for (place, locator) in self.locators.iter().enumerate() {
            let entry = &mut bytes[576 + 24 * place..600 + 24 * place];
            entry[..4].copy_from_slice(&locator.platform);
            entry[4..8].copy_from_slice(&4096_u32.to_be_bytes());
            entry[8..12].copy_from_slice(&locator.len.to_be_bytes());
            entry[16..24].copy_from_slice(&locator.at.to_be_bytes());
        }
        let sum = sum(&bytes).wrapping_add(self.header_error);
        bytes[36..40].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    pub fn build(&self) -> SparseFile {
        let mut file = SparseFile::default();
        let blocks = self.table.iter().filter(|entry| **entry != ABSENT);
        let blocks_end = blocks
            .map(|entry| (u64::from(*entry) + self.span()) * SECTOR)
            .max();
        let table_end = self.table_at + 4 * self.table.len() as u64;
        let footer_at = self.footer_at.unwrap_or_else(|| {
            blocks_end
                .unwrap_or(0)
                .max(table_end)
                .next_multiple_of(SECTOR)
        });
        file.set_len(footer_at);
        file.write(0, &self.copy.unwrap_or_else(|| self.footer.bytes()));
        file.write(self.footer.header_at, &self.header());
        let table: Vec<u8> = self
            .table
            .iter()
            .flat_map(|entry| entry.to_be_bytes())
            .collect();
        file.write(self.table_at, &table);
        for locator in &self.locators {
            file.write(locator.at, &locator.text);
        }
        for (at, bytes) in &self.pieces {
            file.write(*at, bytes);
        }
        file.set_len(footer_at);
        if self.has_footer {
            file.write(footer_at, &self.footer.bytes()[..self.footer_bytes]);
        }
        file
    }
}

/// A fixed disk of these bytes.
pub fn fixed(payload: &[u8], change: impl FnOnce(&mut VhdFooter)) -> SparseFile {
    let mut footer = VhdImage::dynamic(payload.len() as u64, 512).footer;
    footer.kind = 2;
    footer.header_at = u64::MAX;
    change(&mut footer);
    let mut file = SparseFile::default();
    file.write(0, payload);
    file.write(payload.len() as u64, &footer.bytes());
    file
}

/// Text as locators have it.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
