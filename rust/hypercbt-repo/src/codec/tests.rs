use proptest::prelude::*;

use super::*;

const NO_LIMIT: u32 = u32::MAX;

/// Bytes that no compressor makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn text(len: usize) -> Vec<u8> {
    let line = b"a disk is full of words that come again and again, now and then with a number: ";
    line.iter().copied().cycle().take(len).collect()
}

fn chunk(plain: &[u8]) -> Record {
    Encoder::new(1).encode_chunk(chunk_id(plain), plain)
}

fn decode(record: &[u8], id: ChunkId) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Decoder::new().decode(record, RecordKind::Chunk, &id.0, NO_LIMIT, &mut out)?;
    Ok(out)
}

fn damage(result: Result<Vec<u8>>) -> Damage {
    match result {
        Err(Error::Damaged { reason, .. }) => reason,
        other => panic!("{other:?} is not damage"),
    }
}

fn sealed(kind: RecordKind, codec: Codec, plain_len: u32, stored: &[u8], id: [u8; 32]) -> Vec<u8> {
    let mut bytes = Record::buffer(stored.len());
    bytes.extend_from_slice(stored);
    Record::seal(kind, id, codec, plain_len, bytes)
        .bytes()
        .to_vec()
}

/// A record whose checksums are right, whatever else is not.
fn forged(codec: Codec, plain_len: u32, stored: &[u8], id: ChunkId) -> Vec<u8> {
    sealed(RecordKind::Chunk, codec, plain_len, stored, id.0)
}

fn frame(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).unwrap()
}

#[test]
fn a_chunk_has_the_blake3_of_its_bytes() {
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(chunk_id(b"").to_string(), empty);
}

#[test]
fn a_node_of_the_same_bytes_has_another_id() {
    let mut hasher = blake3::Hasher::new_derive_key("hypercbt 2026 disk tree node v0");
    hasher.update(b"the same");
    assert_eq!(node_id(b"the same").0, *hasher.finalize().as_bytes());
    assert_ne!(node_id(b"the same").0, chunk_id(b"the same").0);
}

#[test]
fn one_set_bit_anywhere_is_not_zero() {
    for len in [0, 1, 7, 511, 512, 513, 1024, 1500] {
        let mut bytes = vec![0; len];
        assert!(is_zero(&bytes), "{len} zeros");
        for at in 0..len {
            bytes[at] = 1 << (at % 8);
            assert!(!is_zero(&bytes), "byte {at} of {len}");
            bytes[at] = 0;
        }
    }
}

#[test]
fn what_compresses_is_stored_as_one_frame_with_its_length() {
    let plain = text(10_000);
    let record = chunk(&plain);
    assert_eq!(record.header().codec, Codec::Zstd);
    assert!(record.bytes().len() < 1_000);
    let stored = &record.bytes()[96..];
    // Readers in other languages allocate what the frame says.
    let stated = zstd_safe::get_frame_content_size(stored).unwrap();
    assert_eq!(stated, Some(10_000));
}

#[test]
fn what_does_not_compress_is_stored_plain_and_not_a_byte_longer() {
    let plain = noise(10_000);
    let record = chunk(&plain);
    assert_eq!(record.header().codec, Codec::Plain);
    assert_eq!(record.bytes()[96..], plain);
}

#[test]
fn saving_less_than_three_percent_is_not_worth_a_frame() {
    let mut plain = noise(10_000);
    plain[9_800..].fill(0);
    assert_eq!(chunk(&plain).header().codec, Codec::Plain);
    plain[9_500..].fill(0);
    assert_eq!(chunk(&plain).header().codec, Codec::Zstd);
}

