//! The repository: chunks, packs, index, disk trees and restore points.
//!
//! Only this crate knows the format (`docs/repository-format.md`).

#![forbid(unsafe_code)]

mod error;
mod id;
mod memory;
mod place;
mod point;
mod storage;
mod timestamp;

pub use error::{Damage, Error, Result};
pub use id::{ChunkId, InvalidId, NodeId, PackName, PointId, RepositoryId, RunId, SegmentName};
pub use memory::MemoryStorage;
pub use place::{IndexEntry, Location, RecordKind};
pub use point::*;
pub use storage::{Storage, Upload};
pub use timestamp::{InvalidTimestamp, Timestamp};
