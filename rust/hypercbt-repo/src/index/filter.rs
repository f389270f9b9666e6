//! A small set that says "absent" for nearly everything that is: 9.2 bits a key, 0.4 % wrong "maybe".
//!
//! A binary fuse filter (Graf and Lemire, 2022): three places for a key, in three neighbouring
//! segments of an array of bytes, whose exclusive or is the key's fingerprint. A Bloom filter of
//! this size in one cache line is wrong about four times as often, and each time costs a page read.
//!
//! Keys are the first 8 bytes of ids and the kind. Building peels a random hypergraph, which fails
//! now and then; another seed is tried, and if none works there is no filter: ask the pages.

use crate::RecordKind;

/// Tells the kinds apart: exclusive or with the key of a node.
const NODE_KEY: u64 = 0x9E37_79B9_7F4A_7C15;
/// Each seed adds this much to the key once more.
const SEED_STEP: u64 = 0xD1B5_4A32_D192_ED03;
/// A seed fails less than once in ten, so that all of these fail only by intent.
const SEEDS: u8 = 32;
/// No more than 18 bits of the hash choose a place in a segment.
const MAX_SEGMENT_BITS: u8 = 18;

/// Where the places of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// In how many segments a key's first place may be; two more follow.
    pub(super) segments: u32,
    /// The length of a segment is this power of two.
    pub(super) segment_bits: u8,
    pub(super) seed: u8,
}

impl Shape {
    /// The shape, or `None` if no filter has it.
    pub(super) fn new(segments: u32, segment_bits: u8, seed: u8) -> Option<Self> {
        let sound = segments > 0 && segments < u32::MAX - 2 && segment_bits <= MAX_SEGMENT_BITS;
        sound.then_some(Self {
            segments,
            segment_bits,
            seed,
        })
    }

    /// Integers alone, so that every machine makes the same filter. The size factor goes from 1.15
    /// at 2^18 keys to 1.4 at 2^10: less, and peeling fails too often.
    fn for_keys(keys: usize) -> Self {
        let keys = u32::try_from(keys).expect("a filter is over 4096 pages");
        let log = keys.max(2).ilog2();
        let segment_bits = u8::try_from(log * 4 / 7 + 2).expect("log is below 32");
        let places = u64::from(keys) * 7 / 8 + u64::from(keys) * 5 / u64::from(log) + 8;
        let segments = places.div_ceil(1 << segment_bits).max(3) - 2;
        let segments = u32::try_from(segments).expect("fewer than keys");
        Self {
            segments,
            segment_bits: segment_bits.min(MAX_SEGMENT_BITS),
            seed: 0,
        }
    }

    /// The number of fingerprints.
    pub(super) fn len(self) -> u64 {
        (u64::from(self.segments) + 2) << self.segment_bits
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "every place is below len()"
    )]
    fn places(self, hash: u64) -> [usize; 3] {
        let segment = 1_u64 << self.segment_bits;
        let starts = u64::from(self.segments) << self.segment_bits;
        let first = ((u128::from(hash) * u128::from(starts)) >> 64) as u64;
        let second = (first + segment) ^ ((hash >> 18) & (segment - 1));
        let third = (first + 2 * segment) ^ (hash & (segment - 1));
        [first as usize, second as usize, third as usize]
    }

    fn hash(self, key: u64) -> u64 {
        let mut hash = key.wrapping_add(SEED_STEP.wrapping_mul(u64::from(self.seed)));
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        hash ^ (hash >> 33)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "eight bits of the hash are wanted"
)]
fn fingerprint(hash: u64) -> u8 {
    (hash ^ (hash >> 32)) as u8
}

fn key(prefix: u64, kind: RecordKind) -> u64 {
    match kind {
        RecordKind::Chunk => prefix,
        RecordKind::Node => prefix ^ NODE_KEY,
    }
}

/// A filter in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    shape: Shape,
    fingerprints: Box<[u8]>,
}

