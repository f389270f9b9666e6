//! Power goes anywhere while a repository is made, backed up to, merged and deleted from: what was committed is
//! there and whole, what is there is whole, and the next run works.
//!
//! `HYPERCBT_POWER_CUTS` asks for so many distinct states, `HYPERCBT_POWER_CUT_SEED` draws them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

mod check;
mod histories;
mod workload;

use std::collections::BTreeSet;
use std::path::Path;

use hypercbt_file::step;
use hypercbt_powercut::{Asked, Report, SimFiles, campaign, campaign_with_recoveries, steps_in};

use check::check;
use histories::Recorded;

/// Every step that safety rests on.
const MUTANTS: [&str; 15] = [
    "repo.adopt.settle",
    "repo.close.settle",
    "repo.close.settle_proof",
    "repo.commit.order",
    "repo.delete.order",
    "repo.delete.settle",
    "repo.fence.settle",
    "repo.file.sync",
    "repo.finish.sync_of_others",
    "repo.folder.sync",
    "repo.folder.sync_of_others",
    "repo.lease",
    "repo.name.sync",
    "repo.packs.before_segment",
    "repo.root.sync",
];

/// So many states are enough to notice a step that is left out.
const CUTS: u64 = 10_000;

/// Looks at states of one history; those of recoveries that are cut themselves come on top.
fn look(recorded: &Recorded, seed: u64, distinct: u64) -> Report {
    campaign_with_recoveries(&recorded.history, seed, distinct, |at, files| {
        check(recorded, at, files)
    })
}

/// What a second process does after a first one was killed.
const AFTER_KILLS: [fn(usize) -> Option<Recorded>; 5] = [
    histories::killed,
    histories::fence_after_fence,
    histories::close_after_fence,
    histories::fence_after_commit,
    histories::close_after_commit,
];

/// Looks at what a second process has promised after the first was killed at any of its operations. Power goes
/// when all is promised.
fn look_after_kills(killed: fn(usize) -> Option<Recorded>, seed: u64, distinct: u64) -> Report {
    let kills: Vec<_> = (1..).map_while(killed).collect();
    let of_each = distinct / kills.len() as u64 + 1;
    let mut sum: Option<Report> = None;
    for kill in &kills {
        let promised = kill.history.after(kill.last_promise());
        let report = campaign(&promised, seed, of_each, |at, state| {
            check(kill, at, &SimFiles::from_state(state))
        });
        let so_far = match sum.take() {
            Some(sum) => sum.and(report),
            None => report,
        };
        if so_far.failure.is_some() {
            return so_far;
        }
        sum = Some(so_far);
    }
    sum.unwrap()
}

fn must_be_whole(what: &str, report: &Report) {
    println!("power cuts, {what}: {report}");
    assert!(report.failure.is_none(), "{what}: {report}");
}

#[test]
fn after_a_power_cut_what_was_committed_is_whole_and_the_next_run_works() {
    let Asked { distinct, seed } = Asked::from_env(3000);
    must_be_whole("runs", &look(&histories::runs(), seed, distinct));
}

#[test]
fn what_a_second_process_builds_on_a_killed_one_survives_a_power_cut() {
    let Asked { distinct, seed } = Asked::from_env(4000);
    let distinct = distinct / AFTER_KILLS.len() as u64;
    for (number, killed) in AFTER_KILLS.into_iter().enumerate() {
        let report = look_after_kills(killed, seed, distinct);
        must_be_whole(&format!("killed {number}"), &report);
    }
}

#[test]
fn an_upload_of_what_another_has_just_made_is_durable() {
    let report = look(&histories::same_upload(), 1, 500);
    must_be_whole("same upload", &report);
}

#[test]
fn a_commit_that_failed_and_is_repeated_promises_nothing_that_is_not_durable() {
    let report = look(&histories::failed_commit(), 1, 500);
    must_be_whole("failed commit", &report);
}

/// All histories in turn, until one shows that something is wrong. The number of states that it took.
fn caught(mutant: &'static str) -> Option<u64> {
    let mut looked = 0;
    let histories = || step::with_mutant(mutant, || [histories::same_upload(), histories::runs()]);
    let mut found = |report: Report| {
        looked += report.checked;
        report.failure.map(|failure| (looked, failure.why))
    };
    let of_kills = CUTS / 16;
    let mut after_kills = AFTER_KILLS.into_iter();
    let caught = after_kills.find_map(|killed| {
        step::with_mutant(mutant, || found(look_after_kills(killed, 1, of_kills)))
    });
    let caught = caught.or_else(|| {
        histories()
            .iter()
            .find_map(|recorded| found(look(recorded, 1, CUTS / 4)))
    });
    caught.map(|(cuts, why)| {
        println!("{mutant}: caught after {cuts} cuts: {why}");
        cuts
    })
}

#[test]
fn each_step_that_is_left_out_is_noticed() {
    for mutant in MUTANTS {
        let cuts = caught(mutant).unwrap_or_else(|| panic!("{mutant} is not noticed"));
        assert!(cuts <= CUTS, "{mutant} is noticed only after {cuts} cuts");
    }
}

#[test]
fn the_list_of_steps_is_that_of_the_source() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed: BTreeSet<_> = MUTANTS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(steps_in(&source).unwrap(), listed);
}
