//! The repository: chunks, packs, index, disk trees and restore points.
//!
//! Only this crate knows the format (`docs/repository-format.md`).

#![forbid(unsafe_code)]

mod baseline;
mod catalog;
pub mod codec;
mod config;
mod damage;
mod error;
mod faulty;
mod files;
mod id;
pub mod index;
mod lease;
mod leases;
mod limits;
mod local;
mod memory;
mod met;
mod name;
mod object;
pub mod pack;
mod place;
mod point;
mod point_file;
mod points;
mod probe;
mod record;
mod repository;
mod run;
mod storage;
mod suspect;
mod timestamp;
pub mod tree;
mod view;
mod void;

pub use baseline::{Baseline, BaselineDisk, StandingBaseline};
pub use config::Config;
pub use damage::{DamageList, DamagedPlace};
pub use error::{Damage, Error, Result};
pub use faulty::{Call, Fault, FaultyStorage};
pub use id::{ChunkId, InvalidId, NodeId, PackName, PointId, RepositoryId, RunId, SegmentName};
pub use lease::{Base, Closed, Lease, Outcome, Tombstone, VmState};
pub use leases::{Fence, OpenLease, RunState};
pub use local::LocalStorage;
pub use memory::MemoryStorage;
pub use object::{ObjectKind, open as open_object, seal as seal_object};
pub use place::{IndexEntry, Location, RecordKind};
pub use point::*;
pub use point_file::PointFile;
pub use record::{
    Codec, MAX_CHUNK_BYTES, MAX_NODE_BYTES, RECORD_HEADER_BYTES, Record, RecordHeader,
};
pub use repository::{CreateOptions, Repository};
pub use run::{Run, RunOptions, RunStats};
pub use storage::{Storage, Upload};
pub use suspect::Suspect;
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use view::View;
pub use void::Void;
