//! The engine from outside: what is backed up is restored, whatever happens in between.
//!
//! One binary, so that it is linked once. [`support`] has the disk, the clock and the repository that all share.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that meets an error has failed, and its numbers are small"
)]

mod days;
mod shelf;
mod support;

mod audit;
mod coverage;
mod diff;
mod failures;
mod healing;
mod machine;
mod machine_audit;
mod machine_files;
mod machine_run;
mod meanwhile;
mod met_damage;
mod methods;
mod point_files;
mod rct;
mod refusals;
mod restore;
mod restore_vhd;
mod suspects;
mod verify;
