//! What one core does: the zero test, ids, records made and read. `cargo bench -p hypercbt-repo --bench codec`.
//!
//! Quoted where they decide something (`src/codec.rs`). Each result is checked: a wrong answer is not fast.

#![expect(clippy::unwrap_used, reason = "a bench that fails should stop")]
#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::{hint::black_box, time::Instant};

use hypercbt_repo::{
    RecordKind,
    codec::{Decoder, Encoder, chunk_id, is_zero},
};

const CHUNK_BYTES: usize = 256 << 10;
const ROUNDS: usize = 9;
const CALLS_A_ROUND: usize = 200;

fn main() {
    let zeros = vec![0; CHUNK_BYTES];
    let noise = noise(CHUNK_BYTES);
    let words = words(CHUNK_BYTES);

    rate("zero test of zeros", || assert!(is_zero(black_box(&zeros))));
    rate("chunk id", || {
        black_box(chunk_id(black_box(&noise)));
    });
    for (name, plain) in [("noise", &noise), ("words", &words)] {
        let id = chunk_id(plain);
        for level in [1, 3] {
            let mut encoder = Encoder::new(level);
            rate(&format!("encode {name}, level {level}"), || {
                black_box(encoder.encode_chunk(id, black_box(plain)));
            });
        }
        let record = Encoder::new(1).encode_chunk(id, plain);
        let stored = record.bytes().len();
        let mut decoder = Decoder::new();
        let mut out = Vec::new();
        rate(&format!("decode {name}, {stored} bytes stored"), || {
            let limit = u32::try_from(CHUNK_BYTES).unwrap();
            decoder
                .decode(
                    black_box(record.bytes()),
                    RecordKind::Chunk,
                    &id.0,
                    limit,
                    &mut out,
                )
                .unwrap();
        });
        assert_eq!(&out, plain);
    }
}

/// The best of some rounds, in MB of plain bytes a second.
fn rate(name: &str, mut call: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS_A_ROUND).for_each(|_| call());
            start.elapsed()
        })
        .min()
        .unwrap();
    let calls = u32::try_from(CALLS_A_ROUND).unwrap();
    let bytes = f64::from(u32::try_from(CHUNK_BYTES).unwrap());
    let megabytes = bytes * f64::from(calls) / best.as_secs_f64() / 1e6;
    println!(
        "{name:<40} {megabytes:>8.0} MB/s {:>8.1?} a chunk",
        best / calls
    );
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Words in an order without a pattern: compresses about 3:1, as slowly as text does.
fn words(len: usize) -> Vec<u8> {
    let letters = noise(len * 2);
    let (dictionary, order) = letters.split_at(16 << 10);
    let dictionary: Vec<_> = dictionary.chunks(8).collect();
    let mut bytes = Vec::with_capacity(len + 8);
    for pick in order.as_chunks::<2>().0 {
        if bytes.len() >= len {
            break;
        }
        let word = dictionary.get(usize::from(u16::from_le_bytes(*pick)) % dictionary.len());
        let letters = word.unwrap().iter().take(3 + usize::from(pick[0] % 6));
        bytes.extend(letters.map(|letter| b'a' + letter % 26));
    }
    bytes.truncate(len);
    bytes
}
