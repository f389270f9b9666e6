//! A VHDX that is written in place: what it reads as, what is in its file, and what it does when storage fails.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too, and the sizes of a test fit"
)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod model;
mod opening;
mod rules;
mod support;
mod threads;