#[test]
fn an_encoder_goes_on_after_a_chunk_that_did_not_fit() {
    let mut encoder = Encoder::new(1);
    for plain in [noise(5_000), text(5_000), noise(64), text(50), vec![1]] {
        let record = encoder.encode_chunk(chunk_id(&plain), &plain);
        assert_eq!(decode(record.bytes(), chunk_id(&plain)).unwrap(), plain);
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_found() {
    for plain in [text(300), noise(100)] {
        let record = chunk(&plain);
        for bit in 0..record.bytes().len() * 8 {
            let mut bytes = record.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, chunk_id(&plain)).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_record_that_is_cut_or_continued_is_refused() {
    let plain = noise(100);
    let record = chunk(&plain).bytes().to_vec();
    for len in 0..record.len() {
        assert_eq!(
            damage(decode(&record[..len], chunk_id(&plain))),
            Damage::Length
        );
    }
    let longer = [&record[..], &[0]].concat();
    assert_eq!(damage(decode(&longer, chunk_id(&plain))), Damage::Length);
}

#[test]
fn a_whole_record_of_something_else_is_refused() {
    let plain = noise(100);
    let record = chunk(&plain);
    let other = ChunkId([1; 32]);
    assert_eq!(damage(decode(record.bytes(), other)), Damage::Id);

    let mut out = Vec::new();
    let id = record.header().id;
    let as_node = Decoder::new().decode(record.bytes(), RecordKind::Node, &id, NO_LIMIT, &mut out);
    assert_eq!(damage(as_node.map(|()| out)), Damage::Id);
}

#[test]
fn a_chunk_that_calls_itself_a_node_is_refused() {
    let id = chunk_id(b"a chunk");
    let record = sealed(RecordKind::Node, Codec::Plain, 7, b"a chunk", id.0);
    assert_eq!(damage(decode(&record, id)), Damage::Id);
}

#[test]
fn content_that_has_not_its_id_is_refused_though_all_checksums_are_right() {
    let id = chunk_id(b"what it says it is");
    let plain = forged(Codec::Plain, 9, b"it is not", id);
    assert_eq!(damage(decode(&plain, id)), Damage::Id);
    let compressed = forged(Codec::Zstd, 500, &frame(&text(500)), id);
    assert_eq!(damage(decode(&compressed, id)), Damage::Id);
}

#[test]
fn a_chunk_over_the_callers_limit_is_refused_before_anything_is_allocated() {
    let plain = text(1 << 20);
    let record = chunk(&plain);
    let mut out = Vec::new();
    let id = record.header().id;
    let result = Decoder::new().decode(record.bytes(), RecordKind::Chunk, &id, 1 << 19, &mut out);
    assert_eq!(out.capacity(), 0);
    assert_eq!(damage(result.map(|()| out)), Damage::Field);
}

#[test]
fn a_frame_must_give_exactly_the_stated_length() {
    let plain = text(500);
    let id = chunk_id(&plain);
    for stated in [499, 501, 70_000] {
        let record = forged(Codec::Zstd, stated, &frame(&plain), id);
        assert_eq!(damage(decode(&record, id)), Damage::Codec, "{stated}");
    }
}

#[test]
fn a_frame_that_swells_never_takes_more_than_was_stated() {
    let swelling = frame(&vec![0; 64 << 20]);
    let id = ChunkId([1; 32]);
    let record = forged(Codec::Zstd, 1 << 20, &swelling, id);
    let mut out = Vec::new();
    let result = Decoder::new().decode(&record, RecordKind::Chunk, &id.0, NO_LIMIT, &mut out);
    assert!(out.capacity() <= 1 << 20);
    assert_eq!(damage(result.map(|()| out)), Damage::Codec);
}

#[test]
fn only_one_whole_frame_is_a_frame() {
    let (first, second) = (text(300), text(200));
    let both = [&first[..], &second].concat();
    let id = chunk_id(&both);
    let two_frames = [frame(&first), frame(&second)].concat();
    let garbage_after = [&frame(&both)[..], &[0]].concat();
    let cut = frame(&both);
    for stored in [
        &two_frames[..],
        &garbage_after,
        &cut[..cut.len() - 1],
        b"no frame",
    ] {
        let record = forged(Codec::Zstd, 500, stored, id);
        assert_eq!(damage(decode(&record, id)), Damage::Codec);
    }
}

#[test]
fn damage_is_named_by_what_is_damaged() {
    let id = ChunkId([0xab; 32]);
    let text = decode(b"", id).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("chunk {} is damaged: its length is wrong", "ab".repeat(32))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_put_is_what_is_got(
        pieces in prop::collection::vec((0..4_000_usize, any::<bool>()), 1..6),
        level in -5..6_i32,
    ) {
        let make = |(len, compresses)| if compresses { text(len) } else { noise(len) };
        let mut plain: Vec<u8> = pieces.into_iter().flat_map(make).collect();
        plain.push(1);
        let record = Encoder::new(level).encode_chunk(chunk_id(&plain), &plain);
        prop_assert!(record.bytes().len() <= 96 + plain.len());
        prop_assert_eq!(decode(record.bytes(), chunk_id(&plain)).unwrap(), plain);

        let node = Encoder::new(level).encode_node(node_id(b"node"), b"node");
        let mut out = vec![9; 3]; // what was there before goes
        let id = node.header().id;
        Decoder::new().decode(node.bytes(), RecordKind::Node, &id, 4, &mut out).unwrap();
        prop_assert_eq!(out, b"node");
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, ChunkId([0; 32])).is_err());
        let as_frame = forged(Codec::Zstd, 4_096, &[&[1][..], &bytes].concat(), ChunkId([0; 32]));
        prop_assert!(decode(&as_frame, ChunkId([0; 32])).is_err());
    }
}
