//! The repository: chunks, packs, index, disk trees and restore points.
//!
//! Only this crate knows the format (`docs/repository-format.md`).

mod error;
mod id;
mod point;
mod storage;

pub use error::{Damage, Error, Result};
pub use id::{ChunkId, InvalidId, NodeId, PackName, PointId, RepositoryId, RunId, SegmentName};
pub use point::*;
pub use storage::{Storage, Upload};
