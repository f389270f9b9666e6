use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    IndexEntry, MemoryStorage, PackName, Record, RepositoryId, Result, RunId, Storage, Upload,
    codec::{Encoder, chunk_id, node_id},
    name,
};

const RUN: RunId = RunId([3; 16]);
const REPOSITORY: RepositoryId = RepositoryId([5; 16]);

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Some chunks that compress, some that do not, and a node.
fn records() -> Vec<Record> {
    let mut encoder = Encoder::new(1);
    let mut records: Vec<_> = [vec![7; 500], noise(50, 1), noise(90, 2), vec![9; 300]]
        .iter()
        .map(|plain| encoder.encode_chunk(chunk_id(plain), plain))
        .collect();
    let node = noise(44, 3);
    records.push(encoder.encode_node(node_id(&node), &node));
    records
}

fn write(storage: &dyn Storage, records: &[Record]) -> FinishedPack {
    let mut builder = PackBuilder::new(storage, RUN, REPOSITORY).unwrap();
    for record in records {
        let at = builder.len();
        assert_eq!(u64::from(builder.append(record).unwrap()), at);
    }
    builder.finish().unwrap()
}

fn sample() -> (MemoryStorage, FinishedPack, Vec<u8>) {
    let storage = MemoryStorage::new();
    let pack = write(&storage, &records());
    let bytes = storage.bytes(&name::pack(pack.name)).unwrap().to_vec();
    (storage, pack, bytes)
}

/// What a footer says of other bytes under the same name.
fn footer_of(pack: PackName, bytes: &[u8]) -> Result<Vec<IndexEntry>> {
    let storage = MemoryStorage::new();
    storage.overwrite(&name::pack(pack), bytes);
    read_footer(&storage, pack, bytes.len() as u64)
}

fn scan_of(pack: PackName, bytes: &[u8]) -> Result<Scan> {
    let storage = MemoryStorage::new();
    storage.overwrite(&name::pack(pack), bytes);
    scan(&storage, pack, bytes.len() as u64)
}

fn damage<T: std::fmt::Debug>(result: Result<T>) -> Damage {
    match result {
        Err(Error::Damaged { reason, .. }) => reason,
        other => panic!("{other:?} is not damage"),
    }
}

/// Makes the checksums of entries and trailer right again.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let trailer = bytes.len() - 32;
    let first = u64::from_le_bytes(bytes[trailer + 8..trailer + 16].try_into().unwrap());
    let first = usize::try_from(first).unwrap();
    if let Some(entries) = bytes.get(first..trailer) {
        let checksum = crc32c::crc32c(entries).to_le_bytes();
        bytes[trailer + 4..trailer + 8].copy_from_slice(&checksum);
    }
    let checksum = crc32c::crc32c(&bytes[trailer..trailer + 20]).to_le_bytes();
    bytes[trailer + 20..trailer + 24].copy_from_slice(&checksum);
    bytes
}

#[test]
fn a_pack_is_named_by_the_blake3_of_its_file() {
    let (_, pack, bytes) = sample();
    assert_eq!(pack.name.0, *blake3::hash(&bytes).as_bytes());
    assert_eq!(pack.len, bytes.len() as u64);
}

#[test]
fn records_stand_where_footer_and_scan_say_and_as_they_were() {
    let (storage, pack, bytes) = sample();
    assert_eq!(
        read_footer(&storage, pack.name, pack.len).unwrap(),
        pack.entries
    );
    let scanned = scan(&storage, pack.name, pack.len).unwrap();
    assert_eq!(scanned.entries, pack.entries);
    assert_eq!(scanned.damaged, []);
    for (entry, record) in pack.entries.iter().zip(records()) {
        let at = entry.offset as usize;
        assert_eq!(bytes[at..at + record.bytes().len()], *record.bytes());
        assert_eq!(entry.stored_len as usize, record.bytes().len() - 96);
        assert_eq!(scanned.end, pack.len - 32 - 5 * 48);
    }
    assert_eq!(pack.entries.len(), 5);
}

