//! Tracked disks as their callers see them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that meets an error has failed, and its numbers are small"
)]

#[path = "../support/mod.rs"]
mod support;

mod branches;
mod checkpoint;
mod faults;
mod guest;
mod refusals;
mod revert;
mod stack;
mod threads;
