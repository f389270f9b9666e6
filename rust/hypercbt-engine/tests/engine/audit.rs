//! Change tracking is checked, not believed (design §5.3): simulated days, and changes that nobody reports.

use std::{collections::BTreeSet, ops::ControlFlow, sync::atomic::Ordering};

use hypercbt_engine::{AuditPolicy, Observer, Phase, Progress};
use hypercbt_extent::Extents;
use hypercbt_repo::{Method, Suspect, Timestamp};

use crate::days::{CHUNKS, Days, SLICE, set};
use crate::support::{CHUNK, DAY, FakeDisk, Lab, chunks, disk, list, noise, stats};

#[test]
fn each_day_reads_the_next_slice_and_a_few_random_chunks() {
    let mut days = Days::new();
    assert!((10..=16).contains(&days.random.len()));
    for day in 0..3 {
        days.day(&[]);
        let slice = set(day * SLICE..(day + 1) * SLICE);
        let expected = &slice | &days.random;
        assert_eq!(days.read(), expected);
        let counted = stats(days.last());
        // One sector of each chunk is allocated.
        assert_eq!(counted.audited_bytes, expected.len() as u64 * 512);
        assert_eq!(counted.read_bytes, counted.audited_bytes);
        assert_eq!(counted.chunks, expected.len() as u64);
        assert_eq!((counted.missed_chunks, counted.new_chunks), (0, 0));
        assert_eq!(counted.changed_bytes, Some(0));
        assert_eq!(disk(days.last()).audit.owed_chunks, 0);
    }
    let mut other_seed = days.fork();
    other_seed.lab.seed = 1_000;
    other_seed.run_after(0, &[]);
    assert_ne!(other_seed.read(), days.random);
}

#[test]
fn the_slice_follows_the_time_since_the_base_and_never_more_than_a_period() {
    let days = Days::new();
    let read_after = |micros| {
        let mut days = days.fork();
        days.run_after(micros, &[]);
        days.read()
    };
    assert_eq!(read_after(DAY / 2), &set(0..SLICE / 2) | &days.random);
    // ⌈560 × 1 µs ÷ 28 d⌉
    assert_eq!(read_after(1), &set(0..1) | &days.random);
    assert_eq!(read_after(-5 * DAY), days.random);
    assert_eq!(read_after(28 * DAY), set(0..CHUNKS));
    assert_eq!(read_after(1000 * DAY), set(0..CHUNKS));
}

#[test]
fn claimed_chunks_and_holes_are_no_part_of_the_slice() {
    let mut days = Days::new();
    days.source.unmap(5 * CHUNK, 5 * CHUNK);
    days.guest_writes(12, 77);
    days.day(&[0, 1, 2, 12]);
    // 555 allocated: ⌈555 ÷ 28⌉ = 20 of them, from the first that is neither claimed nor a hole.
    let rotating: BTreeSet<u64> = (3..5).chain(10..12).chain(13..29).collect();
    assert!(
        days.read()
            .is_superset(&(&rotating | &BTreeSet::from([0, 1, 2, 12])))
    );
    assert_eq!(disk(days.last()).audit.cursor, 29);
    let counted = stats(days.last());
    assert_eq!(counted.unmapped_bytes, 5 * CHUNK);
    // Chunk 12 holds two sectors by now.
    assert_eq!(counted.read_bytes - counted.audited_bytes, 5 * 512);
    assert_eq!((counted.missed_chunks, counted.new_chunks), (0, 1));
    days.last_is_right();
}

