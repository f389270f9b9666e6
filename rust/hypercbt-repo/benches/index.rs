//! How fast the index answers: ten million ids, batches of 1,024, one thread.
//!
//! `cargo bench -p hypercbt-repo --bench index [-- IDS]`. Targets: 5 million misses and 1.5 million hits a second.
//! Rates are given twice: by the clock, and by the time that the thread had a core, which is the one to compare
//! on a machine that does other things as well. Every answer is checked: a wrong one is not fast. Segments lie in a folder below the target folder, and
//! the system has them in memory; hits are measured once with a small cache of pages and once with one
//! that holds them all.

use std::{sync::Arc, time::Instant};

use hypercbt_repo::{
    IndexEntry, LocalStorage, PackName, RecordKind, Storage,
    index::{Index, PageCache, merge_if_due, write},
};

const BATCH: usize = 1024;
const PACK_CHUNKS: u64 = 400;
const KIND: RecordKind = RecordKind::Chunk;
const BATCHES: usize = 1500;

/// Ids that look like hashes and are cheap: a bijection of the number, four times.
fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    let mut word = number;
    for bytes in id.as_chunks_mut::<8>().0 {
        word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        *bytes = word.to_be_bytes();
    }
    id
}

fn entry(number: u64) -> IndexEntry {
    let offset = u32::try_from(number % PACK_CHUNKS).expect("small");
    IndexEntry {
        kind: KIND,
        id: id(number),
        offset,
        stored_len: 1,
    }
}

fn pack(number: u64) -> (PackName, u64, Vec<IndexEntry>) {
    let entries = (number * PACK_CHUNKS..(number + 1) * PACK_CHUNKS).map(entry);
    (PackName(id(number ^ 1 << 60)), 64 << 20, entries.collect())
}

/// Writes all ids as eight segments of different packs.
fn fill(storage: &dyn Storage, ids: u64) {
    let packs = ids / PACK_CHUNKS;
    for part in 0..8 {
        let list: Vec<_> = (0..packs)
            .filter(|pack| pack % 8 == part)
            .map(pack)
            .collect();
        write(storage, "bench", &list, 0).expect("a segment is written");
    }
}

fn open(storage: &Arc<dyn Storage>, cache_bytes: usize) -> Index {
    let cache = Arc::new(PageCache::new(cache_bytes));
    let (index, damaged) = Index::open(Arc::clone(storage), cache).expect("an index");
    assert!(damaged.is_empty());
    index
}

/// Seconds by the clock, and on a core (Linux; elsewhere by the clock again).
#[derive(Clone, Copy, Default)]
struct Spent {
    clock: f64,
    core: f64,
}

/// Seconds that this thread had a core.
fn core_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ')
        .next()?
        .parse::<f64>()
        .ok()
        .map(|nanos| nanos / 1e9)
}

/// Looks up batches of numbers far apart and returns the time for the look-ups alone.
fn ask(index: &Index, batches: usize, number: impl Fn(u64) -> u64, hit: bool) -> Spent {
    let mut spent = Spent::default();
    for batch in 0..batches as u64 {
        let numbers =
            (0..BATCH as u64).map(|at| number((batch * BATCH as u64 + at) * 2_654_435_761));
        let ids: Vec<_> = numbers.clone().map(id).collect();
        let (start, core) = (Instant::now(), core_seconds());
        let places = index.lookup(KIND, &ids).expect("an answer");
        let clock = start.elapsed().as_secs_f64();
        spent.clock += clock;
        spent.core += core
            .zip(core_seconds())
            .map_or(clock, |(before, after)| after - before);
        for (number, places) in numbers.zip(places.iter()) {
            assert_eq!(places.len(), usize::from(hit));
            assert!(
                places
                    .iter()
                    .all(|place| u64::from(place.location.offset) == number % PACK_CHUNKS)
            );
        }
    }
    spent
}

fn report(what: &str, batches: usize, spent: Spent) {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let millions = (batches * BATCH) as f64 / 1e6;
    let (clock, core) = (millions / spent.clock, millions / spent.core);
    println!("{what:<32}{core:>8.2} million a second, {clock:.2} by the clock");
}

fn measure(storage: &Arc<dyn Storage>, ids: u64, shape: &str) {
    let start = Instant::now();
    let index = open(storage, 16 << 20);
    println!(
        "{shape}: opened in {:.0?}, {} KiB in memory",
        start.elapsed(),
        index.memory_bytes() >> 10
    );
    report(
        "  misses",
        BATCHES,
        ask(&index, BATCHES, |at| ids + at, false),
    );
    report(
        "  hits, 16 MiB of pages",
        BATCHES,
        ask(&index, BATCHES, |at| at % ids, true),
    );
    let index = open(storage, 1 << 30);
    let pages = usize::try_from(ids / 93 / BATCH as u64 + 1).expect("small");
    for _ in 0..2 {
        ask(&index, pages * 8, |at| at % ids, true); // most pages are kept at their second reading
    }
    report(
        "  hits, all pages kept",
        BATCHES,
        ask(&index, BATCHES, |at| at % ids, true),
    );
}

fn main() {
    let ids = std::env::args()
        .skip(1)
        .find_map(|text| text.parse().ok())
        .unwrap_or(10_000_000_u64);
    let ids = ids / PACK_CHUNKS * PACK_CHUNKS;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let storage = LocalStorage::create(folder.path().join("repository")).expect("a storage");
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let start = Instant::now();
    fill(&*storage, ids);
    println!("{ids} ids written in {:.1?}", start.elapsed());
    measure(&storage, ids, "eight segments");
    let start = Instant::now();
    let merged = merge_if_due(&storage, "bench").expect("a merge");
    assert_eq!(merged.written.len(), 1);
    println!("merged in {:.1?}", start.elapsed());
    measure(&storage, ids, "one segment");
}
