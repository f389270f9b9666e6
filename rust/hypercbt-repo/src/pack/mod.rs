//! Packs: many records in one file that is written once (`docs/repository-format.md` §3).
//!
//! ```text
//! header | record | record | … | footer: one entry a record | trailer
//! ```
//!
//! A pack is named by the BLAKE3 of its file. Its footer says what the index says, so that an index can
//! be made again from footers; its records say what the footer says, so that a pack without a whole
//! footer can still be scanned.

mod builder;
mod footer;
mod format;
mod header;
mod scan;

pub use builder::{FinishedPack, PackBuilder, SealedPack};
pub use footer::read_footer;
pub use header::{PackHeader, read_header};
pub use scan::{Scan, scan};

use std::io;

use crate::{Damage, Error};

/// The greatest length of a pack. Every offset in one fits 32 bits.
pub const MAX_PACK_BYTES: u64 = 512 << 20;

/// The error of reading a pack. One that ends too early is damaged; the storage did what it could.
fn read_error(name: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::damaged(name, Damage::Length),
        _ => Error::storage("read", name)(source),
    }
}

#[cfg(test)]
mod tests;
