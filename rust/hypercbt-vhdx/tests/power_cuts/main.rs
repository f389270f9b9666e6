//! Power goes at any moment while a disk is written: afterwards it opens, and each sector holds what was flushed last
//! or something later. And each step that this rests on is left out once, to see that it is missed.
//!
//! `HYPERCBT_POWER_CUTS` and `HYPERCBT_POWER_CUT_SEED` ask for more and other cuts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too, and the sizes of a test fit"
)]

#[path = "../common/mod.rs"]
mod common;
mod qemu;
mod scripts;
mod story;
#[path = "../writable/support.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use hypercbt_file::step;
use hypercbt_powercut::{Asked, Report, campaign_with_recoveries, steps_in};
use story::Story;

/// Tells a story anew.
type Tell = fn() -> Story;

/// Everything that can be left out, and the stories that miss it.
const MUTANTS: &[(&str, &[Tell])] = &[
    ("vhdx.bits.with_entry", &[scripts::reuse, scripts::child]),
    ("vhdx.block.zeroed", &[scripts::dynamic, scripts::reuse]),
    ("vhdx.close.sync", &[scripts::child, scripts::dynamic]),
    ("vhdx.free.after_log", &[scripts::reuse, scripts::dynamic]),
    ("vhdx.header.data_write", &[scripts::dynamic]),
    ("vhdx.header.file_write", &[scripts::dynamic]),
    ("vhdx.header.sync", &[scripts::dynamic, scripts::child]),
    ("vhdx.log.first_sync", &[scripts::dynamic]),
    ("vhdx.log.place_before_tail", &[scripts::long_log]),
    ("vhdx.log.sync", &[scripts::dynamic]),
    ("vhdx.payload.sync", &[scripts::dynamic]),
    ("vhdx.replay.sync", &[scripts::dynamic, scripts::child]),
];

/// Stories that are always told the same way; there are others each round.
const STORIES: &[Tell] = &[scripts::reuse, scripts::long_log];

/// Of one story more states than this teach little: the next round tells others.
const MOST_OF_ONE: u64 = 5000;

/// The share of all cuts that a run of the tests takes.
const DISTINCT: u64 = 1000;

fn cut(story: &Story, asked: Asked) -> Report {
    campaign_with_recoveries(&story.history, asked.seed, asked.distinct, |at, files| {
        story.recover(at, files)
    })
}

#[test]
fn a_cut_at_any_moment_loses_nothing_that_was_flushed() {
    let started = Instant::now();
    let asked = Asked::from_env(DISTINCT);
    let mut distinct = 0;
    let mut failed = Vec::new();
    for round in 0.. {
        let mut stories = scripts::round(round);
        if round == 0 {
            stories.extend(STORIES.iter().map(|tell| tell()));
        }
        let mut left = stories.len() as u64;
        for story in stories {
            // What one story has too few states for, the next ones make up.
            let share = asked.distinct.saturating_sub(distinct).div_ceil(left);
            let share = Asked {
                distinct: share.min(MOST_OF_ONE),
                seed: asked.seed,
            };
            let report = cut(&story, share);
            if round == 0 || report.failure.is_some() {
                let operations = story.history.len();
                println!(
                    "{}, round {round}: {operations} operations, {report}",
                    story.name
                );
            }
            distinct += report.distinct;
            failed.extend(report.failure.map(|failure| (story.name, round, failure)));
            left -= 1;
        }
        if distinct >= asked.distinct || !failed.is_empty() {
            break;
        }
    }
    println!(
        "vhdx: {distinct} distinct states, seed {}, {:.0} s, {} failures",
        asked.seed,
        started.elapsed().as_secs_f64(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn each_step_that_is_left_out_is_missed_within_10_000_cuts() {
    for (mutant, stories) in MUTANTS {
        let asked = Asked {
            distinct: 10_000 / stories.len() as u64,
            seed: 1,
        };
        let caught = stories.iter().any(|tell| {
            let report = step::with_mutant(mutant, || cut(&tell(), asked));
            println!("{mutant}: {report}");
            report.failure.is_some()
        });
        assert!(caught, "nobody missed {mutant}");
    }
}

#[test]
fn the_list_holds_every_step_of_the_code_and_no_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What makes, merges and resizes disks has a list of its own, in `power_cuts_maintenance`.
    let others = ["vhdx.create.", "vhdx.merge.", "vhdx.resize."];
    let mut found = steps_in(&source).unwrap();
    found.retain(|name| !others.iter().any(|prefix| name.starts_with(prefix)));
    let listed = MUTANTS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(found, listed.collect());
}
