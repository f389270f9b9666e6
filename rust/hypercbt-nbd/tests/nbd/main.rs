//! The server as its clients see it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong may end at once"
)]

mod client;
mod handshake;
mod hostile;
mod memory;
#[cfg(unix)]
mod programs;
mod property;
mod reading;
mod serving;
#[cfg(unix)]
mod socket_file;
mod stopping;
mod support;
mod writing;