impl Filter {
    /// The filter of these bytes, or `None` if they are not as many as the shape wants.
    pub(super) fn from_parts(shape: Shape, fingerprints: Box<[u8]>) -> Option<Self> {
        let fits = u64::try_from(fingerprints.len()) == Ok(shape.len());
        fits.then_some(Self {
            shape,
            fingerprints,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn fingerprints(&self) -> &[u8] {
        &self.fingerprints
    }

    /// False only if no such key was put in.
    #[inline]
    pub(super) fn may_contain(&self, prefix: u64, kind: RecordKind) -> bool {
        let hash = self.shape.hash(key(prefix, kind));
        let [first, second, third] = self.shape.places(hash);
        self.at(first) ^ self.at(second) ^ self.at(third) == fingerprint(hash)
    }

    #[inline]
    fn at(&self, place: usize) -> u8 {
        self.fingerprints.get(place).copied().unwrap_or_default()
    }
}

/// Collects keys in ascending order of prefix.
#[derive(Debug, Default)]
pub(super) struct FilterBuilder {
    keys: Vec<u64>,
    /// The last prefix, and whether it came with a chunk and with a node.
    last: Option<(u64, [bool; 2])>,
}

impl FilterBuilder {
    /// Adds a key. One that comes twice would make peeling fail, so it is left out here.
    pub(super) fn push(&mut self, prefix: u64, kind: RecordKind) {
        let mut seen = match self.last {
            Some((last, seen)) if last == prefix => seen,
            _ => [false; 2],
        };
        let [chunk, node] = &mut seen;
        let flag = if kind == RecordKind::Chunk {
            chunk
        } else {
            node
        };
        if !std::mem::replace(flag, true) {
            self.keys.push(key(prefix, kind));
        }
        self.last = Some((prefix, seen));
    }

    /// The filter over the keys so far, and an empty builder. `None` if no seed works.
    pub(super) fn finish(&mut self) -> Option<Filter> {
        let filter = build(&self.keys, SEEDS);
        self.keys.clear();
        self.last = None;
        filter
    }
}

fn build(keys: &[u64], seeds: u8) -> Option<Filter> {
    let shape = Shape::for_keys(keys.len());
    let shapes = (0..seeds).map(|seed| Shape { seed, ..shape });
    shapes
        .into_iter()
        .find_map(|shape| Some(assign(shape, &peel(keys, shape)?)))
}

/// How many keys have a place here, and the exclusive or of their hashes: with one left, its hash.
#[derive(Clone, Copy, Default)]
struct Place {
    hashes: u64,
    keys: u32,
}

/// Takes away, one by one, keys that are alone at one of their places. Returns their hashes and
/// those places, or `None` if some cannot be taken.
fn peel(keys: &[u64], shape: Shape) -> Option<Vec<(u64, u32)>> {
    let mut places = vec![Place::default(); usize::try_from(shape.len()).ok()?];
    for &key in keys {
        let hash = shape.hash(key);
        for at in shape.places(hash) {
            let place = places.get_mut(at)?;
            place.hashes ^= hash;
            place.keys += 1;
        }
    }
    let alone = places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.keys == 1);
    let mut alone: Vec<usize> = alone.map(|(at, _)| at).collect();
    let mut order = Vec::with_capacity(keys.len());
    while let Some(at) = alone.pop() {
        let Place {
            hashes: hash,
            keys: 1,
        } = *places.get(at)?
        else {
            continue;
        };
        order.push((hash, u32::try_from(at).ok()?));
        for at in shape.places(hash) {
            let place = places.get_mut(at)?;
            place.hashes ^= hash;
            place.keys -= 1;
            if place.keys == 1 {
                alone.push(at);
            }
        }
    }
    (order.len() == keys.len()).then_some(order)
}

/// Sets the fingerprints in the reverse order: the place that a key was alone at is free until then.
fn assign(shape: Shape, order: &[(u64, u32)]) -> Filter {
    let len = usize::try_from(shape.len()).expect("peel allocated more");
    let mut filter = Filter {
        shape,
        fingerprints: vec![0; len].into(),
    };
    for &(hash, alone) in order.iter().rev() {
        let [first, second, third] = shape.places(hash);
        let value = fingerprint(hash) ^ filter.at(first) ^ filter.at(second) ^ filter.at(third);
        if let Some(place) = filter.fingerprints.get_mut(alone as usize) {
            *place = value;
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize, seed: u64) -> Vec<u64> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        let mut bytes = vec![0; count * 8];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|raw| u64::from_be_bytes(*raw))
            .collect()
    }

    fn filter_of(prefixes: &[u64]) -> Filter {
        let mut builder = FilterBuilder::default();
        for &prefix in prefixes {
            builder.push(prefix, RecordKind::Chunk);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn every_key_is_found_at_every_size() {
        for count in (1..200).chain([255, 256, 1000, 4096, 16_384, 100_000, 380_928]) {
            let keys = random(count, count as u64);
            let filter = filter_of(&keys);
            let found = keys
                .iter()
                .filter(|&&key| filter.may_contain(key, RecordKind::Chunk));
            assert_eq!(found.count(), count);
        }
    }

    #[test]
    fn one_in_two_hundred_and_fifty_six_strangers_gets_through() {
        let filter = filter_of(&random(20_000, 1));
        let strangers = random(100_000, 2);
        let wrong = strangers
            .iter()
            .filter(|&&key| filter.may_contain(key, RecordKind::Chunk))
            .count();
        assert!((300..480).contains(&wrong), "{wrong} of 100,000");
    }

    #[test]
    fn a_full_filter_takes_less_than_nine_and_a_half_bits_a_key() {
        let filter = filter_of(&random(380_928, 3));
        assert!(filter.fingerprints().len() * 8 * 10 < 380_928 * 95);
    }

    #[test]
    fn a_chunk_is_not_taken_for_a_node() {
        let keys = random(10_000, 4);
        let filter = filter_of(&keys);
        let wrong = keys
            .iter()
            .filter(|&&key| filter.may_contain(key, RecordKind::Node))
            .count();
        assert!(wrong < 100, "{wrong} of 10,000");
    }

    #[test]
    fn a_key_that_comes_many_times_does_no_harm() {
        let mut builder = FilterBuilder::default();
        for _ in 0..1000 {
            builder.push(7, RecordKind::Chunk);
            builder.push(7, RecordKind::Node);
        }
        builder.push(8, RecordKind::Node);
        let filter = builder.finish().unwrap();
        assert!(
            filter.may_contain(7, RecordKind::Chunk) && filter.may_contain(7, RecordKind::Node)
        );
        assert!(filter.may_contain(8, RecordKind::Node));
        assert!(filter.fingerprints().len() < 100);
    }

    #[test]
    fn keys_without_any_randomness_are_found_too() {
        let keys: Vec<u64> = (0..50_000).collect();
        let filter = filter_of(&keys);
        assert!(
            keys.iter()
                .all(|&key| filter.may_contain(key, RecordKind::Chunk))
        );
    }

    #[test]
    fn keys_that_no_seed_can_tell_apart_have_no_filter() {
        assert_eq!(build(&[5, 5], SEEDS), None);
    }

    #[test]
    fn the_same_keys_make_the_same_filter() {
        // Two mergers must agree on every byte. The number guards the formula against a silent change.
        let filter = filter_of(&(0..1000).collect::<Vec<_>>());
        let shape = filter.shape();
        assert_eq!((shape.segments, shape.segment_bits, shape.seed), (10, 7, 0));
        assert_eq!(crc32c::crc32c(filter.fingerprints()), 3_478_798_000);
    }

    #[test]
    fn shapes_that_no_writer_makes_are_refused() {
        assert_eq!(Shape::new(0, 4, 0), None);
        assert_eq!(Shape::new(u32::MAX, 4, 0), None);
        assert_eq!(Shape::new(1, 19, 0), None);
        let shape = Shape::new(1, 4, 9).unwrap();
        assert_eq!(shape.len(), 48);
        assert!(Filter::from_parts(shape, vec![0; 47].into()).is_none());
    }
}
