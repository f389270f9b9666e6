//! Power goes at any moment, also while the disk recovers: no change is missed, nothing that was flushed is lost,
//! and a frozen file holds what the disk held.
//!
//! `HYPERCBT_POWER_CUTS` states are looked at, drawn from `HYPERCBT_POWER_CUT_SEED`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that meets an error has failed, and its numbers are small"
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod promises;
mod story;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hypercbt_file::step;
use hypercbt_powercut::{Asked, Report, campaign_with_recoveries, steps_in};

use check::check;
use story::Story;

/// Each leaves out one step, or does it too late, and must be caught.
const MUTANTS: [&str; 8] = [
    "tracked.begin.expect",
    "tracked.change.expect",
    "tracked.change.mark_first",
    "tracked.close.expect",
    "tracked.freeze.expect",
    "tracked.seal.flush",
    "tracked.stamps.settle",
    "tracked.thaw.expect",
];

/// A mutant must be caught within so many states.
const MUTANT_CUTS: u64 = 10_000;
/// States of one story; then another is told.
const CUTS_OF_A_STORY: u64 = 2_000;

#[test]
fn no_change_is_missed_and_nothing_is_lost() {
    let asked = Asked::from_env(3_000);
    let (mut distinct, mut checked, mut stories) = (0, 0, 0);
    let mut took = Duration::ZERO;
    while distinct < asked.distinct {
        let most = CUTS_OF_A_STORY.min(asked.distinct - distinct);
        let seed = asked.seed.wrapping_add(stories);
        let report = tell(seed, most).unwrap_or_else(|why| panic!("story {seed}: {why}"));
        assert!(report.failure.is_none(), "story {seed}: {report}");
        distinct += report.distinct;
        checked += report.checked;
        took += report.took;
        stories += 1;
    }
    println!(
        "tracked: {distinct} distinct states ({checked} checks) of {stories} stories, seed {}, {:.1} s, \
         0 missed changes, 0 broken files, 0 lost bytes",
        asked.seed,
        took.as_secs_f64()
    );
}

#[test]
fn every_mutant_is_caught() {
    for mutant in MUTANTS {
        let cuts = step::with_mutant(mutant, || cuts_until_caught(1));
        let cuts = cuts.unwrap_or_else(|| panic!("{mutant} survived {MUTANT_CUTS} cuts"));
        println!("{mutant}: caught after {cuts} cuts");
    }
}

#[test]
fn the_mutants_are_those_of_the_source() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed: BTreeSet<String> = MUTANTS.into_iter().map(str::to_owned).collect();
    assert_eq!(steps_in(&source).unwrap(), listed);
}

/// After how many states something was wrong.
fn cuts_until_caught(seed: u64) -> Option<u64> {
    let mut cuts = 0;
    for story in 0_u64.. {
        if cuts >= MUTANT_CUTS {
            break;
        }
        // A story that cannot be told to its end is wrong before any cut.
        let Ok(report) = tell(seed + story, CUTS_OF_A_STORY.min(MUTANT_CUTS - cuts)) else {
            return Some(cuts);
        };
        cuts += report.distinct;
        if report.failure.is_some() {
            return Some(cuts);
        }
    }
    None
}

/// Tells one story and cuts it.
fn tell(seed: u64, distinct: u64) -> Result<Report, String> {
    let story = Story::tell(seed)?;
    let history = story.files.history();
    Ok(campaign_with_recoveries(
        &history,
        seed,
        distinct,
        |at, files| check(files, &story.promises, at),
    ))
}