#[test]
fn header_and_trailer_stand_where_the_format_says() {
    let (storage, pack, bytes) = sample();
    assert_eq!(bytes[..16], *b"HCBTPACK\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..48], [[3; 16], [5; 16]].concat());
    let trailer = &bytes[bytes.len() - 32..];
    assert_eq!(trailer[..4], 5_u32.to_le_bytes());
    assert_eq!(trailer[8..16], (pack.len - 32 - 5 * 48).to_le_bytes());
    assert_eq!(trailer[24..], *b"HCBTFOOT");
    let last = &bytes[bytes.len() - 32 - 48..bytes.len() - 32];
    assert_eq!(last[32..36], [2, 0, 0, 0]); // a node, stored plain
    assert_eq!(last[36..40], pack.entries[4].offset.to_le_bytes());
    assert_eq!(
        last[40..],
        [44_u32.to_le_bytes(), 44_u32.to_le_bytes()].concat()
    );
    let who = read_header(&storage, pack.name).unwrap();
    assert_eq!((who.run, who.repository), (RUN, REPOSITORY));
}

#[test]
fn every_flipped_bit_outside_the_records_is_found_by_the_footer() {
    let (_, pack, bytes) = sample();
    let footer_at = bytes.len() - 32 - 5 * 48;
    for at in (0..64).chain(footer_at..bytes.len()) {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(
                footer_of(pack.name, &flipped).is_err(),
                "bit {bit} of byte {at}"
            );
        }
    }
}

#[test]
fn a_scan_tells_which_record_a_flipped_bit_hit_and_where_it_had_to_stop() {
    let (_, pack, bytes) = sample();
    for (hit, entry) in pack.entries.iter().enumerate() {
        let mut in_header = bytes.clone();
        in_header[entry.offset as usize + 20] ^= 1;
        let found = scan_of(pack.name, &in_header).unwrap();
        assert_eq!(found.entries, pack.entries[..hit]);
        assert_eq!(found.end, u64::from(entry.offset));

        let mut in_stored = bytes.clone();
        in_stored[entry.offset as usize + 96] ^= 1;
        let found = scan_of(pack.name, &in_stored).unwrap();
        assert_eq!(found.damaged, [*entry]);
        assert_eq!(found.entries.len(), 4);
        assert_eq!(found.end, pack.len - 32 - 5 * 48);
    }
}

#[test]
fn a_scan_needs_neither_header_nor_footer() {
    let (_, pack, mut bytes) = sample();
    bytes[..64].fill(0xff);
    let footer_at = bytes.len() - 32 - 5 * 48;
    bytes[footer_at..].fill(0);
    assert_eq!(scan_of(pack.name, &bytes).unwrap().entries, pack.entries);
}

#[test]
fn a_pack_cut_anywhere_has_no_footer_but_its_whole_records() {
    let (_, pack, bytes) = sample();
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        assert!(footer_of(pack.name, cut).is_err(), "{len}");
        let whole = |entry: &&IndexEntry| (entry.offset + 96 + entry.stored_len) as usize <= len;
        let expected: Vec<_> = pack.entries.iter().take_while(whole).copied().collect();
        match scan_of(pack.name, cut) {
            Ok(found) => assert_eq!(found.entries, expected, "{len}"),
            Err(error) => panic!("{len}: {error}"),
        }
    }
}

#[test]
fn a_pack_shorter_than_was_said_is_damaged() {
    let (storage, pack, _) = sample();
    let footer = read_footer(&storage, pack.name, pack.len + 1);
    assert_eq!(damage(footer), Damage::Length);
}

#[test]
fn footers_that_no_writer_makes_are_refused_even_with_right_checksums() {
    let (_, pack, bytes) = sample();
    let trailer = bytes.len() - 32;
    let entry = trailer - 48;
    let cases: [(usize, &[u8], Damage); 12] = [
        (trailer, &[4], Damage::Length),                 // one entry fewer
        (trailer, &[6], Damage::Length),                 // one more
        (trailer, &[0xff; 4], Damage::Length),           // many more
        (trailer + 8, &[0xff; 8], Damage::Length),       // that would overflow
        (trailer + 16, &[1], Damage::Field),             // reserved
        (entry + 32, &[3], Damage::Field),               // no such kind
        (entry + 33, &[2], Damage::Field),               // no such codec
        (entry + 34, &[1], Damage::Field),               // reserved
        (entry + 36, &[0, 0, 0, 0], Damage::Field),      // not where the one before ends
        (entry + 40, &[43], Damage::Field),              // lengths that do not fit the codec
        (entry + 40, &[43, 0, 0, 0, 43], Damage::Field), // ends before the footer
        (entry + 40, &[45, 0, 0, 0, 45], Damage::Field), // ends in it
    ];
    for (at, value, reason) in cases {
        let mut forged = bytes.clone();
        forged[at..at + value.len()].copy_from_slice(value);
        let result = footer_of(pack.name, &resealed(forged));
        assert_eq!(damage(result), reason, "{value:?} at {at}");
    }
}

