//! Power goes at any moment while a disk is made, merged or resized: the file is there or not, a merge can be finished,
//! and no disk ever reads as anything but one that was there or was to be.
//!
//! And each step that this rests on is left out once, to see that it is missed.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests too"
)]

mod create;
mod merge;
mod resize;
mod support;

use std::path::Path;

use hypercbt_file::step;
use hypercbt_powercut::{Asked, Report, campaign_with_recoveries, steps_in};
use support::Story;

/// Tells a story anew.
type Tell = fn() -> Story;

/// Everything that can be left out, and the stories that miss it.
const MUTANTS: &[(&str, &[Tell])] = &[
    ("vhdx.create.headers_last", &[create::fixed, create::child]),
    ("vhdx.create.sync", &[create::fixed, create::child]),
    ("vhdx.create.sync_folder", &[create::fixed]),
    ("vhdx.merge.flush", &[merge::dynamic, merge::chain]),
    ("vhdx.merge.linkage", &[merge::dynamic]),
    ("vhdx.merge.sync_folder", &[merge::dynamic]),
    ("vhdx.resize.entries_first", &[resize::fixed]),
    ("vhdx.resize.one_entry", &[resize::longer_table]),
    (
        "vhdx.resize.prepared",
        &[resize::longer_table, resize::fixed],
    ),
];

/// All stories.
const STORIES: &[Tell] = &[
    create::fixed,
    create::dynamic,
    create::child,
    merge::fixed,
    merge::dynamic,
    merge::chain,
    merge::larger,
    resize::fixed,
    resize::dynamic,
    resize::child,
    resize::longer_table,
    resize::smaller,
];

/// The share of all cuts that a run of the tests takes; the variable for more is `HYPERCBT_POWER_CUTS`.
const DISTINCT: u64 = 240;

fn cut(story: &Story, asked: Asked) -> Report {
    campaign_with_recoveries(&story.history, asked.seed, asked.distinct, |at, files| {
        (story.check)(at, files)
    })
}

#[test]
fn a_cut_at_any_moment_breaks_nothing() {
    let asked = Asked::from_env(DISTINCT);
    let mut distinct = 0;
    for (number, tell) in (1..).zip(STORIES) {
        // What one story has too few states for, the next ones make up.
        let left = STORIES.len() as u64 + 1 - number;
        let share = Asked {
            distinct: asked.distinct.saturating_sub(distinct).div_ceil(left),
            seed: asked.seed,
        };
        let story = tell();
        let report = cut(&story, share);
        println!(
            "{}: {} operations, {report}",
            story.name,
            story.history.len()
        );
        assert!(report.failure.is_none(), "{}: {report}", story.name);
        distinct += report.distinct;
    }
    println!(
        "vhdx, made, merged and resized: {distinct} distinct states, seed {}",
        asked.seed
    );
}

#[test]
fn each_step_that_is_left_out_is_missed_within_10_000_cuts() {
    for (mutant, stories) in MUTANTS {
        let asked = Asked {
            distinct: 10_000,
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
    let ours = ["vhdx.create.", "vhdx.merge.", "vhdx.resize."];
    let mut found = steps_in(&source).unwrap();
    found.retain(|name| ours.iter().any(|prefix| name.starts_with(prefix)));
    let listed = MUTANTS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(found, listed.collect());
}