#[test]
fn a_missed_change_is_found_on_the_day_of_its_slice_and_the_new_point_is_right() {
    let days = Days::new();
    for missed in [0, SLICE - 1, SLICE, 277, CHUNKS - 1] {
        assert!(!days.random.contains(&missed), "choose another seed");
        let mut days = days.fork();
        days.guest_writes(missed, 99);
        for day in 0..missed / SLICE {
            days.day(&[]);
            assert_eq!(stats(days.last()).missed_chunks, 0, "day {day}");
        }
        days.day(&[]);
        let counted = stats(days.last());
        assert_eq!(
            (counted.missed_chunks, counted.new_chunks),
            (1, 1),
            "{missed}"
        );
        assert_eq!(disk(days.last()).method, Method::List);
        assert_eq!(
            disk(days.last()).base,
            Some(days.points[days.points.len() - 2].id)
        );
        days.last_is_right();
        let now = Timestamp(days.lab.now);
        let audit = &disk(days.last()).audit;
        assert_eq!((audit.cursor, audit.owed_chunks), (0, 0));
        assert_eq!(audit.read.len(), 1);
        assert_eq!((audit.read[0].from, audit.read[0].to), (0, CHUNKS));
        assert_eq!(audit.read[0].at, now);

        // The first point read it, and was right. All others up to the base hold the old bytes unread.
        let suspects = days.suspects();
        if missed < SLICE {
            assert_eq!(suspects, []);
        } else {
            let expected = Suspect {
                machine: "file:disk".to_owned(),
                disk: "disk".to_owned(),
                extents: vec![(missed * CHUNK, CHUNK)],
                first: days.points[1].id,
                last: days.points[days.points.len() - 2].id,
                found_by: days.last().id,
                found_at: now,
            };
            assert_eq!(suspects, [expected]);
        }
        // It was told once, and is healed.
        days.day(&[]);
        assert_eq!(stats(days.last()).missed_chunks, 0);
    }
}

#[test]
fn one_missed_change_widens_to_the_whole_disk_and_finds_the_others_wherever_they_are() {
    let mut days = Days::new();
    let missed = [3, 140, 141, 300, 301, 559];
    for chunk in missed {
        assert!(!days.random.contains(&chunk), "choose another seed");
        days.guest_writes(chunk, 1_000 + chunk);
    }
    days.guest_writes(400, 5); // reported: not missed
    days.source.unmap(500 * CHUNK, CHUNK); // declared: not missed
    days.day(&[400]);
    let counted = stats(days.last());
    assert_eq!((counted.missed_chunks, counted.new_chunks), (6, 7));
    assert_eq!(counted.unmapped_bytes, CHUNK);
    days.last_is_right();
    assert_eq!(days.suspects(), []); // the base read everything
}

#[test]
fn missed_changes_of_one_percent_are_found_within_28_daily_runs_wherever_they_begin() {
    let days = Days::new();
    for (round, begin) in [0, 9, 27].into_iter().enumerate() {
        let mut days = days.fork();
        days.lab.seed = 50 + round as u64;
        for _ in 0..begin {
            days.day(&[]);
        }
        let missed: BTreeSet<u64> = (0..6).map(|n| (n * 97 + 11 * begin + 5) % CHUNKS).collect();
        for &chunk in &missed {
            days.guest_writes(chunk, 1_000 + chunk);
        }
        let found = (1..=28).find(|_| stats(days.day(&[])).missed_chunks > 0);
        assert!(found.is_some(), "{missed:?} after {begin} days");
        assert_eq!(stats(days.last()).missed_chunks, 6);
        days.last_is_right();
        let mut extents: Vec<_> = days
            .suspects()
            .into_iter()
            .flat_map(|s| s.extents)
            .collect();
        extents.sort_unstable();
        let all: Vec<_> = missed.iter().map(|chunk| (chunk * CHUNK, CHUNK)).collect();
        assert!(extents.iter().all(|extent| all.contains(extent)));
    }
}

#[test]
fn a_disk_that_grows_every_day_is_read_again_within_28_daily_runs_all_the_same() {
    const AT_FIRST: u64 = 70;
    const MORE: u64 = 17;
    // Right behind the cursor, which has to pass everything that is written ahead of it from now on.
    for missed in [3, 5, 8] {
        let mut days = Days::holding(AT_FIRST);
        assert!(!days.random.contains(&missed), "choose another seed");
        let mut allocated = AT_FIRST;
        let grow = |days: &mut Days, allocated: &mut u64| {
            let new: Vec<u64> = (*allocated..CHUNKS.min(*allocated + MORE)).collect();
            for &chunk in &new {
                days.guest_writes(chunk, 7_000 + chunk);
            }
            *allocated += new.len() as u64;
            stats(days.day(&new)).missed_chunks
        };
        while disk(days.last()).audit.cursor <= missed {
            grow(&mut days, &mut allocated);
        }
        days.guest_writes(missed, 99);
        let found = (1..=28).find(|_| grow(&mut days, &mut allocated) > 0);
        assert!(found.is_some(), "{missed}");
        days.last_is_right();
        // It is no rush at the end: a day reads what is ahead of it, spread over the days that are left.
        assert!(days.points.iter().skip(1).all(|point| {
            let read = stats(point).audited_bytes / 512;
            read <= CHUNKS / 28 * 4 + 16 || stats(point).missed_chunks > 0
        }));
    }
}

