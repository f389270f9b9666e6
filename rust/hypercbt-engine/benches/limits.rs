//! What this machine can do at most: every stage that a backup or a restore cannot avoid, alone and on one core.
//!
//! The *limit* of a row of the design's table is bytes × cores ÷ the CPU seconds of its stages. Run it beside
//! the benches that it is compared with: `make limits`.

#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::semicolon_if_nothing_returned,
    clippy::unwrap_used,
    reason = "a program for the terminal, run by hand"
)]

use std::{
    fs::File,
    hint::black_box,
    io::{Read, Seek, SeekFrom, Write},
    time::Instant,
};

use hypercbt_repo::{ChunkId, Record, RecordKind, codec};

const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 1024;
const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` passes this: then it only has to run.
    let rounds = if std::env::args().any(|argument| argument == "--test") {
        1
    } else {
        ROUNDS
    };
    let data = data();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    let plains: Vec<&[u8]> = data.chunks(CHUNK).collect();
    let ids: Vec<ChunkId> = plains.iter().map(|plain| codec::chunk_id(plain)).collect();
    let records = encode(&plains, &ids);
    let stored: Vec<u8> = records
        .iter()
        .flat_map(|record| record.bytes().to_vec())
        .collect();
    println!(
        "{} MiB, {:.2}:1 by zstd level 1; MB/s of disk bytes on one core",
        data.len() >> 20,
        ratio(&data, &stored)
    );

    let per_byte = |name: &str, mut stage: Box<dyn FnMut() + '_>| -> f64 {
        let best = (0..rounds)
            .map(|_| seconds(&mut *stage))
            .fold(f64::INFINITY, f64::min);
        let rate = megabytes(&data) / best;
        println!("  {name:<22}{rate:>9.0}");
        1.0 / rate
    };
    let mut buffer = vec![0; 4 << 20];
    let mut target = tempfile::tempfile().unwrap();
    let read = per_byte(
        "read (page cache)",
        Box::new(|| read_all(&mut file, &mut buffer)),
    );
    let zero = per_byte(
        "zero test",
        Box::new(|| assert!(plains.iter().all(|plain| !codec::is_zero(black_box(plain))))),
    );
    let hash = per_byte(
        "chunk id",
        Box::new(|| {
            assert!(
                plains
                    .iter()
                    .zip(&ids)
                    .all(|(plain, id)| codec::chunk_id(plain) == *id)
            )
        }),
    );
    let zstd = per_byte(
        "zstd level 1",
        Box::new(|| assert_eq!(black_box(encode(&plains, &ids)).len(), CHUNKS)),
    );
    let unzstd = per_byte("unzstd and chunk id", Box::new(|| decode(&records, &ids)));
    let pack_hash = per_byte(
        "pack hash",
        Box::new(|| assert_ne!(black_box(blake3::hash(&stored)).as_bytes(), &[0; 32])),
    );
    let write = per_byte(
        "write (stored)",
        Box::new(|| write_all(&mut target, &stored)),
    );
    let write_disk = per_byte("write (disk)", Box::new(|| write_all(&mut target, &data)));
    let read_stored = read * stored.len() as f64 / data.len() as f64;

    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    println!("limits on {cores} cores, MB/s:");
    let limit = |name: &str, stages: &[f64]| {
        println!("  {name:<22}{:>9.0}", cores / stages.iter().sum::<f64>())
    };
    limit("full", &[read, zero, hash, zstd, pack_hash, write]);
    limit("known", &[read, zero, hash]);
    limit("restore to raw", &[read_stored, unzstd, write_disk]);
    limit("verify", &[read_stored, unzstd, pack_hash]);
}

/// Unique chunks, one half random and one half text.
fn data() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = [
        b"chunk   ",
        b"extent  ",
        b"guest   ",
        b"restore ",
        b"pack    ",
        b"index   ",
        b"node    ",
        b"leaf    ",
    ];
    let mut data = Vec::with_capacity(CHUNKS * CHUNK);
    for _ in 0..CHUNKS {
        data.extend((0..CHUNK / 16).flat_map(|_| next().to_le_bytes()));
        data.extend((0..CHUNK / 16).flat_map(|_| words[(next() % 8) as usize]));
    }
    data
}

fn encode(plains: &[&[u8]], ids: &[ChunkId]) -> Vec<Record> {
    let mut encoder = codec::Encoder::new(1);
    plains
        .iter()
        .zip(ids)
        .map(|(plain, id)| encoder.encode_chunk(*id, plain))
        .collect()
}

fn decode(records: &[Record], ids: &[ChunkId]) {
    let mut decoder = codec::Decoder::new();
    let mut plain = Vec::new();
    for (record, id) in records.iter().zip(ids) {
        decoder
            .decode(
                record.bytes(),
                RecordKind::Chunk,
                &id.0,
                CHUNK as u32,
                &mut plain,
            )
            .unwrap();
        black_box(&plain);
    }
}

fn read_all(file: &mut File, buffer: &mut [u8]) {
    file.seek(SeekFrom::Start(0)).unwrap();
    while file.read(buffer).unwrap() > 0 {
        black_box(&*buffer);
    }
}

fn write_all(file: &mut File, bytes: &[u8]) {
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(bytes).unwrap();
}

fn seconds(stage: &mut dyn FnMut()) -> f64 {
    let started = Instant::now();
    stage();
    started.elapsed().as_secs_f64()
}

fn megabytes(bytes: &[u8]) -> f64 {
    bytes.len() as f64 / 1e6
}

fn ratio(data: &[u8], stored: &[u8]) -> f64 {
    data.len() as f64 / stored.len() as f64
}
