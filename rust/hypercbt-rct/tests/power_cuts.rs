//! Power goes at every operation: nothing is missed, no id is lost, and answers are as fine as promised.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::path::Path;

use common::log::Log;
use common::scenario::{Step, run};
use hypercbt_file::step;
use hypercbt_powercut::{Asked, Call, Report, campaign_with_recoveries, steps_in};

/// Each step that safety rests on, and can be left out or turned round.
const MUTANTS: [&str; 27] = [
    "rct.begin.in_flight",
    "rct.begin.mark",
    "rct.begin.memory",
    "rct.expect.header",
    "rct.file.name",
    "rct.file.sync",
    "rct.forget.header",
    "rct.header.newest_last",
    "rct.header.sync",
    "rct.header.twin_sync",
    "rct.mark.counters",
    "rct.mark.directory",
    "rct.mark.sync",
    "rct.mrt.give_up",
    "rct.open.all_stamps",
    "rct.open.marks",
    "rct.renew.marks",
    "rct.seal.clock",
    "rct.seal.first_touches",
    "rct.seal.in_flight",
    "rct.seal.marks",
    "rct.seal.marks_first",
    "rct.seal.pending",
    "rct.write_back.announce",
    "rct.write_back.announce_first",
    "rct.write_back.clock",
    "rct.write_back.first_touches",
];

/// Cuts within which a mutant must be noticed.
const NOTICED_WITHIN: u64 = 10_000;

/// Histories that meet each rule; those that chance draws follow. [`Step::parse`] has the letters.
const WRITTEN: [&str; 13] = [
    // Seals, write-backs, and writes to the same and to other regions after each.
    "S W0 W4 F W0 W6 S W0 W9 Y F W7 S W7 W0 Y",
    // Writes in flight across seals and write-backs, that land before or behind.
    "S B4 S L Y E B6 L F S E B0 S F L Y B9 E W3 E",
    "S B4 Z E B6 Z Z Y E B0 B9 Z E Z Y E",
    // Ids come and go; while there is none, nothing is marked.
    "S W1 G0 W2 Y S W1 S G0 W8 Y G1 W5 Y F S W5 Y",
    // Stamps change, hosts stop and crash.
    "S W3 R W4 O W3 S R W8 X W0 S W3 Y O O W6 Y X X W6 Y",
    "S T X W0 T X W1 Y R O",
    // Marks fail, a seal's too.
    "S W0 mS0 W7 W7 Y W3 Y mS0 S W0 Y mS1 S W4 Y",
    // A seal fails half-way while no other id is kept.
    "mS1 S W0 Y mW1 S W7 Y F mW1 S W9 Y",
    // Forgetting fails; a write-back fails at each part.
    "S mS1 G0 W0 Y rS0 F W7 rW0 F W0 Y F W7 Y",
    // Forgetting fails half-way, and is asked for again.
    "S W0 mW1 G0 W7 Y S W4 G0 Y W0 X W8 Y",
    // A header fails after one of its copies, and is written again and again.
    "S S S mW1 S R mW1 S R F S mW1 R mW1 F S W0 Y R",
    "S S mW1 S S mW1 S S mW2 S S mW1 S S",
    // A sync fails, the process crashes, and the next one builds on what it reads.
    "S W0 mS0 W7 X W8 Y W7 Y mS1 S X S W9 Y mS0 R X R W0 Y",
];

fn written() -> impl Iterator<Item = Vec<Step>> {
    WRITTEN.into_iter().map(Step::parse)
}

/// A history by chance.
fn drawn(seed: u64) -> Vec<Step> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from((state >> 20) % limit).unwrap()
    };
    let faulty = seed % 4 == 3;
    let mut steps = vec![Step::Seal];
    for _ in 0..40 {
        steps.push(match below(24) {
            0..=7 => Step::Write(below(10)),
            8..=10 => Step::Begin(below(10)),
            11..=12 => Step::Land,
            13..=14 => Step::End,
            15 => Step::SyncDisk,
            16 => Step::Seal,
            17 => Step::SealLanding,
            18..=19 => Step::Flush,
            20 => Step::Forget(below(2)),
            21 => Step::Restamp,
            22 if faulty => match below(4) {
                0 => Step::FailMrt(Call::Write, below(3) as u64),
                1 => Step::FailRct(Call::Sync, 0),
                _ => Step::FailMrt(Call::Sync, below(3) as u64),
            },
            22 => Step::Reopen,
            _ => Step::Crash,
        });
    }
    steps
}

fn look(log: &Log, seed: u64, distinct: u64) -> Report {
    campaign_with_recoveries(&log.history, seed, distinct, |at, files| {
        log.check(at, files)
    })
}

#[test]
fn whenever_power_goes_no_change_is_missed_and_no_id_is_lost() {
    let asked = Asked::from_env(8_000);
    let mut histories: Vec<_> = written().collect();
    let (mut distinct, mut checked, mut seconds) = (0, 0, 0.0);
    let mut next = asked.seed.wrapping_mul(1_000);
    while distinct < asked.distinct {
        let steps = histories.pop().unwrap_or_else(|| {
            next += 1;
            drawn(next)
        });
        // Those that are written down a good share each, and the rest by chance.
        let report = look(
            &run(&steps).unwrap(),
            asked.seed,
            (asked.distinct - distinct).min(2_000),
        );
        assert!(report.failure.is_none(), "{report}\n{steps:?}");
        distinct += report.distinct;
        checked += report.checked;
        seconds += report.took.as_secs_f64();
    }
    let seed = asked.seed;
    println!(
        "rct: {distinct} distinct states ({checked} checks), seed {seed}, {seconds:.1} s, 0 failures"
    );
}

#[test]
fn each_step_that_is_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for name in MUTANTS {
        let cuts = step::with_mutant(name, cuts_until_noticed);
        match cuts {
            Some((cuts, why)) => println!("{name}: noticed after {cuts} cuts: {why}"),
            None => unnoticed.push(name),
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

/// How many cuts it took, and what was wrong; none if it took too many.
fn cuts_until_noticed() -> Option<(u64, String)> {
    let mut cuts = 0;
    for steps in written().chain((1..).map(drawn)) {
        let share = NOTICED_WITHIN.saturating_sub(cuts).min(500);
        if share == 0 {
            return None;
        }
        let report = match run(&steps) {
            Ok(log) => look(&log, 1, share),
            Err(why) => return Some((cuts, format!("a host that stopped: {why}"))),
        };
        cuts += report.distinct;
        if let Some(failure) = report.failure {
            return Some((cuts, failure.why));
        }
    }
    None
}

#[test]
fn the_list_of_mutants_is_what_the_source_has() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed = MUTANTS.map(str::to_owned).into();
    assert_eq!(steps_in(&source).unwrap(), listed);
}