#[test]
fn a_newer_pack_is_refused_with_its_number() {
    let (_, pack, mut bytes) = sample();
    bytes[8] = 1;
    let checksum = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&checksum);
    for result in [
        footer_of(pack.name, &bytes).map(|_| ()),
        scan_of(pack.name, &bytes).map(|_| ()),
    ] {
        assert!(matches!(result, Err(Error::NewerFormat { found: 1, .. })));
    }
}

#[test]
fn an_encrypted_record_is_no_end_of_the_pack() {
    let (_, pack, mut bytes) = sample();
    bytes[64 + 48] = 1; // the key id of the first record
    let checksum = crc32c::crc32c(&bytes[64..64 + 92]).to_le_bytes();
    bytes[64 + 92..64 + 96].copy_from_slice(&checksum);
    assert_eq!(damage(scan_of(pack.name, &bytes)), Damage::Encrypted);
}

#[test]
fn a_pack_without_records_is_whole_too() {
    let storage = MemoryStorage::new();
    let pack = write(&storage, &[]);
    assert_eq!(read_footer(&storage, pack.name, pack.len).unwrap(), []);
    assert_eq!(scan(&storage, pack.name, pack.len).unwrap().end, 64);
}

/// Counts reads, keeps nothing that is uploaded.
struct Counting {
    inner: MemoryStorage,
    reads: AtomicUsize,
}

struct Nowhere;

impl Upload for Nowhere {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn finish(self: Box<Self>, _: &str) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for Counting {
    fn begin(&self, _: &str) -> io::Result<Box<dyn Upload>> {
        Ok(Box::new(Nowhere))
    }
    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_exact_at(name, buf, offset)
    }
    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.inner.create_exclusive(name, bytes)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.inner.len(name)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.inner.list(folder)
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        self.inner.remove_unfinished(owner)
    }
}

fn counting(inner: MemoryStorage) -> Counting {
    Counting {
        inner,
        reads: AtomicUsize::new(0),
    }
}

#[test]
fn a_footer_takes_two_reads_and_a_long_one_three() {
    let storage = MemoryStorage::new();
    let mut encoder = Encoder::new(1);
    let mut many = Vec::new();
    for number in 0..1_400_u32 {
        let plain = number.to_le_bytes();
        many.push(encoder.encode_chunk(chunk_id(&plain), &plain));
    }
    for (records, reads) in [(&many[..1_300], 2), (&many[..1_365], 3), (&many[..], 3)] {
        let pack = write(&storage, records);
        let counting = counting(storage.clone());
        assert_eq!(
            read_footer(&counting, pack.name, pack.len).unwrap(),
            pack.entries
        );
        assert_eq!(counting.reads.into_inner(), reads);
    }
}

#[test]
fn a_pack_never_passes_its_limit_and_can_be_finished_there() {
    let plain = noise(4 << 20, 1);
    let large = Encoder::new(1).encode_chunk(chunk_id(&plain), &plain);
    let small = &records()[1];
    let mut builder = PackBuilder::new(&counting(MemoryStorage::new()), RUN, REPOSITORY).unwrap();
    for _ in 0..127 {
        builder.append(&large).unwrap();
    }
    assert!(matches!(builder.append(&large), Err(Error::PackFull)));
    while builder.append(small).is_ok() {}
    let pack = builder.finish().unwrap();
    let another = u64::from(small.header().record_len()) + 48;
    assert!(pack.len <= MAX_PACK_BYTES && pack.len + another > MAX_PACK_BYTES);
}
