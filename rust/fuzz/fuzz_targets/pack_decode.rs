//! A pack of any bytes: its footer, a scan, and each record that the scan found. Then once more with the
//! checksums made right, so that what lies behind them is reached.
#![no_main]

use hypercbt_repo::{MemoryStorage, PackName, RecordKind, codec::Decoder, pack};
use libfuzzer_sys::fuzz_target;

const PACK: PackName = PackName([0; 32]);
const CHUNK_BYTES: u32 = 256 << 10;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&with_checksums(bytes));
});

fn read(bytes: &[u8]) {
    let storage = MemoryStorage::new();
    storage.overwrite(&format!("pack/00/{PACK}"), bytes);
    let len = bytes.len() as u64;
    let _ = pack::read_footer(&storage, PACK, len);
    let Ok(found) = pack::scan(&storage, PACK, len) else {
        return;
    };
    assert!(found.end <= len.max(64));
    let mut decoder = Decoder::new();
    let mut plain = Vec::new();
    for entry in found.entries.iter().chain(&found.damaged) {
        let record = &bytes[entry.offset as usize..][..96 + entry.stored_len as usize];
        for kind in [RecordKind::Chunk, RecordKind::Node] {
            let _ = decoder.decode(record, kind, &entry.id, CHUNK_BYTES, &mut plain);
            assert!(plain.capacity() <= CHUNK_BYTES as usize);
        }
    }
}

/// Walks the records as they say they stand, and puts right what would end the walk.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes, 0, 60);
    let mut at = 64;
    while let Some(record) = bytes.get_mut(at..).filter(|rest| rest.len() > 96) {
        record[..4].copy_from_slice(b"HREC");
        record[48..88].fill(0);
        let claimed = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
        let stored_len = (claimed as usize % 4096).clamp(1, record.len() - 96);
        record[12..16].copy_from_slice(&(stored_len as u32).to_le_bytes());
        let checksum = crc32c::crc32c(&record[96..96 + stored_len]).to_le_bytes();
        record[88..92].copy_from_slice(&checksum);
        seal(&mut bytes, at, 92);
        at += 96 + stored_len;
    }
    bytes
}

/// Puts the checksum of `len` bytes after them.
fn seal(bytes: &mut [u8], at: usize, len: usize) {
    if let Some(part) = bytes.get_mut(at..at + len + 4) {
        let (checked, checksum) = part.split_at_mut(len);
        checksum.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
    }
}