#[test]
fn a_missed_change_that_the_guest_overwrites_before_its_turn_is_healed_unseen() {
    let mut days = Days::new();
    assert!(!days.random.contains(&300));
    days.guest_writes(300, 1);
    for day in 1..=28 {
        let mut claimed = Vec::new();
        if day == 5 {
            days.guest_writes(300, 2);
            claimed.push(300);
        }
        days.day(&claimed);
        assert_eq!(stats(days.last()).missed_chunks, 0, "day {day}");
        if matches!(day, 4 | 5 | 28) {
            let right = days.lab.content(days.last()).unwrap() == days.source.bytes();
            assert_eq!(right, day >= 5, "day {day}");
        }
    }
    assert_eq!(days.suspects(), []);
}

#[test]
fn a_guest_whose_every_write_is_reported_raises_no_alarm() {
    let mut days = Days::new();
    for day in 1..=30_u64 {
        let written: Vec<u64> = (0..12).map(|n| (day * 131 + n * 37) % CHUNKS).collect();
        for &chunk in &written {
            days.guest_writes(chunk, day * 1_000 + chunk);
        }
        days.source.unmap((day * 17 % CHUNKS) * CHUNK, CHUNK);
        days.day(&written);
        assert_eq!(stats(days.last()).missed_chunks, 0, "day {day}");
    }
    days.last_is_right();
    assert_eq!(days.suspects(), []);
}

#[test]
fn what_the_time_budget_cuts_off_is_owed_to_the_next_run() {
    let mut days = Days::new();
    // Each look at the clock costs a minute: the budget is used up after the first window of 16 MiB.
    days.lab.clock.step.store(61_000_000, Ordering::SeqCst);
    days.run_after(28 * DAY, &[]);
    assert_eq!(days.read(), set(0..256));
    let audit = disk(days.last()).audit.clone();
    assert_eq!((audit.cursor, audit.owed_chunks), (256, CHUNKS - 256));

    // Still no time: the debt does not grow past one period, and the rotation goes on.
    days.run_after(28 * DAY, &[]);
    assert_eq!(days.read(), (256..512).collect());
    let audit = disk(days.last()).audit.clone();
    assert_eq!((audit.cursor, audit.owed_chunks), (512, CHUNKS - 256));

    days.lab.clock.step.store(0, Ordering::SeqCst);
    days.run_after(0, &[]);
    let owed: BTreeSet<u64> = (512..CHUNKS).chain(0..256).collect();
    assert_eq!(days.read(), &owed | &days.random);
    let audit = disk(days.last()).audit.clone();
    assert_eq!((audit.cursor, audit.owed_chunks), (256, 0));
}

#[test]
fn an_audit_that_is_off_reads_nothing_and_owes_its_slice() {
    let mut days = Days::new();
    days.lab.audit = AuditPolicy::Off;
    days.guest_writes(7, 7);
    for day in 1..=3 {
        days.day(&[]);
        assert_eq!(days.read(), set(0..0));
        let audit = disk(days.last()).audit.clone();
        assert_eq!((audit.cursor, audit.owed_chunks), (0, day * SLICE));
        assert_eq!(audit.read, disk(&days.points[0]).audit.read);
    }
    let mut for_long = days.fork();
    for_long.lab.audit = AuditPolicy::Off;
    for_long.run_after(100 * DAY, &[]);
    assert_eq!(disk(for_long.last()).audit.owed_chunks, CHUNKS);

    days.source.write(7 * CHUNK + 512, &[0; 512]); // it never happened
    days.lab.audit = AuditPolicy::DEFAULT;
    days.day(&[]);
    assert!(days.read().is_superset(&set(0..4 * SLICE)));
    assert_eq!(disk(days.last()).audit.owed_chunks, 0);
}

