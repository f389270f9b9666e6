//! Backup, restore, verify and audit: disk to extents to chunks to repository, as one pipeline.
//!
//! The engine decides what is read and what becomes of it; `hypercbt-vhdx` knows where bytes are,
//! `hypercbt-repo` how they are kept. Time, randomness and the number of threads are arguments.

#![forbid(unsafe_code)]

mod allocation;
mod audit;
mod audit_stop;
mod backup;
mod base;
mod base_tree;
mod check_pack;
mod chunk_cache;
mod chunk_ids;
mod claims;
mod clock;
mod crew;
mod deadlines;
mod diff;
mod error;
mod fetch;
mod file_pass;
mod identity;
mod job;
mod layers;
mod machine;
mod node_cache;
mod observer;
mod pass;
mod pipeline;
mod point_disk;
mod reach;
mod request;
mod restore;
mod slice;
mod stop;
mod store;
mod suspects;
mod target;
mod threads;
mod verify;
mod verify_pass;
mod window;

pub use audit::AuditPolicy;
pub use audit_stop::AuditStop;
pub use backup::{BackupOutcome, BackupRequest, backup};
pub use base::Wanted;
pub use chunk_ids::chunk_ids;
pub use clock::{Clock, SystemClock};
pub use diff::diff;
pub use error::{Error, Result, Turn, WrongSince};
pub use machine::MachineRun;
pub use observer::{Observer, Phase, Progress, Silent};
pub use point_disk::PointDiskReader;
pub use request::{DiskRequest, MachineOptions};
pub use restore::{RestoreRequest, RestoreStats, restore};
pub use target::{DiskFormat, Target};
pub use verify::{DamagedRecord, VerifyReport, VerifyRequest, VerifyScope, verify};
