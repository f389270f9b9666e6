//! Writing a VHDX in place, so that a power cut at any moment leaves a disk that holds all that was flushed.

mod new;
mod open;
mod writable;

pub use new::{NewKind, NewVhdx, create_vhdx};
pub use open::{Guids, Opening};
pub use writable::WritableVhdx;
