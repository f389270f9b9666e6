//! Writing a VHDX in place, so that a power cut at any moment leaves a disk that holds all that was flushed.

mod open;
mod writable;

pub use open::{Guids, Opening};
pub use writable::WritableVhdx;
