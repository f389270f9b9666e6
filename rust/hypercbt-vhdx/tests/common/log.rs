//! Log entries by their parts.

use super::image::seal;

/// What one descriptor does.
#[derive(Debug, Clone)]
pub enum Change {
    /// A sector, 4096 bytes.
    Data {
        at: u64,
        bytes: Vec<u8>,
    },
    Zero {
        at: u64,
        len: u64,
    },
}

#[derive(Debug, Clone)]
pub struct LogEntry {
    pub guid: [u8; 16],
    pub number: u64,
    /// In sectors.
    pub tail: u64,
    pub changes: Vec<Change>,
    pub flushed: u64,
    pub last: u64,
    /// What the descriptors and data sectors say instead of `number`.
    pub descriptor_number: Option<u64>,
    pub data_number: Option<u64>,
    /// Sectors behind the last one that belong to the entry all the same.
    pub slack: u64,
    pub damaged: bool,
}

impl LogEntry {
    pub fn new(guid: [u8; 16], number: u64, tail: u64, changes: Vec<Change>) -> Self {
        Self {
            guid,
            number,
            tail,
            changes,
            flushed: 0,
            last: 0,
            descriptor_number: None,
            data_number: None,
            slack: 0,
            damaged: false,
        }
    }

    /// How many sectors it takes.
    pub fn sectors(&self) -> u64 {
        self.bytes().len() as u64 / 4096
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head = b"loge".to_vec();
        head.extend([0; 8]);
        head.extend(((self.tail * 4096) as u32).to_le_bytes());
        head.extend(self.number.to_le_bytes());
        head.extend((self.changes.len() as u32).to_le_bytes());
        head.extend([0; 4]);
        head.extend(self.guid);
        head.extend(self.flushed.to_le_bytes());
        head.extend(self.last.to_le_bytes());
        let mut data = Vec::new();
        for change in &self.changes {
            let number = self.descriptor_number.unwrap_or(self.number).to_le_bytes();
            match change {
                Change::Data { at, bytes } => {
                    head.extend(b"desc");
                    head.extend(&bytes[4092..]);
                    head.extend(&bytes[..8]);
                    head.extend(at.to_le_bytes());
                    let number = self.data_number.unwrap_or(self.number);
                    data.extend(b"data");
                    data.extend(((number >> 32) as u32).to_le_bytes());
                    data.extend(&bytes[8..4092]);
                    data.extend((number as u32).to_le_bytes());
                }
                Change::Zero { at, len } => {
                    head.extend(b"zero");
                    head.extend([0; 4]);
                    head.extend(len.to_le_bytes());
                    head.extend(at.to_le_bytes());
                }
            }
            head.extend(number);
        }
        head.resize(head.len().next_multiple_of(4096), 0);
        head.extend(data);
        head.resize(head.len() + self.slack as usize * 4096, 0);
        let len = (head.len() as u32).to_le_bytes();
        head[8..12].copy_from_slice(&len);
        seal(&mut head, self.damaged);
        head
    }
}
