//! Index segments that nobody wrote: no panic, no allocation beyond the object, no endless loop.
//!
//! An even first byte takes the rest as the segment; an odd one mends its checksums first, so that what
//! lies behind them is reached.

#![no_main]

use std::{hint::black_box, sync::Arc};

use hypercbt_repo::{
    MemoryStorage, RecordKind, SegmentName, Storage,
    index::{Index, PageCache, merge_if_due, object_name},
};
use libfuzzer_sys::fuzz_target;

/// The largest input that a fuzzer makes is far below.
const MOST_PACKS: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let Some((mode, segment)) = data.split_first() else {
        return;
    };
    let mut segment = segment.to_vec();
    if mode % 2 == 1 && mend(&mut segment).is_none() {
        return;
    }
    let storage = MemoryStorage::new();
    for copy in 0..8 {
        storage.overwrite(&object_name(SegmentName([copy; 32])), &segment);
    }
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let Ok((index, damaged)) = Index::open(Arc::clone(&storage), Arc::new(PageCache::new(0)))
    else {
        return; // a newer format
    };
    black_box((damaged, index.packs()));
    let mut ids = vec![[0; 32], [0xff; 32]];
    ids.extend(
        segment
            .chunks_exact(44)
            .take(200)
            .filter_map(|entry| entry.first_chunk().copied()),
    );
    for kind in [RecordKind::Chunk, RecordKind::Node] {
        black_box(index.lookup(kind, &ids).ok());
    }
    for segment in index.segments() {
        black_box(segment.entries().filter(|entry| entry.is_ok()).count());
    }
    black_box(merge_if_due(&storage, "fuzz").ok());
});

/// Writes right checksums into header, pack table, pages, fences, filter table and trailer (format §5).
fn mend(segment: &mut [u8]) -> Option<()> {
    let packs = u32_at(segment, 12)? as usize;
    let pages_at = (64 + packs.min(MOST_PACKS) * 40).next_multiple_of(4096);
    put(segment, 16, crc32c::crc32c(segment.get(64..pages_at)?))?;
    put(segment, 60, crc32c::crc32c(segment.get(..60)?))?;
    let trailer = segment.len().checked_sub(64)?;
    let pages = (u32_at(segment, trailer + 8)? as usize).min(segment.len() / 4096);
    for page in 0..pages {
        let at = pages_at + page * 4096;
        put(
            segment,
            at + 4092,
            crc32c::crc32c(segment.get(at..at + 4092)?),
        )?;
    }
    let fences = pages_at + pages * 4096;
    let table = fences + pages * 8;
    let filters = table + pages.div_ceil(4096) * 12;
    if filters - table == 12 {
        put(
            segment,
            table + 8,
            crc32c::crc32c(segment.get(filters..trailer)?),
        )?;
    }
    put(
        segment,
        trailer + 12,
        crc32c::crc32c(segment.get(fences..table)?),
    )?;
    put(
        segment,
        trailer + 16,
        crc32c::crc32c(segment.get(table..filters)?),
    )?;
    put(
        segment,
        trailer + 52,
        crc32c::crc32c(segment.get(trailer..trailer + 52)?),
    )
}

fn u32_at(segment: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*segment.get(at..)?.first_chunk()?))
}

fn put(segment: &mut [u8], at: usize, value: u32) -> Option<()> {
    segment
        .get_mut(at..at + 4)?
        .copy_from_slice(&value.to_le_bytes());
    Some(())
}
