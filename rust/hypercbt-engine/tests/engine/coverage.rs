//! What the audit says it has read, and when: never more than is true (design §5.3).

use std::sync::atomic::Ordering;

use hypercbt_engine::AuditPolicy;
use proptest::prelude::*;

use crate::days::{CHUNKS, Days};
use crate::support::{CHUNK, DAY, FakeDisk, Lab, chunks, disk, noise, stats};

/// One simulated run.
#[derive(Debug, Clone)]
struct Step {
    hours: i64,
    policy: u8,
    cut: bool,
    written: Vec<u64>,
    over_reported: Vec<u64>,
    unmapped: Vec<u64>,
}

fn step(chunks: u64) -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(0..chunks, 0..12);
    (0..80_i64, 0..8_u8, any::<bool>(), some(), some(), some()).prop_map(
        |(hours, policy, cut, written, over_reported, unmapped)| Step {
            hours,
            policy,
            cut,
            written,
            over_reported,
            unmapped,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Spans are sorted, disjoint, cover the disk, and no chunk was last seen before its span says so.
    #[test]
    fn coverage_never_claims_a_later_date_than_true(
        steps in proptest::collection::vec(step(320), 1..40),
        seed in any::<u64>(),
    ) {
        const CHUNKS: u64 = 320;
        let source = FakeDisk::new(CHUNKS * CHUNK);
        for chunk in (0..CHUNKS).filter(|chunk| chunk % 5 != 0) {
            source.write(chunk * CHUNK, &noise(chunk + 1, 512));
        }
        let mut lab = Lab::new();
        let mut point = lab.full(&source);
        let mut seen = vec![lab.now; CHUNKS as usize];
        for (number, step) in (0..).zip(steps) {
            lab.now += step.hours * DAY / 24;
            lab.seed = seed.wrapping_add(number);
            lab.audit = match step.policy {
                0 => AuditPolicy::Off,
                1 => AuditPolicy::Full,
                _ => AuditPolicy::Rotate { period_seconds: 7 * 24 * 60 * 60 },
            };
            lab.clock.step.store(if step.cut { 61_000_000 } else { 0 }, Ordering::SeqCst);
            for &chunk in &step.unmapped {
                source.unmap(chunk * CHUNK, CHUNK);
            }
            for &chunk in &step.written {
                source.write(chunk * CHUNK + 512, &noise(1_000 + number * CHUNKS + chunk, 512));
            }
            let claimed = [step.written, step.over_reported].concat();
            point = lab.list(&source, chunks(&claimed), &point);
            for chunk in source.read_chunks() {
                seen[chunk as usize] = lab.now;
            }
            let allocated = source.open().allocated();
            for chunk in 0..CHUNKS {
                if allocated.intersecting(crate::support::extent(chunk * CHUNK, CHUNK)).is_empty() {
                    seen[chunk as usize] = lab.now;
                }
            }
            let audit = &disk(&point).audit;
            let mut next = 0;
            for span in &audit.read {
                prop_assert_eq!(span.from, next);
                next = span.to;
                for chunk in span.from..span.to {
                    prop_assert!(seen[chunk as usize] >= span.at.0, "{chunk}: {audit:?}");
                }
            }
            prop_assert_eq!(next, CHUNKS);
            prop_assert!(audit.read.len() <= 64);
            prop_assert_eq!(stats(&point).missed_chunks, 0);
        }
        prop_assert!(lab.content(&point).unwrap() == source.bytes());
    }
}

#[test]
fn after_a_period_every_chunk_was_read_within_it() {
    let mut days = Days::new();
    for day in 1..=28_u64 {
        days.day(&[day * 20 % CHUNKS]);
    }
    let audit = &disk(days.last()).audit;
    let oldest = audit.read.iter().map(|span| span.at.0).min().unwrap();
    assert!(oldest > DAY, "{audit:?}");
}