#[test]
fn a_full_audit_reads_everything_once() {
    let mut days = Days::new();
    days.lab.audit = AuditPolicy::Full;
    days.guest_writes(9, 1);
    days.run_after(0, &[9]);
    assert_eq!(days.read(), set(0..CHUNKS));
    let counted = stats(days.last());
    assert_eq!(counted.chunks, CHUNKS);
    assert_eq!(counted.audited_bytes, (CHUNKS - 1) * 512);
    assert_eq!((counted.missed_chunks, counted.new_chunks), (0, 1));
    days.guest_writes(CHUNKS - 1, 2);
    days.run_after(0, &[]);
    assert_eq!(stats(days.last()).missed_chunks, 1);
    days.last_is_right();
}

#[test]
fn a_write_to_what_was_a_hole_is_missed_too() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 0, 3]);
    let first = lab.full(&source);
    source.set(1, 2);
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &first);
    assert_eq!(stats(&point).missed_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn a_chunk_of_which_a_part_is_declared_zero_is_unmapped_and_not_missed() {
    let mut lab = Lab::with_chunks(1 << 20);
    let source = FakeDisk::new(3 << 20);
    source.write(0, &noise(1, 3 << 20));
    let first = lab.full(&source);
    source.unmap((1 << 20) + 8192, 64 << 10);
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &first);
    let counted = stats(&point);
    assert_eq!(
        (counted.missed_chunks, counted.unmapped_bytes),
        (0, 1 << 20)
    );
    assert_eq!(counted.new_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
    assert_eq!(lab.repository.suspects().unwrap(), []);

    // What is left of a chunk that was declared zero in part can still have been missed.
    source.unmap(2 << 20, 64 << 10);
    source.write((3 << 20) - 512, &noise(2, 512));
    let point = lab.list(&source, Extents::new(), &point);
    assert_eq!(stats(&point).missed_chunks, 1);
    lab.assert_holds(&point, &source.bytes());
}

#[test]
fn unmapped_parts_count_the_same_whether_the_run_was_widened_or_not() {
    const BIG: u64 = 1 << 20;
    let mut lab = Lab::with_chunks(BIG);
    let source = FakeDisk::new(200 * BIG);
    for chunk in 0..200 {
        source.write(chunk * BIG, &noise(chunk + 1, 1024));
    }
    let first = lab.full(&source);
    source.write(0, &noise(500, 512)); // missed, and found in the first window
    source.unmap(199 * BIG, 512); // far behind it
    lab.audit = AuditPolicy::Full;
    let point = lab.list(&source, Extents::new(), &first);
    let counted = stats(&point);
    assert_eq!((counted.missed_chunks, counted.unmapped_bytes), (1, BIG));
}

#[derive(Default)]
struct Phases(Vec<(Phase, u64, u64)>);

impl Observer for Phases {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        let Progress {
            phase,
            done_bytes,
            total_bytes,
        } = progress;
        assert!(done_bytes <= total_bytes);
        self.0.retain(|(seen, ..)| *seen != phase);
        self.0.push((phase, done_bytes, total_bytes));
        ControlFlow::Continue(())
    }
}

#[test]
fn an_observer_sees_the_claims_the_audit_and_the_comparison_that_a_missed_change_makes_of_it() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 0, 4]);
    let first = lab.full(&source);
    source.set(0, 10);
    source.set(3, 40); // nobody says so
    lab.audit = AuditPolicy::Full;
    let mut phases = Phases::default();
    let wanted = list(chunks(&[0]), first.id);
    lab.watched(&source.open(), wanted, |_| {}, &mut phases)
        .unwrap();
    assert_eq!(
        phases.0,
        [
            (Phase::Backup, CHUNK, CHUNK),
            (Phase::Audit, 2 * CHUNK, 2 * CHUNK),
            (Phase::Widen, 3 * CHUNK, 3 * CHUNK),
        ]
    );
}
