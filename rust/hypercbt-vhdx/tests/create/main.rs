//! New disks: what was written is what is read, by three readers.
//!
//! A reader too simple to be wrong ([`support`]), our own, and `qemu-img` where it is installed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod support;

mod refusals;
#[cfg(target_os = "linux")]
mod room;
mod written;
