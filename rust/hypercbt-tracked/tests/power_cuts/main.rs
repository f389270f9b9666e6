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
mod deeds;
mod guest;
mod promises;
mod story;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hypercbt_file::step;
use hypercbt_powercut::{Asked, Report, SimFiles, campaign_with_recoveries, steps_in};

use check::check;
use deeds::Deed;
use story::Story;

/// Each leaves out one step, or does it too late, and must be caught.
const MUTANTS: [&str; 11] = [
    "tracked.begin.expect",
    "tracked.change.expect",
    "tracked.change.mark_first",
    "tracked.close.expect",
    "tracked.discard.at_once",
    "tracked.discard.track_anew",
    "tracked.freeze.expect",
    "tracked.leaf.folder",
    "tracked.seal.flush",
    "tracked.stamps.settle",
    "tracked.thaw.expect",
];

/// A mutant must be caught within so many states.
const MUTANT_CUTS: u64 = 10_000;
/// Opening a disk and freezing, thawing or reverting it takes fewer operations.
const KILLS: usize = 150;
/// What is done where a process is killed, or a name is not made durable; with how many checkpoints before.
const DEEDS: [(usize, Deed); 5] = [
    (0, Deed::Freeze),
    (1, Deed::Freeze),
    (1, Deed::Thaw),
    (2, Deed::Thaw),
    (1, Deed::Discard),
];
/// Each of them syncs a folder fewer times.
const NAMES: u64 = 3;
/// States of the machine on which a process was killed.
const CUTS_OF_A_KILL: usize = 3;
/// States of one story; then another is told.
const CUTS_OF_A_STORY: u64 = 2_000;

#[test]
fn no_change_is_missed_and_nothing_is_lost() {
    let asked = Asked::from_env(2_000);
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

#[test]
fn a_process_may_be_killed_at_any_operation_and_names_need_not_stay() {
    let told = tell_of_kills_and_names();
    assert!(told.is_ok(), "{told:?}");
}

/// A process is killed at each of its operations, or a name is not made durable, and then power goes. Returns how
/// many states were looked at, and what was wrong with the last of them.
fn tell_of_kills_and_names() -> Result<u64, (u64, String)> {
    let names = DEEDS.iter().flat_map(|(depth, deed)| {
        let syncs = 0..NAMES;
        syncs.map(|syncs| (Story::tell_of_a_name(syncs, *depth, *deed), usize::MAX))
    });
    let kills = DEEDS.iter().flat_map(|(depth, deed)| {
        let stories = (1..=KILLS).map(|kill| Story::tell_of_a_kill(kill, *depth, *deed));
        // A wrong story is told; one that was over before the kill is the last.
        let is_killed = |story: &Result<Story, _>| story.as_ref().map_or(true, |s| s.was_killed);
        stories
            .take_while(is_killed)
            .map(|story| (story, CUTS_OF_A_KILL))
    });
    let mut cuts = 0;
    for (number, (story, most)) in names.chain(kills).enumerate() {
        let story = story.map_err(|why| (cuts, format!("story {number}: {why}")))?;
        let history = story.files.history();
        let end = history.len();
        for state in history.extremes(end).into_iter().take(most) {
            cuts += 1;
            let checked = check(&SimFiles::from_state(&state), &story.promises, end);
            checked.map_err(|why| (cuts, format!("story {number}: {why}")))?;
        }
    }
    Ok(cuts)
}

/// After how many states something was wrong.
fn cuts_until_caught(seed: u64) -> Option<u64> {
    let mut cuts = match tell_of_kills_and_names() {
        Ok(cuts) => cuts,
        Err((cuts, _)) => return Some(cuts),
    };
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
